"""fanatico_node and the front door: units, disks, clock, the master's part, and how it all comes together."""

import os
import subprocess
import threading
import time
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_verdict
from _modules import fanatico, fanatico_node
from fanatico_components import COMPONENTS
from tests.support import pillar

GIB = 1024**3


@pytest.fixture
def opts():
    return {"id": "db1"}


@pytest.fixture
def units():
    return {}


@pytest.fixture
def looks():
    """What the modules of the roles find; a test may change it."""
    return {}


@pytest.fixture
def firewall():
    return {"state": "in force"}


@pytest.fixture
def configure_loader_modules(plan, opts, units, looks, firewall, tmp_path, monkeypatch):
    def nothing(timeout):
        return {"facts": {}, "checks": {}}

    def states(*names):
        return {name: units.get(name, {"active": "active"}) for name in names}

    salt = {
        "fanatico_unit.expected": lambda: ["patroni.service"],
        "fanatico_unit.states": states,
        "fanatico_firewall.state": lambda: firewall["state"],
        "fanatico_pki.checks": dict,
        "fanatico_node.probe": lambda timeout: {
            "facts": {},
            "checks": {"node.units": fanatico_verdict.ok()},
        },
        "cmd.run_stdout": lambda command, **kwargs: " ".join(command),
    }
    for name in (name for one in COMPONENTS for name in one.health_modules if name != "node"):
        salt[f"fanatico_{name}.probe"] = lambda timeout, name=name: looks.get(name, nothing)(timeout)
    monkeypatch.setattr(fanatico_node, "MASTER_KEYS", str(tmp_path))
    shipped = {name: pillar.shipped(name) for name in ("base", "etcd", "postgresql")}
    own = {"plan": plan, "secrets": {"POSTGRES_PROOF_PASSWORD": "fan"}, **shipped}
    dunders = {"__pillar__": own, "__opts__": opts, "__salt__": salt}
    return {fanatico_node: dunders, fanatico: {**dunders, "__context__": {}}}


def bad(checks):
    return {name: check["status"] for name, check in checks.items() if check["status"] != "ok"}


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """One file system with half of it free; a test may change it."""
    found = types.SimpleNamespace(f_blocks=100 * GIB, f_bavail=50 * GIB, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: found)
    monkeypatch.setattr(fanatico_node, "_clock", lambda: "host")
    return found


def test_a_node_that_is_well():
    found = fanatico_node.probe()
    assert bad(found["checks"]) == {}
    assert found["checks"].keys() == {"node.units", "node.disk", "node.clock", "node.firewall"}
    assert list(found["facts"]["units"]) == ["salt-minion.service", "patroni.service"]


@pytest.mark.parametrize(
    ("state", "word"), [("none", "no rules"), ("outdated", "plan"), ("touched", "somebody")]
)
def test_a_firewall_that_is_not_in_force_is_named(firewall, state, word):
    firewall["state"] = state
    check = fanatico_node.checks()["node.firewall"]
    assert (check["status"], check["value"]) == ("degraded", state)
    assert word in check["detail"]
    assert "state.apply firewall" in check["hint"]


def test_a_unit_that_does_not_run_is_critical(units):
    units["patroni.service"] = {"active": "failed"}
    check = fanatico_node.checks()["node.units"]
    assert (check["status"], check["value"]) == ("critical", ["patroni.service"])
    assert "journalctl -u patroni.service" in check["hint"]


def test_a_unit_without_which_the_host_serves_is_degraded(monkeypatch, units):
    expected = ["patroni.service", "prometheus-node-exporter.service"]
    monkeypatch.setitem(fanatico_node.__salt__, "fanatico_unit.expected", lambda: expected)
    units["prometheus-node-exporter.service"] = {"active": "inactive"}
    check = fanatico_node.checks()["node.units"]
    assert (check["status"], check["value"]) == ("degraded", ["prometheus-node-exporter.service"])
    units["patroni.service"] = {"active": "failed"}
    assert fanatico_node.checks()["node.units"]["status"] == "critical"


@pytest.mark.parametrize(
    ("free", "status"), [(50, "ok"), (9, "ok"), (4, "degraded"), (2, "degraded"), (0.5, "critical")]
)
def test_disks(room, free, status):
    room.f_bavail = int(free * GIB)
    assert fanatico_node.checks()["node.disk"]["status"] == status


