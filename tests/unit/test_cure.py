"""The faults of a node and their cures: probed first, proven afterwards. The services are fakes."""

import contextlib
import importlib
import inspect
import json
import re
import time
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_faults
import fanatico_guard
import fanatico_http
import fanatico_master
import fanatico_patroni_plan
import fanatico_probe
import fanatico_sweep
from _beacons import fanatico as beacon
from _modules import (
    fanatico_archive_cure,
    fanatico_etcd_cure,
    fanatico_firewall,
    fanatico_keepalived,
    fanatico_node_cure,
    fanatico_patroni_cure,
    fanatico_pki,
    fanatico_rpc_cure,
)
from _modules import fanatico_cure as cure
from _runners import fanatico_reconcile as reconciler
from tests.support import REPO
from tests.support.pillar import shipped

MODULES = [
    cure,
    fanatico_archive_cure,
    fanatico_etcd_cure,
    fanatico_firewall,
    fanatico_keepalived,
    fanatico_node_cure,
    fanatico_patroni_cure,
    fanatico_pki,
    fanatico_rpc_cure,
]
# The functions that a record names: probes, cures, proofs.
FUNCTIONS = ("probe", "beacon_probe", "cure", "proof", "unfixable_if", "replaces")
SILENCE = fanatico_http.NoAnswer("https://one: no answer within 1 s")
REFUSED = CommandExecutionError("https://one: connection refused")


class Node:
    """A host with the roles etcd, patroni, haproxy and rpc, all healthy."""

    def __init__(self, folder):
        self.folder = folder
        self.units = {}
        self.patroni = {"state": "running", "role": "replica", "replication_state": "streaming"}
        self.complaint = self.said = ""
        self.rules = ""
        self.etcd_errors = []
        self.disk = {"status": "ok", "detail": ""}
        self.heads = [1]
        self.idle = 0.2
        self.owed = 60.0
        self.block_age, self.best, self.syncing = 1, 1, False
        self.certificates = {"patroni/etcd": {"days": 80, "reasons": []}}
        self.health = {"checks": {"patroni.state": {"status": "ok", "detail": ""}}}
        self.address = {"address": "10.0.0.100", "role": "backup", "answers": True}
        self.done = []
        (folder / "etcd/member/wal").mkdir(parents=True)
        (folder / "etcd/member/wal/0.wal").touch()
        (folder / "pg/global").mkdir(parents=True)
        (folder / "pg/global/pg_control").touch()

    def states(self, *units):
        well = {
            "load": "loaded",
            "active": "active",
            "down": False,
            "enabled": "enabled",
            "tried": True,
            "result": "success",
            "restarts": 0,
        }
        return {
            unit: {**well, **self.units.get(unit, {})}
            for unit in units or ["etcd.service", "patroni.service"]
        }

    def status(self, **_):
        if isinstance(self.patroni, Exception):
            raise self.patroni
        return self.patroni

    def head(self, node=None, **_):
        if node:
            return self.best
        if isinstance(self.heads, Exception):
            raise self.heads
        return self.heads[0]

    def call(self, method, params, timeout):
        if isinstance(self.heads, Exception):
            raise self.heads
        return {"timestamp": hex(int(time.time() - self.block_age)), "number": hex(self.heads[0])}

    def act(self, name, then=lambda: None, answer=True):
        def do(*args, **kwargs):
            self.done.append((name, *args))
            then()
            return answer

        return do


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def named():
    """Every function that a fault names, ``{name: function}``, as Salt would load them."""
    names = {getattr(fault, role) for fault in fanatico_faults.FAULTS.values() for role in FUNCTIONS} - {""}
    parts = {name: name.split(".") for name in names}
    return {
        name: getattr(importlib.import_module(f"_modules.{module}"), function)
        for name, (module, function) in parts.items()
    }


