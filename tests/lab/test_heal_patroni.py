"""Cures of a hung or paused Patroni, of unusable replicas, and of a leader that accepts no writes."""

import time

import pytest

from tests.support import faults, labs, wait_until

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("untouched_budget")]


@pytest.fixture
def long_lease(healthy):
    """Set a lease that outlasts a cure on a busy test machine; drills test the shipped 20 s."""

    def set_ttl(seconds):
        since = time.time()
        assert (
            healthy.salt("db1", "fanatico_patroni.patch_config", f'{{"ttl": {seconds}}}')["db1"]["ttl"]
            == seconds
        )
        # Its next loop but one renews the lease with that value.
        wait_until(
            lambda: all(
                one["dcs_last_seen"] > since + 5
                for one in healthy.salt("db*", "fanatico_patroni.status").values()
            ),
            60,
            "every Patroni to have taken up its new ttl",
        )

    before = healthy.salt("db1", "fanatico_patroni.config")["db1"]["ttl"]
    set_ttl(120)
    yield
    set_ttl(before)


def test_a_patroni_that_hangs_is_ended_and_postgresql_goes_on(healthy):
    assert_ended_and_postgresql_goes_on(healthy, faults.replica_of(healthy))


@pytest.mark.long
@pytest.mark.usefixtures("long_lease")
def test_the_leaders_patroni_that_hangs_is_ended_and_it_stays_leader(healthy):
    assert_ended_and_postgresql_goes_on(healthy, labs.leader(healthy))


def assert_ended_and_postgresql_goes_on(healthy, node):
    leading = labs.leader(healthy)
    postmaster = ["sh", "-c", "head -1 /var/lib/postgresql/*/main/postmaster.pid"]
    before, news = healthy.exec(node, postmaster).stdout, labs.News(healthy)
    faults.suspend(healthy, node, "patroni")
    news.wait("healed", node, "patroni-hung")
    labs.wait_healthy(healthy)
    assert healthy.exec(node, postmaster).stdout == before
    assert labs.leader(healthy) == leading


def test_a_replica_whose_data_was_deleted_is_cloned_again(healthy):
    node, news = faults.replica_of(healthy), labs.News(healthy)
    healthy.exec(node, ["sh", "-c", "rm -rf /var/lib/postgresql/*/main/*"])
    labs.wait_healthy(healthy, 120)
    assert not news.decided("failed"), "Patroni does it by itself, or the cure does"


@pytest.mark.long
def test_a_replica_that_has_read_a_damaged_page_is_cloned_again(healthy):
    node, leader, news = faults.replica_of(healthy), labs.leader(healthy), labs.News(healthy)
    healthy.sql(leader, "CREATE TABLE damaged AS SELECT n FROM generate_series(1, 1000) AS n", "fanatico")
    try:
        path = healthy.sql(leader, "SELECT pg_relation_filepath('damaged')", "fanatico").strip()
        count = [
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "-XAtc",
            "SELECT count(*) FROM damaged",
            "fanatico",
        ]
        wait_until(
            lambda: healthy.exec(node, count, check=False).stdout == "1000\n",
            30,
            "the replica to have the table",
        )
        for host in (leader, node):  # so that the replica does not replay the page after its restart
            healthy.sql(host, "CHECKPOINT")
        healthy.salt(node, "fanatico_patroni.restart")  # so that the page is read from the disk
        damage = (
            f"printf damage | dd of=$(echo /var/lib/postgresql/*/main)/{path} bs=1 seek=5000 conv=notrunc"
        )
        healthy.exec(node, ["sh", "-c", damage])
        wait_until(
            lambda: "invalid page" in healthy.exec(node, count, check=False).stderr, 30, "the page to be read"
        )
        healthy.salt_run("fanatico.reconcile")
        news.wait("healed", node, "replica-corrupt", 120)
        labs.wait_healthy(healthy)
        assert healthy.exec(node, count).stdout == "1000\n"
    finally:
        healthy.sql(labs.leader(healthy), "DROP TABLE damaged", "fanatico")


