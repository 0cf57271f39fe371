"""Who may talk to whom, as flows and as nftables rules; and that loading rules locks nobody out."""

import copy
import subprocess
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_firewall as firewall
import fanatico_plan
import fanatico_sweep
import fanatico_wait
from _modules import fanatico_firewall as module
from _states import fanatico_firewall as state
from tests.support import pillar

SHIPPED = pillar.shipped("firewall")


def senders(plan, name, to, settings=None):
    """Return who may open the named flow to an address."""
    return {
        sender
        for flow in firewall.flows(plan, {**SHIPPED, **(settings or {})})
        if flow["name"] == name and to in flow["to"]
        for sender in flow["from"]
    }


def test_patronis_rest_interface_is_for_balancers_databases_and_the_master(plan):
    expected = {"10.0.0.5", "10.0.0.10", "10.0.0.11", "10.0.2.10", "10.0.2.11", "10.0.2.12"}
    assert senders(plan, "patroni_rest", "10.0.2.10") == expected


def test_etcd_is_for_etcd_and_databases(plan):
    members = {"10.0.3.10", "10.0.3.11", "10.0.3.12"}
    assert senders(plan, "etcd_client", "10.0.3.10") == {*members, "10.0.2.10", "10.0.2.11", "10.0.2.12"}
    assert senders(plan, "etcd_peer", "10.0.3.10") == members
    assert senders(plan, "etcd_metrics", "10.0.3.10") == set(), (
        "nobody reads metrics until monitoring is named"
    )


def test_the_metrics_of_every_host_are_for_the_master_alone(plan):
    plan = fanatico_plan.complete(plan)
    for node in plan["nodes"].values():
        assert senders(plan, "node_exporter", node["address"], {"monitoring": ["198.51.100.7"]}) == {
            "10.0.0.5"
        }


@pytest.mark.parametrize("follow", [False, True])
def test_no_chain_node_asks_another_one_unless_they_follow_each_other(plan, follow):
    balancers, others = {"10.0.0.10", "10.0.0.11"}, {"10.0.1.10", "10.0.1.11", "10.0.1.12"}
    settings = firewall.settings({"rpc": {"follow": follow}})
    assert senders(plan, "rpc_http", "10.0.1.10", settings) == balancers | (others if follow else set())
    assert senders(plan, "rpc_ws", "10.0.1.10", settings) == balancers
    # Their agents tell each other how far each node is.
    assert senders(fanatico_plan.complete(plan), "rpc_agent", "10.0.1.10", settings) == balancers | others


@pytest.mark.parametrize("pillar", [{}, {"firewall": None, "rpc": None}, {"rpc": {}}])
def test_a_pillar_that_says_nothing(pillar):
    assert firewall.settings(pillar) == {"follow": False}


def test_only_the_public_ports_are_public(plan):
    public = {
        (flow["name"], address)
        for flow in firewall.flows(plan, SHIPPED)
        for address in flow["to"]
        if firewall.ANYBODY in flow["from"]
    }
    balancers = ("10.0.0.10", "10.0.0.11", "10.0.0.100")
    assert public == {(name, address) for name in ("rpc_http", "rpc_ws") for address in balancers}


def test_the_pillar_adds_networks_and_flows(plan):
    settings = {
        **SHIPPED,
        "clients": ["192.0.2.0/24"],
        "monitoring": ["198.51.100.7"],
        "admin": ["203.0.113.0/24"],
        "allow": [{"name": "p2p", "roles": ["rpc"], "port": 30303, "from": ["0.0.0.0/0"]}],
    }
    assert "192.0.2.0/24" in senders(plan, "postgres_primary", "10.0.0.100", settings)
    assert senders(plan, "etcd_metrics", "10.0.3.10", settings) == {"198.51.100.7"}
    assert senders(plan, "ssh", "10.0.2.10", settings) == {"203.0.113.0/24", "10.0.0.5"}
    assert senders(plan, "p2p", "10.0.1.11", settings) == {"0.0.0.0/0"}
    assert "tcp dport 30303 accept" in firewall.ruleset(plan, settings, "rpc1")
    assert "dport 30303" not in firewall.ruleset(plan, settings, "db1").partition("chain output")[0]