@pytest.fixture
def configure_loader_modules(node, plan, tmp_path, monkeypatch):
    roles = ["etcd", "patroni", "haproxy", "rpc"]
    pillar = {
        "plan": {**plan, "nodes": {**plan["nodes"], "one": {"address": "127.0.0.1", "roles": roles}}},
        "etcd": {"data_dir": str(tmp_path / "etcd")},
        "postgresql": {"data_dir": str(tmp_path / "pg")},
        "rpc": {"health": {"max_lag": 3}},
        "pki": shipped("pki"),
        "heal": shipped("heal"),
    }
    monkeypatch.setattr(fanatico_keepalived, "state", lambda *_: node.address)
    monkeypatch.setattr(fanatico_keepalived, "idle", lambda: node.idle)
    monkeypatch.setattr(fanatico_firewall, "present", lambda: node.rules)
    monkeypatch.setattr(fanatico_pki, "probe", lambda: node.certificates)
    salt = named() | {
        "fanatico_unit.states": node.states,
        "fanatico_unit.expected": lambda: ["etcd.service", "patroni.service"],
        "fanatico_unit.start": lambda what, *_: {"acted": True, "running": True, "took": 1.0, "detail": ""},
        "fanatico_unit.kill": node.act("kill", lambda: setattr(node, "patroni", {"state": "running"}), 42),
        "fanatico_patroni.status": node.status,
        "fanatico_patroni.resume": node.act("resume", lambda: node.patroni.pop("pause")),
        "fanatico_patroni.last_fatal": lambda *_: node.complaint,
        "fanatico_patroni.postgresql_log": lambda *_: node.said,
        "fanatico_patroni.leader": lambda: "db1",
        "fanatico_patroni.cluster": lambda: {"members": []},
        "fanatico_etcd.alarms": lambda *_: node.etcd_errors,
        "fanatico_etcd.make_room": node.act("make_room", lambda: node.etcd_errors.clear(), "compacted"),
        "fanatico_node.disk": lambda: node.disk,
        "fanatico_rpc.head": node.head,
        "fanatico_rpc.agent_status": lambda peer, **_: {"head": node.head(peer)},
        "fanatico_rpc.unanswered_seconds": lambda: node.owed,
        "fanatico_rpc.call": node.call,
        "fanatico_rpc.syncing": lambda **_: node.syncing,
        "fanatico.health": lambda: node.health,
        "fanatico_haproxy_cure.unconfigured": lambda: "",
    }
    # All modules share them, as in Salt's loader.
    dunders = {"__salt__": salt, "__pillar__": pillar, "__opts__": {"id": "one"}, "__context__": {}}
    return dict.fromkeys(MODULES, dunders)


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch):
    monkeypatch.setattr(
        fanatico_probe, "run", lambda *_, **__: SimpleNamespace(stdout="", stderr="", returncode=0)
    )


def test_a_healthy_node_has_no_faults():
    assert cure.symptoms() == {}


def test_reported_returns_the_recent_reports_of_the_beacon(tmp_path):
    cure.__opts__["cachedir"] = str(tmp_path)
    assert cure.reported() == {}
    known = {
        "etcd-full": {"why": "alarm", "when": time.time()},
        "disk-full": {"why": "x", "when": time.time() - 200},
    }
    (tmp_path / beacon.REPORTED).write_text(json.dumps(known))
    assert cure.reported() == {"etcd-full": "alarm"}, (
        "what is old is over: the beacon repeats itself every minute"
    )


@pytest.mark.parametrize("fault", fanatico_faults.FAULTS.values(), ids=lambda fault: fault.name)
def test_a_fault_record_is_complete(fault):
    """The functions that it names exist and can be called; a fault has a cure, or a next step for an operator."""
    for role in FUNCTIONS:
        name = getattr(fault, role)
        if name:
            inspect.signature(named()[name]).bind(*([60] if role == "cure" else []))
    assert sum(map(bool, (fault.cure, fault.runner, fault.next_step))) == 1
    assert bool(fault.probe) != bool(fault.runner)
    assert bool(fault.replaces) <= bool(fault.proof), "nothing goes before what replaces it is proven"
    assert {fault.min_age, fault.opt_in} - {""} <= set(shipped("heal"))
    page, _, anchor = fault.runbook.partition("#")
    assert f'<a id="{anchor}"></a>' in (REPO / page).read_text()
    assert fault.needs in ("", "rebuild", "quorum", "replica", "successor", "another")


def test_one_call_of_symptoms_asks_each_service_once(node, monkeypatch):
    asked = []

    def noted(name, ask):
        return lambda *words, **options: asked.append((name, *words)) or ask(*words, **options)

    for name in ("fanatico_patroni.status", "fanatico_unit.states"):
        cure.__salt__[name] = noted(name, cure.__salt__[name])
    monkeypatch.setattr(fanatico_keepalived, "state", noted("keepalived", fanatico_keepalived.state))
    cure.symptoms()
    assert len(asked) == len(set(asked)) > 3
    node.patroni = SILENCE
    assert list(cure.symptoms()) == ["patroni-hung"], "the next look asks again"


