"""Each fault of a pillar is reported with its path and values, all at once, and nothing is changed."""

import copy
import functools
import json
import os
import re

import jsonschema
import pytest
import salt.config
import salt.exceptions
import salt.loader
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fanatico_pki
import fanatico_plan
import fanatico_timing
import fanatico_validate
from tests.support import MODULES, REPO, pillar

SCHEMA = json.loads((REPO / "pillar" / "schema.json").read_text())
PLANS = {
    path.stem: path for path in [REPO / "pillar" / "plan.sls", *(REPO / "tests" / "plans").glob("*.sls")]
}
GONE = object()


@functools.cache
def parsed(path):
    return yaml.safe_load(path.read_text())


def load(path):
    return copy.deepcopy(parsed(path))


def merge(base, over):
    for key, value in over.items():
        base[key] = merge(base.get(key) or {}, value) if isinstance(value, dict) else value
    return base


def whole(plan=PLANS["plan"]):
    """The merged pillars of all nodes, valid."""
    data = {}
    for path in (REPO / "pillar").glob("*.sls"):
        if path.stem not in ("top", "plan"):
            data |= load(path)
    secrets = {
        name: value for role in fanatico_plan.SECRETS for name, value in pillar.fake_secrets(role).items()
    }
    return fanatico_timing.completed(
        merge(data | load(plan), copy.deepcopy(pillar.SITE) | {"secrets": secrets})
    )


def changed(data, changes):
    for path, value in changes.items():
        *above, last = [int(key) if key.isdecimal() else key for key in path.split(":")]
        here = data
        for key in above:
            here = here[key]
        if value is GONE:
            del here[last]
        else:
            here[last] = value
    return data


def faults(changes=None, plan=PLANS["plan"]):
    return fanatico_validate.faults(changed(whole(plan), changes or {}), SCHEMA)


@pytest.mark.parametrize("name", PLANS)
def test_sound(name):
    assert faults(plan=PLANS[name]) == []