@pytest.mark.long
def test_a_replica_whose_postgresql_does_not_start_is_cloned_again(healthy):
    node, news = faults.replica_of(healthy), labs.News(healthy)
    script = "cd /var/lib/postgresql/*/main; rm global/pg_filenode.map; kill -KILL $(head -1 postmaster.pid)"
    healthy.exec(node, ["sh", "-ec", script])
    news.wait("healed", node, "replica-unusable", 120)
    labs.wait_healthy(healthy)


ITS_OWN_WAY = """
    data=$(echo /var/lib/postgresql/*/main) bin=$(echo /usr/lib/postgresql/*/bin)
    as_postgres() { runuser -u postgres -- "$@" >/dev/null 2>&1 </dev/null; }
    systemctl stop patroni
    [ $0 = promoted ] || rm -f $data/standby.signal
    as_postgres $bin/pg_ctl -D $data -w start -o "-c synchronous_standby_names="
    [ $0 != promoted ] || as_postgres $bin/pg_ctl -D $data -w promote
    as_postgres $bin/psql -Xq -c "CREATE TABLE nobody_else_has_this AS SELECT generate_series(1, 1000)"
    for _ in 1 2 3; do as_postgres $bin/psql -Xq -c "SELECT pg_switch_wal()"; as_postgres $bin/psql -Xq -c CHECKPOINT; done
    as_postgres $bin/pg_ctl -D $data -w stop -m fast
    ls -d $data/pg_wal/0000000*[0-9A-F] | sort | head -n -1 | xargs rm -f
    systemctl start patroni
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["promoted", "no standby"])
def test_a_replica_that_went_its_own_way_and_cannot_be_rewound_is_cloned_again(healthy, how):
    """The replica was promoted by hand, and the WAL back to the point of divergence is gone."""
    node = faults.replica_of(healthy)
    healthy.salt_run("fanatico.freeze", "a test takes a replica away", "5m")
    try:
        healthy.exec(node, ["bash", "-c", ITS_OWN_WAY, how], timeout=90)
    finally:
        healthy.salt_run("fanatico.unfreeze")
    labs.wait_healthy(healthy, 120)
    asked = "SELECT count(*) FROM pg_tables WHERE tablename = 'nobody_else_has_this'"
    assert healthy.sql(node, asked).strip() == "0"


@pytest.mark.parametrize("cured", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_suspended_postgresql_is_found_by_a_canary(lab, healthy, cured):
    """Patroni reports no fault: existing sessions continue, new ones are refused."""
    old, news = labs.leader(lab), labs.News(lab)
    postmaster = "$(head -1 /var/lib/postgresql/*/main/postmaster.pid)"
    lab.exec(old, ["sh", "-ec", f"kill -STOP {postmaster}"])
    try:
        lab.salt_run("fanatico.reconcile")
        lab.salt_run("fanatico.reconcile")
        assert news.wait("refused", old, "writes-stalled")["code"] == "not-opted-in"
        if not cured:
            return
        # A cure of an earlier test may be recorded only now: no cooldown to wait for.
        with labs.site(lab, {"heal": {"switchover": True, "cooldown": 1}}):
            said = lab.salt_run("fanatico.reconcile").stdout
            assert f"{old}/writes-stalled" in said
            news.wait("healed", old, "writes-stalled", 90)
        assert labs.leader(lab) != old
    finally:
        lab.exec(old, ["sh", "-c", f"kill -CONT {postmaster}"], check=False)
        labs.wait_healthy(lab)


@pytest.mark.long
def test_a_forgotten_pause_ends(lab, healthy):
    with labs.site(lab, {"heal": {"max_pause": 12}}):
        news = labs.News(lab)
        lab.salt("db1", "fanatico_patroni.pause")
        try:
            first = news.wait("refused", None, "patroni-paused")
            assert first["code"] == "below-threshold"
            # What the master does by itself every two minutes.
            wait_until(
                lambda: lab.salt_run("fanatico.reconcile") and news.decided("healed"), 90, "the pause to end"
            )
        finally:
            lab.salt("db1", "fanatico_patroni.resume")
    labs.wait_healthy(lab)
