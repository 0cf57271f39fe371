"""Evict a host: what prevents it, what it knew, what it can still reach; and the runner's steps on the master."""

import copy
import types

import pytest
import yaml
from salt.exceptions import CommandExecutionError

import fanatico_evict as evict
import fanatico_master
import fanatico_sweep
from _runners import fanatico_evict as runner
from tests.support import REPO

SERVES = {"etcd": "etcd.serving", "patroni": "patroni.state", "haproxy": "haproxy.serving", "rpc": "rpc.http"}


@pytest.fixture
def plan(plan):
    return copy.deepcopy(plan)


def moved(plan, *hosts):
    """The plan once the operator has moved the hosts' lines."""
    plan["evicted"] = {host: plan["nodes"].pop(host) for host in hosts}
    return plan


def health(plan, **status):
    """What fanatico.health returns for all nodes; of those named the role's own check has that status, None: no answer."""
    found = {}
    for node, one in plan["nodes"].items():
        said = status.get(node, "ok")
        if said is not None:
            found[node] = {"checks": {SERVES.get(role, role): {"status": said} for role in one["roles"]}}
    return found


# --- can it be evicted?


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("", "name the host"),
        (None, "name the host"),
        (["db1"], "name the host"),
        ("db9", "'db9'"),
        ("salt", "Salt master"),
    ],
)
def test_a_host_that_the_plan_does_not_allow_to_be_evicted(plan, host, words):
    reason = evict.objection(plan, host)
    assert words in reason
    assert "Nothing was changed" in reason


@pytest.mark.parametrize(
    ("host", "others", "role"),
    [
        ("haproxy1", ["haproxy2"], "haproxy"),
        ("db1", ["db2", "db3"], "patroni"),
        ("rpc1", ["rpc2", "rpc3"], "rpc"),
    ],
)
def test_the_last_host_of_a_role_is_not_evicted(plan, host, others, role):
    for other in others:
        del plan["nodes"][other]
    assert f"role {role}" in evict.objection(plan, host)
    assert f"role {role}" in evict.objection(moved(plan, host), host)


def test_the_only_backup_host_can_be_evicted(plan):
    """A plan without the role is valid, and a lost host must not keep its access until there is another."""
    moved(plan, "ops1")
    assert evict.objection(plan, "ops1") == ""
    assert evict.asked(plan, "ops1") == []
    assert evict.shortage(plan, "ops1", {}) == ""
    assert "start a new repository" in str(evict.left(["backup"], [], False))


@pytest.mark.parametrize("where", ["nodes", "evicted"])
@pytest.mark.parametrize("host", ["db3", "etcd2", "rpc1", "haproxy2"])
def test_where_the_others_serve_it_can_be_evicted(plan, host, where):
    if where == "evicted":
        moved(plan, host)
    assert evict.objection(plan, host) == ""
    assert host not in evict.asked(plan, host)
    answers = health(plan)
    answers.pop(host, None)
    assert evict.shortage(plan, host, answers) == ""


@pytest.mark.parametrize(
    ("host", "ill", "status", "spared"),
    [
        ("db3", "db1", "critical", False),  # a write needs two
        ("db3", "db1", None, False),
        ("db3", "db1", "degraded", True),  # does not stream: from a lost leader it may not
        ("etcd3", "etcd1", "critical", False),  # two of three members are the majority, with or without it
        ("etcd3", "etcd1", None, False),
        ("haproxy2", "haproxy1", "critical", False),
        ("rpc3", "rpc1", "critical", True),
        ("db3", "rpc1", None, True),  # not its role
    ],
)
def test_another_host_that_does_not_serve(plan, host, ill, status, spared):
    answers = health(plan, **{ill: status})
    reason = evict.shortage(moved(plan, host), host, answers)
    assert (reason == "") is spared
    if not spared:
        assert f"{ill} does" in reason
        assert "Nothing was changed" in reason


def test_a_member_more_would_cost_etcds_quorum(plan):
    """Two of three members are left, after one was evicted and not replaced."""
    moved(plan, "etcd3")
    assert "role etcd" in evict.shortage(plan, "etcd2", health(plan))