ONE_FAULT = [
    # addresses
    ({"plan:nodes:db2:address": "10.0.2.10"}, "plan:nodes:db2:address", ("10.0.2.10", "db1")),
    (
        {"plan:nodes:db1:address": "10.0.9.10"},
        "plan:nodes:db1:address",
        ("10.0.9.10", "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"),
    ),
    (
        {"plan:nodes:db1:address": "10.0.2.255"},
        "plan:nodes:db1:address",
        ("10.0.2.255", "10.0.2.0/24", "10.0.2.1", "10.0.2.254"),
    ),
    ({"plan:nodes:rpc1:address": "10.0.1.1"}, "plan:nodes:rpc1:address", ("10.0.1.1",)),
    ({"plan:nodes:rpc1:address": "10.0.1.300"}, "plan:nodes:rpc1:address", ("'10.0.1.300'",)),
    ({"plan:nodes:rpc1:address": "fd00::1"}, "plan:nodes:rpc1:address", ("'fd00::1'",)),
    ({"plan:nodes:rpc1:address": GONE}, "plan:nodes:rpc1:address", ()),
    ({"plan:nodes:rpc1": "10.0.1.10"}, "plan:nodes:rpc1", ("'10.0.1.10'",)),
    ({"plan:nodes:RPC_4": {"address": "10.0.1.13", "roles": ["rpc"]}}, "plan:nodes:RPC_4", ()),
    # evicted hosts
    (
        {"plan:evicted": {"db3": {"address": "10.0.2.12", "roles": ["patroni"]}}},
        "plan:evicted:db3",
        ("plan:nodes",),
    ),
    (
        {"plan:evicted": {"db4": {"address": "10.0.2.12", "roles": ["patroni"]}}},
        "plan:evicted:db4:address",
        ("10.0.2.12", "db3"),
    ),
    (
        {"plan:evicted": {"db4": {"address": "10.0.0.100", "roles": ["patroni"]}}},
        "plan:evicted:db4:address",
        ("10.0.0.100",),
    ),
    (
        {"plan:evicted": {"other": {"address": "10.0.0.6", "roles": ["master"]}}},
        "plan:evicted:other:roles",
        (),
    ),
    ({"plan:evicted": ["db3"]}, "plan:evicted", ("'db3'",)),
    # networks
    ({"plan:networks:rpc:cidr": "10.0.1.0/33"}, "plan:networks:rpc:cidr", ("'10.0.1.0/33'",)),
    ({"plan:networks:rpc:cidr": "10.0.1.7/24"}, "plan:networks:rpc:cidr", ("'10.0.1.7/24'",)),
    (
        {"plan:networks:spare": {"cidr": "10.0.2.128/25"}},
        "plan:networks:spare:cidr",
        ("10.0.2.128/25", "10.0.2.0/24"),
    ),
    ({"plan:networks:rpc:gateway": "10.0.0.2"}, "plan:networks:rpc:gateway", ("10.0.0.2", "10.0.1.0/24")),
    # the virtual IP
    ({"plan:virtual_ip:address": "10.0.0.11"}, "plan:virtual_ip:address", ("10.0.0.11", "haproxy2")),
    ({"plan:virtual_ip:address": "10.0.1.100"}, "plan:virtual_ip:address", ("10.0.1.100", "10.0.0.0/24")),
    ({"plan:virtual_ip:router_id": 256}, "plan:virtual_ip:router_id", ("256",)),
    (
        {"plan:nodes:haproxy2:address": "10.0.1.20"},
        "plan:nodes:haproxy2:address",
        ("haproxy1", "10.0.0.0/24", "haproxy2", "10.0.1.0/24"),
    ),
    # roles
    ({"plan:nodes:etcd3": GONE}, "plan:nodes", ("2", "etcd1", "etcd2", "1", "3", "5", "7")),
    ({"plan:nodes:db1:roles": ["patroni", "master"]}, "plan:nodes", ("2", "db1")),
    ({"plan:nodes:salt": GONE}, "plan:nodes", ()),
    (
        {"plan:nodes:db1:roles:0": "patronni"},
        "plan:nodes:db1:roles:0",
        ("'patronni'", "did you mean patroni?"),
    ),
    ({"plan:nodes:db1:roles": "patroni"}, "plan:nodes:db1:roles", ("'patroni'",)),
    ({"plan:nodes:db1:roles": []}, "plan:nodes:db1:roles", ()),
    ({"plan:nodes:db1:roles": ["patroni", "patroni"]}, "plan:nodes:db1:roles", ()),
    (
        {"plan:nodes:haproxy1:roles": ["haproxy", "rpc"]},
        "plan:nodes:haproxy1:roles",
        ("plan:ports:rpc_http", "rpc_ws"),
    ),
    ({"plan:nodes:db2": GONE, "plan:nodes:db3": GONE}, "patroni:dynamic:synchronous_mode_strict", ()),
    # ports
    ({"plan:ports:patroni_rest": 5432}, "plan:ports:patroni_rest", ("5432", "postgres", "db1")),
    ({"plan:ports:haproxy_stats": 8545}, "plan:ports:haproxy_stats", ("8545", "rpc_http", "haproxy1")),
    ({"plan:ports:rpc_ws": 22}, "plan:ports:rpc_ws", ("22", "sshd", "haproxy1")),
    (
        {"plan:ports:rpc_ws": 2222, "firewall:ssh_port": 2222},
        "plan:ports:rpc_ws",
        ("2222", "sshd", "haproxy1"),
    ),
    (
        {"plan:nodes:haproxy1:roles": ["haproxy", "patroni"], "plan:nodes:haproxy1:address": "10.0.0.12"},
        "plan:ports:postgres",
        ("5432", "postgres_primary", "haproxy1"),
    ),
    (
        {"plan:nodes:etcd1:roles": ["etcd", "master"], "plan:nodes:salt": GONE, "plan:ports:etcd_peer": 4505},
        "plan:ports:etcd_peer",
        ("4505", "salt-master", "etcd1"),
    ),
    ({"plan:ports:rpc_http": 0}, "plan:ports:rpc_http", ("0",)),
    ({"plan:ports:rpc_http": "8545"}, "plan:ports:rpc_http", ("'8545'",)),
    ({"plan:ports:rpc_http": GONE}, "plan:ports:rpc_http", ()),
    # timing
    ({"plan:timing:patroni:ttl": 15}, "plan:timing:patroni:ttl", ("15",)),
    ({"plan:timing:patroni:loop_wait": 0}, "plan:timing:patroni:loop_wait", ("0",)),
    ({"plan:timing:patroni:retry_timeout": 2}, "plan:timing:patroni:retry_timeout", ("2",)),
    (
        {"plan:timing:patroni:retry_timeout": 10},
        "plan:timing:patroni:ttl",
        ("20", "loop_wait", "2", "retry_timeout", "22"),
    ),
    ({"plan:timing:patroni:ttl": 20.5}, "plan:timing:patroni:ttl", ("20.5",)),
    ({"plan:timing:etcd:election_ms": 300}, "plan:timing:etcd:election_ms", ("300", "350")),
    (
        {"plan:timing:etcd:election_ms": 4000},
        "plan:timing:etcd:election_ms",
        ("4000", "plan:timing:patroni:retry_timeout", "3500"),
    ),
    (
        {"plan:timing:patroni:primary_stop_timeout": 7},
        "plan:timing:patroni:primary_stop_timeout",
        ("7", "loop_wait", "retry_timeout", "5", "6"),
    ),
    ({"plan:timing:preset": "swfit"}, "plan:timing:preset", ("'swfit'", "did you mean swift?")),
    ({"plan:timing:vrrp:advert": 41}, "plan:timing:vrrp:advert", ("41",)),
    ({"plan:timing:vrrp:advert": 0.001}, "plan:timing:vrrp:advert", ("0.001",)),
    (
        {"keepalived:vrrp_version": 2},
        "plan:timing:vrrp:advert",
        ("0.3", "VRRPv2", "keepalived:vrrp_version", "1", "3"),
    ),
    (
        {"plan:timing:haproxy:fastinter_ms": 2000},
        "plan:timing:haproxy:fastinter_ms",
        ("2000", "inter_ms", "1000"),
    ),
    # unknown keys
    ({"patronii": {}}, "patronii", ("did you mean patroni?",)),
    ({"plan:timing:patroni:loop_weight": 3}, "plan:timing:patroni:loop_weight", ("did you mean loop_wait?",)),
    ({"ttl": 20}, "ttl", ("plan:timing:patroni:ttl",)),
    ({"patroni:dynamic:ttl": 20}, "patroni:dynamic:ttl", ("plan:timing:patroni:ttl",)),
    ({"master:colour": "red"}, "master:colour", ()),
    ({"plan:nodes:db1:role": "x"}, "plan:nodes:db1:role", ("did you mean roles?",)),
    ({"etcd:bootstrap": True}, "etcd:bootstrap", ()),
    # settings
    (
        {"patroni:dynamic:synchronous_mode": "qourum"},
        "patroni:dynamic:synchronous_mode",
        ("'qourum'", "did you mean quorum?"),
    ),
    ({"patroni:dynamic:failsafe_mode": "yes"}, "patroni:dynamic:failsafe_mode", ("'yes'",)),
    ({"postgresql:parameters:port": 5433}, "postgresql:parameters:port", ("plan:ports:postgres",)),
    ({"postgresql:parameters:fsync": False}, "postgresql:parameters:fsync", ()),
    ({"postgresql:parameters:synchronous_commit": "local"}, "postgresql:parameters:synchronous_commit", ()),
    ({"postgresql:database": "My DB"}, "postgresql:database", ("'My DB'",)),
    ({"postgresql:database": "fanatico_proof"}, "postgresql:database", ("fanatico_proof",)),
    ({"postgresql:parameters:max_connections": 20}, "postgresql:parameters:max_connections", ("20",)),
    (
        {"postgresql:application": {"connections": 181}},
        "postgresql:application:connections",
        ("181", "20", "max_connections", "200", "180"),
    ),
    (
        {
            "postgresql:application": {"connections": 170},
            "postgresql:parameters:reserved_connections": 30,
        },
        "postgresql:application:connections",
        ("170", "47", "max_connections", "200", "153"),
    ),
    (
        {"haproxy:maxconn": 250},
        "haproxy:maxconn",
        ("250", "125", "180", "14", "own", "388", "postgresql:application:connections"),
    ),
    ({"postgresql:parameters:max_connections": 1000}, "haproxy:maxconn", ("1024", "512", "980")),
    (
        {"postgresql:parameters:max_wal_senders": 3},
        "postgresql:parameters:max_wal_senders",
        ("3", "members", "4"),
    ),
    (
        {"postgresql:parameters:max_replication_slots": 2},
        "postgresql:parameters:max_replication_slots",
        ("2", "3", "members"),
    ),
    (
        {"postgresql:application": {"settings": {"DROP ROLE": "x"}}},
        "postgresql:application:settings:DROP ROLE",
        (),
    ),
    ({"plan:version": 0.5}, "plan:version", ("0.5",)),
    ({"base:tools": ["curl", "Tcpdump 4"]}, "base:tools:1", ("'Tcpdump 4'",)),
    # the artifact
    ({"rpc:chain:id": None}, "rpc:chain:id", ()),
    ({"rpc:chain:id": "0x539"}, "rpc:chain:id", ("'0x539'",)),
    ({"rpc:artifact": {}}, "rpc:artifact:kind", ()),
    ({"rpc:artifact:sha256": GONE}, "rpc:artifact:sha256", ()),
    ({"rpc:artifact:sha256": "5727dd8f"}, "rpc:artifact:sha256", ("'5727dd8f'",)),
    ({"rpc:artifact:source": GONE}, "rpc:artifact:source", ()),
    ({"rpc:artifact:bin": GONE}, "rpc:artifact:bin", ()),
    ({"rpc:artifact:kind": "binary"}, "rpc:artifact:strip", ()),
    ({"rpc:artifact": {"kind": "package"}}, "rpc:artifact:package:name", ()),
    # the edge
    ({"haproxy:edge:memory": 1000}, "haproxy:edge:memory", ("1000", "3072", "1020", "haproxy:edge:maxconn")),
    ({"haproxy:edge:maxconn": 4000}, "haproxy:edge:memory", ("1024", "4000")),
    (
        {"haproxy:edge": {"maxconn": 120000, "memory": 20000}, "rpc:edge:body_limit": 1024},
        "haproxy:edge:maxconn",
        ("120000", "32768", "305936", "262144", "98104"),
    ),
    ({"rpc:edge:connections": 2000}, "rpc:edge:connections", ("2000", "1536", "haproxy:edge:maxconn")),
    ({"rpc:edge:max_websockets_per_client": 1537}, "rpc:edge:max_websockets_per_client", ("1537",)),
    ({"secrets:POSTGRES_PASSWORD": "x"}, "secrets:POSTGRES_PASSWORD", ()),
]


