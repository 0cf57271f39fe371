"""The first cure: what stops runs again without a hand, is written down, and never more often than is good."""

import json
import subprocess

import pytest

from lab.machine import ENVIRONMENT
from tests.support import labs, wait_until

UNITS = [
    ("etcd", "etcd"),
    ("patroni", "patroni"),
    ("haproxy", "haproxy"),
    ("haproxy", "keepalived"),
    ("rpc", "fanatico-rpc"),
]


@pytest.fixture(autouse=True)
def forgotten(lab):
    """Each test begins with an untouched budget."""
    lab.exec(lab.master, ["rm", "-f", "/var/lib/fanatico/guard.json"])


def active(lab, node, unit):
    return lab.exec(node, ["systemctl", "is-active", unit], check=False).stdout.strip() == "active"


class News:
    """What the history gains from here on; read from its file, which costs the machines nothing."""

    def __init__(self, lab):
        self._path = lab.root(lab.master) / "var/log/fanatico/history.jsonl"
        self._seen = len(self._lines())

    def _lines(self):
        return self._path.read_text().splitlines() if self._path.exists() else []

    def decided(self, decision):
        """The entries with a decision."""
        return [
            entry for entry in map(json.loads, self._lines()[self._seen :]) if entry["decision"] == decision
        ]

    def wait(self, decision, node, what, timeout=60):
        """Wait for a decision about a unit or another fault and return its entry."""

        def told():
            entries = map(json.loads, self._lines()[self._seen :])
            ours = [entry for entry in entries if entry.get("what") == what and node in (None, entry["host"])]
            return next((entry for entry in ours if entry["decision"] == decision), None)

        return wait_until(told, timeout, f"{what} on {node} to be {decision}")


@pytest.mark.parametrize(("role", "unit"), UNITS)
def test_a_stopped_unit_runs_again_and_is_in_the_history(healthy, role, unit):
    node = labs.nodes(healthy, role)[-1]
    news = News(healthy)
    healthy.exec(node, ["systemctl", "stop", unit])
    entry = news.wait("healed", node, f"{unit}.service")
    assert active(healthy, node, unit)
    assert entry["reason"]


# --- what is wrong although the units run


def replica_of(lab):
    return next(node for node in labs.nodes(lab, "patroni") if node != labs.leader(lab))


def etcd_follower_of(lab):
    leader = lab.salt("etcd1", "fanatico_etcd.leader")["etcd1"]
    return next(node for node in labs.nodes(lab, "etcd") if node != leader)


def stand_still(lab, node, unit):
    lab.exec(node, ["sh", "-ec", f"kill -STOP $(systemctl show -P MainPID {unit})"])


def test_etcd_without_space_is_given_room(healthy):
    order = {"action": "ACTIVATE", "memberID": 0, "alarm": "NOSPACE"}
    news = News(healthy)
    healthy.salt("etcd1", "fanatico_etcd.order", "/v3/maintenance/alarm", f"payload={json.dumps(order)}")
    entry = news.wait("healed", None, "etcd-full")
    assert "members defragmented" in entry["reason"]
    assert healthy.salt("etcd*", "fanatico_etcd.own_errors") == {
        node: [] for node in labs.nodes(healthy, "etcd")
    }


@pytest.mark.parametrize("who", ["replica", "leader"])
def test_a_patroni_that_hangs_is_ended_and_postgresql_goes_on(healthy, who):
    node, leading = (replica_of(healthy) if who == "replica" else labs.leader(healthy)), labs.leader(healthy)
    postmaster = ["sh", "-c", "head -1 /var/lib/postgresql/*/main/postmaster.pid"]
    before, news = healthy.exec(node, postmaster).stdout, News(healthy)
    stand_still(healthy, node, "patroni")
    news.wait("healed", node, "patroni-hung")
    labs.wait_healthy(healthy)
    assert healthy.exec(node, postmaster).stdout == before
    assert labs.leader(healthy) == leading


