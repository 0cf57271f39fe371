"""fanatico_etcd, in its three files, against fake gateways, and its members and keys against a fake python-etcd3."""

import base64
import copy
import sys
import time
import types

import pytest
from salt.exceptions import CommandExecutionError

from _modules import fanatico_etcd
from _modules import fanatico_etcd_admin as admin
from _modules import fanatico_etcd_members as membership
from tests.support import pillar
from tests.support.peers import peers, tls

IDS = {"etcd1": "9372538179322589801", "etcd2": "10501334649042878790", "etcd3": "18249187646912138824"}
HEX = {name: f"{int(number):x}" for name, number in IDS.items()}


@pytest.fixture
def cluster():
    """Three members that answer as etcd 3.5 does; etcd2 is the leader."""
    with peers(*IDS, secure=True) as started:
        members = [
            {
                "ID": IDS[name],
                "name": name,
                "peerURLs": [f"https://{peer.address}:2380"],
                "clientURLs": [f"https://{peer.address}:{peer.port}"],
            }
            for name, peer in started.items()
        ]
        for name, peer in started.items():
            peer.answers = {
                "GET /health": (200, {"health": "true", "reason": ""}),
                "GET /version": (200, {"etcdserver": "3.5.16", "etcdcluster": "3.5.0"}),
                "POST /v3/maintenance/status": (
                    200,
                    {
                        "header": {"cluster_id": "1", "member_id": IDS[name], "raft_term": "4"},
                        "version": "3.5.16",
                        "dbSize": "1048576",
                        "dbSizeInUse": "40960",
                        "leader": IDS["etcd2"],
                        "raftIndex": "120",
                        "raftTerm": "4",
                    },
                ),
                "POST /v3/auth/authenticate": (200, {"token": "a-token"}),
                "POST /v3/maintenance/alarm": (200, {"header": {}}),
                "POST /v3/cluster/member/list": (200, {"header": {}, "members": copy.deepcopy(members)}),
            }
        yield started


def change(peer, question, **values):
    """Change some fields of a peer's answer."""
    status, body = peer.answers[question]
    peer.answers[question] = (status, {**body, **values})


@pytest.fixture
def units():
    return {"etcd.service": {"active": "active"}}


@pytest.fixture
def configure_loader_modules(plan, cluster, units, tmp_path):
    plan = copy.deepcopy(plan)
    for name, peer in cluster.items():
        plan["nodes"][name]["address"] = peer.address
    plan["ports"]["etcd_client"] = next(iter(cluster.values())).port
    salt = {
        "fanatico_unit.states": lambda *names: units,
        "fanatico_pki.paths": lambda authority: tls(),
        "fanatico.journal": lambda unit: f"last line of {unit}",
        "fanatico_etcd.clients": lambda: None,
        "fanatico_etcd_cure.data_lost": lambda: "no write-ahead log",
    }
    dunders = {
        "__pillar__": {
            "plan": plan,
            "etcd": {**pillar.shipped("etcd"), "data_dir": str(tmp_path)},
            "secrets": {"ETCD_ROOT_PASSWORD": "root's own"},
        },
        "__opts__": {"id": "etcd1"},
        "__salt__": salt,
    }
    return dict.fromkeys((fanatico_etcd, admin, membership), dunders)


def statuses(checks):
    return {name: check["status"] for name, check in checks.items()}


def test_a_healthy_cluster():
    found = fanatico_etcd.probe()
    assert set(statuses(found["checks"]).values()) == {"ok"}
    assert found["checks"].keys() == {
        "etcd.serving",
        "etcd.quorum",
        "etcd.member",
        "etcd.alarms",
        "etcd.space",
    }
    assert found["checks"]["etcd.quorum"]["value"] == "3/3"
    assert "etcd2" in found["checks"]["etcd.quorum"]["detail"]
    assert found["facts"]["status"]["etcd1"]["leader_id"] == HEX["etcd2"]


def test_a_member_without_an_answer_is_degraded_and_named(cluster):
    cluster["etcd3"].stop()
    checks = fanatico_etcd.checks()
    assert statuses(checks)["etcd.quorum"] == "degraded"
    assert statuses(checks)["etcd.serving"] == "ok"
    assert "etcd3" in checks["etcd.quorum"]["detail"]
    assert "etcd3" in checks["etcd.quorum"]["hint"]


