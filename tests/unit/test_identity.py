"""Settings that a running cluster cannot change in place are recorded on its hosts; a different pillar is refused."""

import copy

import pytest

import fanatico_identity as identity
import fanatico_patroni_plan
import fanatico_plan
import fanatico_sweep
from _modules import fanatico_identity
from _runners import fanatico_validate as validation
from _states import fanatico_identity as state
from tests.support import pillar as pillars


def whole(plan):
    """A pillar with all recorded settings."""
    return {
        "plan": fanatico_plan.complete(copy.deepcopy(plan)),
        **{name: pillars.shipped(name) for name in ("etcd", "postgresql")},
    }


@pytest.fixture
def configure_loader_modules(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(fanatico_identity, "FILE", str(tmp_path / "identity.json"))
    common = {"__opts__": {"id": "db1", "test": False}}
    salt = {
        "fanatico_identity.wanted": fanatico_identity.wanted,
        "fanatico_identity.kept": fanatico_identity.kept,
        "fanatico_identity.keep": fanatico_identity.keep,
    }
    return {
        fanatico_identity: {**common, "__pillar__": whole(plan)},
        state: {**common, "__salt__": salt},
    }


def test_a_new_host_has_no_record():
    assert fanatico_identity.kept() == {}
    assert fanatico_identity.changed() == []


def test_it_is_recorded_once():
    assert state.kept("patroni")["changes"]["patroni"]["new"]["plan:ports:postgres"] == 5432
    again = state.kept("patroni")
    assert (again["name"], again["result"], again["changes"]) == ("patroni", True, {})
    assert fanatico_identity.changed() == []


def test_a_failed_record_is_a_failure():
    state.__salt__["fanatico_identity.keep"] = lambda role: True
    answer = state.kept("patroni")
    assert (answer["result"], answer["changes"]) == (False, {})
    assert "found nothing" in answer["comment"]


def test_a_dry_run_records_nothing():
    state.__opts__["test"] = True
    assert state.kept("patroni")["result"] is None
    assert fanatico_identity.kept() == {}


def set_in(pillar, path, value):
    *above, last = path.split(":")
    for key in above:
        pillar = pillar.setdefault(key, {})
    pillar[last] = value


@pytest.mark.parametrize(
    ("role", "node", "path", "value"),
    [
        ("patroni", "db1", "plan:name", "another"),
        ("patroni", "db1", "plan:ports:postgres", 5442),
        ("patroni", "db1", "plan:ports:patroni_rest", 8018),
        ("patroni", "db1", "postgresql:data_dir", "/data"),
        ("patroni", "db1", "postgresql:version", 18),
        ("patroni", "db1", "plan:nodes:db1:address", "10.0.2.99"),
        ("etcd", "etcd1", "plan:name", "another"),
        ("etcd", "etcd1", "plan:ports:etcd_peer", 2390),
        ("etcd", "etcd1", "plan:ports:etcd_client", 2389),
        ("etcd", "etcd1", "etcd:data_dir", "/data"),
        ("etcd", "etcd1", "plan:nodes:etcd1:address", "10.0.3.22"),
        ("haproxy", "haproxy1", "plan:virtual_ip:router_id", 99),
        ("haproxy", "haproxy1", "plan:virtual_ip:address", "10.0.0.101"),
        ("haproxy", "haproxy1", "plan:ports:postgres_primary", 6432),
        ("rpc", "rpc1", "plan:ports:rpc_http", 9545),
    ],
)
def test_an_immutable_setting_is_named(plan, role, node, path, value):
    pillar = whole(plan)
    kept = {role: identity.facts(pillar, node, role)}
    set_in(pillar, path, value)
    (line,) = identity.differences(node, kept, {role: identity.facts(pillar, node, role)})
    assert line.startswith(f"{path}: {value!r} differs from ")
    assert "nothing was changed. Next: " in line


def test_writing_out_a_default_directory_is_no_change(plan):
    fanatico_identity.keep("patroni")
    fanatico_identity.__pillar__["postgresql"]["data_dir"] = "/var/lib/postgresql/17/main"
    assert fanatico_identity.changed() == []


def test_another_version_has_another_directory(plan):
    """Reported as a change of version and directory, so that the old data does not count as lost."""
    fanatico_identity.keep("patroni")
    fanatico_identity.__pillar__["postgresql"]["version"] = 18
    assert [line.partition(": ")[0] for line in fanatico_identity.changed()] == [
        "postgresql:version",
        "postgresql:data_dir",
    ]


@pytest.mark.parametrize(
    "kept",
    ["'fanatico_identity.kept' is not available.", None, 5, [], {"patroni": "x"}, {"patroni": {"x": 1}}],
)
def test_an_unusable_record_is_ignored(plan, kept):
    facts = identity.facts(whole(plan), "db1", "patroni")
    assert identity.differences("db1", kept, {"patroni": facts}) == []


def test_a_setting_that_all_hosts_were_started_with_is_named_once(plan, monkeypatch):
    pillar = fanatico_patroni_plan.completed(whole(plan))
    kept = {
        node: {role: identity.facts(pillar, node, role) for role in described["roles"]}
        for node, described in plan["nodes"].items()
    }
    monkeypatch.setattr(validation, "__opts__", {}, raising=False)
    monkeypatch.setattr(fanatico_sweep, "fanout", lambda *args, **kwargs: kept)
    for path, value in (("plan:name", "another"), ("plan:nodes:db2:address", "10.0.2.99")):
        set_in(pillar, path, value)
    lines = validation._fixed(pillar["plan"], {"db1": pillar})
    assert sorted(line.partition(": ")[0] for line in lines) == ["plan:name", "plan:nodes:db2:address"]
