"""The rate limit of events: a flood costs few questions, and only those of the host in whose name it comes."""

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanatico_gate as gate
from _runners._modules import fanatico_event
from tests.support import REPO


def test_a_quiet_host_may_send_a_burst():
    memory = {}
    counted = [gate.counts(memory, "db1", 0.0) for _ in range(gate.BURST + 3)]
    assert counted == [True] * gate.BURST + [False] * 3


def test_the_first_event_of_every_host_counts():
    memory = {}
    assert all(gate.counts(memory, f"host{number}", 0.0) for number in range(100))


@pytest.mark.parametrize("hosts", [1, 12])
def test_a_thousand_a_second_for_a_minute(hosts):
    memory, rng, counted = {}, random.Random(hosts), 0
    for number in range(60_000):
        counted += gate.counts(memory, f"host{rng.randrange(hosts)}", number / 1000)
    assert hosts * 60 / gate.EVERY <= counted <= hosts * (gate.BURST + 60 / gate.EVERY)


def test_a_flood_in_its_own_name_takes_nothing_from_another_host():
    memory = {}
    for number in range(10_000):
        gate.counts(memory, "rpc1", number / 1000)
    assert gate.counts(memory, "db1", 10.0)


def test_a_flood_in_the_name_of_another_host_has_that_host_asked():
    """Whatever event leads to a look, the look finds what the host has reported: so a true fault waits for EVERY at most."""
    memory = {}
    looked = [now / 100 for now in range(6000) if gate.counts(memory, "db1", now / 100)]
    assert max(after - before for before, after in itertools.pairwise(looked)) <= gate.EVERY + 0.02


def test_quiet_hosts_are_removed_from_memory():
    memory = {}
    for number in range(1000):
        gate.counts(memory, f"host{number}", float(number))
    assert len(memory) <= gate.BURST * gate.EVERY + 1


@pytest.fixture
def configure_loader_modules():
    opts = {"pillar_roots": {"base": [str(REPO / "pillar")]}}
    return {fanatico_event: {"__context__": {}, "__opts__": opts}}


WORDS = (
    st.text(max_size=40)
    | st.none()
    | st.integers()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text())
)


@given(host=WORDS)
def test_an_event_of_an_unknown_host_does_not_count(host):
    assert fanatico_event.counts(host) is (host in ("db1", "etcd1", "rpc1"))


def test_kinds_have_rate_limits_of_their_own():
    assert fanatico_event.counts("db1", "key", 60, 1) is True
    assert fanatico_event.counts("db1", "key", 60, 1) is False
    assert fanatico_event.counts("db1") is True


def test_a_plan_that_cannot_be_read_at_the_moment_is_the_last_one(tmp_path):
    plan = tmp_path / "plan.sls"
    plan.write_text((REPO / "pillar/plan.sls").read_text())
    fanatico_event.__opts__["pillar_roots"] = {"base": [str(tmp_path)]}
    assert fanatico_event.counts("db1") is True
    plan.write_text("plan: {nodes: [")
    assert fanatico_event.counts("db1") is True
    Path(plan).unlink()
    assert fanatico_event.counts("db1") is True
