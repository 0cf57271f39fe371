"""Capacity of HAProxy's processes."""

import pytest

import fanatico_capacity
from tests.support import pillar

HAPROXY, EDGE = pillar.shipped("haproxy"), pillar.shipped("rpc")["edge"]


def test_as_shipped():
    assert fanatico_capacity.databases(HAPROXY["maxconn"]) == {
        "port": 512,
        "process": 1224,
        "statistics": 100,
    }
    assert fanatico_capacity.edge(HAPROXY["edge"]["maxconn"], EDGE["body_limit"]) == {
        "port": 1536,
        "process": 3551,
        "statistics": 100,
        "large": 279,
        "lua": 256,
        "buffers": 10653,
        "memory": 1020,
    }


def test_a_process_has_room_for_all_its_ports():
    found = fanatico_capacity.databases(101)
    assert found["port"] == 50
    assert found["process"] >= 2 * found["port"] + 2 * found["statistics"]


@pytest.mark.parametrize(("body_limit", "large"), [(1024, 32768), (16 * 2**20, 2), (64 * 2**20, 1)])
def test_large_requests_fit_into_lua_and_at_least_one_is_allowed(body_limit, large):
    found = fanatico_capacity.edge(1000, body_limit)
    assert found["large"] == large
    assert large == 1 or 2 * body_limit * large <= found["lua"] * 2**20
