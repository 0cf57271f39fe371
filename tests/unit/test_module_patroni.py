"""fanatico_patroni against fake REST APIs that answer as Patroni 4.0 does."""

import copy
import os
import time
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_patroni_checks as checks
from _modules import fanatico_patroni
from _modules import fanatico_patroni_admin as admin
from _modules import fanatico_patroni_host as host
from tests.support import pillar
from tests.support.peers import peers, tls

NODES = ("db1", "db2", "db3")


def member(name, role="replica", state="streaming", timeline=3, **more):
    lag = {} if role == "leader" else {"lag": 0}
    return {"name": name, "role": role, "state": state, "timeline": timeline, **lag, **more}


def own(name, role="replica", **more):
    """The answer of /patroni on a node."""
    replication = {"replication_state": "streaming"} if role == "replica" else {}
    return {
        "state": "running",
        "role": role,
        "server_version": 170011,
        "timeline": 3,
        "dcs_last_seen": int(time.time()),
        "patroni": {"version": "4.0.7", "scope": "fanatico", "name": name},
        **replication,
        **more,
    }


@pytest.fixture
def view():
    """The answer of /cluster on every node; a test may change it."""
    return {
        "members": [member("db1", "leader", "running"), member("db2"), member("db3")],
        "scope": "fanatico",
    }


@pytest.fixture
def cluster(view):
    with peers(*NODES, secure=True) as started:
        for name, peer in started.items():
            role = "primary" if name == "db1" else "replica"
            peer.answers = {
                "GET /patroni": (200, own(name, role)),
                "GET /liveness": (200, ""),
                "GET /cluster": lambda payload: (200, view),
                "GET /config": (200, {"ttl": 20, "loop_wait": 2}),
                "GET /history": (
                    200,
                    [[1, 83886240, "no recovery target specified", "2026-11-23T15:00:00", "db1"]],
                ),
                "PATCH /config": lambda payload: (200, {"ttl": 20, **payload}),
                "POST /reload": (202, "reload scheduled"),
                "POST /restart": (200, "restarted successfully"),
                "POST /reinitialize": (200, "reinitialize started"),
            }
        yield started


@pytest.fixture
def opts():
    return {"id": "db1"}


@pytest.fixture
def configure_loader_modules(plan, cluster, opts, tmp_path):
    plan = copy.deepcopy(plan)
    for name, peer in cluster.items():
        plan["nodes"][name]["address"] = peer.address
    plan["ports"]["patroni_rest"] = cluster["db1"].port
    salt = {
        "fanatico.journal": lambda unit: f"last line of {unit}",
        "fanatico_pki.paths": lambda authority: tls(),
        "fanatico_unit.states": lambda *units: {unit: {"active": "active"} for unit in units},
    }
    salt |= {
        "fanatico_patroni.cluster": fanatico_patroni.cluster,
        "fanatico_patroni.leader": fanatico_patroni.leader,
        "fanatico_patroni.last_fatal": host.last_fatal,
        "fanatico_patroni.watchdog": host.watchdog,
    }
    dunders = {
        "__pillar__": {
            "plan": plan,
            "secrets": {"PATRONI_REST_PASSWORD": "rest"},
            "patroni": pillar.shipped("patroni"),
            "postgresql": {**pillar.shipped("postgresql"), "data_dir": str(tmp_path)},
        },
        "__opts__": opts,
        "__salt__": salt,
    }
    return dict.fromkeys((fanatico_patroni, admin, host), dunders)


def statuses(checks):
    return {name: check["status"] for name, check in checks.items()}


def bad(checks):
    return {name for name, check in checks.items() if check["status"] != "ok"}


@pytest.mark.parametrize("node", NODES)
def test_a_healthy_primary_and_healthy_replicas(node, opts):
    opts["id"] = node
    checks = fanatico_patroni.checks()
    assert bad(checks) == set()
    assert checks["patroni.leader"]["value"] == "db1"
    assert checks.keys() == {
        f"patroni.{name}"
        for name in (
            *("alive", "state", "etcd", "leader", "members", "lag", "timeline", "pause", "restart"),
            "restore",
        )
    }