def test_an_unknown_state_is_no_fault(node):
    node.patroni = REFUSED
    node.heads = REFUSED
    assert cure.symptoms() == {}


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("etcd-full", lambda node: node.etcd_errors.append("memberID:1 alarm:NOSPACE")),
        ("etcd-data-lost", lambda node: (node.folder / "etcd/member/wal/0.wal").unlink()),
        (
            "patroni-hung",
            lambda node: setattr(node, "patroni", SILENCE),
        ),
        ("patroni-paused", lambda node: node.patroni.update(pause=True, role="primary")),
        ("replica-unusable", lambda node: (node.folder / "pg/global/pg_control").unlink()),
        ("postgres-failed", lambda node: node.patroni.update(state="start failed")),
        ("disk-full", lambda node: node.disk.update(status="critical", detail="/ has 0.1 GiB free")),
        ("vip-down", lambda node: node.address.update(answers=False)),
        ("keepalived-hung", lambda node: setattr(node, "idle", 6.0)),
        ("rpc-hung", lambda node: setattr(node, "heads", SILENCE)),
        ("rpc-behind", lambda node: vars(node).update(block_age=60, best=9)),
        ("replica-not-streaming", lambda node: node.patroni.update(replication_state=None)),
    ],
)
def test_faults_are_detected(node, fault, change):
    change(node)
    assert list(cure.symptoms()) == [fault]


@pytest.mark.parametrize(
    ("change", "found"),
    [({}, True), ({"role": "primary"}, False), ({"pause": True}, False), ({"state": "starting"}, False)],
)
def test_only_a_running_replica_is_cloned_for_a_damaged_page(node, change, found):
    fanatico_patroni_cure.__salt__["fanatico_postgres.status"] = lambda timeout: {"checksum_failures": 3}
    node.patroni.update(change)
    assert bool(fanatico_patroni_cure.replica_corrupt()) is found
    assert "replica-corrupt" not in cure.symptoms(), "a query is too expensive for the beacon"


@pytest.mark.parametrize(
    "change",
    [
        {"role": "primary", "state": "start failed"},
        {"state": "creating replica"},
        {"state": "starting"},
        {"state": "start failed", "pause": True},
    ],
)
def test_leaders_clones_and_paused_nodes_are_not_unusable(node, change):
    node.patroni.update(change)
    assert "replica-unusable" not in cure.symptoms()


@pytest.mark.parametrize(
    "change",
    [
        {"block_age": 60, "best": 2},  # the whole chain has halted
        {"block_age": 2, "best": 9},  # it catches up
        {"block_age": 60, "best": 9, "syncing": {"currentBlock": "0x1"}},
    ],
)
def test_a_node_that_catches_up_and_a_halted_chain_are_not_behind(node, change):
    vars(node).update(change)
    assert cure.symptoms() == {}


@pytest.mark.parametrize(("max_lag", "told"), [(7, ["rpc-behind"]), (8, [])])
def test_the_lag_threshold_comes_from_the_pillar(node, max_lag, told):
    cure.__pillar__["rpc"]["health"]["max_lag"] = max_lag
    vars(node).update(block_age=60, best=9)
    assert list(cure.symptoms()) == told


def test_missing_settings_are_no_fault_and_do_not_stop_the_beacon(node):
    """For a moment after a change of the tree a minion may have the new modules and the old pillar."""
    for name in ("etcd", "postgresql", "rpc", "pki", "heal"):
        del cure.__pillar__[name]
    vars(node).update(block_age=60, best=9)
    assert cure.symptoms() == {}
    assert cure.found() == {}


def test_the_data_directories_come_from_the_pillar(node):
    """Lost data are replaced by a clone: the path must be the one in the daemons' configuration."""
    assert fanatico_etcd_cure.member_directory() == str(node.folder / "etcd/member")
    assert fanatico_patroni_cure.data_directory() == str(node.folder / "pg")
    cure.__pillar__["postgresql"] = {"version": 18, "data_dir": ""}
    assert fanatico_patroni_cure.data_directory() == "/var/lib/postgresql/18/main"


@pytest.mark.parametrize(("days", "told"), [(20, False), (14, True), (None, True)])
def test_expiring_certificates_are_in_found_and_not_in_symptoms(node, days, told):
    node.certificates["patroni/etcd"] = {"days": days, "reasons": ["it ends"]}
    # An authority that is only trusted has no expiry here.
    node.certificates["haproxy/service"] = {"days": None, "reasons": []}
    assert ("certificate-ending" in cure.found()) is told
    assert cure.symptoms() == {}


