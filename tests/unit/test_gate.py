"""A flood of events costs no more than a few thoughts."""

import random

import pytest

from _modules import fanatico_event
from _utils import fanatico_gate as gate


def test_the_same_fault_counts_once_in_a_while():
    memory = {}
    counted = [now for now in range(20) if gate.counts(memory, "db1/patroni.service", now)]
    assert counted == [0, 4, 8, 12, 16]


def test_everything_that_fails_at_once_counts():
    memory = {}
    assert all(gate.counts(memory, f"host{number}/etcd.service", 0.0) for number in range(gate.BURST))


@pytest.mark.parametrize("subjects", [1, 10, 100_000])
def test_a_thousand_a_second_for_a_minute(subjects):
    memory, rng, counted = {}, random.Random(subjects), 0
    for number in range(60_000):
        counted += gate.counts(memory, f"host{rng.randrange(subjects)}/etcd.service", number / 1000)
        assert len(memory["last"]) <= gate.BURST + gate.AGAIN
    assert 60 / gate.AGAIN * min(subjects, 2) <= counted <= gate.BURST + 60 * gate.A_SECOND


def test_afterwards_it_is_as_before():
    memory = {}
    for number in range(1000):
        gate.counts(memory, f"host{number}/etcd.service", 0.0)
    assert not gate.counts(memory, "db1/patroni.service", 1.0)
    assert gate.counts(memory, "db1/patroni.service", 2.1)


@pytest.fixture
def configure_loader_modules(all_utils):
    return {fanatico_event: {"__utils__": all_utils, "__context__": {}}}


@pytest.mark.parametrize("event", [(), ("db1",), (None, "x"), ("db1", ["x"]), ("d" * 200, "x" * 200)])
def test_an_event_that_is_none_of_ours_does_not(event):
    assert fanatico_event.counts(*event) is False


def test_kinds_have_shares_of_their_own():
    assert fanatico_event.counts("db1", "denied", "key", 60) is True
    assert fanatico_event.counts("db1", "denied", "key", 60) is False
    assert fanatico_event.counts("db1", "denied") is True


def test_one_of_ours_does():
    assert fanatico_event.counts("db1", "patroni.service") is True
    assert fanatico_event.counts("db1", "patroni.service") is False