@pytest.mark.parametrize(
    ("changes", "path", "pieces"), ONE_FAULT, ids=["-".join([path, *pieces]) for _, path, pieces in ONE_FAULT]
)
def test_one_fault(changes, path, pieces):
    """A fault is one line with its path, and names the values it is about."""
    found = faults(changes)
    assert len(found) == 1, found
    assert found[0].startswith(f"{path}: ")
    text = found[0].removeprefix(path)
    assert [piece for piece in pieces if not re.search(rf"(?<![\w.]){re.escape(piece)}(?!\w)", text)] == [], (
        text
    )


def test_the_limits_equal_those_of_the_states():
    unit = (REPO / "salt/edge/files/haproxy-edge.service.jinja").read_text()
    assert f"LimitNOFILE={fanatico_validate._EDGE_FILES}\n" in unit
    rules = (REPO / "salt/edge/files/rpc.cfg.jinja").read_text()
    assert rules.count(" size 100k ") == 6  # fanatico_capacity._TABLES


def test_a_null_parameter_counts_with_postgresqls_default():
    assert faults({"postgresql:parameters:jit": None}) == []
    found = faults({"postgresql:parameters:max_connections": None, "postgresql:application:connections": 90})
    assert len(found) == 1
    assert "are more than max_connections (100)" in found[0]