def test_without_a_majority_it_is_critical(cluster):
    cluster["etcd2"].stop()
    cluster["etcd3"].stop()
    change(cluster["etcd1"], "POST /v3/maintenance/status", leader="0")
    cluster["etcd1"].answers["GET /health"] = (503, {"health": "false", "reason": "RAFT NO LEADER"})
    checks = fanatico_etcd.checks()
    assert statuses(checks)["etcd.quorum"] == "critical"
    assert statuses(checks)["etcd.serving"] == "critical"
    assert "RAFT NO LEADER" in checks["etcd.serving"]["detail"]


def test_this_member_down_is_critical_with_a_hint(cluster):
    cluster["etcd1"].stop()
    checks = fanatico_etcd.checks()
    assert statuses(checks) == {"etcd.quorum": "degraded", "etcd.serving": "critical"}
    assert "connection refused" in checks["etcd.serving"]["detail"]
    assert "journalctl -u etcd" in checks["etcd.serving"]["hint"]


def test_hung_peers_cost_a_single_timeout(cluster):
    for name in ("etcd2", "etcd3"):
        cluster[name].hang(*cluster[name].answers)
    started = time.monotonic()
    checks = fanatico_etcd.checks(timeout=0.3)
    assert time.monotonic() - started < 1
    assert statuses(checks)["etcd.quorum"] == "critical"


@pytest.mark.parametrize("alarm", ["NOSPACE", "CORRUPT"])
def test_an_alarm_is_critical(cluster, alarm):
    cluster["etcd1"].answers["POST /v3/maintenance/alarm"] = (
        200,
        {"alarms": [{"memberID": IDS["etcd1"], "alarm": alarm}]},
    )
    check = fanatico_etcd.checks()["etcd.alarms"]
    assert check["status"] == "critical"
    assert alarm in check["detail"]


def test_a_nearly_full_database_is_degraded(cluster):
    change(cluster["etcd1"], "POST /v3/maintenance/status", dbSize=str(1900 * 1024**2))
    assert fanatico_etcd.checks()["etcd.space"]["status"] == "degraded"


def listed(cluster, edit):
    _, body = cluster["etcd1"].answers["POST /v3/cluster/member/list"]
    edit(body["members"])


def test_an_unknown_member_is_degraded(cluster):
    listed(cluster, lambda members: members[2].update(name="etcd9", peerURLs=["http://127.0.0.99:2380"]))
    check = fanatico_etcd.checks()["etcd.member"]
    assert check["status"] == "degraded"
    assert "etcd9" in check["detail"]


def test_a_member_that_never_started_has_its_name_from_the_plan(cluster):
    listed(cluster, lambda members: members[2].update(name=""))
    check = fanatico_etcd.checks()["etcd.member"]
    assert check["status"] == "degraded"
    assert "etcd3" in check["detail"]


def test_this_node_as_a_learner_is_degraded(cluster):
    listed(cluster, lambda members: members[0].update(isLearner=True))
    assert "learner" in fanatico_etcd.checks()["etcd.member"]["detail"]


def test_this_node_not_listed_is_critical(cluster):
    listed(cluster, lambda members: members.pop(0))
    assert fanatico_etcd.checks()["etcd.member"]["status"] == "critical"


def test_the_leader_and_members_that_disagree(cluster):
    assert fanatico_etcd.leader() == "etcd2"
    # A member that was cut off still reports an old leader, of an older term.
    change(cluster["etcd3"], "POST /v3/maintenance/status", leader=IDS["etcd3"], raftTerm="3")
    assert fanatico_etcd.leader() == "etcd2"
    change(cluster["etcd3"], "POST /v3/maintenance/status", raftTerm="4")
    assert fanatico_etcd.leader() is None
    assert fanatico_etcd.checks()["etcd.quorum"]["status"] == "critical"


def test_health_of_all_members(cluster):
    cluster["etcd3"].stop()
    seen = fanatico_etcd.health()
    assert seen["etcd1"] == {"healthy": True, "reason": ""}
    assert "refused" in seen["etcd3"]["error"]


def test_local_state(cluster, tmp_path, units):
    serving = {"active": True, "member": True, "healthy": True, "clients": None}
    assert fanatico_etcd.local_state() == {"data_dir": False, "lost": "no write-ahead log", **serving}
    (tmp_path / "member").mkdir()
    units["etcd.service"]["active"] = "inactive"
    listed(cluster, lambda members: members.pop(0))
    for name in ("etcd2", "etcd3"):
        cluster[name].stop()
    state = fanatico_etcd.local_state()
    assert (state["data_dir"], state["active"], state["member"]) == (True, False, False)
    cluster["etcd1"].stop()
    state = fanatico_etcd.local_state()
    assert (state["member"], state["healthy"]) == (None, False)


