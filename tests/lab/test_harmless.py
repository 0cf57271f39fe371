"""Healing and deploys do no harm: data that may be intact stays, and what cannot work is refused before any change."""

import subprocess

import pytest

from tests.support import faults, labs, wait_until

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("untouched_budget")]

LIBRARY = "pg_cron"  # on no host of the lab
MISSING = {"shared_preload_libraries": LIBRARY}
DATA = "/var/lib/postgresql/17/main"


def parameters(lab):
    node = lab.nodes("patroni")[0]
    return lab.salt(node, "fanatico_patroni.config")[node]["postgresql"]["parameters"]


@pytest.mark.parametrize(
    ("wanted", "word"),
    [
        pytest.param(MISSING, LIBRARY, id="library"),
        pytest.param({"shared_buffers": "900GB"}, "of shared memory", id="memory"),
        pytest.param({"work_mem": "much"}, "work_mem", id="value", marks=pytest.mark.long),
        pytest.param({"huge_pages": "on"}, "huge pages", id="huge pages", marks=pytest.mark.long),
    ],
)
def test_parameters_that_postgresql_cannot_start_with_reach_no_node(healthy, wanted, word):
    before = parameters(healthy)
    with labs.site(healthy, {"postgresql": {"parameters": wanted}}):
        answers = healthy.salt("db*", "state.apply", "roles.patroni", timeout=120)
    failed = labs.failures(answers)
    assert set(failed) == set(labs.nodes(healthy, "patroni"))
    for node, states in failed.items():
        said = " ".join(states.values())
        assert word in said, said
        assert f"{node}: PostgreSQL would not start" in said
    assert parameters(healthy) == before


@pytest.mark.long
def test_a_library_that_is_missing_costs_no_data(healthy):
    """A value written into etcd by hand: the next restart of a replica fails, although its data is intact."""
    node, news = faults.replica_of(healthy), labs.News(healthy)
    inode = ["stat", "-c", "%i", f"{DATA}/global"]
    before = healthy.exec(node, inode).stdout
    patch = '{"postgresql": {"parameters": {"shared_preload_libraries": %s}}}'
    healthy.salt(node, "fanatico_patroni.patch_config", patch % f'"{LIBRARY}"')
    try:
        wait_until(
            lambda: healthy.salt(node, "fanatico_patroni.status")[node].get("pending_restart"),
            30,
            "the restart to be due",
        )
        said = healthy.salt(node, "fanatico_patroni.restart", "pending=True", timeout=60)[node]
        assert LIBRARY in said, "why it failed"
        entry = news.wait("refused", node, "postgres-failed", 90)
        assert LIBRARY in entry["reason"]
        health = labs.health(healthy, node)[node]["checks"]
        assert LIBRARY in health["patroni.state"]["detail"]
        assert not [one for one in news.decided("healed") if one["host"] == node]
    finally:
        healthy.salt(node, "fanatico_patroni.patch_config", patch % "null")
    wait_until(
        lambda: healthy.salt(node, "fanatico_patroni.status")[node]["state"] == "running", 60, "its start"
    )
    # Patroni keeps the pending restart of nodes that were not restarted.
    healthy.salt("db*", "fanatico_patroni.restart", "pending=True", timeout=60)
    labs.wait_healthy(healthy)
    assert healthy.exec(node, inode).stdout == before, "the data were thrown away"


@pytest.mark.long
def test_damaged_data_are_kept_until_the_copy_streams(healthy):
    node, news = faults.replica_of(healthy), labs.News(healthy)
    script = f"cd {DATA}; rm global/pg_filenode.map; kill -KILL $(head -1 postmaster.pid)"
    healthy.exec(node, ["sh", "-ec", script])
    entry = news.wait("healed", node, "replica-unusable", 120)
    assert f"{DATA}.aside-" in entry["reason"]
    labs.wait_healthy(healthy)
    left = healthy.exec(node, ["sh", "-c", f"ls -d {DATA}.aside-* 2>/dev/null; true"]).stdout
    assert left == "", "the copy streams: what was put aside is not needed"