def test_a_database_node_has_no_balancer_settings():
    found = faults({"haproxy:maxconn": GONE, "postgresql:parameters:max_connections": 1000})
    assert found == []


@pytest.mark.parametrize("count", [2, 4, 6])
def test_even_etcd(count):
    nodes = {f"plan:nodes:etcd{n}": {"address": f"10.0.3.{n + 20}", "roles": ["etcd"]} for n in range(4, 7)}
    changes = dict(list(nodes.items())[: count - 3]) if count > 3 else {"plan:nodes:etcd3": GONE}
    assert [fault for fault in faults(changes) if f"{count} nodes have the role etcd" in fault]


def test_too_many_etcd():
    nodes = {f"plan:nodes:etcd{n}": {"address": f"10.0.3.{n + 20}", "roles": ["etcd"]} for n in range(4, 10)}
    assert faults(nodes) == [
        "plan:nodes: 9 nodes have the role etcd; use at most 7, more make every write slower"
    ]


def test_each_role_without_a_node():
    for role in fanatico_plan.ROLES:
        names = fanatico_plan.nodes(load(PLANS["plan"])["plan"], role)
        found = faults({f"plan:nodes:{name}": GONE for name in names})
        optional = role in fanatico_plan.OPTIONAL
        text = f"plan:nodes: no node has the role {role}; give it to at least one"
        assert (text in found) != optional