def test_the_disks_looked_at_are_those_that_the_pillar_puts_data_on(monkeypatch):
    monkeypatch.setattr(fanatico_node, "_roles", lambda: ["etcd", "patroni"])
    fanatico_node.__pillar__["etcd"]["data_dir"] = "/data/etcd"
    assert fanatico_node._data_paths() == ["/", "/data/etcd", "/var/lib/postgresql/17/main"]
    fanatico_node.__pillar__["postgresql"]["version"] = 18
    assert "/var/lib/postgresql/18/main" in fanatico_node._data_paths()
    fanatico_node.__pillar__["postgresql"]["data_dir"] = "/data/pg"
    assert "/data/pg" in fanatico_node._data_paths()


def test_of_data_that_are_not_there_yet_the_disk_is_looked_at_that_they_will_be_on(tmp_path):
    assert list(fanatico_node._disks([str(tmp_path / "none" / "yet")])) == [str(tmp_path)]


def test_how_little_room_is_too_little_is_the_pillars_to_say(room):
    room.f_bavail = 20 * GIB
    assert fanatico_node.disk()["status"] == "ok"
    fanatico_node.__pillar__["base"]["disk"]["warning"] = {"percent": 30, "gib": 50}
    assert fanatico_node.disk()["status"] == "degraded"


@pytest.mark.parametrize(
    ("clock", "status"), [("synchronised", "ok"), ("host", "ok"), ("unsynchronised", "degraded")]
)
def test_clocks(monkeypatch, clock, status):
    monkeypatch.setattr(fanatico_node, "_clock", lambda: clock)
    assert fanatico_node.checks()["node.clock"]["status"] == status


def test_a_container_has_the_time_of_its_host(monkeypatch, tmp_path):
    monkeypatch.undo()  # the fixture's clock
    monkeypatch.setattr(fanatico_node, "CONTAINER", str(tmp_path / "container"))
    assert not fanatico_node.in_container()
    (tmp_path / "container").write_text("systemd-nspawn\n")
    assert fanatico_node.in_container()
    assert fanatico_node._clock() == "host"


def test_the_kernel_tells_of_its_clock(monkeypatch):
    monkeypatch.undo()
    assert fanatico_node._clock() in ("host", "synchronised", "unsynchronised")


def test_what_cannot_be_asked_is_unknown(monkeypatch):
    def states(*names):
        raise subprocess.TimeoutExpired(["systemctl"], 20)

    monkeypatch.setitem(fanatico_node.__salt__, "fanatico_unit.states", states)
    assert bad(fanatico_node.checks()) == {"node.units": "unknown"}


@pytest.fixture
def master(opts, plan, tmp_path, monkeypatch):
    opts["id"] = "salt"
    monkeypatch.setattr(fanatico_node, "_ports", lambda timeout: {"publish": True, "request": True})
    for folder in ("minions", "minions_pre"):
        (tmp_path / folder).mkdir()
    for name in plan["nodes"]:
        (tmp_path / "minions" / name).touch()
    return tmp_path


def test_the_masters_part(master):
    checks = fanatico_node.checks()
    assert bad(checks) == {}
    assert {"master.ports", "master.keys"} <= checks.keys()


def test_keys_that_lack_and_keys_of_strangers(master):
    (master / "minions" / "stranger").touch()
    assert "stranger" in fanatico_node.checks()["master.keys"]["detail"]
    (master / "minions" / "rpc2").rename(master / "minions_pre" / "rpc2")
    check = fanatico_node.checks()["master.keys"]
    assert (check["status"], check["value"]) == ("degraded", ["rpc2"])


def test_a_master_that_does_not_listen(master, monkeypatch):
    monkeypatch.setattr(fanatico_node, "_ports", lambda timeout: {"publish": True, "request": False})
    check = fanatico_node.checks()["master.ports"]
    assert (check["status"], check["value"]) == ("critical", ["request"])


# --- the front door


def found(name, status):
    return {"facts": {"seen": name}, "checks": {f"{name}.one": fanatico_verdict.check(status, 1)}}


def test_health_is_what_the_design_says(looks):
    looks["patroni"] = lambda timeout: found("patroni", "degraded")
    looks["postgres"] = lambda timeout: found("postgres", "ok")
    seen = fanatico.health()
    assert seen.keys() == {"status", "roles", "checks", "took_ms"}
    assert (seen["status"], seen["roles"]) == ("degraded", ["patroni"])
    assert list(seen["checks"]) == ["node.units", "patroni.one", "postgres.one"]
    assert isinstance(seen["took_ms"], int)
    assert fanatico.__context__ == {}


def test_critical_sets_the_return_code(looks):
    looks["patroni"] = lambda timeout: found("patroni", "critical")
    looks["postgres"] = lambda timeout: found("postgres", "ok")
    assert fanatico.health()["status"] == "critical"
    assert fanatico.__context__ == {"retcode": 1}


