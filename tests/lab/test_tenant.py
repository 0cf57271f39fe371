"""A tenant of the database cannot stop the cluster with its own objects, and its sessions can be traced."""

import contextlib
import functools
import json
import re
import subprocess

import pytest

from tests.support import REPO, faults, labs, wait_until

pytestmark = pytest.mark.healthy_is_enough

TENANT, PROOF = "fanatico", "fanatico_proof"
PASSWORDS = {
    TENANT: "POSTGRES_FANATICO_PASSWORD",
    PROOF: "POSTGRES_PROOF_PASSWORD",
    "admin": "POSTGRES_ADMIN_PASSWORD",
}
PROGRAM = (REPO / "tests/lab/files/hold.py").read_text()


@functools.cache
def secrets_of(lab, node):
    return lab.pillars(node)[node]["secrets"]


@contextlib.contextmanager
def sessions(lab, count=1, role=TENANT, database=TENANT, port="postgres_primary"):
    """Hold sessions through the virtual IP for the duration of the block; yields the output of tests/lab/files/hold.py."""
    node = lab.nodes("patroni")[-1]
    words = [lab.plan["virtual_ip"]["address"], lab.plan["ports"][port], "/etc/patroni/pki/service-ca.crt"]
    argv = ["/opt/salt/bin/python", "-c", PROGRAM, *words, database, role, count]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    holder = subprocess.Popen(lab.machine(node).exec_argv([str(word) for word in argv]), text=True, **pipes)
    try:
        holder.stdin.write(secrets_of(lab, node)[PASSWORDS[role]] + "\n")
        holder.stdin.flush()
        said = holder.stdout.readline()
        assert said, holder.stderr.read()
        yield json.loads(said)
    finally:
        holder.stdin.close()
        holder.wait(30)


def canaries(lab):
    return {
        node: answer["why"] for node, answer in lab.salt("db*", "fanatico.canary").items() if not answer["ok"]
    }


@contextlib.contextmanager
def done(lab, do, undo, database=TENANT):
    """Run statements on the leader, and revert them at the end of the block."""
    leader = labs.leader(lab)
    try:
        for statement in do:
            lab.sql(leader, statement, database)
        yield
    finally:
        for statement in undo:
            lab.sql(labs.leader(lab), statement, database)


SPOILT = [
    "ALTER ROLE fanatico CONNECTION LIMIT 12",  # 180 take half a minute to open
    "ALTER ROLE fanatico SET default_transaction_read_only = on",
    "CREATE PUBLICATION everything FOR ALL TABLES",
    "CREATE VIEW proof AS SELECT 1 AS node",
]
MENDED = [
    "ALTER ROLE fanatico CONNECTION LIMIT 180",
    "ALTER ROLE fanatico RESET default_transaction_read_only",
    "DROP PUBLICATION IF EXISTS everything",
    "DROP VIEW IF EXISTS proof",
]


def test_what_a_tenant_does_stops_no_proof_and_no_canary(healthy):
    limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'fanatico'"
    assert healthy.sql(labs.leader(healthy), limit).strip() == "180"
    with done(healthy, SPOILT, MENDED), sessions(healthy, 250) as held:
        assert "too many connections for role" in held["refused"]
        assert held["held"] == 12
        assert canaries(healthy) == {}
        assert len(healthy.salt("db1", "fanatico.proof")["db1"]) == 5
        with sessions(healthy, role="admin", database="postgres") as person:
            assert person["refused"] is None
        check = labs.health(healthy, labs.leader(healthy))[labs.leader(healthy)]["checks"][
            "postgres.connections"
        ]
        assert "role fanatico " in check["detail"]


def test_a_database_that_was_dropped_stops_nothing_and_is_made_again(healthy):
    leader = labs.leader(healthy)
    healthy.sql(leader, "DROP DATABASE fanatico WITH (FORCE)")
    assert canaries(healthy) == {}
    answers = healthy.salt(leader, "state.apply", "postgresql.roles")
    assert labs.failures(answers) == {}
    with sessions(healthy) as held:
        assert held["refused"] is None


