"""Backups: WAL arrives, also after the backup host was away, and a moment of the past can be restored."""

import json
import time

import pytest

from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough
HOST, COPY = "ops1", "/var/lib/postgresql/look"

# As in docs/backup.md, "Restore by hand".
RESTORE = """
    install -d -o postgres -g postgres -m 700 {copy}
    runuser -u postgres -- pgbackrest --stanza=main --pg1-path={copy} --type=time --target='{moment}' --target-action=promote \\
        --archive-mode=off restore
    runuser -u postgres -- /usr/lib/postgresql/17/bin/pg_ctl -D {copy} -w -l {copy}/look.log start \\
        -o "-c listen_addresses= -c port=5499 -c unix_socket_directories={copy} -c shared_buffers=32MB" >/dev/null
"""
REMOVE = "runuser -u postgres -- /usr/lib/postgresql/17/bin/pg_ctl -D {copy} -m immediate stop; rm -rf {copy}"


def replica_of(lab):
    return next(node for node in labs.nodes(lab, "patroni") if node != labs.leader(lab))


def test_a_backup_is_there_and_wal_arrives(healthy):
    (found,) = healthy.salt(HOST, "fanatico_backup.info").values()
    assert "full" in [backup["type"] for backup in found["backups"]]
    before = found["archive"]["max"]
    assert healthy.salt(HOST, "fanatico_backup.check") == {HOST: ""}
    (found,) = healthy.salt(HOST, "fanatico_backup.info").values()
    assert found["archive"]["max"] > before


def test_a_moment_of_the_past_can_be_restored(healthy):
    leader, node = labs.leader(healthy), replica_of(healthy)
    healthy.sql(leader, "CREATE TABLE past (n int); INSERT INTO past VALUES (1)", "fanatico")
    moment = healthy.sql(leader, "SELECT clock_timestamp()").strip()
    healthy.sql(leader, "INSERT INTO past VALUES (2)", "fanatico")
    healthy.salt(HOST, "fanatico_backup.check")
    try:
        healthy.exec(node, ["sh", "-ec", RESTORE.format(copy=COPY, moment=moment)], timeout=120)
        ask = f"runuser -u postgres -- psql -XAtq -h {COPY} -p 5499 fanatico -c"
        wait_until(
            lambda: healthy.exec(node, ["sh", "-c", f"{ask} 'SELECT pg_is_in_recovery()'"]).stdout == "f\n",
            30,
            "the copy to be promoted",
        )
        assert healthy.exec(node, ["sh", "-c", f"{ask} 'SELECT n FROM past'"]).stdout == "1\n"
    finally:
        healthy.exec(node, ["sh", "-c", REMOVE.format(copy=COPY)], check=False)
        healthy.sql(leader, "DROP TABLE past", "fanatico")