def test_colocated_ports():
    """etcd and Patroni can share a host; HAProxy beside PostgreSQL needs another port."""
    assert faults(plan=PLANS["colocated"]) == []
    found = faults({"plan:nodes:lb1:roles": ["haproxy", "patroni"]}, PLANS["colocated"])
    assert len(found) == 1
    assert found[0].startswith("plan:ports:postgres: 5432 ")
    assert "postgres_primary" in found[0]
    assert "lb1" in found[0]


def test_all_at_once():
    """A fault in one place does not hide those in others, not even in the same node."""
    found = faults(
        {
            "plan:nodes:db1:roles": "patroni",
            "plan:nodes:db2:address": "10.0.2.10",
            "plan:nodes:rpc2": None,
            "plan:virtual_ip:address": "10.0.0.5",
            "plan:ports:patroni_rest": "8008",
            "plan:ports:etcd_peer": 2379,
            "plan:timing:patroni:ttl": 5,
            "plan:timing:etcd:election_ms": 100,
            "rpc:artifact:sha256": GONE,
            "unheard_of": 1,
        }
    )
    assert sorted(fault.split(": ")[0] for fault in found) == [
        "plan:nodes:db1:roles",
        "plan:nodes:db2:address",
        "plan:nodes:rpc2",
        "plan:ports:etcd_peer",
        "plan:ports:patroni_rest",
        "plan:timing:etcd:election_ms",
        "plan:timing:patroni:ttl",
        "plan:virtual_ip:address",
        "rpc:artifact:sha256",
        "unheard_of",
    ]