def test_waiting_for_quorum(cluster):
    cluster["etcd3"].stop()
    assert fanatico_etcd.wait_quorum(timeout=1) == {"leader": "etcd2", "members": ["etcd1", "etcd2"]}


def test_a_timeout_of_wait_quorum_shows_the_journal(cluster):
    for peer in cluster.values():
        peer.stop()
    with pytest.raises(
        CommandExecutionError, match=r"(?s)etcd1: waited 0\.2 s for etcd's quorum.*last line of etcd"
    ):
        fanatico_etcd.wait_quorum(timeout=0.2)


class FakeClient:
    """The used part of python-etcd3's client."""

    def __init__(self, store, host, dead):
        self.store, self.host, self.dead, self.closed = store, host, dead, False

    def status(self):
        if self.host in self.dead:
            raise FakeEtcd3.ConnectionFailedError
        return types.SimpleNamespace(version="3.5.16")

    @property
    def members(self):
        return iter(self.store["members"])

    def add_member(self, urls):
        self.store["members"].append(types.SimpleNamespace(id=7, name="", peer_urls=urls, client_urls=[]))

    def remove_member(self, number):
        self.store["members"] = [one for one in self.store["members"] if one.id != number]

    def get(self, key):
        value = self.store["keys"].get(key)
        return value, value and types.SimpleNamespace(key=key.encode())

    def get_prefix(self, prefix, keys_only=False):
        for key in self.store["keys"]:
            if key.startswith(prefix):
                leased = self.store.get("leases", {}).get(key, 0)
                value = b"" if keys_only else self.store["keys"][key]
                yield value, types.SimpleNamespace(key=key.encode(), lease_id=leased)

    def delete(self, key):
        del self.store["keys"][key]

    def close(self):
        self.closed = True


class FakeEtcd3:
    """The used part of the module etcd3."""

    class Etcd3Exception(Exception):
        """The base of its exceptions."""

    class ConnectionFailedError(Etcd3Exception):
        """No connection."""

    Etcd3Client = FakeClient

    def __init__(self, store):
        self.store, self.dead, self.clients = store, set(), []

    def client(self, host, port, timeout, ca_cert, cert_cert, cert_key):
        assert {"ca": ca_cert, "cert": cert_cert, "key": cert_key} == tls()
        self.clients.append(FakeClient(self.store, host, self.dead))
        return self.clients[-1]


@pytest.fixture
def etcd3(cluster, monkeypatch):
    members = [
        types.SimpleNamespace(
            id=int(IDS[name]), name=name, peer_urls=[f"https://{peer.address}:2380"], client_urls=[]
        )
        for name, peer in cluster.items()
    ]
    fake = FakeEtcd3(
        {"members": members, "keys": {"/service/a": b"1", "/service/b": b"2", "/other": b"\xff"}}
    )
    monkeypatch.setitem(sys.modules, "etcd3", fake)
    return fake


def test_members(etcd3):
    assert {name: one["id"] for name, one in membership.members().items()} == HEX
    assert all(client.closed for client in etcd3.clients)


def test_keys_and_values(etcd3):
    assert membership.keys("/service/") == ["/service/a", "/service/b"]
    assert membership.get("/service/a") == "1"
    assert membership.get("/nothing") is None


def test_a_dead_member_is_skipped(etcd3, cluster):
    etcd3.dead.add(cluster["etcd1"].address)
    assert membership.get("/service/a") == "1"
    assert [client.host for client in etcd3.clients] == [cluster["etcd1"].address, cluster["etcd2"].address]
    assert all(client.closed for client in etcd3.clients)


def test_no_member_answers(etcd3, cluster):
    etcd3.dead.update(peer.address for peer in cluster.values())
    with pytest.raises(CommandExecutionError, match="etcd1: ConnectionFailedError"):
        membership.members()


def test_remove_and_add_again(etcd3):
    assert "etcd3" not in membership.member_remove("etcd3")
    assert "etcd3" not in membership.member_remove("etcd3")
    added = membership.member_add("etcd3")["etcd3"]
    assert added["started"] is False
    assert len(membership.member_add("etcd3")) == 3