def test_the_way_in_for_people_is_the_first_rule(plan):
    rules = firewall.ruleset(plan, SHIPPED, "db1").partition("chain input")[2].splitlines()
    first = next(rule for rule in rules if "dport" in rule)
    assert "tcp dport 22 accept" in first


def evicting(plan, host="db3"):
    """The plan with a host's line moved to where the shut out ones are."""
    plan = copy.deepcopy(plan)
    plan["evicted"] = {host: plan["nodes"].pop(host)}
    return plan


def test_a_host_that_is_evicted_comes_before_every_other_rule(plan):
    """Before sessions that go on too: it may have one."""
    without = evicting(plan)
    for node in without["nodes"]:
        rules = firewall.ruleset(without, {**SHIPPED, "admin": ["10.0.2.0/24"]}, node)
        chains = [part.splitlines()[2:4] for part in rules.split("    chain ")[1:]]
        assert [[line.strip() for line in chain] for chain in chains] == [
            ["iif lo accept", "ip saddr { 10.0.2.12 } drop"],
            ["oif lo accept", "ip daddr { 10.0.2.12 } meta l4proto tcp reject with tcp reset"],
        ]
        assert firewall.blocked_addresses(rules) == ["10.0.2.12"]


def test_a_session_of_a_host_that_is_evicted_may_end(plan):
    session = ("10.0.2.10", 22, "10.0.2.12")
    assert firewall.lost_sessions(plan, SHIPPED, "db1", [session]) == [session]
    assert firewall.lost_sessions(evicting(plan), SHIPPED, "db1", [session]) == []


def test_nobody_is_barred_who_is_not_evicted(plan):
    rules = firewall.ruleset(plan, SHIPPED, "db1")
    assert firewall.blocked_addresses(rules) == []
    assert " drop\n" not in rules
    two = evicting(evicting(plan, "rpc1"))
    two["evicted"]["rpc1"] = plan["nodes"]["rpc1"]
    assert firewall.blocked_addresses(firewall.ruleset(two, SHIPPED, "db1")) == ["10.0.1.10", "10.0.2.12"]


def test_vrrp_is_between_balancers_only(plan):
    for node in plan["nodes"]:
        rules = [
            line.strip()
            for line in firewall.ruleset(plan, SHIPPED, node).splitlines()
            if "l4proto 112" in line
        ]
        balancers = "{ 10.0.0.10/31 }"  # .10 and .11
        expected = [f"ip {way} {balancers} meta l4proto 112 accept" for way in ("saddr", "daddr")]
        assert rules == (expected if node.startswith("haproxy") else []), node


def test_the_standby_reaches_the_virtual_address(plan):
    out = firewall.ruleset(plan, SHIPPED, "haproxy2").partition("chain output")[2]
    assert any("10.0.0.100" in line and "dport 8404" in line for line in out.splitlines())


def test_a_single_balancer_and_a_single_host_have_rules_too(plan):
    alone = copy.deepcopy(plan)
    alone["nodes"] = {
        "one": {"address": "10.0.0.5", "roles": ["master", "etcd", "patroni", "haproxy", "rpc"]}
    }
    assert "policy drop" in firewall.ruleset(alone, SHIPPED, "one")


def test_a_node_that_is_not_in_the_plan(plan):
    with pytest.raises(ValueError, match="db9 is not in the plan"):
        firewall.ruleset(plan, SHIPPED, "db9")


# --- loading


class Kernel:
    """nft, systemd-run, systemctl and ss as the module calls them."""

    def __init__(self):
        self.loaded = "old rules\n"
        self.armed = False
        self.refuses = ""
        self.ssh = self.doors = self.minions = ""
        self.said = []

    def run(self, argv, **_):
        self.said.append(argv)
        out, code = "", 0
        if argv[0] == "nft":
            if "list" in argv:
                out = self.loaded
            elif "-c" not in argv:
                with open(argv[-1], encoding="utf-8") as file:
                    self.loaded = file.read().removeprefix(module.EMPTY)
            elif self.refuses:
                return subprocess.CompletedProcess(argv, 1, "", self.refuses)
        elif argv[0] == "systemd-run":
            self.armed = True
        elif argv[0] == "systemctl":
            self.armed = False
        elif argv[0] == "ss":
            out = self.doors if "-Htlnp" in argv else self.minions if "-Htn" in argv else self.ssh
        return subprocess.CompletedProcess(argv, code, out, "")


