"""Firewall: which ports every machine reaches on every other; and rules that would cut off the master."""

import json

import pytest

from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough

# The ports table of the documentation, repeated as an oracle: port -> (who listens, who may connect).
ALL = {"master", "haproxy", "rpc", "patroni", "etcd", "backup"}
TABLE = {
    "haproxy": {8545: ALL, 8546: ALL, 5432: ALL, 5433: ALL, 8404: {"haproxy", "master"}},
    # 8545 from another chain node because the lab's follow each other (rpc:follow).
    "rpc": {8545: {"haproxy", "rpc"}, 8546: {"haproxy"}, 8547: {"haproxy", "rpc"}},
    "patroni": {5432: {"haproxy", "patroni"}, 8008: {"haproxy", "patroni", "master"}, 8432: {"backup"}},
    "backup": {8432: {"patroni"}},
    "etcd": {2379: {"etcd", "patroni"}, 2380: {"etcd"}},
    "master": {4505: ALL, 4506: ALL},
}
SSH, METRICS = 22, 9100  # from the master to every machine
UNKNOWN = 9999
PORTS = sorted({SSH, METRICS, UNKNOWN, 2381, *(port for ports in TABLE.values() for port in ports)})

# An answer, accepting or refusing, means reached. No answer: dropped on the way, or by the host's firewall.
PROBE = """
import concurrent.futures, json, socket, sys
def reached(pair):
    try:
        socket.create_connection(tuple(pair), 1).close()
    except ConnectionRefusedError:
        pass
    except OSError:
        return None
    return pair
with concurrent.futures.ThreadPoolExecutor(60) as pool:
    print(json.dumps([pair for pair in pool.map(reached, json.loads(sys.argv[1])) if pair]))
"""


def expected(lab, source):
    """{(target, port)} that a node may reach by the table."""
    plan = lab.plan["nodes"]
    (role,) = plan[source]["roles"]
    found = set()
    for target, node in plan.items():
        (listening,) = node["roles"]
        if target != source:
            found |= {(target, SSH), (target, METRICS)} if role == "master" else set()
            found |= {(target, port) for port, allowed in TABLE[listening].items() if role in allowed}
    return found


def reached(lab, source):
    """{(target, port)} that a node reaches."""
    names = {node["address"]: name for name, node in lab.plan["nodes"].items() if name != source}
    pairs = json.dumps([[address, port] for address in names for port in PORTS])
    said = lab.exec(source, ["python3", "-c", PROBE, pairs], timeout=60).stdout
    return {(names[address], port) for address, port in json.loads(said)}


def difference(lab, source):
    """Return what is open but should not be, and the reverse; both empty if all is as in the table."""
    real, right = reached(lab, source), expected(lab, source)
    return {"open": sorted(real - right), "shut": sorted(right - real)}


@pytest.mark.reads_only
def test_every_machine_reaches_what_the_table_says_and_nothing_else(healthy):
    nothing = {"open": [], "shut": []}
    assert {name: difference(healthy, name) for name in healthy.plan["nodes"]} == dict.fromkeys(
        healthy.plan["nodes"], nothing
    )


def test_chain_nodes_that_do_not_follow_each_other_reach_each_others_agents_alone(healthy):
    with labs.site(healthy, {"rpc": {"follow": False}}):
        healthy.salt("rpc1", "saltutil.refresh_pillar", "wait=True")
        healthy.salt("rpc1", "state.apply", "firewall", timeout=60)
        found = {(target, port) for target, port in reached(healthy, "rpc2") if target == "rpc1"}
        healthy.exec("rpc2", ["nft", "delete", "table", "inet", "fanatico"])
        try:
            assert {port for target, port in reached(healthy, "rpc2") if target == "rpc1"} == {8547}
        finally:
            healthy.exec("rpc2", ["systemctl", "restart", "fanatico-firewall"])
    assert ("rpc1", 8545) not in found
    healthy.salt("rpc1", "saltutil.refresh_pillar", "wait=True")
    healthy.salt("rpc1", "state.apply", "firewall", timeout=60)
    labs.wait_healthy(healthy)


@pytest.mark.parametrize("source", labs.ONE_OF_EACH)
def test_a_machine_that_has_thrown_off_its_own_rules_reaches_no_more(healthy, source):
    """On a compromised host the output rules are gone; the input rules of the others must hold."""
    healthy.exec(source, ["nft", "delete", "table", "inet", "fanatico"])
    try:
        assert difference(healthy, source) == {"open": [], "shut": []}
    finally:
        healthy.exec(source, ["systemctl", "restart", "fanatico-firewall"])


@pytest.mark.reads_only
def test_vrrp_is_taken_from_the_balancers_alone(healthy):
    for node in healthy.plan["nodes"]:
        rules = healthy.exec(node, ["nft", "list", "chain", "inet", "fanatico", "input"]).stdout
        vrrp = [line for line in rules.splitlines() if "vrrp" in line or "l4proto 112" in line]
        assert len(vrrp) == node.startswith("haproxy"), node
        assert all("10.0.0.10/31" in line for line in vrrp), node


def firewall(lab, node):
    return lab.salt(node, "fanatico_firewall.state")[node]


def test_a_strange_hand_is_seen_shown_and_undone(healthy):
    healthy.exec("rpc2", ["nft", "flush", "chain", "inet", "fanatico", "input"])
    healthy.exec("rpc2", ["nft", "add", "rule", "inet", "fanatico", "input", "accept"])
    assert labs.ailing(labs.health(healthy, "rpc2"))["rpc2"].keys() == {"node.firewall"}
    answers = healthy.salt("rpc2", "state.apply", "firewall", "test=True")["rpc2"]
    loaded = next(one for key, one in answers.items() if "fanatico_firewall" in key)
    assert loaded["result"] is None
    assert firewall(healthy, "rpc2") == "touched", "a test changes nothing"
    healthy.salt("rpc2", "state.apply", "firewall")
    assert firewall(healthy, "rpc2") == "in force"


def master_elsewhere(content):
    content["plan"]["nodes"]["salt"]["address"] = "10.0.0.77"


def test_rules_that_cut_off_the_master_are_taken_back(healthy):
    before = healthy.exec("rpc3", ["nft", "list", "ruleset"]).stdout
    with labs.plan(healthy, master_elsewhere):
        answers = healthy.salt("rpc3", "state.apply", "firewall", timeout=60)["rpc3"]
        failed = next(one for key, one in answers.items() if "fanatico_firewall" in key)
    assert failed["result"] is False
    assert "the master at 10.0.0.77 could not be reached" in failed["comment"]
    assert healthy.exec("rpc3", ["nft", "list", "ruleset"]).stdout == before
    labs.wait_healthy(healthy)


@pytest.mark.long
def test_they_are_taken_back_also_when_the_minion_dies_in_the_middle(healthy):
    before = healthy.exec("rpc3", ["nft", "list", "ruleset"]).stdout
    kill = (
        "salt-call fanatico_firewall.apply 8 >/dev/null 2>&1 & job=$!;"
        " for _ in $(seq 100); do nft list ruleset | grep -q 10.0.0.77 && break; sleep 0.1; done;"
        " kill -9 $job; nft list ruleset | grep -c 10.0.0.77"
    )
    with labs.plan(healthy, master_elsewhere):
        assert int(healthy.exec("rpc3", ["sh", "-c", kill], timeout=60).stdout) > 0, (
            "the new rules were in force"
        )
    wait_until(
        lambda: healthy.exec("rpc3", ["nft", "list", "ruleset"]).stdout == before,
        60,
        "the old rules",
        interval=1,
    )
    labs.wait_healthy(healthy)