def test_a_host_with_two_roles_has_to_be_redundant_in_both():
    plan = yaml.safe_load((REPO / "tests" / "plans" / "colocated.sls").read_text())["plan"]
    assert evict.asked(plan, "data1") == ["data2", "data3"]
    answers = health(plan)
    answers["data2"]["checks"]["etcd.serving"]["status"] = "critical"
    assert "the role etcd" in evict.shortage(plan, "data1", answers)


def test_the_refusal_shows_the_lines_to_write(plan):
    text = evict.still_there(plan, "db3", "/srv/plan.sls")
    lines = text[text.index("  evicted:") :].split("\n\n")[0]
    assert yaml.safe_load(lines) == {"evicted": {"db3": plan["nodes"]["db3"]}}
    assert "/srv/plan.sls" in text
    assert """orch.evict pillar='{"host": "db3"}'""" in text
    assert evict.still_there(moved(plan, "db3"), "db3", "") == ""


# --- is it?


def whole(plan):
    """What was seen after a database was evicted."""
    databases = [node for node, one in plan["nodes"].items() if "patroni" in one["roles"]]
    return {
        "nodes": list(plan["nodes"]),
        "databases": databases,
        "keys": ["minions_rejected"],
        "barred": {node: ["10.0.2.12"] for node in plan["nodes"]},
        "leaders": dict.fromkeys(databases, "db1"),
        "authorities": {"etcd": "signs"},
        "unsettled": [],
        "unknown": "",
    }


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"keys": ["minions"]}, "minion key in minions"),
        ({"keys": ["minions_pre"]}, "minion key in minions_pre"),
        ({"barred": {}}, "10.0.2.12"),
        ({"unknown": "users: backdoor"}, "etcd: users: backdoor"),
        ({"leaders": {"db1": "db3", "db2": "db1"}}, "Patroni on db1"),
        ({"leaders": {"db1": "db1"}}, "Patroni on db2"),
        ({"authorities": {"etcd": "former is trusted still"}}, "trusted: etcd"),
        ({"unsettled": ["ETCD_ROOT_PASSWORD"]}, "ETCD_ROOT_PASSWORD"),
    ],
)
def test_what_the_host_can_still_reach_is_reported(plan, seen, words):
    moved(plan, "db3")
    assert evict.not_done("db3", "10.0.2.12", whole(plan)) == []
    (line,) = evict.not_done("db3", "10.0.2.12", whole(plan) | seen)
    assert line.startswith("db3: ")
    assert words in line


def test_a_firewall_that_does_not_block_it_is_named(plan):
    seen = whole(moved(plan, "db3"))
    seen["barred"]["rpc2"] = "ERROR: no answer"
    assert "db3: rpc2: " in evict.not_done("db3", "10.0.2.12", seen)[0]


def test_what_the_operator_has_to_do_depends_on_the_roles():
    assert len(evict.left(["rpc"], [], True)) == 1
    assert any("fanatico" in one for one in evict.left(["patroni"], ["POSTGRES_FANATICO_PASSWORD"], True))
    assert any("virtual IP" in one for one in evict.left(["haproxy"], [], False))
    assert any("haproxy:public" in one for one in evict.left(["haproxy"], [], True))
    assert not any("haproxy:public" in one for one in evict.left(["haproxy"], [], False))


# --- the runner


class Master:
    """What the runner asks: nodes by function, the keys that the master holds, other runners."""

    def __init__(self, plan, tmp_path):
        self.plan, self.path, self.asked = plan, tmp_path, []
        self.places = {
            "minions": list(plan["nodes"]),
            "minions_pre": [],
            "minions_rejected": [],
            "minions_denied": [],
        }
        self.answers = {"fanatico.health": lambda node: health(plan)[node]}
        self.runners = {
            "fanatico.ca_status": lambda: {"etcd": "signs"},
            "fanatico.secrets_unsettled": lambda: [],
        }

    def fanout(self, opts, nodes, function, args=(), timeout=0):
        self.asked.append((list(nodes), function, list(args)))
        answer = self.answers[function]
        found = {node: answer(node) for node in nodes}
        return {node: one for node, one in found.items() if one is not None}

    # salt.key.Key

    def __call__(self, opts):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return False

    def list_keys(self):
        return self.places

    @property
    def cache(self):
        return types.SimpleNamespace(flush=lambda bank, name: self.places["minions_denied"].remove(name))

    def reject(self, match_dict, include_accepted):
        assert include_accepted
        for place, names in match_dict.items():
            for name in names:
                self.places[place].remove(name)
                self.places["minions_rejected"].append(name)