def test_a_host_without_the_first_unit_of_a_role_is_unprovisioned(node):
    assert cure.unprovisioned() == ""
    node.units["fanatico-rpc-ws.service"] = {"load": "not-found"}
    assert cure.unprovisioned() == "", "not every kind of chain node has that one"
    node.units["patroni.service"] = {"load": "not-found"}
    assert cure.unprovisioned() == "patroni.service is not installed"


def test_an_unprovisioned_host_is_built_until_it_is_healthy(node):
    node.units["patroni.service"] = {"load": "not-found"}
    cure.__salt__["state.apply"] = node.act("apply", node.units.clear, {})
    told = cure.apply("unprovisioned", samples=2, timeout=5)
    assert (told["acted"], told["running"], told["did"]) == (True, True, "the highstate applied")
    node.units["patroni.service"] = {"load": "not-found"}
    node.health["checks"]["patroni.state"] = {"status": "degraded", "detail": "creating replica"}
    told = cure.apply("unprovisioned", samples=1, timeout=0.2)
    assert (told["acted"], told["running"]) == (True, False)
    assert "creating replica" in told["detail"]


def test_drift_is_corrected_as_far_as_the_pillar_allows(node):
    drifted = {"haproxy": ["haproxy.configured", "haproxy.running"]}
    cure.__salt__["fanatico_node.correctable"] = lambda kinds: dict(drifted) if "files" in kinds else {}
    cure.__salt__["state.apply"] = node.act("apply", drifted.clear, {})
    assert not cure.apply("drift", timeout=5)["acted"]
    cure.__pillar__["heal"]["auto_remediate_drift"] = ["files"]
    told = cure.apply("drift", samples=3, timeout=5)
    assert (told["acted"], told["running"], told["did"]) == (True, True, "corrected haproxy")
    assert node.done == [("apply", ["haproxy.configured", "haproxy.running"])]


def test_correcting_drift_is_no_dry_run():
    """The dry run that found the drift, in the same process, left `test` behind as the default: nothing was corrected."""
    asked = []

    def apply(*sls, **options):
        asked.append((sls, options))
        return {}

    fanatico_probe.apply_states(apply, "one", ["haproxy.configured"])
    assert asked == [((["haproxy.configured"],), {"queue": True, "test": False})]


def test_an_etcd_that_was_never_started_has_no_lost_data(node):
    (node.folder / "etcd/member/wal/0.wal").unlink()
    node.units["etcd.service"] = {"tried": False}
    assert cure.symptoms() == {}


def test_vip_down_needs_a_standby_that_could_serve(node):
    node.address.update(answers=False, role="master")
    assert cure.symptoms() == {}
    node.address.update(role="backup")
    node.units["haproxy.service"] = {"active": "failed"}
    assert cure.symptoms() == {}


def test_a_stopped_process_does_not_hang(node):
    node.patroni = SILENCE
    node.units["patroni.service"] = {"active": "activating"}
    assert cure.symptoms() == {}


def test_a_fault_that_is_gone_is_not_cured(node):
    told = cure.apply("etcd-full", timeout=5)
    assert (told["acted"], told["running"]) == (False, True)
    assert node.done == []


@pytest.mark.parametrize(
    ("fault", "change", "act"),
    [
        ("etcd-full", lambda node: node.etcd_errors.append("alarm:NOSPACE"), "make_room"),
        ("patroni-hung", lambda node: setattr(node, "patroni", SILENCE), "kill"),
        ("patroni-paused", lambda node: node.patroni.update(pause=True, role="primary"), "resume"),
    ],
)
def test_a_cure_acts_once_and_proves_it(node, fault, change, act):
    change(node)
    told = cure.apply(fault, samples=2, timeout=5)
    assert (told["acted"], told["running"], told["detail"]) == (True, True, "")
    assert [name for name, *_ in node.done] == [act]


def test_a_cure_that_does_not_help_is_reported(node):
    node.patroni.update(replication_state=None)
    (node.folder / "pg/global/pg_control").unlink()
    told = cure.apply("replica-unusable", samples=1, timeout=0.2)
    assert (told["acted"], told["running"]) == (True, False)
    assert "replica-unusable after" in told["detail"]
    assert "running, not streaming" in told["detail"]
    assert fanatico_aside.paths(node.folder / "pg"), (
        "nothing proves that the old data are not needed any more"
    )


def test_a_cure_ends_if_it_cannot_help(node):
    """The clone is complete but does not start because of a parameter: the cure ends before its timeout and frees the lock."""
    node.complaint = 'FATAL:  could not access file "pg_cron": No such file or directory'
    (node.folder / "pg/global/pg_control").unlink()
    cure.__salt__["fanatico_patroni.leader"] = lambda: node.patroni.update(state="start failed") or "db1"
    told = cure.apply("replica-unusable", samples=1, timeout=60)
    assert (told["acted"], told["running"]) == (True, False)
    assert "pg_cron" in told["detail"]
    assert told["took"] < 30


