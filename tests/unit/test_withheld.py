"""What a node's pillar is not given, whatever the installation's overrides say."""

import copy

import pytest

from _pillar import fanatico_withheld

RPC = {"chain": {"id": 1}, "edge": {}, "exec": {"env": {"TOKEN": "x"}}, "artifact": {"kind": "binary"}}


def given(plan, node, rpc=RPC):
    """The pillar of a node after the external pillar has seen it."""
    pillar = {"plan": plan, "rpc": copy.deepcopy(rpc)}
    assert fanatico_withheld.ext_pillar(node, pillar) == {}
    return pillar["rpc"]


def test_a_chain_node_is_given_all_of_it(plan):
    assert given(plan, "rpc1") == RPC


@pytest.mark.parametrize("node", ["haproxy1", "db1", "etcd1", "salt", "stranger"])
def test_nobody_else_is_given_what_the_program_is_started_with(plan, node):
    assert given(plan, node) == {"chain": {"id": 1}, "edge": {}}


@pytest.mark.parametrize(
    "plan", [None, [], {}, {"nodes": []}, {"nodes": {"rpc1": None}}, {"nodes": {"rpc1": {"roles": None}}}]
)
def test_a_plan_that_cannot_be_read_gives_nobody_anything(plan):
    assert given(plan, "rpc1") == {"chain": {"id": 1}, "edge": {}}


@pytest.mark.parametrize("rpc", [None, [], "x", {}])
def test_a_setting_that_is_none_is_left_to_validation(plan, rpc):
    assert given(plan, "haproxy1", rpc) == rpc
