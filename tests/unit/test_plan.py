"""Queries of the plan, in Python and through the module, for several plans."""

import pytest
import yaml

import fanatico_plan
from _modules import fanatico_plan as module
from tests.support import REPO

PLANS = {
    path.stem: yaml.safe_load(path.read_text())["plan"]
    for path in [REPO / "pillar" / "plan.sls", *(REPO / "tests" / "plans").glob("*.sls")]
}


@pytest.fixture
def configure_loader_modules(plan):
    return {
        module: {
            "__opts__": {"id": "db1"},
            "__pillar__": {"plan": plan},
        }
    }


def test_committed_plan_is_the_documented_one(plan):
    assert fanatico_plan.addresses(plan) == {
        "salt": "10.0.0.5",
        **{f"haproxy{n}": f"10.0.0.{9 + n}" for n in (1, 2)},
        **{f"rpc{n}": f"10.0.1.{9 + n}" for n in (1, 2, 3)},
        **{f"db{n}": f"10.0.2.{9 + n}" for n in (1, 2, 3)},
        **{f"etcd{n}": f"10.0.3.{9 + n}" for n in (1, 2, 3)},
        "ops1": "10.0.4.10",
    }
    assert plan["virtual_ip"]["address"] == "10.0.0.100"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a:b:c", 1),
        ("a:b", {"c": 1}),
        ("a:list:1", "y"),
        ("a:list:2", "default"),
        ("a:list:x", "default"),
        ("a:nothing", None),
        ("a:nothing:below", "default"),
        ("b", "default"),
        ("a:b:c:d", "default"),
    ],
)
def test_get(path, expected):
    data = {"a": {"b": {"c": 1}, "list": ["x", "y"], "nothing": None}}
    assert fanatico_plan.get(data, path, "default") == expected


def test_questions(plan):
    assert fanatico_plan.nodes(plan, "etcd") == ["etcd1", "etcd2", "etcd3"]
    assert len(fanatico_plan.nodes(plan)) == 13
    assert fanatico_plan.nodes(plan, "nothing") == []
    assert fanatico_plan.roles(plan, "db1") == ["patroni"]
    assert fanatico_plan.roles(plan, "stranger") == []
    assert fanatico_plan.has_role(plan, "db1", "patroni")
    assert not fanatico_plan.has_role(plan, "db1", "etcd")
    assert fanatico_plan.peers(plan, "haproxy", "haproxy2") == ["haproxy1"]
    assert fanatico_plan.peers(plan, "haproxy", "db1") == ["haproxy1", "haproxy2"]
    assert fanatico_plan.node_at(plan, "10.0.2.11") == "db2"
    assert fanatico_plan.node_at(plan, "10.0.2.99") is None
    assert fanatico_plan.network_of(plan, "db1") == ("database", "10.0.2.0/24")
    assert fanatico_plan.subnets(plan) == [
        "10.0.0.0/24",
        "10.0.1.0/24",
        "10.0.2.0/24",
        "10.0.3.0/24",
        "10.0.4.0/24",
    ]
    assert fanatico_plan.subnets(plan, "haproxy") == ["10.0.0.0/24"]
    assert fanatico_plan.etcd_endpoints(plan) == [f"https://10.0.3.{n}:2379" for n in (10, 11, 12)]


def test_other_plans():
    colocated, ports = PLANS["colocated"], PLANS["other_ports"]
    assert fanatico_plan.roles(colocated, "data1") == ["etcd", "patroni"]
    assert fanatico_plan.nodes(colocated, "etcd") == fanatico_plan.nodes(colocated, "patroni")
    assert fanatico_plan.subnets(colocated, "etcd") == ["192.168.50.0/24"]
    assert fanatico_plan.etcd_endpoints(ports) == ["https://172.21.15.200:12379"]
    assert fanatico_plan.network_of(ports, "pg-a") == ("back", "172.21.8.0/21")


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_gives_every_node_an_answer(name):
    plan = PLANS[name]
    for node in fanatico_plan.nodes(plan):
        assert fanatico_plan.network_of(plan, node)[1] in fanatico_plan.subnets(plan)
        assert fanatico_plan.roles(plan, node)


def test_an_unknown_node(plan):
    with pytest.raises(ValueError, match="stranger is not in the plan"):
        fanatico_plan.address(plan, "stranger")


def test_outside_every_network(plan):
    lost = plan | {"networks": {"rpc": plan["networks"]["rpc"]}}
    with pytest.raises(ValueError, match=r"db1 \(10.0.2.10\) is in none of the plan's networks"):
        fanatico_plan.network_of(lost, "db1")


def test_secret_names():
    assert fanatico_plan.secret_names(["rpc", "master"]) == ["MASTER_BACKUP_PASSPHRASE"]
    assert fanatico_plan.secret_names(["haproxy"]) == ["HAPROXY_STATS_PASSWORD", "KEEPALIVED_AUTH_PASS"]
    everything = [name for names in fanatico_plan.SECRETS.values() for name in names]
    assert sorted(fanatico_plan.secret_names(fanatico_plan.role_names())) == sorted(set(everything))
    assert [name for name in set(everything) if everything.count(name) > 1] == ["ETCD_PATRONI_PASSWORD"]
    assert len(set(everything)) == 15


def test_module_knows_its_plan_and_its_node():
    assert module.nodes("patroni") == ["db1", "db2", "db3"]
    assert module.roles() == ["patroni"]
    assert module.roles("etcd1") == ["etcd"]
    assert module.has_role("patroni")
    assert module.address() == "10.0.2.10"
    assert module.addresses("haproxy") == {"haproxy1": "10.0.0.10", "haproxy2": "10.0.0.11"}
    assert module.node_at("10.0.2.10") == "db1"
    assert module.peers("patroni") == ["db2", "db3"]
    assert module.network_of() == ["database", "10.0.2.0/24"]
    assert module.subnets("patroni") == ["10.0.2.0/24"]
    assert len(module.etcd_endpoints()) == 3


def test_module_without_a_plan_says_so(monkeypatch):
    monkeypatch.setattr(module, "__pillar__", {})
    with pytest.raises(ValueError, match=r"db1 has no plan in its pillar"):
        module.nodes("etcd")


def test_a_setting_has_no_default_but_the_shipped_one():
    pillar = {"etcd": {"data_dir": "/data", "users": [], "version": None}}
    assert [fanatico_plan.setting(pillar, f"etcd:{name}") for name in pillar["etcd"]] == ["/data", [], None]
    with pytest.raises(ValueError, match=r"^etcd:log_level is .* pillar/etcd\.sls"):
        fanatico_plan.setting(pillar, "etcd:log_level")