def test_a_chain_node_that_hangs_is_restarted(healthy):
    node, news = labs.nodes(healthy, "rpc")[1], News(healthy)
    stand_still(healthy, node, "fanatico-rpc")
    news.wait("healed", node, "rpc-hung", 60)


def test_haproxy_without_a_valid_configuration_gets_the_trees(healthy):
    node, news = labs.nodes(healthy, "haproxy")[-1], News(healthy)
    healthy.exec(node, ["sh", "-c", "echo nonsense >/etc/haproxy/haproxy.cfg; systemctl stop haproxy"])
    news.wait("healed", node, "haproxy-unconfigured", 60)
    assert active(healthy, node, "haproxy")
    assert "nonsense" not in healthy.exec(node, ["cat", "/etc/haproxy/haproxy.cfg"]).stdout


def test_a_minion_that_hangs_is_started_anew(healthy):
    node = labs.nodes(healthy, "rpc")[0]
    stand_still(healthy, node, "salt-minion")
    wait_until(
        lambda: healthy.salt(node, "test.ping") == {node: True}, 150, f"the minion of {node} to answer again"
    )


def test_an_address_that_was_taken_away_comes_back(healthy):
    """By Keepalived itself or by the cure: what counts is that it does."""
    (node,) = labs.virtual_ip_holders(healthy)
    address = healthy.plan["virtual_ip"]["address"]
    script = f"ip address del {address}/32 dev $(ip -o address show to {address} | cut -d' ' -f2)"
    healthy.exec(node, ["sh", "-c", script])
    wait_until(lambda: len(labs.virtual_ip_holders(healthy)) == 1, 40, "the address to be held again")
    labs.wait_healthy(healthy)


def test_an_etcd_member_whose_data_was_deleted_votes_again(healthy):
    node = etcd_follower_of(healthy)
    news = News(healthy)
    healthy.exec(node, ["sh", "-c", "rm -rf /var/lib/etcd/member"])
    news.wait("healed", node, "etcd-data-lost", 90)
    labs.wait_healthy(healthy)
    assert sorted(healthy.salt("etcd1", "fanatico_etcd.members")["etcd1"]) == labs.nodes(healthy, "etcd")


def test_an_etcd_member_whose_database_is_damaged_does_too(healthy):
    node = etcd_follower_of(healthy)
    news = News(healthy)
    damage = "head -c 65536 /dev/urandom | dd of=/var/lib/etcd/member/snap/db bs=1k conv=notrunc status=none"
    healthy.exec(
        node,
        [
            "sh",
            "-c",
            f"systemctl kill -s KILL etcd; systemctl stop etcd; {damage}; systemctl start --no-block etcd",
        ],
    )
    news.wait("healed", node, "etcd-data-lost", 90)
    labs.wait_healthy(healthy)


def test_a_replica_whose_data_was_deleted_is_copied_anew(healthy):
    node, news = replica_of(healthy), News(healthy)
    healthy.exec(node, ["sh", "-c", "rm -rf /var/lib/postgresql/*/main/*"])
    labs.wait_healthy(healthy, 120)
    assert not news.decided("failed"), "Patroni does it by itself, or the cure does"


def test_a_postgresql_that_stands_still_is_found_by_a_canary(lab, healthy):
    """Patroni sees nothing wrong with it: its sessions go on, new ones are not let in."""
    old, news = labs.leader(lab), News(lab)
    postmaster = "$(head -1 /var/lib/postgresql/*/main/postmaster.pid)"
    lab.exec(old, ["sh", "-ec", f"kill -STOP {postmaster}"])
    try:
        lab.salt_run("fanatico.reconcile")
        lab.salt_run("fanatico.reconcile")
        assert "heal:switchover" in news.wait("refused", old, "writes-stall")["reason"]
        with labs.site(lab, {"heal": {"switchover": True}}):
            lab.salt_run("fanatico.reconcile")
            news.wait("healed", old, "writes-stall", 90)
        assert labs.leader(lab) != old
    finally:
        lab.exec(old, ["sh", "-c", f"kill -CONT {postmaster}"], check=False)
    labs.wait_healthy(lab)