@pytest.fixture
def master(plan, tmp_path, monkeypatch):
    made = Master(plan, tmp_path)
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_master, "root", lambda opts: tmp_path)
    monkeypatch.setattr(fanatico_master, "compiled", lambda opts, node: ({}, []))
    monkeypatch.setattr(fanatico_sweep, "fanout", made.fanout)
    for name, value in (("__salt__", made.runners), ("__opts__", {})):
        monkeypatch.setattr(runner, name, value, raising=False)
    monkeypatch.setattr(runner.salt.key, "Key", made)
    monkeypatch.setattr(runner.pathlib.Path, "home", lambda: tmp_path)
    return made


def test_hosts_are_only_asked_for_health_before_an_eviction_starts(master, plan):
    with pytest.raises(CommandExecutionError, match="db3 .* node of the plan"):
        runner.evict_scope("db3")
    assert {function for _, function, _ in master.asked} == {"fanatico.health"}
    assert all("db3" not in nodes for nodes, _, _ in master.asked)


def test_the_scope_has_the_secrets_of_its_roles(master, plan):
    moved(plan, "db3", "rpc2")
    scope = runner.evict_scope("db3")
    assert "POSTGRES_FANATICO_PASSWORD" in scope["secrets"]
    assert "ETCD_PATRONI_PASSWORD" in scope["secrets"]
    assert "ETCD_ROOT_PASSWORD" not in scope["secrets"]
    assert scope["certificates"] is True
    assert scope["unsettled"] == {"secrets": False, "authorities": False}
    assert runner.evict_scope("rpc2") == scope | {
        "host": "rpc2",
        "roles": ["rpc"],
        "secrets": [],
        "certificates": True,  # that of its metrics
    }


def test_a_rotation_that_is_not_complete_is_seen(master, plan):
    moved(plan, "db3")
    master.runners["fanatico.ca_status"] = lambda: {"etcd": "signs", "service": "former is trusted still"}
    master.runners["fanatico.secrets_unsettled"] = lambda: ["HAPROXY_STATS_PASSWORD"]
    assert runner.evict_scope("db3")["unsettled"] == {"secrets": True, "authorities": True}


@pytest.mark.parametrize("place", ["minions", "minions_pre", "minions_denied"])
def test_only_its_key_is_rejected_in_every_state(master, plan, place):
    moved(plan, "db3")
    master.places["minions"].remove("db3")
    master.places[place].append("db3")
    before = [name for name in master.places["minions"] if name != "db3"]
    runner.evict_key("db3")
    assert master.places["minions"] == before
    assert [at for at, names in master.places.items() if "db3" in names] in (["minions_rejected"], [])
    assert runner.evict_key("db3") == {"key": "", "known_hosts": []}


def test_its_ssh_host_key_is_removed(master, plan, tmp_path):
    moved(plan, "db3")
    known = tmp_path / ".ssh" / "known_hosts"
    known.parent.mkdir()
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    known.write_text(f"10.0.2.12 {key}\n10.0.2.10 {key}\n")
    assert runner.evict_key("db3")["known_hosts"] == ["10.0.2.12"]
    assert known.read_text() == f"10.0.2.10 {key}\n"


@pytest.mark.parametrize("step", [runner.evict_key, runner.evict_forget, runner.evicted])
def test_no_step_touches_a_host_that_the_plan_still_has(master, step):
    with pytest.raises(CommandExecutionError, match="plan:evicted"):
        step("db3")
    assert (master.asked, master.places["minions_rejected"]) == ([], [])


def view(leader, **more):
    return {"members": [{"name": leader, "role": "leader"}, {"name": "db2", "role": "replica"}], **more}


