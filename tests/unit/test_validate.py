"""Each fault of a pillar, the message it gets, and that all are told at once while nothing is changed."""

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
    """All nodes' pillars in one, sound."""
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
    (
        {"plan:nodes:db2:address": "10.0.2.10"},
        "plan:nodes:db2:address: 10.0.2.10 is already that of db1; give each its own",
    ),
    (
        {"plan:nodes:db1:address": "10.0.9.10"},
        "plan:nodes:db1:address: 10.0.9.10 is outside all networks "
        "(edge 10.0.0.0/24, rpc 10.0.1.0/24, database 10.0.2.0/24, etcd 10.0.3.0/24)",
    ),
    (
        {"plan:nodes:db1:address": "10.0.2.255"},
        "plan:nodes:db1:address: 10.0.2.255 is the network or broadcast address of 10.0.2.0/24; "
        "use 10.0.2.1 to 10.0.2.254",
    ),
    (
        {"plan:nodes:rpc1:address": "10.0.1.1"},
        "plan:nodes:rpc1:address: 10.0.1.1 is already that of the gateway of network rpc; give each its own",
    ),
    (
        {"plan:nodes:rpc1:address": "10.0.1.300"},
        "plan:nodes:rpc1:address: '10.0.1.300' is not valid; should be the node's IPv4 address",
    ),
    (
        {"plan:nodes:rpc1:address": "fd00::1"},
        "plan:nodes:rpc1:address: 'fd00::1' is not valid; should be the node's IPv4 address",
    ),
    ({"plan:nodes:rpc1:address": GONE}, "plan:nodes:rpc1:address: missing; the node's IPv4 address"),
    (
        {"plan:nodes:rpc1": "10.0.1.10"},
        "plan:nodes:rpc1: '10.0.1.10' is not a mapping; should be {address: 10.0.0.10, roles: [haproxy]}",
    ),
    (
        {"plan:nodes:RPC_4": {"address": "10.0.1.13", "roles": ["rpc"]}},
        "plan:nodes:RPC_4: not a valid name; should be a name: lower-case letters, digits and hyphens, at most 63",
    ),
    # hosts that are shut out
    (
        {"plan:evicted": {"db3": {"address": "10.0.2.12", "roles": ["patroni"]}}},
        "plan:evicted:db3: is under plan:nodes too; a host that is shut out is no node: take one of the two lines out",
    ),
    (
        {"plan:evicted": {"db4": {"address": "10.0.2.12", "roles": ["patroni"]}}},
        "plan:evicted:db4:address: 10.0.2.12 is that of db3 too, whose packets every host would drop; give db3 another",
    ),
    (
        {"plan:evicted": {"db4": {"address": "10.0.0.100", "roles": ["patroni"]}}},
        "plan:evicted:db4:address: 10.0.0.100 is the virtual IP, and every host would drop its packets",
    ),
    (
        {"plan:evicted": {"other": {"address": "10.0.0.6", "roles": ["master"]}}},
        "plan:evicted:other:roles: the Salt master cannot be shut out: it is who does that",
    ),
    (
        {"plan:evicted": ["db3"]},
        "plan:evicted: ['db3'] is not a mapping; should be minion id: {address: 10.0.2.12, roles: [patroni]} for each host "
        "that is shut out for good: its line of nodes, moved",
    ),
    # networks
    (
        {"plan:networks:rpc:cidr": "10.0.1.0/33"},
        "plan:networks:rpc:cidr: '10.0.1.0/33' is not valid; "
        "should be an IPv4 network without host bits, for example 10.0.0.0/24",
    ),
    (
        {"plan:networks:rpc:cidr": "10.0.1.7/24"},
        "plan:networks:rpc:cidr: '10.0.1.7/24' is not valid; "
        "should be an IPv4 network without host bits, for example 10.0.0.0/24",
    ),
    (
        {"plan:networks:spare": {"cidr": "10.0.2.128/25"}},
        "plan:networks:spare:cidr: 10.0.2.128/25 overlaps 10.0.2.0/24 (database); give each its own range",
    ),
    (
        {"plan:networks:rpc:gateway": "10.0.0.2"},
        "plan:networks:rpc:gateway: 10.0.0.2 is outside its network (rpc 10.0.1.0/24)",
    ),
    # the virtual IP
    (
        {"plan:virtual_ip:address": "10.0.0.11"},
        "plan:virtual_ip:address: 10.0.0.11 is already that of haproxy2; the virtual IP must be unused",
    ),
    (
        {"plan:virtual_ip:address": "10.0.1.100"},
        "plan:virtual_ip:address: 10.0.1.100 is outside its network (of the haproxy nodes 10.0.0.0/24)",
    ),
    (
        {"plan:virtual_ip:router_id": 256},
        "plan:virtual_ip:router_id: 256 is too large; "
        "should be the VRRP router id, 1 to 255, unique in that network",
    ),
    (
        {"plan:nodes:haproxy2:address": "10.0.1.20"},
        "plan:nodes:haproxy2:address: haproxy nodes must share one network for VRRP, "
        "but haproxy1 is in 10.0.0.0/24, haproxy2 in 10.0.1.0/24",
    ),
    # roles
    (
        {"plan:nodes:etcd3": GONE},
        "plan:nodes: 2 nodes have the role etcd (etcd1, etcd2), and one less would survive as much; "
        "use 1, 3, 5 or 7",
    ),
    (
        {"plan:nodes:db1:roles": ["patroni", "master"]},
        "plan:nodes: 2 nodes have the role master (salt, db1); use one",
    ),
    (
        {"plan:nodes:salt": GONE},
        "plan:nodes: no node has the role master; give it to at least one",
    ),
    (
        {"plan:nodes:db1:roles:0": "patronni"},
        "plan:nodes:db1:roles:0: 'patronni' is not known; did you mean patroni?",
    ),
    (
        {"plan:nodes:db1:roles": "patroni"},
        "plan:nodes:db1:roles: 'patroni' is not a list; should be a list of master, etcd, patroni, haproxy, rpc",
    ),
    (
        {"plan:nodes:db1:roles": []},
        "plan:nodes:db1:roles: empty; should be a list of master, etcd, patroni, haproxy, rpc",
    ),
    (
        {"plan:nodes:db1:roles": ["patroni", "patroni"]},
        "plan:nodes:db1:roles: the same entry stands there twice; once is enough",
    ),
    (
        {"plan:nodes:haproxy1:roles": ["haproxy", "rpc"]},
        "plan:nodes:haproxy1:roles: haproxy and rpc cannot share a node: "
        "both listen on plan:ports:rpc_http and rpc_ws; put one of them elsewhere",
    ),
    (
        {"plan:nodes:db2": GONE, "plan:nodes:db3": GONE},
        "patroni:dynamic:synchronous_mode_strict: with a single patroni node no replica can confirm a write, "
        "and every write would wait for ever; add a node, or set it to false",
    ),
    # ports
    (
        {"plan:ports:patroni_rest": 5432},
        "plan:ports:patroni_rest: 5432 is that of postgres too, and db1 has both; "
        "give one of them another port",
    ),
    (
        {"plan:ports:haproxy_stats": 8545},
        "plan:ports:haproxy_stats: 8545 is that of rpc_http too, and haproxy1 has both; "
        "give one of them another port",
    ),
    (
        {"plan:ports:rpc_ws": 22},
        "plan:ports:rpc_ws: 22 is that of sshd too, and haproxy1 has both; give one of them another port",
    ),
    (
        {"plan:ports:rpc_ws": 2222, "firewall:ssh_port": 2222},
        "plan:ports:rpc_ws: 2222 is that of sshd too, and haproxy1 has both; give one of them another port",
    ),
    (
        {"plan:nodes:haproxy1:roles": ["haproxy", "patroni"], "plan:nodes:haproxy1:address": "10.0.0.12"},
        "plan:ports:postgres: 5432 is that of postgres_primary too, and haproxy1 has both; "
        "give one of them another port",
    ),
    (
        {"plan:nodes:etcd1:roles": ["etcd", "master"], "plan:nodes:salt": GONE, "plan:ports:etcd_peer": 4505},
        "plan:ports:etcd_peer: 4505 is that of salt-master too, and etcd1 has both; "
        "give one of them another port",
    ),
    (
        {"plan:ports:rpc_http": 0},
        "plan:ports:rpc_http: 0 is too small; should be a port, 1 to 65535",
    ),
    (
        {"plan:ports:rpc_http": "8545"},
        "plan:ports:rpc_http: '8545' is not a whole number; should be a port, 1 to 65535",
    ),
    ({"plan:ports:rpc_http": GONE}, "plan:ports:rpc_http: missing; a port, 1 to 65535"),
    # timing
    (
        {"plan:timing:patroni:ttl": 15},
        "plan:timing:patroni:ttl: 15 is too small; should be seconds, 20 (Patroni's own limit) to 600",
    ),
    (
        {"plan:timing:patroni:loop_wait": 0},
        "plan:timing:patroni:loop_wait: 0 is too small; should be seconds, 1 (Patroni's own limit) to 300",
    ),
    (
        {"plan:timing:patroni:retry_timeout": 2},
        "plan:timing:patroni:retry_timeout: 2 is too small; should be seconds, 3 (Patroni's own limit) to 300",
    ),
    (
        {"plan:timing:patroni:retry_timeout": 10},
        "plan:timing:patroni:ttl: 20 is less than loop_wait + 2 * retry_timeout (22), Patroni's own limit; "
        "raise ttl or lower the others",
    ),
    (
        {"plan:timing:patroni:ttl": 20.5},
        "plan:timing:patroni:ttl: 20.5 is not a whole number; "
        "should be seconds, 20 (Patroni's own limit) to 600",
    ),
    (
        {"plan:timing:etcd:election_ms": 300},
        "plan:timing:etcd:election_ms: 300 is less than five heartbeats, etcd refuses to start; "
        "use at least 350",
    ),
    (
        {"plan:timing:etcd:election_ms": 4000},
        "plan:timing:etcd:election_ms: 4000: an election may take twice that, longer than Patroni asks again "
        "(plan:timing:patroni:retry_timeout), and losing one etcd host would cost the primary its lead; "
        "use at most 3500",
    ),
    (
        {"plan:timing:patroni:primary_stop_timeout": 7},
        "plan:timing:patroni:primary_stop_timeout: 7 is more than ttl - loop_wait - retry_timeout - 5 (6), "
        "so the watchdog would reset a host whose PostgreSQL is still stopping; raise ttl or lower it",
    ),
    ({"plan:timing:preset": "swfit"}, "plan:timing:preset: 'swfit' is not known; did you mean swift?"),
    (
        {"plan:timing:vrrp:advert": 41},
        "plan:timing:vrrp:advert: 41 is too large; should be seconds, 0.01 to 40.95 (VRRPv3), in steps of 0.01",
    ),
    (
        {"plan:timing:vrrp:advert": 0.001},
        "plan:timing:vrrp:advert: 0.001 is too small; "
        "should be seconds, 0.01 to 40.95 (VRRPv3), in steps of 0.01",
    ),
    (
        {"keepalived:vrrp_version": 2},
        "plan:timing:vrrp:advert: 0.3 is not whole, and VRRPv2 (keepalived:vrrp_version) knows whole seconds only; "
        "use 1, or version 3",
    ),
    (
        {"plan:timing:haproxy:fastinter_ms": 2000},
        "plan:timing:haproxy:fastinter_ms: 2000 is more than inter_ms, checks would slow down just when they matter; "
        "use at most 1000",
    ),
    # unknown keys
    ({"patronii": {}}, "patronii: unknown; did you mean patroni?"),
    (
        {"plan:timing:patroni:loop_weight": 3},
        "plan:timing:patroni:loop_weight: unknown; did you mean loop_wait?",
    ),
    ({"ttl": 20}, "ttl: unknown; its place is plan:timing:patroni:ttl"),
    ({"patroni:dynamic:ttl": 20}, "patroni:dynamic:ttl: unknown; its place is plan:timing:patroni:ttl"),
    ({"master:colour": "red"}, "master:colour: unknown; known here: tree, ca_dir, worker_threads"),
    ({"plan:nodes:db1:role": "x"}, "plan:nodes:db1:role: unknown; did you mean roles?"),
    ({"etcd:bootstrap": True}, "etcd:bootstrap: unknown; known here: version, data_dir"),
    # settings
    (
        {"patroni:dynamic:synchronous_mode": "qourum"},
        "patroni:dynamic:synchronous_mode: 'qourum' is not known; did you mean quorum?",
    ),
    (
        {"patroni:dynamic:failsafe_mode": "yes"},
        "patroni:dynamic:failsafe_mode: 'yes' is not true or false; should be true or false",
    ),
    (
        {"postgresql:parameters:port": 5433},
        "postgresql:parameters:port: has no effect here; the port is plan:ports:postgres",
    ),
    (
        {"postgresql:parameters:fsync": False},
        "postgresql:parameters:fsync: False would lose acknowledged writes in a crash; leave it out",
    ),
    (
        {"postgresql:parameters:synchronous_commit": "local"},
        "postgresql:parameters:synchronous_commit: local would lose acknowledged writes in a crash; leave it out",
    ),
    (
        {"postgresql:database": "My DB"},
        "postgresql:database: 'My DB' is not valid; "
        "should be a name: lower-case letters, digits and underscores, at most 63",
    ),
    (
        {"postgresql:database": "fanatico_proof"},
        "postgresql:database: fanatico_proof is the cluster's own; give the application another name",
    ),
    (
        {"postgresql:parameters:max_connections": 20},
        "postgresql:parameters:max_connections: 20 leaves the application none: 20 are the cluster's own roles'",
    ),
    (
        {"postgresql:application": {"connections": 181}},
        "postgresql:application:connections: 181 and the 20 of the cluster's own roles are more than max_connections (200); "
        "use at most 180",
    ),
    (
        {
            "postgresql:application": {"connections": 170},
            "postgresql:parameters:reserved_connections": 30,
        },
        "postgresql:application:connections: 170 and the 47 of the cluster's own roles are more than max_connections (200); "
        "use at most 153",
    ),
    (
        {"haproxy:maxconn": 250},
        "haproxy:maxconn: 250 leaves each port of the databases 125 connections, less than the application's 180 and 14 of "
        "the cluster's own: proofs would be kept out; use at least 388, or lower postgresql:application:connections",
    ),
    (
        {"postgresql:parameters:max_connections": 1000},
        "haproxy:maxconn: 1024 leaves each port of the databases 512 connections, less than the application's 980",
    ),
    (
        {"postgresql:parameters:max_wal_senders": 3},
        "postgresql:parameters:max_wal_senders: 3 is too few for 3 members: the other members stream, and a copy takes two; "
        "use at least 4",
    ),
    (
        {"postgresql:parameters:max_replication_slots": 2},
        "postgresql:parameters:max_replication_slots: 2 is too few for 3 members: each member has one; use at least 3",
    ),
    (
        {"postgresql:application": {"settings": {"DROP ROLE": "x"}}},
        "postgresql:application:settings:DROP ROLE: not a valid name; should be a parameter of PostgreSQL",
    ),
    (
        {"plan:version": 0.5},
        "plan:version: 0.5 is not text; should be the Fanatico version, in quotes if it looks like a number",
    ),
    (
        {"base:tools": ["curl", "Tcpdump 4"]},
        "base:tools:1: 'Tcpdump 4' is not valid; should be the name of a Debian package, for example tcpdump",
    ),
    # the artefact
    (
        {"rpc:chain:id": None},
        "rpc:chain:id: missing; the number that eth_chainId answers, in pillar/site/init.sls",
    ),
    (
        {"rpc:chain:id": "0x539"},
        "rpc:chain:id: '0x539' is not a whole number; "
        "should be the chain id, a whole number that eth_chainId will be held against",
    ),
    (
        {"rpc:artifact": {}},
        "rpc:artifact:kind: missing; name the artefact that the rpc nodes install in pillar/site/init.sls "
        "(archive, binary or package, see pillar/rpc.sls)",
    ),
    (
        {"rpc:artifact:sha256": GONE},
        "rpc:artifact:sha256: missing, and nothing is installed without; "
        "run `sha256sum` on the file that you trust",
    ),
    (
        {"rpc:artifact:sha256": "5727dd8f"},
        "rpc:artifact:sha256: '5727dd8f' is not valid; should be the SHA-256 of the file "
        "as sha256sum prints it, 64 lower-case hexadecimal digits",
    ),
    (
        {"rpc:artifact:source": GONE},
        "rpc:artifact:source: missing; where the archive comes from, a salt:// or https:// address",
    ),
    (
        {"rpc:artifact:bin": GONE},
        "rpc:artifact:bin: missing; the path of the program inside the archive, what `strip` drops left out",
    ),
    (
        {"rpc:artifact:kind": "binary"},
        "rpc:artifact:strip: only an archive has directories to strip; leave it out",
    ),
    (
        {"rpc:artifact": {"kind": "package"}},
        "rpc:artifact:package:name: missing; the name of the Debian package",
    ),
    # the edge
    (
        {"haproxy:edge:memory": 1000},
        "haproxy:edge:memory: 1000 MiB is less than the edge's 3072 connections, tables and large requests may take (1020); use "
        "at least that, or lower haproxy:edge:maxconn",
    ),
    (
        {"haproxy:edge:maxconn": 4000},
        "haproxy:edge:memory: 1024 MiB is less than the edge's 4000 connections",
    ),
    (
        {"haproxy:edge": {"maxconn": 120000, "memory": 20000}, "rpc:edge:body_limit": 1024},
        "haproxy:edge:maxconn: 120000 connections and 32768 large requests need 305936 files, and the unit has 262144; use at "
        "most 98104",
    ),
    (
        {"rpc:edge:connections": 2000},
        "rpc:edge:connections: 2000 connections of one address are more than a port has for all (1536 of haproxy:edge:maxconn); "
        "use at most 1536, or raise haproxy:edge:maxconn",
    ),
    (
        {"rpc:edge:max_websockets_per_client": 1537},
        "rpc:edge:max_websockets_per_client: 1537 WebSockets of one address are more than a port has",
    ),
    ({"secrets:POSTGRES_PASSWORD": "x"}, "secrets:POSTGRES_PASSWORD: unknown; did you mean"),
]