def test_a_missing_member_is_degraded_and_named(view):
    del view["members"][1]
    checks = fanatico_patroni.checks()
    assert bad(checks) == {"patroni.members"}
    assert checks["patroni.members"]["status"] == "degraded"
    assert "db2 is missing" in checks["patroni.members"]["detail"]


def test_a_member_that_does_not_stream_is_degraded(view):
    view["members"][2]["state"] = "in archive recovery"
    assert bad(fanatico_patroni.checks()) == {"patroni.members"}


def test_no_leader_is_critical(view):
    view["members"][0] = member("db1")
    checks = fanatico_patroni.checks()
    assert statuses(checks)["patroni.leader"] == "critical"


def test_lag_and_an_old_timeline_are_degraded(view):
    view["members"][1].update(lag=64 * 1024**2)
    view["members"][2].update(timeline=2)
    checks = fanatico_patroni.checks()
    assert bad(checks) == {"patroni.lag", "patroni.timeline"}
    assert "db2 is 64 MiB behind" in checks["patroni.lag"]["detail"]
    assert "db3" in checks["patroni.timeline"]["detail"]


def test_an_unknown_lag_is_ignored(view):
    view["members"][1]["lag"] = "unknown"
    assert bad(fanatico_patroni.checks()) == set()


def test_paused_and_pending_restart(cluster):
    cluster["db1"].answers["GET /patroni"] = (200, own("db1", "primary", pause=True, pending_restart=True))
    checks = fanatico_patroni.checks()
    assert bad(checks) == {"patroni.pause", "patroni.restart"}
    assert checks["patroni.pause"]["hint"] == "salt db1 fanatico_patroni.resume"


def test_etcd_not_seen_for_a_ttl(cluster):
    cluster["db1"].answers["GET /patroni"] = (200, own("db1", "primary", dcs_last_seen=int(time.time()) - 60))
    assert statuses(fanatico_patroni.checks())["patroni.etcd"] == "degraded"


def test_a_stalled_loop_is_critical(cluster):
    cluster["db1"].answers["GET /liveness"] = (503, "")
    assert statuses(fanatico_patroni.checks())["patroni.alive"] == "critical"


@pytest.mark.parametrize("state", ["stopped", "starting", "start failed", "creating replica"])
def test_postgresql_not_running_is_critical(cluster, state):
    # /patroni answers 503 then, with the same body.
    cluster["db1"].answers["GET /patroni"] = (503, {"state": state, "role": "replica"})
    assert statuses(fanatico_patroni.checks())["patroni.state"] == "critical"


def test_a_replica_without_its_stream_is_degraded(cluster):
    cluster["db1"].answers["GET /patroni"] = (200, own("db1", replication_state="in archive recovery"))
    assert statuses(fanatico_patroni.checks())["patroni.state"] == "degraded"


def test_patroni_down_is_a_single_critical_check_with_a_hint(cluster):
    cluster["db1"].stop()
    checks = fanatico_patroni.checks()
    assert statuses(checks) == {"patroni.alive": "critical", "patroni.restore": "ok"}
    assert "connection refused" in checks["patroni.alive"]["detail"]


def test_a_hung_patroni_costs_a_single_timeout(cluster):
    cluster["db1"].hang(*cluster["db1"].answers)
    started = time.monotonic()
    assert statuses(fanatico_patroni.checks(timeout=0.3)) == {
        "patroni.alive": "critical",
        "patroni.restore": "ok",
    }
    assert time.monotonic() - started < 1


def test_without_etcd_there_is_no_cluster_view(cluster):
    cluster["db1"].answers["GET /cluster"] = (503, "no etcd")
    checks = fanatico_patroni.checks()
    assert statuses(checks)["patroni.leader"] == "critical"
    assert checks["patroni.leader"]["hint"] == "salt 'etcd*' fanatico.health"