def test_a_fault_without_a_cure_is_not_cured(node):
    node.patroni.update(state="start failed")
    told = cure.apply("postgres-failed")
    assert (told["acted"], told["running"]) == (False, False)
    assert "start failed" in told["detail"]
    assert (node.folder / "pg/global/pg_control").exists()


@pytest.mark.parametrize(
    ("rules", "code", "tables", "gone"),
    [
        ("x", 0, "table inet other\n", True),
        ("x", 0, "", True),
        ("x", 0, "table inet fanatico\n", False),
        ("x", 1, "", False),
        ("", 0, "", False),
    ],
)
def test_a_flushed_firewall_is_detected(node, monkeypatch, rules, code, tables, gone):
    node.rules = rules
    monkeypatch.setattr(
        fanatico_probe, "run", lambda *_, **__: SimpleNamespace(stdout=tables, returncode=code)
    )
    assert ("firewall-gone" in cure.symptoms()) is gone


@pytest.mark.parametrize(("answers_within", "hung"), [(0.5, False), (1.5, False), (60, True)])
def test_a_slow_chain_node_is_not_hung(node, answers_within, hung):
    def head(peer=None, timeout=1):
        if answers_within > timeout:
            raise SILENCE
        return 1

    cure.__salt__["fanatico_rpc.head"] = head
    assert bool(fanatico_rpc_cure.hung()) is hung


@pytest.mark.parametrize(("owed", "hung"), [(0.0, False), (9.5, False), (10.5, True)])
def test_the_beacon_does_not_wait_for_a_chain_node(node, owed, hung):
    def head(peer=None, timeout=1):
        assert timeout == 1, "the beacon watches everything else on this host"
        raise SILENCE

    cure.__salt__["fanatico_rpc.head"] = head
    node.owed = owed
    assert ("rpc-hung" in cure.symptoms()) is hung


def test_a_unit_is_started():
    told = cure.apply("patroni.service", timeout=5)
    assert (told["acted"], told["running"], told["did"]) == (True, True, "started again")


def test_a_unit_that_is_not_expected_is_not_started():
    with pytest.raises(CommandExecutionError, match=r"nonsense is neither .*etcd-full"):
        cure.apply("nonsense")


def test_a_member_with_lost_data_is_not_started(node):
    (node.folder / "etcd/member/wal/0.wal").unlink()
    told = cure.apply("etcd.service", timeout=5)
    assert (told["acted"], told["instead"]) == (False, "etcd-data-lost")


def test_a_members_data_are_moved_aside_not_deleted(node):
    cure.__salt__["service.stop"] = node.act("stop")
    cure.__salt__["state.apply"] = node.act("apply", answer={})
    (node.folder / "etcd/member/wal/0.wal").unlink()
    (node.folder / "etcd/member/rest").write_text("what is left")
    fanatico_etcd_cure.rejoin(5)
    (aside,) = (node.folder / "etcd").glob("member.aside-*")
    assert (aside / "rest").read_text() == "what is left"
    assert not (node.folder / "etcd/member").exists()


def test_found_includes_units_that_are_down(node):
    node.units["patroni.service"] = {"active": "failed", "down": True, "result": "exit-code"}
    node.units["etcd.service"] = {"active": "inactive", "down": True, "tried": False}
    assert cure.found() == {"patroni.service": "failed (exit-code)"}


# --- salt-run fanatico.reconcile


class Fleet:
    """Nodes with answers that a test sets, and a reactor that records what it is given."""

    def __init__(self, home):
        self.answers, self.healed = {}, []
        self.canaries, self.leader, self.holders, self.lock = {}, "db1", ["haproxy1"], None
        reconciler.__opts__ = {"fanatico_home": str(home), "fanatico_history": str(home / "history.jsonl")}
        reconciler.__salt__ = {
            "state.orchestrate": lambda mods, pillar: self.healed.append(pillar["event"]),
            "fanatico.locked": lambda: self.lock,
            "fanatico.left_over": lambda: [],
        }

    def fanout(self, opts, nodes, function, timeout):
        return {
            "fanatico_cure.found": self.answers,
            "fanatico_cure.reported": self.answers,
            "fanatico_cure.unprovisioned": self.answers,
            "fanatico.canary": self.canaries,
            "fanatico_keepalived.holds_address": {node: node in self.holders for node in nodes},
            "fanatico_patroni.leader": dict.fromkeys(nodes, self.leader),
        }[function]