@pytest.mark.parametrize(("changes", "message"), ONE_FAULT, ids=[text.split(";")[0] for _, text in ONE_FAULT])
def test_one_fault(changes, message):
    found = faults(changes)
    assert len(found) == 1, found
    assert found[0].startswith(message)


def test_the_limits_that_validation_counts_with_are_those_of_the_states():
    unit = (REPO / "salt/edge/files/haproxy-edge.service.jinja").read_text()
    assert f"LimitNOFILE={fanatico_validate._EDGE_FILES}\n" in unit
    rules = (REPO / "salt/edge/files/rpc.cfg.jinja").read_text()
    assert rules.count(" size 100k ") == 6  # fanatico_capacity._TABLES


def test_a_parameter_that_is_left_to_postgresql_counts_with_its_own_default():
    assert faults({"postgresql:parameters:jit": None}) == []
    found = faults({"postgresql:parameters:max_connections": None, "postgresql:application:connections": 90})
    assert len(found) == 1
    assert "are more than max_connections (100)" in found[0]


def test_a_database_node_counts_without_the_balancers_settings():
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
        assert f"plan:nodes: no node has the role {role}; give it to at least one" in found


def test_colocated_ports():
    """etcd and Patroni share a host without a word; HAProxy beside PostgreSQL needs another port."""
    assert faults(plan=PLANS["colocated"]) == []
    found = faults({"plan:nodes:lb1:roles": ["haproxy", "patroni"]}, PLANS["colocated"])
    assert len(found) == 1
    assert found[0].startswith("plan:ports:postgres: 5432 is that of postgres_primary too, and lb1 has both")


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