@pytest.mark.long
def test_a_tablespace_is_put_aside_and_copied_with_the_rest(healthy):
    node, leader, news = faults.replica_of(healthy), labs.leader(healthy), labs.News(healthy)
    place = "/var/lib/postgresql/elsewhere"
    for name in labs.nodes(healthy, "patroni"):
        healthy.exec(name, ["install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", place])
    healthy.sql(leader, f"CREATE TABLESPACE elsewhere LOCATION '{place}'")
    healthy.sql(leader, "CREATE TABLE far TABLESPACE elsewhere AS SELECT generate_series(1, 1000) AS n")
    try:
        labs.wait_healthy(healthy)
        script = f"cd {DATA}; rm global/pg_filenode.map; kill -KILL $(head -1 postmaster.pid)"
        healthy.exec(node, ["sh", "-ec", script])
        assert f"{DATA}.aside-" in news.wait("healed", node, "replica-unusable", 120)["reason"]
        labs.wait_healthy(healthy)
        assert healthy.sql(node, "SELECT count(*) FROM far").strip() == "1000"
        left = healthy.exec(node, ["sh", "-c", f"ls -d {DATA}.aside-* {place}.aside-* 2>/dev/null; true"])
        assert left.stdout == ""
    finally:
        healthy.sql(labs.leader(healthy), "DROP TABLE IF EXISTS far")
        healthy.sql(labs.leader(healthy), "DROP TABLESPACE IF EXISTS elsewhere")
    labs.wait_healthy(healthy)


def set_in(path, value):
    *above, last = path.split(":")

    def change(content):
        for key in above:
            content = content.setdefault(key, {})
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("plan:name", "fanatico-l2"),
        *(
            pytest.param(*one, marks=pytest.mark.long)
            for one in (
                ("plan:ports:postgres", 5442),
                ("plan:ports:patroni_rest", 8018),
                ("plan:ports:etcd_peer", 2390),
                ("plan:ports:etcd_client", 2389),
                ("plan:virtual_ip:router_id", 99),
            )
        ),
    ],
)
def test_what_a_running_cluster_cannot_change_is_refused(healthy, path, value):
    with labs.plan(healthy, set_in(path, value)):
        done = healthy.salt_run("fanatico.validate", check=False)
        answers = labs.highstate(healthy, ["db1", "etcd1", "haproxy1"])
    assert done.returncode == 1
    assert f"{path}: {value!r}" in labs.said(done.stdout + done.stderr)
    assert labs.changes(answers) == {}
    assert any(
        f"{path}: {value!r}" in said for states in labs.failures(answers).values() for said in states.values()
    )
    assert labs.ailing(labs.health(healthy)) == {}


@pytest.mark.long
def test_a_data_directory_is_refused_too(healthy):
    with labs.site(healthy, {"postgresql": {"data_dir": "/var/lib/postgresql/17/other"}}):
        done = healthy.salt_run("fanatico.validate", check=False)
    assert done.returncode == 1
    assert "postgresql:data_dir" in labs.said(done.stdout + done.stderr)


@pytest.mark.parametrize("how", ["nft flush ruleset", "systemctl restart nftables"])
def test_a_firewall_that_is_flushed_comes_back(healthy, how):
    healthy.exec("rpc2", ["sh", "-c", how])
    tables = ["nft", "list", "tables"]
    wait_until(lambda: "inet fanatico" in healthy.exec("rpc2", tables).stdout, 30, "the table inet fanatico")
    labs.wait_healthy(healthy)


def test_a_person_goes_before_a_cure(healthy):
    """A cure that cannot succeed holds the lock for a minute; a deploy does not wait for it."""
    dropin = "/run/systemd/system/fanatico-rpc.service.d/broken.conf"
    node, news = "rpc3", labs.News(healthy)
    try:
        with labs.site(healthy, {"heal": {"timeout": 60}}):
            text = "printf '[Service]\\nExecStartPre=/bin/false\\n'"
            words = f"mkdir -p $(dirname {dropin}); {text} > {dropin}; systemctl daemon-reload; systemctl stop fanatico-rpc"
            healthy.exec(node, ["sh", "-ec", words])
            wait_until(lambda: holder(healthy) == "heal", 30, "the cure to have the lock", interval=0.5)
            done = healthy.salt_run("fanatico.lock", "deploy", "wait=10", check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert news.wait("left", node, "fanatico-rpc.service", 20)["code"] == "deploy-first"
    finally:
        mend = f"rm -f {dropin}; systemctl daemon-reload; systemctl restart fanatico-rpc"
        healthy.exec(node, ["sh", "-c", mend])
    labs.wait_healthy(healthy)


def holder(lab):
    """The purpose of the lock, read from its file, because salt-run takes a second to start."""
    done = subprocess.run(
        lab.machine(lab.master).exec_argv(["cat", "/var/lib/fanatico/lock.json"]),
        capture_output=True,
        text=True,
        check=False,
    )
    return "heal" if '"purpose": "heal"' in done.stdout else ""