@pytest.fixture
def without_three(etcd3):
    """etcd3 and db3 are lost and no longer in the plan; db3 was the leader and has left keys."""
    plan = fanatico_etcd.__pillar__["plan"]
    plan["evicted"] = {name: plan["nodes"].pop(name) for name in ("etcd3", "db3")}
    prefix = f"/service/{plan['name']}/"
    etcd3.store["keys"] = {
        f"{prefix}config": b"{}",
        f"{prefix}leader": b"db3",
        f"{prefix}members/db1": b"{}",
        f"{prefix}members/db3": b"{}",
        f"{prefix}members/etcd1": b"{}",  # no database
        f"{prefix}sync": b'{"leader": "db3", "sync_standby": "db1"}',
        f"{prefix}failover": b'{"leader": "db1", "member": "db3"}',
        "/fanatico/lock/restart-etcd": b"etcd1",
        "/other": b"",
    }
    return etcd3.store


def test_only_the_evicted_host_is_removed(without_three):
    prefix = f"/service/{fanatico_etcd.__pillar__['plan']['name']}/"
    assert membership.evict("db3") == {
        "members": ["etcd3"],
        "keys": [
            *(f"{prefix}members/{name}" for name in ("db3", "etcd1")),
            *(f"{prefix}{name}" for name in ("failover", "leader")),
            "/fanatico/lock/restart-etcd",  # no lease: it would never expire
        ],
    }
    assert list(without_three["keys"]) == [
        f"{prefix}config",
        f"{prefix}members/db1",
        f"{prefix}sync",
        "/other",
    ]
    assert membership.evict("db3") == {"members": [], "keys": []}


def test_keys_of_members_in_the_plan_stay(without_three):
    prefix = f"/service/{fanatico_etcd.__pillar__['plan']['name']}/"
    kept = {
        f"{prefix}leader": b"db1",
        f"{prefix}failover": b'{"leader": "db1", "member": "db2"}',
        "/fanatico/lock/restart-etcd": b"etcd2",
    }
    without_three["keys"], without_three["leases"] = dict(kept), {"/fanatico/lock/restart-etcd": 7}
    assert membership.evict("db3")["keys"] == []
    assert without_three["keys"] == kept


def test_a_member_with_the_name_of_another_is_removed_by_its_address(without_three, cluster):
    without_three["members"][2].name = "etcd1"
    without_three["members"].append(
        types.SimpleNamespace(id=9, name="", peer_urls=["https://10.9.9.9:2380"], client_urls=[])
    )
    assert membership.evict("db3")["members"] == ["etcd1", "9"]
    assert [one.id for one in without_three["members"]] == [int(IDS["etcd1"]), int(IDS["etcd2"])]


def test_no_member_is_removed_if_all_would_be(without_three):
    for one in without_three["members"]:
        one.peer_urls = ["https://10.9.9.9:2380"]
    with pytest.raises(
        CommandExecutionError, match="nothing was removed: none of etcd.s members is in the plan"
    ):
        membership.evict("db3")
    assert len(without_three["members"]) == 3


def test_a_node_of_the_plan_is_not_removed(etcd3):
    with pytest.raises(CommandExecutionError, match="db3 is still in plan:nodes"):
        membership.evict("db3")
    assert len(etcd3.store["members"]) == 3


def test_only_nodes_of_the_plan_are_added(etcd3):
    with pytest.raises(CommandExecutionError, match="db1 is not an etcd node"):
        membership.member_add("db1")


def test_a_learner_is_added_and_promoted_through_the_gateway(etcd3, cluster):
    asked = cluster["etcd1"].answers
    asked["POST /v3/cluster/member/add"] = asked["POST /v3/cluster/member/promote"] = (200, {})
    membership.member_remove("etcd3")
    membership.member_add("etcd3", learner=True)
    membership.member_promote("etcd2")
    payloads = {path: payload for _, path, payload, _ in cluster["etcd1"].seen if payload}
    assert payloads["/v3/cluster/member/add"]["isLearner"] is True
    assert payloads["/v3/cluster/member/promote"] == {"ID": IDS["etcd2"]}