@pytest.fixture
def fleet(tmp_path, plan, monkeypatch):
    for name in ("__opts__", "__salt__"):
        monkeypatch.setattr(reconciler, name, {}, raising=False)
    made = Fleet(tmp_path)
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_sweep, "fanout", made.fanout)
    return made


def test_a_fault_found_twice_in_a_row_is_handed_to_healing(fleet, plan):
    fleet.answers = {node: {} for node in plan["nodes"] if node != "rpc3"} | {"etcd1": {"etcd-full": "alarm"}}
    first = reconciler.reconcile()
    assert (first["found"], first["silent"], first["treated"]) == (
        {"etcd1": {"etcd-full": "alarm"}},
        ["rpc3"],
        [],
    )
    assert fleet.healed == []
    assert reconciler.reconcile()["treated"] == ["etcd1/etcd-full"]
    assert fleet.healed == [{"host": "etcd1", "what": "etcd-full", "why": "alarm"}]


def test_look_hands_the_reports_of_a_host_to_healing(fleet):
    fleet.answers = {"db1": {"patroni.service": "stopped", "patroni-hung": "no answer"}}
    assert reconciler.look("db1") == fleet.answers["db1"]
    assert [event["what"] for event in fleet.healed] == ["patroni-hung", "patroni.service"]


def test_a_host_with_too_many_false_reports_is_ignored(fleet, tmp_path):
    fleet.answers = {"db1": {"patroni.service": "stopped"}, "db2": {"patroni.service": "stopped"}}
    wrong = {"mistaken": {"db1": [time.time() + 60] * fanatico_guard.MAX_FALSE_REPORTS}}
    (tmp_path / "guard.json").write_text(json.dumps(wrong))
    assert reconciler.look("db1") == {}
    assert reconciler.look("db2") != {}


@pytest.mark.parametrize("host", ["db99", "db1/x", ""])
def test_a_host_that_is_not_in_the_plan_is_refused(fleet, host):
    with pytest.raises(fanatico_master.Refusal, match="db1"):
        reconciler.look(host)
    assert fleet.healed == []


@pytest.mark.parametrize("host", ["db1", "db2"])
def test_a_look_believes_nothing_else(fleet, host):
    """What an event names does not matter: a host is asked, and says only of itself what its roles can have."""
    fleet.answers = {
        "db1": {"vip-duplicate": "x", "unprovisioned": "x", "rpc-hung": "x", "x:\n  cmd.run:\n": "y"},
        "db2": [],
    }
    assert reconciler.look(host) == {}
    assert fleet.healed == []


def test_a_fault_that_was_gone_in_between_is_not_handed_on(fleet, plan):
    for answer in (
        {"etcd-full": "alarm"},
        {},
        {"etcd-full": "alarm"},
        "TypeError: somebody's module is broken",
    ):
        fleet.answers = {"etcd1": answer}
        assert reconciler.reconcile()["treated"] == []


def test_a_broken_state_file_is_replaced(fleet, tmp_path):
    (tmp_path / "reconcile.json").write_text("{")
    fleet.answers = {"etcd1": {"etcd-full": "alarm"}}
    assert reconciler.reconcile()["treated"] == []
    assert json.loads((tmp_path / "reconcile.json").read_text()) == ["etcd1/etcd-full"]


SINGS, SILENT = {"ok": True, "why": ""}, {"ok": False, "why": "no answer within 3 s"}
MUTE = {"ok": None, "why": "not made yet"}


@pytest.mark.parametrize(
    ("canaries", "leader", "stalls"),
    [
        ({"db2": SILENT, "db3": SILENT}, "db1", True),
        ({"db1": SINGS, "db2": SILENT, "db3": SILENT}, "db1", False),
        ({"db3": SILENT}, "db1", False),
        ({"db2": SILENT, "db3": SILENT}, None, False),
        # The database of the proof does not exist yet: unknown.
        ({"db2": SILENT, "db3": MUTE}, "db1", False),
        ({"db1": MUTE, "db2": MUTE, "db3": MUTE}, "db1", False),
    ],
)
def test_writes_are_stalled_if_two_nodes_see_it_and_there_is_a_leader(fleet, canaries, leader, stalls):
    fleet.canaries, fleet.leader = canaries, leader
    reconciler.reconcile()
    assert reconciler.reconcile()["treated"] == (["db1/writes-stalled"] if stalls else [])