@pytest.fixture
def kernel(monkeypatch):
    made = Kernel()
    monkeypatch.setattr(module.subprocess, "run", made.run)
    return made


@pytest.fixture
def asked():
    """The minions: a test says what they answer."""
    return types.SimpleNamespace(answer=lambda opts, ids, function, args: {})


@pytest.fixture
def configure_loader_modules(plan, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WORK", str(tmp_path / "work"))
    monkeypatch.setattr(module, "LISTED", str(tmp_path / "work" / "listed"))
    monkeypatch.setattr(module, "CONFIRMED", str(tmp_path / "etc" / "firewall.nft"))
    monkeypatch.setattr(fanatico_wait, "until", lambda look, timeout, interval: look())
    monkeypatch.setattr(fanatico_sweep, "fanout", lambda *words, **_: asked.answer(*words))
    dunders = {
        "__pillar__": {"plan": plan, "firewall": dict(SHIPPED)},
        "__opts__": {"id": "db1", "test": False},
    }
    salt = {
        f"fanatico_firewall.{name}": getattr(module, name) for name in ("apply", "present", "state", "wanted")
    }
    return {module: dunders, state: {**dunders, "__salt__": salt}}


@pytest.fixture
def master(monkeypatch):
    """Whether the master takes connections."""
    seen = {"answers": True}
    monkeypatch.setattr(module, "_connects", lambda address, port: seen["answers"])
    return seen


def test_rules_are_loaded_and_kept_for_the_next_boot(kernel, master):
    done = state.loaded("x")
    assert done["result"] is True, done
    assert "+table inet fanatico" in done["changes"]["rules"]
    assert kernel.loaded == module.wanted() == module.present()
    assert not kernel.armed
    assert state.loaded("x")["changes"] == {}


def test_somebody_elses_hand_is_seen_and_undone(kernel, master):
    state.loaded("x")
    kernel.loaded = "flushed"
    assert module.state() == "touched"
    assert state.loaded("x")["changes"]
    assert module.state() == "in force"


@pytest.mark.parametrize(
    ("said", "missing"),
    [("Error: No such file or directory\nlist table inet fanatico", True), ("Error: netlink", False)],
)
def test_a_table_that_is_not_there_is_no_fault_of_nft(monkeypatch, said, missing):
    done = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: done)
    if missing:
        assert module._listed() == ""
    else:
        with pytest.raises(CommandExecutionError):
            module._listed()


def test_a_lost_master_brings_the_old_rules_back(kernel, master):
    master["answers"] = False
    done = state.loaded("x")
    assert done["result"] is False
    assert "db1: with the new firewall rules the master at 10.0.0.5 could not be reached" in done["comment"]
    assert kernel.loaded == "old rules\n"
    assert module.present() == ""
    assert not kernel.armed


def test_the_timer_runs_while_the_rules_are_on_trial(kernel, master, monkeypatch):
    armed = []
    monkeypatch.setattr(module, "_connects", lambda address, port: armed.append(kernel.armed) or True)
    module.apply()
    assert armed == [True]


def test_rules_that_nftables_refuses_are_never_loaded(kernel, master):
    kernel.refuses = "syntax error"
    done = state.loaded("x")
    assert done["result"] is False
    assert "syntax error" in done["comment"]
    assert kernel.loaded == "old rules\n"


SSHD = 'users:(("sshd-session",pid=7,fd=4))'


@pytest.mark.parametrize(
    ("line", "who"),
    [
        ("0 0 10.0.2.10:22 192.0.2.7:50000", "192.0.2.7 (to port 22)"),
        # A host of the plan is none of those who may come in by ssh, but for the master.
        ("0 0 10.0.2.10:22 10.0.1.10:50000", "10.0.1.10 (to port 22)"),
        # sshd at a port that the pillar does not know.
        (f"0 0 10.0.2.10:2222 10.0.0.5:50000 {SSHD}", "10.0.0.5 (to port 2222)"),
        # IPv6, which the rules let nobody in by; and IPv4 within it, as a socket for both has it.
        (f"0 0 [2001:db8::1]:22 [2001:db8::7]:50000 {SSHD}", "2001:db8::7 (to port 22)"),
        ("0 0 [fe80::1]%eth0:22 [fe80::2]:50000", "fe80::2 (to port 22)"),
        ("0 0 [::ffff:10.0.2.10]:22 [::ffff:192.0.2.7]:50000", "192.0.2.7 (to port 22)"),
    ],
)
def test_nobody_who_is_logged_in_is_shut_out(kernel, master, line, who):
    kernel.ssh = f"{line}\n"
    done = state.loaded("x")
    assert done["result"] is False
    assert f"logged in by ssh from {who}, whom the firewall would shut out" in done["comment"]
    assert kernel.loaded == "old rules\n"