def paths(data, path=()):
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from paths(value, (*path, key))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["10.0.0.10", "10.0.2.10", "10.0.0.0/8", "etcd", "off"]),
    st.lists(st.sampled_from(["etcd", "rpc", 1, None]), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


# Twice as many examples as elsewhere: there are many keys and many possible values.
@settings(max_examples=2 * settings().max_examples, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_value_breaks_the_validation(data):
    """For any value at any key: one line per fault, with its path, never with the value of a secret."""
    broken = whole()
    values = [value for value in broken["secrets"].values() if isinstance(value, str)]
    for path in data.draw(st.lists(st.sampled_from(sorted(paths(broken), key=str)), min_size=1, max_size=4)):
        here = broken
        for key in path[:-1]:
            here = here[key] if isinstance(here, dict) and key in here else None
        if isinstance(here, dict):
            here[path[-1]] = data.draw(JUNK)
    for fault in fanatico_validate.faults(broken, SCHEMA):
        assert re.match(r"\S.*: \S", fault, re.DOTALL)
        assert not any(value in fault for value in values)


# the schema matches the tree


def test_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_lab_overrides_are_in_the_schema():
    assert fanatico_validate.faults(merge(whole(), load(REPO / "lab" / "site.sls")), SCHEMA) == []


# fanatico.validate, over the real pillar


@pytest.fixture
def validate(tmp_path):
    """Return a function that validates a pillar made by `tests.support.pillar.build`."""
    (tmp_path / "files" / "artifacts").mkdir(parents=True)
    (tmp_path / "files" / "artifacts" / "node.tgz").write_bytes(b"")

    def run(edit=None, **kwargs):
        root = tmp_path / "pillar"
        pillar.build(root, **kwargs)
        for path in list(root.iterdir()):  # so that an edit is one of the copy
            if path.is_symlink():
                text = path.read_text()
                path.unlink()
                path.write_text(text)
        if edit:
            edit(root)
        opts = salt.config.master_config(None)
        opts.update(
            root_dir=str(tmp_path),
            cachedir=str(tmp_path / "cache"),
            extension_modules=str(tmp_path / "extmods"),
            file_roots={"base": [str(tmp_path / "files")]},
            pillar_roots={"base": [str(root)]},
            module_dirs=MODULES,
            # What the balancers are not given is not missing.
            pillar_dirs=[str(REPO / "_pillar")],
            ext_pillar=[{"fanatico_withheld": {}}],
            gpg_keydir=str(tmp_path / "gpg"),
        )
        before = snapshot(tmp_path)
        runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
        try:
            return runners["fanatico.validate"]()
        finally:
            assert snapshot(tmp_path) == before

    return run


def snapshot(root):
    """Everything but Salt's own cache."""
    return {
        path: path.read_bytes()
        for directory, _, names in os.walk(root)
        if "cache" not in directory and "extmods" not in directory
        for path in (type(root)(directory, name) for name in names)
    }


def refused(validate, *args, **kwargs):
    with pytest.raises(salt.exceptions.CommandExecutionError) as caught:
        validate(*args, **kwargs)
    # makes salt-run print the message and not a traceback
    assert isinstance(caught.value, salt.exceptions.NotImplemented)
    return str(caught.value)


@pytest.mark.parametrize("name", PLANS)
def test_validate_accepts_every_plan(validate, name):
    plan = load(PLANS[name])["plan"]
    assert validate(plan=PLANS[name]) == {
        "plan": plan["name"],
        "nodes": len(plan["nodes"]),
        "roles": {role: len(fanatico_plan.nodes(plan, role)) for role in fanatico_plan.ROLES},
        "secrets": len(
            fanatico_plan.secret_names(
                [role for role in fanatico_plan.ROLES if fanatico_plan.nodes(plan, role)]
            )
        ),
    }


def test_the_committed_pillar_lacks_the_operators_settings(validate):
    said = refused(validate, site={}, with_secrets=False).splitlines()
    assert said[0] == "The pillar is not valid, nothing was changed:"
    assert [line.split(": ")[0] for line in said[1:]] == [
        "  - rpc:chain:id",
        "  - rpc:artifact:kind",
        *(f"  - secrets:{name}" for name in fanatico_plan.secret_names(fanatico_plan.ROLES)),
        *(f"  - pki:trust:{name}" for name in fanatico_pki.AUTHORITIES),
    ]


def test_missing_artifact(validate):
    artifact = pillar.SITE["rpc"]["artifact"] | {"source": "salt://artifacts/other.tgz"}
    said = refused(validate, site={"rpc": pillar.SITE["rpc"] | {"artifact": artifact}})
    assert "rpc:artifact:source: salt://artifacts/other.tgz does not exist; put the file under " in said


def test_weak_secrets_are_named_without_their_values(validate):
    def weaken(root):
        values = {"ETCD_CLUSTER_TOKEN": "hunterhunter2"}
        (root / "secrets" / "etcd.sls").write_text(yaml.safe_dump({"secrets": values}))
        (root / "secrets" / "haproxy.sls").unlink()

    said = refused(validate, weaken)
    assert "secrets:ETCD_CLUSTER_TOKEN: has 13 characters; use at least 16" in said
    assert "secrets:HAPROXY_STATS_PASSWORD: missing; run salt-run fanatico.secrets_init" in said
    assert "hunter" not in said


def test_secret_in_the_wrong_place(validate):
    value = pillar.fake_secrets("etcd")["ETCD_CLUSTER_TOKEN"]
    said = refused(validate, site=pillar.SITE | {"secrets": {"ETCD_CLUSTER_TOKEN": value}})
    assert (
        "secrets:ETCD_CLUSTER_TOKEN: is in the pillar of salt, haproxy1, rpc1, db1, ops1, which must not have it; "
        "keep it in pillar/secrets/<role>.sls" in said
    )
    assert value not in said


def test_secret_in_a_file_of_another_role(validate):
    def swap(root):
        value = pillar.fake_secrets("patroni")["POSTGRES_ADMIN_PASSWORD"]
        text = (root / "secrets" / "haproxy.sls").read_text()
        (root / "secrets" / "haproxy.sls").write_text(f"{text}  POSTGRES_ADMIN_PASSWORD: {value}\n")

    assert "secrets:POSTGRES_ADMIN_PASSWORD: is in the pillar of haproxy1, " in refused(validate, swap)


def test_topology_outside_the_plan(validate):
    said = refused(validate, site=pillar.SITE | {"plan": {"nodes": {"db1": {"address": "10.0.2.44"}}}})
    assert "plan:nodes: overridden outside plan.sls" in said


def test_ports_and_timing_may_be_overridden(validate):
    site = pillar.SITE | {"plan": {"ports": {"haproxy_stats": 9404}, "timing": {"vrrp": {"advert": 0.5}}}}
    assert validate(site=site)["nodes"] == 13


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "plan.sls",
            "plan:\n  name: x\n  nodes: {a: [\n",
            r"plan\.sls, line \d+: not valid YAML \(.*\)\. Nothing was changed\.$",
        ),
        (
            "plan.sls",
            "plan:\n  nodes:\n    db1: {}\n    db1: {}\n",
            r"plan\.sls, line 4: not valid YAML \(found conflicting ID 'db1'\)",
        ),
        ("plan.sls", "", r"plan: nothing is not a mapping; should be the plan, in pillar/plan\.sls"),
        ("plan.sls", "plan: {name: x}", r"plan:nodes: missing; minion id: \{address"),
        (
            "plan.sls",
            "plan: {nodes: [a, b]}",
            r"plan:nodes: \['a', 'b'\] is not a mapping; should be minion id",
        ),
        (
            "haproxy.sls",
            "#!yaml\nhaproxy: {maxconn: 1: 2}\n",
            r"pillar/haproxy\.sls: .*did not find expected ',' or '}' \(line 2\)",
        ),
        (
            "rpc.sls",
            "rpc: {{ nope.x }}\n",
            r"pillar/rpc\.sls: Jinja variable 'nope' is undefined; line 1 \(rpc: \{\{ nope\.x \}\}\)",
        ),
        ("base.sls", "- a\n- list\n", r"SLS 'base' does not render to a dictionary"),
        ("site/init.sls", "a: b: c\n", r"site/init\.sls: .*mapping values are not allowed"),
        ("top.sls", "{% if %}\n", r"Rendering Primary Top file failed.*Expected an expression"),
    ],
)
def test_file_that_does_not_render(validate, file, text, said):
    assert re.search(said, refused(validate, lambda root: (root / file).write_text(text)))