@pytest.mark.parametrize("settled", [True, False])
def test_a_duplicate_virtual_ip_is_cured_on_the_last_holder_first(fleet, monkeypatch, settled):
    fleet.holders = ["haproxy1", "haproxy2"]
    reconciler.reconcile()
    monkeypatch.setattr(
        reconciler.time, "sleep", lambda _: setattr(fleet, "holders", ["haproxy1"]) if settled else None
    )
    second = [] if settled else ["haproxy1/vip-duplicate"]
    assert reconciler.reconcile()["treated"] == ["haproxy2/vip-duplicate", *second]


SAID = """
INFO: establishing a new patroni heartbeat connection to postgres
2026-11-26 08:10:49.786 UTC [11625] FATAL:  could not open file "global/pg_filenode.map": No such file or directory
patroni.exceptions.PostgresConnectionException: Exceeded retry deadline
"""


@pytest.mark.parametrize(
    ("restarts", "said", "leader", "emptied"),
    [
        (9, SAID, "db1", True),
        (9, SAID, "paused", False),
        (9, SAID, None, False),
        (9, SAID, "one", False),
        (1, SAID, "db1", False),
        (9, SAID.replace("FATAL:  could", "FATAL:  cannot"), "db1", False),
    ],
)
def test_a_restart_loop_of_patroni_is_cured_by_a_clone(node, monkeypatch, restarts, said, leader, emptied):
    node.patroni = REFUSED
    node.units["patroni.service"] = {"restarts": restarts}
    cure.__salt__["fanatico_patroni.leader"] = lambda: leader
    cure.__salt__["fanatico_patroni.cluster"] = lambda: {
        "members": [],
        **({"pause": True} if leader == "paused" else {}),
    }

    def run(*command, **_):
        if command[:2] == ("systemctl", "start"):
            node.patroni = {"state": "running", "role": "replica", "replication_state": "streaming"}
        return SimpleNamespace(stdout="", returncode=0)

    node.said = said
    monkeypatch.setattr(fanatico_probe, "run", run)
    with contextlib.suppress(CommandExecutionError):
        cure.apply("replica-unusable", samples=1, timeout=1)
    assert (not list((node.folder / "pg").iterdir())) is emptied
    assert fanatico_aside.paths(node.folder / "pg") == [], "what was put aside goes once the copy streams"


@pytest.mark.parametrize(
    ("line", "damage"),
    [
        ('FATAL:  could not open file "global/pg_filenode.map": No such file or directory', True),
        ("PANIC:  could not locate a valid checkpoint record at 0/3000028", True),
        ('FATAL:  could not read file "base/1/1259": read 0 of 8192', True),
        (
            "FATAL:  could not receive data from WAL stream: ERROR:  requested starting point 0/C000000 is ahead of the WAL"
            " flush position of this server 0/9003D78",
            True,
        ),
        (
            "FATAL:  could not receive data from WAL stream: ERROR:  requested WAL segment 00000001000000000000000C has"
            " already been removed",
            True,
        ),
        ("FATAL:  highest timeline 3 of the primary is behind recovery timeline 4", True),
        (
            "LOG:  new timeline 5 forked off current database system timeline 4 before current recovery point 0/5",
            True,
        ),
        ('FATAL:  file "global/pg_control" contains invalid data', True),
        ('FATAL:  could not access file "pg_cron": No such file or directory', False),
        (
            'FATAL:  could not open directory "pg_tblspc/16388/PG_17_202406281": No such file or directory',
            False,
        ),
        ('FATAL:  could not open file "server.key": No such file or directory', False),
        ('FATAL:  configuration file "/var/lib/x/postgresql.conf" contains errors', False),
        ('FATAL:  data directory "/var/lib/x" has invalid permissions', False),
        ("FATAL:  could not map anonymous shared memory: Cannot allocate memory", False),
        ('FATAL:  could not create lock file "/run/x": Address already in use', False),
        ('FATAL:  could not open file "global/pg_control": Permission denied', False),
        ('FATAL:  could not open file "/etc/ssl/server.key": No such file or directory', False),
        ("FATAL:  the database system is starting up", False),
        ("FATAL:  could not write to file pg_wal/xlogtemp.7: No space left on device", False),
    ],
)
def test_log_lines_of_damaged_data(line, damage):
    assert bool(fanatico_patroni_plan.unusable(f"INFO: a\n2026-11-26 08:10:49 UTC [1] {line}\nb")) is damage