@pytest.mark.parametrize(
    "line",
    [
        f"0 0 10.0.2.10:22 10.0.0.5:50000 {SSHD}",
        f"0 0 [::ffff:10.0.2.10]:22 [::ffff:10.0.0.5]:50000 {SSHD}",
        "0 0 127.0.0.1:22 127.0.0.1:50000",
        "0 0 [::1]:22 [::1]:50000",
        "0 0 10.0.2.10:22 10.0.2.10:50000",
        '0 0 10.0.2.10:50000 192.0.2.7:22 users:(("ssh",pid=7,fd=4))',
    ],
)
def test_who_comes_in_again_keeps_no_rules_from_being_loaded(kernel, master, line):
    kernel.ssh = f"{line}\n"
    assert state.loaded("x")["result"] is True


def test_who_comes_from_a_network_of_firewall_admin_comes_in_again(kernel, master):
    kernel.ssh = "0 0 10.0.2.10:2222 192.0.2.7:50000\n"
    module.__pillar__["firewall"].update(admin=["192.0.2.0/24"], ssh_port=2222)
    assert state.loaded("x")["result"] is True


def test_an_sshd_at_another_port_than_the_rules_have_is_not_shut_up(kernel, master):
    kernel.doors = 'LISTEN 0 128 [::]:2222 [::]:* users:(("sshd",pid=9,fd=3))\n'
    done = state.loaded("x")
    assert done["result"] is False
    assert (
        "db1: sshd listens at port 2222, and the firewall would take ssh at port 22 alone" in done["comment"]
    )
    assert kernel.loaded == "old rules\n"
    kernel.doors = 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=9,fd=3))\n'
    assert state.loaded("x")["result"] is True


@pytest.fixture
def on_the_master(kernel):
    module.__opts__["id"] = "salt"
    kernel.minions = "0 0 10.0.0.5:4505 10.0.2.10:40000\n0 0 10.0.0.5:4505 10.0.1.10:40000\n"
    yield kernel
    module.__opts__["id"] = "db1"


@pytest.mark.parametrize("lost", ["", "db1"])
def test_the_masters_rules_are_tried_by_the_minions_that_are_connected(on_the_master, master, asked, lost):
    told = []

    def answer(opts, ids, function, args):
        told.append((sorted(ids), function, args, on_the_master.loaded == "old rules\n"))
        return {name: {"result": len(told) == 1 or name != lost} for name in ids}

    asked.answer = answer
    done = state.loaded("x")
    question = (["db1", "rpc1"], "network.connect", ["10.0.0.5", 4506])
    assert told == [(*question, True), (*question, False)], "before the new rules, and through them"
    assert done["result"] is not bool(lost)
    if lost:
        assert "salt: with the new firewall rules db1 could make no new connection" in done["comment"]
    assert (on_the_master.loaded == "old rules\n") is bool(lost)


def test_what_would_change_is_shown(kernel, master):
    state.__opts__["test"] = True
    try:
        done = state.loaded("x")
    finally:
        state.__opts__["test"] = False
    assert done["result"] is None
    assert "tcp dport 8008" in done["changes"]["rules"]
    assert kernel.loaded == "old rules\n"


def test_masterless_there_is_no_master_to_lose(kernel, master):
    master["answers"] = False
    module.__opts__["file_client"] = "local"
    try:
        assert module.apply() is True
    finally:
        del module.__opts__["file_client"]


def test_a_failing_command_is_named(monkeypatch):
    monkeypatch.setattr(
        module.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no")
    )
    with pytest.raises(CommandExecutionError, match="db1: `nft list` failed: no"):
        module._run(["nft", "list"])