def test_missing_file(validate):
    said = refused(validate, lambda root: (root / "base.sls").unlink())
    assert "Specified SLS 'base' in environment 'base' is not available on the salt master" in said


def test_secrets_file_that_does_not_parse_is_not_quoted(validate, caplog, capfd):
    """Salt's own message shows the lines around an error."""
    text = "secrets:\n  ETCD_CLUSTER_TOKEN: k9Wq3xZb7TnRv2L8: y\n"
    said = refused(validate, lambda root: (root / "secrets" / "etcd.sls").write_text(text))
    assert "etcd.sls: " in said
    assert "salt-run fanatico.secrets_import" in said
    shown = said + caplog.text + "".join(capfd.readouterr())
    assert "k9Wq3xZb7" not in shown


@pytest.mark.parametrize(
    ("etcd", "patroni", "broken"),
    [
        ("3.5.28-1", "4.0.5-1", True),
        ("3.6.9", "4.1.0", True),
        ("1:3.4.42", "3.3.0", True),
        ("3.5.28-1", "4.1.1-1", False),
        ("3.5.29", "4.0.5", False),
        ("3.5.16-4+b1", "4.0.5-1", False),
        ("", "4.0.5", False),
        ("3.5.28", "", False),
    ],
)
def test_incompatible_versions(etcd, patroni, broken):
    assert bool(fanatico_validate.broken_pair(etcd, patroni)) == broken
    found = faults({"etcd:version": etcd, "patroni:version": patroni})
    assert [line.partition(":")[0] for line in found] == (["etcd"] if broken else [])


def test_renew_days_must_be_less_than_days():
    (fault,) = faults({"pki:renew_days": 90})
    assert fault.startswith("pki:renew_days: 90 ")
    assert fault.endswith("use at most 89")