def test_a_failed_import_of_etcd3_is_reported(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "etcd3":
                raise TypeError("Descriptors cannot be created directly.")

    monkeypatch.delitem(sys.modules, "etcd3", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(CommandExecutionError, match="python-etcd3 .*TypeError: Descriptors"):
        membership.members()


def test_etcd3_py_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "etcd3", types.SimpleNamespace(Client=object))
    with pytest.raises(CommandExecutionError, match="etcd3-py"):
        membership.members()


@pytest.fixture
def together(cluster):
    """etcd2, the leader of etcd, and db1, the leader of Patroni, share a failure domain."""
    value = base64.b64encode(b"db1").decode()
    for peer in cluster.values():
        peer.answers["POST /v3/kv/range"] = (200, {"kvs": [{"value": value}]})
        peer.answers["POST /v3/maintenance/transfer-leadership"] = (200, {})
    nodes = fanatico_etcd.__pillar__["plan"]["nodes"]
    nodes["etcd2"]["failure_domain"] = nodes["db1"]["failure_domain"] = "room"
    return nodes


def transfers(cluster):
    return [
        (name, payload)
        for name, peer in cluster.items()
        for _, path, payload, _ in peer.seen
        if path.endswith("transfer-leadership")
    ]


def test_a_leader_beside_patronis_leader_moves_its_leadership(together, cluster):
    fanatico_etcd.__opts__["id"] = "etcd2"
    assert admin.enforce_leader_separation() == {
        "moved": "etcd1",
        "why": "both leaders are in the failure domain room",
    }
    assert transfers(cluster) == [("etcd2", {"targetID": IDS["etcd1"]})]


def test_a_follower_moves_nothing(together, cluster):
    assert admin.enforce_leader_separation() == {"moved": None, "why": "the etcd leader is etcd2, not etcd1"}
    assert transfers(cluster) == []


def test_separated_leaders_stay(together, cluster):
    fanatico_etcd.__opts__["id"] = "etcd2"
    del together["db1"]["failure_domain"]
    assert admin.enforce_leader_separation()["moved"] is None
    assert transfers(cluster) == []


def test_a_call_goes_to_the_next_member_if_one_does_not_answer(cluster):
    cluster["etcd1"].stop()
    for name in ("etcd2", "etcd3"):
        cluster[name].answers["POST /v3/auth/user/list"] = (200, {"users": [name]})
    assert admin.gateway_call("/v3/auth/user/list") == {"users": ["etcd2"]}


def test_a_refused_call_is_not_repeated(cluster):
    for peer in cluster.values():
        peer.answers["POST /v3/auth/user/add"] = (400, {"message": "user name already exists"})
    with pytest.raises(CommandExecutionError, match="already exists"):
        admin.gateway_call("/v3/auth/user/add", {"name": "root"})
    asked = [name for name, peer in cluster.items() for _, path, *_ in peer.seen if path.endswith("user/add")]
    assert asked == ["etcd1"]


def test_password_valid(cluster):
    admin.__pillar__["secrets"]["ETCD_PATRONI_PASSWORD"] = "patroni's own"
    assert admin.password_valid("patroni", "ETCD_PATRONI_PASSWORD") is True
    refused = (400, {"message": "etcdserver: authentication failed, invalid user ID or password"})
    cluster["etcd1"].answers["POST /v3/auth/authenticate"] = refused
    assert admin.password_valid("patroni", "ETCD_PATRONI_PASSWORD") is False
    cluster["etcd1"].stop()
    assert admin.password_valid("patroni", "ETCD_PATRONI_PASSWORD") is True, (
        "the first member that answers says it"
    )
    off = (400, {"message": "etcdserver: authentication is not enabled"})
    cluster["etcd2"].answers["POST /v3/auth/authenticate"] = off
    with pytest.raises(CommandExecutionError, match="authentication is not enabled"):
        admin.password_valid("patroni", "ETCD_PATRONI_PASSWORD")


def test_access(cluster):
    def text(value):
        return base64.b64encode(value).decode()

    permission = {"key": text(b"/service/"), "range_end": text(b"/service0")}
    cluster["etcd1"].answers |= {
        "POST /v3/auth/user/list": (200, {"users": ["root"]}),
        "POST /v3/auth/user/get": (200, {"roles": ["root"]}),
        "POST /v3/auth/role/list": (200, {"roles": ["patroni", "root"]}),
        "POST /v3/auth/role/get": (200, {"perm": [permission]}),
    }
    assert admin.access() == {
        "enforced": True,
        "users": {"root": ["root"]},
        "roles": {"patroni": [["READ", "/service/", "/service0"]]},
    }