def test_a_peer_is_asked_if_this_node_does_not_answer(cluster):
    cluster["db1"].stop()
    assert fanatico_patroni.leader() == "db1"
    assert fanatico_patroni.config() == {"ttl": 20, "loop_wait": 2}
    assert fanatico_patroni.history()[0]["new_leader"] == "db1"


def test_no_node_answers(cluster):
    for peer in cluster.values():
        peer.stop()
    with pytest.raises(CommandExecutionError, match="db1.*db2.*db3"):
        fanatico_patroni.cluster()


def test_status_of_another_node_and_of_an_unknown_node():
    assert fanatico_patroni.status("db2")["patroni"]["name"] == "db2"
    with pytest.raises(CommandExecutionError, match="rpc1 is not a Patroni node"):
        fanatico_patroni.status("rpc1")


def test_changes_are_sent_with_the_password(cluster):
    assert admin.patch_config({"loop_wait": None}) == {"ttl": 20, "loop_wait": None}
    method, path, payload, headers = cluster["db1"].seen[-1]
    assert (method, path, payload) == ("PATCH", "/config", {"loop_wait": None})
    assert headers["Authorization"].startswith("Basic ")


def test_without_the_password_no_change_is_sent(cluster):
    fanatico_patroni.__pillar__["secrets"].clear()
    with pytest.raises(CommandExecutionError, match="db1 has no PATRONI_REST_PASSWORD"):
        admin.reload()


def test_changes_of_this_node(cluster):
    assert admin.reload() == "reload scheduled"
    assert admin.restart(pending=True) == "restarted successfully"
    assert admin.reinitialize() == "reinitialize started"
    assert {"/reload", "/restart", "/reinitialize"} <= {path for _, path, _, _ in cluster["db1"].seen}


def test_a_refused_change_is_raised_with_the_reason(cluster):
    cluster["db1"].answers["POST /reinitialize"] = (503, "I am the leader, can not reinitialize")
    with pytest.raises(CommandExecutionError, match="HTTP 503 I am the leader"):
        admin.reinitialize()


def lead(view, name):
    view["members"] = [member(node, "leader", "running") if node == name else member(node) for node in NODES]


@pytest.mark.parametrize(("candidate", "sent"), [("db3", {"candidate": "db3"}), ("any", {})])
def test_switchover_waits_for_the_new_leader(cluster, view, candidate, sent):
    def order(payload):
        assert payload == {"leader": "db1", **sent}
        lead(view, "db3")
        return 200, "Successfully switched over"

    cluster["db1"].answers["POST /switchover"] = order
    assert admin.switchover(candidate, timeout=2) == "db3"
    assert admin.switchover("db3") == "db3"


@pytest.mark.parametrize("candidate", [None, "", "db1x", "db2"])
def test_a_switchover_without_a_healthy_candidate_is_refused_with_the_possible_ones(cluster, view, candidate):
    view["members"][1].update(state="start failed")
    with pytest.raises(CommandExecutionError, match=r"Possible: db3\.") as refused:
        admin.switchover(candidate)
    assert candidate is None or candidate in str(refused.value)
    assert not [path for peer in cluster.values() for _, path, _, _ in peer.seen if path == "/switchover"]


@pytest.mark.parametrize(
    ("changes", "possible"),
    [
        ({}, ["db2", "db3"]),
        ({"db2": {"role": "quorum_standby"}}, ["db2"]),
        ({"db2": {"role": "sync_standby", "state": "starting"}}, ["db3"]),
        ({"db3": {"tags": {"nofailover": True}}}, ["db2"]),
    ],
)
def test_candidates(view, changes, possible):
    for one in view["members"]:
        one.update(changes.get(one["name"], {}))
    assert checks.candidates(view) == possible


def test_a_switchover_that_times_out(cluster):
    cluster["db1"].answers["POST /switchover"] = (200, "Switchover scheduled")
    with pytest.raises(CommandExecutionError, match=r"from db1 to db2.*the leader is db1"):
        admin.switchover("db2", timeout=0.3)