@pytest.mark.parametrize(
    "line",
    [
        "[1] [fanatico@fanatico] STATEMENT:  SELECT 1/0 -- requested WAL segment 0 has already been removed",
        '[1] [fanatico@fanatico] FATAL:  could not open file "global/x": No such file or directory',
        '[1] [10.0.0.10(51234) postgres@postgres] FATAL:  could not read file "base/x": read 0 of 8192',
        "[1] [10.0.0.10(51234) postgres@[local] postgres@postgres] FATAL:  invalid page",
        "[1] [10.0.0.10(51234) x@x] [[local] postgres@postgres] FATAL:  invalid page",
        "[1] [FATAL:  invalid page @fanatico] FATAL:  no pg_hba.conf entry",
        "[1] [x] FATAL:  invalid page @y] FATAL:  no pg_hba.conf entry",
        "[1] [postgres@postgres] FATAL:  invalid page ] FATAL:  database does not exist",
        "[1] LOG:  x\n\t2026-11-26 08:10:49 UTC [1] FATAL:  invalid page 1",
    ],
)
def test_log_lines_that_a_client_can_write_are_no_proof(line):
    """It would delete the data of a healthy replica."""
    assert fanatico_patroni_plan.unusable(f"2026-11-26 08:10:49 UTC {line}\n") == ""


@pytest.mark.parametrize(
    ("line", "asked_for"),
    [
        ("[1] FATAL:  invalid page", True),
        ("[1] LOG:  new timeline 5 forked off", True),
        ("[7] [[local] postgres@postgres] FATAL:  invalid page", True),
        ("[7] [10.0.0.10(51234) fanatico@fanatico] LOG:  connection authorized: user=fanatico", False),
        ("[7] [10.0.0.10(51234) x@y] FATAL:  invalid page", False),
    ],
)
def test_a_flood_of_client_log_lines_hides_nothing(line, asked_for):
    """journalctl filters them out before it counts lines."""
    found = re.search(fanatico_patroni_plan.log_pattern(), f"2026-11-26 08:10:49.786 UTC {line}")
    assert bool(found) is asked_for


def test_log_lines_of_patronis_session_count():
    line = '[7] [[local] postgres@postgres] FATAL:  could not open file "global/pg_filenode.map": No such file or directory'
    assert fanatico_patroni_plan.unusable(f"2026-11-26 08:10:49 UTC {line}\n")


def test_the_last_fatal_line_of_the_server_is_shown():
    journal = """
2026-11-26 08:10:48 UTC [1] FATAL:  could not access file "pg_cron": No such file or directory
2026-11-26 08:10:49 UTC [2] [10.0.0.10(5) x@y] FATAL:  role "x" does not exist
2026-11-26 08:10:49 UTC [3] [[local] postgres@postgres] FATAL:  the database system is starting up
INFO: Lock owner: db1; I am db2
"""
    assert fanatico_patroni_plan.last_fatal(journal) == (
        'FATAL:  could not access file "pg_cron": No such file or directory'
    )
    assert fanatico_patroni_plan.last_fatal("INFO: a") == ""


UNKNOWN = "'fanatico_cure.unprovisioned' is not available."


def test_an_empty_host_among_deployed_ones_is_unprovisioned(fleet):
    fleet.answers = {"db3": UNKNOWN}
    reconciler.reconcile()
    assert reconciler.reconcile()["treated"] == [], "nobody knows anything: this is no cluster yet"
    fleet.answers = {"db1": {}, "db3": UNKNOWN}
    reconciler.reconcile()
    assert reconciler.reconcile()["treated"] == ["db3/unprovisioned"]


@pytest.mark.parametrize(
    ("answer", "bare"),
    [(UNKNOWN, True), ("patroni.service is not installed", True), ("", False)],
)
def test_a_starting_minion_is_checked_for_an_unprovisioned_host(fleet, tmp_path, answer, bare):
    (tmp_path / "history.jsonl").write_text("{}\n")
    fleet.answers = {"db3": answer}
    assert bool(reconciler.started("db3")) is bare
    assert [event["what"] for event in fleet.healed] == (["unprovisioned"] if bare else [])


def test_no_check_before_or_during_a_deploy_or_for_unknown_hosts(fleet, tmp_path):
    fleet.answers = dict.fromkeys(("db3", "salt", "stranger"), UNKNOWN)
    assert reconciler.started("db3") == "", "nothing was ever deployed here"
    (tmp_path / "history.jsonl.1").write_text("{}\n")
    assert reconciler.started("salt") == reconciler.started("stranger") == ""
    fleet.lock = {"purpose": "deploy"}
    assert reconciler.started("db3") == ""
    fleet.lock = None
    assert reconciler.started("db3")
