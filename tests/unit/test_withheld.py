"""Private settings reach only the nodes of their component, whatever site/ overrides."""

import copy

import pytest

from _pillar import fanatico_withheld

RPC = {"chain": {"id": 1}, "edge": {}, "exec": {"env": {"TOKEN": "x"}}, "artifact": {"kind": "binary"}}


def given(plan, node, rpc=RPC):
    """The pillar of a node after the external pillar ran."""
    pillar = {"plan": plan, "rpc": copy.deepcopy(rpc)}
    assert fanatico_withheld.ext_pillar(node, pillar) == {}
    return pillar["rpc"]


def test_a_chain_node_keeps_all_settings(plan):
    assert given(plan, "rpc1") == RPC


@pytest.mark.parametrize("node", ["haproxy1", "db1", "etcd1", "salt", "stranger"])
def test_other_nodes_do_not_get_the_programs_settings(plan, node):
    assert given(plan, node) == {"chain": {"id": 1}, "edge": {}}


@pytest.mark.parametrize(
    "plan", [None, [], {}, {"nodes": []}, {"nodes": {"rpc1": None}}, {"nodes": {"rpc1": {"roles": None}}}]
)
def test_an_invalid_plan_gives_private_settings_to_no_node(plan):
    assert given(plan, "rpc1") == {"chain": {"id": 1}, "edge": {}}


@pytest.mark.parametrize("rpc", [None, [], "x", {}])
def test_a_malformed_setting_is_left_to_validation(plan, rpc):
    assert given(plan, "haproxy1", rpc) == rpc