def test_pause_and_resume(cluster):
    assert admin.pause() is True
    assert admin.resume() is True
    assert cluster["db1"].seen[-1][2] == {"pause": None}


def test_waiting_for_a_leader_and_for_streams(view):
    assert fanatico_patroni.wait_leader(timeout=1) == "db1"
    assert fanatico_patroni.wait_streaming(timeout=1) == {"db1": "leader", "db2": "replica", "db3": "replica"}
    view["members"][2]["state"] = "starting"
    assert fanatico_patroni.wait_streaming(timeout=1, members=["db1", "db2"])


def test_a_timeout_shows_the_last_state(view):
    view["members"][2]["state"] = "starting"
    with pytest.raises(
        CommandExecutionError, match=r"(?s)waited 0\.2 s for db1, db2, db3.*db3 replica starting.*last line"
    ):
        fanatico_patroni.wait_streaming(timeout=0.2)


def test_wait_leader_waits_for_a_starting_leader(view):
    view["members"][0]["state"] = "starting"
    with pytest.raises(CommandExecutionError, match="db1 leader starting"):
        fanatico_patroni.wait_leader(timeout=0.1)


def test_local_state(cluster, tmp_path):
    assert fanatico_patroni.local_state() == {"data_dir": False, "active": True, "leader": "db1"}
    (tmp_path / "PG_VERSION").write_text("17\n")
    for peer in cluster.values():
        peer.stop()
    assert fanatico_patroni.local_state() == {"data_dir": True, "active": True, "leader": None}


# --- the watchdog


@pytest.mark.parametrize(
    ("seen", "role", "failed", "status", "word"),
    [
        ({"armed": True, "why": ""}, "primary", False, "ok", "armed"),
        ({"armed": False, "why": ""}, "replica", False, "ok", "ready"),
        ({"armed": False, "why": ""}, "primary", False, "degraded", "without its watchdog"),
        (
            {"armed": False, "why": "/dev/watchdog does not exist"},
            "replica",
            False,
            "degraded",
            "does not exist",
        ),
        ({"armed": False, "why": ""}, "replica", True, "degraded", "cannot write"),
    ],
)
def test_a_required_watchdog_is_checked(cluster, monkeypatch, seen, role, failed, status, word):
    fanatico_patroni.__pillar__["patroni"]["watchdog"] = "required"
    monkeypatch.setitem(fanatico_patroni.__salt__, "fanatico_patroni.watchdog", lambda: seen)
    more = {"watchdog_failed": True} if failed else {}
    cluster["db1"].answers["GET /patroni"] = (200, own("db1", role, **more))
    check = fanatico_patroni.checks()["patroni.watchdog"]
    assert check["status"] == status
    assert word in check["detail"]


def test_a_watchdog_that_is_not_required_is_not_checked():
    assert "patroni.watchdog" not in fanatico_patroni.checks()


def test_why_a_watchdog_cannot_be_armed(tmp_path, monkeypatch):
    monkeypatch.setattr(host.pwd, "getpwnam", lambda _: types.SimpleNamespace(pw_uid=os.getuid()))

    def why(path):
        return host.watchdog(str(path))["why"]

    assert "does not exist" in why(tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert "is not a device" in why(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    assert "is not a device" in why(tmp_path / "fifo")
    assert why("/dev/null") == ""
    if os.path.exists("/dev/mem"):
        monkeypatch.setattr(host.pwd, "getpwnam", lambda _: types.SimpleNamespace(pw_uid=12345))
        assert "no write permission" in why("/dev/mem")


def test_a_watchdog_is_armed_if_patroni_has_it_open(tmp_path):
    fanatico_patroni.__salt__["fanatico_unit.states"] = lambda unit: {unit: {"pid": os.getpid()}}
    device = tmp_path / "watchdog"
    device.touch()
    assert host.watchdog(str(device))["armed"] is False
    with device.open():
        assert host.watchdog(str(device)) == {"armed": True, "why": ""}