def test_a_lost_table_is_in_a_clone(healthy):
    leader = labs.leader(healthy)
    healthy.sql(leader, "CREATE TABLE lost (n int); INSERT INTO lost VALUES (7)", "fanatico")
    healthy.salt(HOST, "fanatico_backup.check")
    try:
        done = healthy.salt_run("--out=json", "fanatico.clone", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        healthy.sql(leader, "DROP TABLE lost", "fanatico")
        command = json.loads(done.stdout)["command"]
        shown = healthy.exec(HOST, ["sh", "-c", f"{command} -XAtc 'SELECT n FROM lost'"]).stdout
        assert shown == "7\n"
        again = healthy.salt_run("fanatico.clone", check=False)
        assert again.returncode == 1
        assert "there is a clone already" in labs.said(again.stdout + again.stderr)
    finally:
        healthy.sql(leader, "DROP TABLE IF EXISTS lost", "fanatico")
        dropped = healthy.salt_run("--out=json", "fanatico.clone_drop")
    assert json.loads(dropped.stdout) == {"host": HOST, "dropped": True}


def test_a_moment_out_of_reach_is_refused(healthy):
    done = healthy.salt_run("fanatico.restore_plan", "2020-01-01 00:00:00+00", check=False)
    assert done.returncode == 1
    words = labs.said(done.stdout + done.stderr)
    assert "before the end of the oldest backup" in words
    assert "Nothing was changed" in words


def test_the_restore_drill_proves_the_backups(healthy):
    def report():
        return healthy.salt(HOST, "fanatico_backup.last_drill")[HOST]

    before = report()
    healthy.salt(HOST, "fanatico_backup.drill")
    wait_until(lambda: report() != before, 90, "the restore drill", interval=2)
    found = report()
    assert found["error"] == ""
    assert found["bytes"] > 10 * 1024**2
    assert {"restore_seconds", "recovery_seconds", "check_seconds", "behind_seconds"} <= found.keys()
    assert (
        healthy.exec(HOST, ["sh", "-c", "ls /var/lib/postgresql/fanatico-drill 2>/dev/null; true"]).stdout
        == ""
    )


def assert_waiting(lab, node, count):
    """Check that a primary keeps at least so many segments for the backup host, which is away, and says so."""
    check = lab.salt(node, "fanatico_archive.checks")[node]["archive.repository"]
    assert (check["status"], check["value"]) == ("degraded", [HOST])
    assert waiting(lab, node) >= count


def waiting(lab, node):
    return lab.salt(node, "fanatico_archive.probe")[node]["facts"]["waiting"]


@pytest.mark.long
def test_wal_waits_for_a_backup_host_that_is_away(healthy):
    leader = labs.leader(healthy)
    healthy.unplug(HOST)
    try:
        for n in range(3):
            healthy.sql(leader, f"SELECT pg_logical_emit_message(false, 'test', '{n}'), pg_switch_wal()")
        assert_waiting(healthy, leader, 3)
    finally:
        healthy.plug(HOST)
    wait_until(lambda: waiting(healthy, leader) == 0, 90, "the WAL that waited to be archived")
    labs.wait_healthy(healthy)


def test_wal_that_a_former_primary_did_not_send_is_sent_by_the_new_one(healthy):
    """Replicas mark what they receive as archived: without more, the repository would have a gap for ever."""
    leader = labs.leader(healthy)
    healthy.unplug(HOST)
    try:
        segments = [
            healthy.sql(leader, "SELECT pg_walfile_name(pg_switch_wal())").strip()
            for n in range(2)
            if healthy.sql(leader, f"SELECT pg_logical_emit_message(false, 'test', '{n}')")
        ]
        assert_waiting(healthy, leader, len(segments))
        healthy.salt(leader, "fanatico_patroni.switchover", "any")
    finally:
        healthy.plug(HOST)
    listed = "runuser -u postgres -- pgbackrest --stanza=main repo-ls --recurse archive/main"

    def missing():
        found = healthy.exec(HOST, ["sh", "-c", listed]).stdout
        return [segment for segment in segments if f"/{segment}-" not in found]

    wait_until(lambda: missing() == [], 150, "the WAL of the former primary to be archived")
    labs.wait_healthy(healthy)


def test_a_switchover_leaves_archiving_whole(healthy):
    since = f"@{time.time():.0f}"
    healthy.salt(labs.leader(healthy), "fanatico_patroni.switchover", "any")
    healthy.salt("db1", "fanatico_patroni.wait_streaming")
    journal = ["journalctl", "-q", "-u", "patroni", "--since", since, "-g", "archive-gap: WAL is archived"]
    new = labs.leader(healthy)
    wait_until(lambda: healthy.exec(new, journal, check=False).stdout, 60, "the check of the new primary")
    assert healthy.salt(HOST, "fanatico_backup.check") == {HOST: ""}
    healthy.salt(HOST, "fanatico_backup.make", "incr")

    def newest():
        return healthy.salt(HOST, "fanatico_backup.info")[HOST]["backups"][-1]["type"]

    wait_until(lambda: newest() == "incr", 60, "an incremental backup", interval=2)
    labs.wait_healthy(healthy)


# A process that looks like pgBackRest's own and holds its lock: when the real one hangs is a matter of microseconds.
HUNG = """
    for lock in main-archive.lock main-archive-1.lock; do
        systemd-run -q --uid=postgres -p RuntimeMaxSec=600 bash -c \
            "exec -a /usr/bin/pgbackrest flock -o /run/pgbackrest/$lock bash -c 'sleep 600' archive-push:async"
    done
"""


@pytest.mark.long
def test_a_process_that_hangs_is_killed_and_wal_is_sent_again(healthy):
    leader, news = labs.leader(healthy), labs.News(healthy)
    healthy.exec(leader, ["sh", "-ec", HUNG])
    healthy.sql(leader, "SELECT pg_logical_emit_message(false, 'test', 'y'), pg_switch_wal()")

    def found():
        healthy.salt_run("fanatico.reconcile", check=False)
        return news.decided("healed")

    wait_until(found, 240, "the process to be killed", interval=10)
    news.wait("healed", leader, "archiver-hung", 10)
    assert healthy.salt(HOST, "fanatico_backup.check") == {HOST: ""}
    labs.wait_healthy(healthy)