# Twice as many as elsewhere: there are many places, and much that can stand in each.
@settings(max_examples=2 * settings().max_examples, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nothing_that_can_be_written_into_it_breaks_it(data):
    """Whatever stands wherever: an answer, one line each, that names a place and never a secret's value."""
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


# the schema keeps up with the tree


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
    # what makes salt-run show the sentences and not a traceback
    assert isinstance(caught.value, salt.exceptions.NotImplemented)
    return str(caught.value)


@pytest.mark.parametrize("name", PLANS)
def test_validate_accepts_every_plan(validate, name):
    plan = load(PLANS[name])["plan"]
    assert validate(plan=PLANS[name]) == {
        "plan": plan["name"],
        "nodes": len(plan["nodes"]),
        "roles": {role: len(fanatico_plan.nodes(plan, role)) for role in fanatico_plan.ROLES},
        "secrets": 13,
    }


def test_committed_pillar_lacks_what_only_an_operator_knows(validate):
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
        "secrets:ETCD_CLUSTER_TOKEN: is in the pillar of salt, haproxy1, rpc1, db1, which must not have it; "
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
    assert validate(site=site)["nodes"] == 12


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
def test_versions_that_must_not_meet(etcd, patroni, broken):
    assert bool(fanatico_validate.broken_pair(etcd, patroni)) == broken
    found = faults({"etcd:version": etcd, "patroni:version": patroni})
    assert [line.partition(":")[0] for line in found] == (["etcd"] if broken else [])


def test_renewing_sooner_than_they_last():
    assert faults({"pki:renew_days": 90}) == [
        "pki:renew_days: 90 is not less than pki:days, every run would replace every certificate; use at most 89"
    ]