def test_it_waits_until_a_database_of_the_plan_leads(master, plan, monkeypatch):
    moved(plan, "db3")
    led, slept = iter(["db3", "db3", "db3", "db3", "db1", "db1"]), []
    monkeypatch.setattr(runner.time, "sleep", slept.append)
    master.answers["fanatico_etcd.evict"] = lambda node: (
        {"members": [], "keys": ["leader"]} if node == "etcd2" else None
    )
    master.answers["fanatico_patroni.cluster"] = lambda node: view(next(led))
    assert runner.evict_forget("db3") == {"members": [], "keys": ["leader"], "patroni": []}
    assert len(slept) == 2
    assert [nodes for nodes, function, _ in master.asked if function == "fanatico_etcd.evict"] == [
        ["etcd1"],
        ["etcd2"],
    ]


def test_a_paused_cluster_is_resumed(master, plan, monkeypatch):
    moved(plan, "db3")
    state = {"paused": True}
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: None)
    master.answers["fanatico_etcd.evict"] = lambda node: {"members": [], "keys": []}
    master.answers["fanatico_patroni.cluster"] = lambda node: (
        view("db3", pause=True) if state["paused"] else view("db1")
    )
    master.answers["fanatico_patroni.resume"] = lambda node: not state.update(paused=False)
    assert runner.evict_forget("db3")["patroni"] == ["resumed"]


def test_a_patroni_whose_token_etcd_refuses_logs_in_again(master, plan, monkeypatch):
    """Once, and not before it has had its time."""
    moved(plan, "db3")
    clock, killed = [0.0], []
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr(runner.time, "monotonic", lambda: clock[0])
    master.answers["fanatico_etcd.evict"] = lambda node: {"members": [], "keys": []}
    master.answers["fanatico_patroni.cluster"] = lambda node: view("db1" if clock[0] > 20 else "db3")
    master.answers["fanatico_unit.kill"] = lambda node: killed.append((node, clock[0]))
    assert runner.evict_forget("db3")["patroni"] == ["logged in again"]
    assert killed == [("db1", 5.0), ("db2", 5.0)]


def test_no_new_leader_is_a_failure_that_names_what_was_seen(master, plan):
    moved(plan, "db3")
    master.answers["fanatico_etcd.evict"] = lambda node: {"members": [], "keys": []}
    master.answers["fanatico_patroni.cluster"] = lambda node: view("db3")
    master.answers["fanatico_unit.kill"] = lambda node: 1
    with pytest.raises(CommandExecutionError, match=r"\(leader: db3\)"):
        runner.evict_forget("db3", timeout=0)


def test_etcd_that_refuses_is_quoted(master, plan):
    moved(plan, "db3")
    master.answers["fanatico_etcd.evict"] = lambda node: "ERROR: unhealthy cluster"
    with pytest.raises(CommandExecutionError, match="db3 .* etcd3: ERROR: unhealthy cluster"):
        runner.evict_forget("db3")


def done(master):
    master.places["minions"].remove("db3")
    master.answers |= {
        "fanatico_firewall.blocked_addresses": lambda node: ["10.0.2.12"],
        "fanatico_patroni.leader": lambda node: "db1",
        "fanatico.health": lambda node: {
            "checks": {name: {"status": "ok", "detail": ""} for name in ("etcd.member", "etcd.users")}
        },
    }


def test_the_proof_lists_everything_and_what_the_operator_has_to_do(master, plan):
    moved(plan, "db3")
    done(master)
    told = runner.evicted("db3")
    assert told["firewalls"] == "12 of 12 hosts drop every packet of 10.0.2.12"
    assert {"minion key", "etcd", "Patroni", "secrets", "certificates", "to do, 1"} <= told.keys()


def test_the_proof_fails_with_all_that_the_host_can_still_reach(master, plan):
    moved(plan, "db3")
    done(master)
    master.places["minions_pre"].append("db3")
    master.answers["fanatico.health"] = lambda node: {
        "checks": {
            "etcd.member": {"status": "ok", "detail": ""},
            "etcd.users": {"status": "degraded", "detail": "etcd lets in backdoor\x1b[2J"},
        }
    }
    with pytest.raises(CommandExecutionError) as refused:
        runner.evicted("db3")
    text = str(refused.value)
    assert "minions_pre" in text
    assert "backdoor" in text
    assert "\x1b" not in text


def test_an_etcd_that_cannot_be_checked_is_no_proof(master, plan):
    moved(plan, "db3")
    done(master)
    master.answers["fanatico.health"] = lambda node: None
    with pytest.raises(CommandExecutionError, match="fanatico.health"):
        runner.evicted("db3")
