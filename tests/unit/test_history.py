"""Whether a history of appends and reads is one that a single, reliable database could have given."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.drill import history

FAULTS = ("lost", "nowhere", "duplicate", "disorder", "torn", "stale")


def append(number, sent, done, outcome="ok", key=0):
    return {"kind": "append", "key": key, "id": number, "sent": sent, "done": done, "outcome": outcome}


def read(numbers, sent, key=0, outcome="ok"):
    told = {"length": len(numbers), "crc": history.crc(numbers)} if outcome == "ok" else {}
    return {"kind": "read", "key": key, "sent": sent, "done": sent + 0.1, "outcome": outcome, **told}


# Three appends, one after the other.
ROW = [append(1, 0, 1), append(2, 2, 3), append(3, 4, 5)]


def faults(lines, final):
    return {key: count for key, count in history.check(lines, final).items() if key in FAULTS and count}


@pytest.mark.parametrize(
    ("lines", "final", "found"),
    [
        (ROW, [1, 2, 3], {}),
        (ROW, [1, 3], {"lost": 1}),
        (ROW, [1, 2, 2, 3], {"duplicate": 1}),
        (ROW, [1, 2, 3, 9], {"nowhere": 1}),
        ([*ROW, append(4, 6, 7, "failed")], [1, 2, 3, 4], {"nowhere": 1}),
        ([*ROW, append(4, 6, 7, "unknown")], [1, 2, 3, 4], {}),
        ([*ROW, append(4, 6, 7, "unknown")], [1, 2, 3], {}),
        (ROW, [2, 1, 3], {"disorder": 1}),
        # Sent while the other was on its way: either may be first.
        ([append(1, 0, 2), append(2, 1, 3)], [2, 1], {}),
        ([*ROW, read([1, 2], 3.5)], [1, 2, 3], {}),
        ([*ROW, read([1, 2], 5.5)], [1, 2, 3], {"stale": 1}),
        ([*ROW, read([], 1.5)], [1, 2, 3], {"stale": 1}),
        ([*ROW, read([2], 3.5)], [1, 2, 3], {"torn": 1, "stale": 1}),
        # What a former primary showed and nobody else ever had.
        ([*ROW, append(4, 6, 7, "unknown"), read([1, 2, 3, 4], 7)], [1, 2, 3], {"torn": 1}),
        ([*ROW, read([], 9, outcome="failed")], [1, 2, 3], {}),
    ],
)
def test_each_fault_is_found(lines, final, found):
    assert faults(lines, {0: final}) == found


def test_one_that_stands_in_another_list():
    assert faults(ROW, {0: [1, 2], 1: [3]}) == {"lost": 1, "nowhere": 1}


def test_what_was_done_is_counted():
    counts = history.check([*ROW, append(4, 6, 7, "unknown"), read([1], 1.5)], {0: [1, 2, 3]})
    assert (counts["appended"], counts["unknown"], counts["read"]) == (3, 1, 1)


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_reliable_database_is_never_accused(seed, number):
    """Appends and reads take effect at one moment each, anywhere between being sent and being answered."""
    rng, database, lines = random.Random(seed), {0: [], 1: []}, []
    moments = sorted(rng.random() * 10 for _ in range(number))
    for count, moment in enumerate(moments):
        key, outcome = rng.randrange(2), rng.choice(("ok", "ok", "unknown", "failed"))
        sent, done = moment - rng.random(), moment + rng.random()
        if rng.random() < 0.3:
            lines.append(read(list(database[key]), sent, key) | {"done": done})
            continue
        if outcome == "ok" or (outcome == "unknown" and rng.random() < 0.5):
            database[key].append(count)
        lines.append(append(count, sent, done, outcome, key))
    rng.shuffle(lines)
    assert faults(lines, database) == {}