def test_a_forgotten_pause_ends(lab, healthy):
    with labs.site(lab, {"heal": {"paused": 15}}):
        news = News(lab)
        lab.salt("db1", "fanatico_patroni.pause")
        try:
            first = news.wait("refused", None, "patroni-paused")
            assert "that may be meant" in first["reason"]
            news.wait("healed", None, "patroni-paused", 120)
        finally:
            lab.salt("db1", "fanatico_patroni.resume")
    labs.wait_healthy(lab)


def test_a_killed_unit_is_systemds_business(healthy):
    """Its restart policy is quicker than any event; nothing is left for the reactor."""
    node = labs.nodes(healthy, "haproxy")[-1]
    healthy.exec(node, ["systemctl", "kill", "--signal=KILL", "haproxy"])
    wait_until(lambda: active(healthy, node, "haproxy"), 20, "haproxy to run again")


def test_the_fourth_time_is_refused(healthy):
    node, unit = labs.nodes(healthy, "rpc")[-1], "fanatico-rpc"
    for _ in range(3):
        news = News(healthy)
        healthy.exec(node, ["systemctl", "stop", unit])
        news.wait("healed", node, f"{unit}.service")
        wait_until(lambda: active(healthy, node, unit), 20, f"{unit} to be active")
    news = News(healthy)
    healthy.exec(node, ["systemctl", "stop", unit])
    try:
        entry = news.wait("refused", node, f"{unit}.service")
        assert "3 times" in entry["reason"]
        assert not active(healthy, node, unit)
    finally:
        healthy.exec(node, ["systemctl", "start", unit])


def test_nothing_is_healed_while_a_deploy_runs(healthy):
    node, unit = labs.nodes(healthy, "rpc")[-1], "fanatico-rpc"
    machine = healthy.machine(healthy.master)
    # A deploy that holds the lock until its standard input ends.
    program = (
        "import sys; sys.path.insert(0, '/srv/fanatico')\n"
        "from _utils import fanatico_lock\n"
        "print(fanatico_lock.acquire('/var/lib/fanatico', 'deploy'), flush=True); sys.stdin.read()"
    )
    argv = machine.exec_argv(["/opt/salt/bin/python", "-c", program])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes, text=True, env=ENVIRONMENT) as holder:
        assert "True" in holder.stdout.readline()
        news = News(healthy)
        try:
            healthy.exec(node, ["systemctl", "stop", unit])
            entry = news.wait("refused", node, f"{unit}.service")
            assert "deploy" in entry["reason"]
            assert not active(healthy, node, unit)
        finally:
            holder.stdin.close()
            healthy.exec(node, ["systemctl", "start", unit])


def test_a_frozen_cluster_is_left_alone(healthy):
    node, unit = labs.nodes(healthy, "rpc")[0], "fanatico-rpc"
    healthy.salt_run("fanatico.freeze", "a test", "2m")
    news = News(healthy)
    try:
        healthy.exec(node, ["systemctl", "stop", unit])
        entry = news.wait("refused", node, f"{unit}.service")
        assert "frozen" in entry["reason"]
    finally:
        healthy.salt_run("fanatico.unfreeze")
        healthy.exec(node, ["systemctl", "start", unit])


def test_a_unit_of_somebody_else_is_not_ours_to_start(healthy):
    done = healthy.salt_run("fanatico.heal", "etcd1", "cron.service", "roles=[etcd]", "--out=json")
    assert '"refused"' in done.stdout


def test_people_read_lines(healthy):
    assert "fanatico-rpc.service" in healthy.salt_run("fanatico.history").stdout