STRANGERS = [
    (TENANT, "postgres"),
    (TENANT, "template1"),
    (TENANT, PROOF),
    (PROOF, TENANT),
    (PROOF, "postgres"),
    ("admin", PROOF),
]


def test_whose_business_a_database_is_not_does_not_get_in(healthy):
    for role, database in STRANGERS:
        with sessions(healthy, role=role, database=database) as held:
            assert held["held"] == 0, (role, database)
            assert re.search("permission denied|pg_hba.conf rejects", held["refused"])


def test_a_session_is_found_in_both_logs(healthy):
    leader = labs.leader(healthy)
    (balancer,) = labs.virtual_ip_holders(healthy)
    with sessions(healthy) as held:
        client = ":".join(map(str, held["from"]))
        (now,) = (
            one
            for one in healthy.salt(balancer, "fanatico_haproxy.sessions")[balancer]
            if one["client"] == client
        )

    # An earlier session may have had the client's port.
    words = rf"{client} \[.*\] postgres_primary postgres_primary/{leader} {now['from']} "

    def line():
        said = healthy.exec(balancer, ["journalctl", "-u", "haproxy", "-o", "cat", "--since=-2min"]).stdout
        return re.search(words, said)

    wait_until(line, 10, f"HAProxy's line of the session, {words}")
    address, port = now["from"].rsplit(":", 1)
    said = healthy.exec(leader, ["journalctl", "-u", "patroni", "-o", "cat", "--since=-2min"]).stdout
    known = [one for one in said.splitlines() if f"[{address}({port}) fanatico@fanatico]" in one]
    for words in (
        "connection authorized: user=fanatico",
        "CREATE TEMPORARY TABLE seen_by_an_auditor",
        "disconnection:",
    ):
        assert [one for one in known if words in one], (words, said[-3000:])


ASTRAY = """
    data=$(echo /var/lib/postgresql/*/main) bin=$(echo /usr/lib/postgresql/*/bin)
    as_postgres() { runuser -u postgres -- "$@" >/dev/null 2>&1 </dev/null; }
    systemctl stop patroni
    as_postgres $bin/pg_ctl -D $data -w start -o "-c synchronous_standby_names="
    as_postgres $bin/pg_ctl -D $data -w promote
    as_postgres $bin/psql -Xq -c "CREATE TABLE nobody_else_has_this AS SELECT generate_series(1, 1000)"
    as_postgres $bin/pg_ctl -D $data -w stop -m fast
    systemctl start patroni
"""


@pytest.mark.long
def test_a_rewind_gets_in_where_a_tenant_holds_all_connections(healthy):
    """A role without a limit: only the reserved connections are left."""
    node = faults.replica_of(healthy)
    inode = ["stat", "-c", "%i", "/var/lib/postgresql/17/main/global"]
    before, news = healthy.exec(node, inode).stdout, labs.News(healthy)
    unlimited = (["ALTER ROLE fanatico CONNECTION LIMIT -1"], ["ALTER ROLE fanatico CONNECTION LIMIT 180"])
    with done(healthy, *unlimited), sessions(healthy, 250) as held:
        assert "reserved for roles" in held["refused"]
        healthy.salt_run("fanatico.freeze", "a test takes a replica away", "5m")
        try:
            healthy.exec(node, ["bash", "-c", ASTRAY], timeout=90)
        finally:
            healthy.salt_run("fanatico.unfreeze")
        wait_until(
            lambda: (
                healthy.salt(node, "fanatico_patroni.status")[node].get("replication_state") == "streaming"
            ),
            90,
            "the replica to be rewound",
        )
        assert canaries(healthy) == {}
    labs.wait_healthy(healthy)
    assert healthy.exec(node, inode).stdout == before, "the data were copied, not rewound"
    assert not [one for one in news.decided("healed") if one["what"] == "replica-unusable"]
    asked = "SELECT count(*) FROM pg_tables WHERE tablename = 'nobody_else_has_this'"
    assert healthy.sql(node, asked).strip() == "0"