def test_a_report_has_the_facts_too(looks):
    looks["patroni"] = looks["postgres"] = lambda timeout: found("patroni", "ok")
    seen = fanatico.report()
    assert seen["health"]["status"] == "ok"
    assert seen["facts"]["patroni"] == {"seen": "patroni"}
    assert abs(seen["time"] - time.time()) < 5


def test_modules_that_hang_or_break_are_unknown_and_cost_one_timeout(looks):
    over = threading.Event()

    def broken(timeout):
        raise CommandExecutionError("psycopg is not there")

    looks["patroni"] = lambda timeout: over.wait(10)
    looks["postgres"] = broken
    started = time.monotonic()
    seen = fanatico.health(timeout=0.1)
    over.set()
    assert time.monotonic() - started < 1
    assert bad(seen["checks"]) == {"patroni.probe": "unknown", "postgres.probe": "unknown"}
    assert "psycopg is not there" in seen["checks"]["postgres.probe"]["detail"]


def test_the_journal_is_asked_without_a_shell():
    assert fanatico.journal("patroni", 3) == "journalctl -u patroni -n 3 --no-pager -o short-iso"


# --- the proof


@pytest.fixture
def proof(monkeypatch):
    """A world in which the proof succeeds; a test breaks one part of it."""
    world = types.SimpleNamespace(rows={}, replays=True, health=(200, {"status": "ok"}), head=41, asked=[])

    def query(sql, args=None, port="postgres_primary", timeout=3):
        world.asked.append((sql.split()[0], port))
        if sql.strip().startswith("INSERT"):
            world.rows[args["node"]] = args["token"]
            return [{"server": "10.0.2.10"}]
        if sql.strip().startswith("SELECT"):
            token = world.rows.get(args["node"]) if world.replays else "older"
            return [{"server": "10.0.2.11", "replica": True, "token": token}]
        return []

    monkeypatch.setitem(fanatico.__salt__, "fanatico_postgres.proof", query)
    monkeypatch.setitem(fanatico.__salt__, "fanatico_rpc.head", lambda node, timeout: world.head)
    monkeypatch.setitem(
        fanatico.__salt__, "fanatico_rpc.subscribe", lambda count, timeout, node: [{"number": world.head + 1}]
    )
    monkeypatch.setattr(fanatico_http, "get", lambda url, timeout: world.health)
    return world


def test_the_proof_goes_through_the_virtual_address(proof):
    seen = fanatico.proof(timeout=1)
    assert seen == {
        "write on 5432": "written on db1",
        "read on 5433": "read on db2 (replica)",
        "JSON-RPC on 8545": "block 41",
        "new heads on 8546": "block 42",
        "GET /health on 8545": "HTTP 200 {'status': 'ok'}",
    }
    assert proof.asked == [
        ("CREATE", "postgres_primary"),
        ("INSERT", "postgres_primary"),
        ("SELECT", "postgres_replica"),
    ]


@pytest.mark.parametrize(("there", "ok"), [(True, False), (None, False), (False, None)])
def test_a_canary_without_the_clusters_own_database_tells_nothing(proof, monkeypatch, there, ok):
    assert fanatico.canary() == {"ok": True, "why": ""}

    def refuse(*_, **__):
        raise CommandExecutionError("no answer")

    monkeypatch.setitem(fanatico.__salt__, "fanatico_postgres.proof", refuse)
    monkeypatch.setitem(fanatico.__salt__, "fanatico_postgres.has_proof", lambda: there)
    assert fanatico.canary()["ok"] is ok


def test_the_proof_names_the_step_the_cause_and_the_next(proof):
    proof.replays = False
    with pytest.raises(
        CommandExecutionError,
        match=r"db1: read on 5433 of the virtual IP 10\.0\.0\.100 failed.*not there yet on db2",
    ) as caught:
        fanatico.proof(timeout=0.3)
    assert "Next: salt 'db*' fanatico_patroni.cluster" in str(caught.value)


def test_the_proof_wants_health_to_say_yes(proof):
    proof.health = (503, {"status": "unavailable"})
    with pytest.raises(CommandExecutionError, match="GET /health on 8545.*HTTP 503"):
        fanatico.proof(timeout=0.2)


def test_a_node_without_the_password_cannot_prove_a_write(proof):
    fanatico.__pillar__["secrets"].clear()
    with pytest.raises(CommandExecutionError, match="db1 has no POSTGRES_PROOF_PASSWORD"):
        fanatico.proof()
    assert proof.asked == []
