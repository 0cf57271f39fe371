"""What is made of a drill's raw lines: gaps, losses, and whether two nodes took writes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.drill import faults, measure, report
from lab.drill import run as drill

RATE = 10  # writes a second in these tests


def writes(outcomes, first=0.0):
    """One worker's attempts, a tenth of a second apart, each answered at once."""
    return [
        {
            "kind": "write",
            "worker": 0,
            "seq": seq,
            "due": first + seq / RATE,
            "done": first + seq / RATE,
            "outcome": outcome,
        }
        for seq, outcome in enumerate(outcomes)
    ]


def reads(lines):
    return [line | {"kind": "read", "outcome": "ok"} for line in lines]


def probes(node, first, last):
    """A node that takes writes from one time to another, and then does not."""
    rows = [
        {"node": node, "done": first + tenth / 10, "writable": True}
        for tenth in range(int((last - first) * 10) + 1)
    ]
    return [*rows, {"node": node, "done": last + 0.1, "writable": False}]


class TestRun:
    """The figures of one run."""

    def figures(self, outcomes, held, struck=1.0, answers=()):
        lines = writes(outcomes)
        return measure.run(lines + reads(lines), list(answers), struck, held, RATE)

    def test_nothing_happened(self):
        figures = self.figures(["ok"] * 30, [(0, seq) for seq in range(30)])
        assert figures["write_gap"] == pytest.approx(0)
        assert figures["acknowledged"] == 30
        assert [
            figures[key] for key in ("lost", "duplicate", "nowhere", "failed", "unknown", "two_writable")
        ] == [0] * 6

    def test_an_outage_is_as_long_as_nothing_was_acknowledged(self):
        outcomes = ["ok"] * 10 + ["unknown"] * 2 + ["failed"] * 8 + ["ok"] * 10
        figures = self.figures(
            outcomes, [(0, seq) for seq in range(11)] + [(0, seq) for seq in range(20, 30)]
        )
        assert figures["write_gap"] == pytest.approx(
            1.0
        )  # 1.1 s between two answers, of which 0.1 s is the pace
        assert figures["unavailable"] == pytest.approx(1.0)
        assert (figures["unknown"], figures["recovered"], figures["failed"]) == (2, 1, 8)

    def test_one_that_does_not_end_is_infinite(self):
        assert self.figures(["ok"] * 10 + ["failed"] * 10, [(0, 0)], struck=1.5)["write_gap"] == float("inf")

    def test_a_gap_before_the_fault_is_not_the_faults(self):
        outcomes = ["ok"] * 3 + ["failed"] * 10 + ["ok"] * 20
        assert self.figures(outcomes, [], struck=2.0)["write_gap"] == pytest.approx(0)

    def test_what_was_acknowledged_and_is_not_there_is_lost(self):
        figures = self.figures(
            ["ok", "ok", "unknown", "failed"] + ["ok"] * 20, [(0, 0), (0, 2), (0, 2), (0, 3), (7, 7)]
        )
        assert (figures["lost"], figures["duplicate"]) == (21, 1)
        assert figures["nowhere"] == 2  # one that was refused, and one that nobody sent


class TestTwoWritable:
    """Two nodes that took writes at the same time."""

    def test_one_after_the_other(self):
        assert measure.two_writable(probes("db1", 0, 5) + probes("db2", 6, 9)) == 0

    def test_both(self):
        assert measure.two_writable(probes("db1", 0, 5) + probes("db2", 3, 9)) == pytest.approx(2)

    def test_one_that_comes_back(self):
        """Between its two times as primary it was none."""
        rows = probes("db1", 0, 5) + probes("db2", 6, 9) + probes("db1", 10, 12)
        assert measure.two_writable(rows) == 0


class TestSummary:
    """Percentiles and how sure they are."""

    def test_percentiles(self):
        values = [float(number) for number in range(1, 101)]
        assert [measure.percentile(values, share) for share in (0.5, 0.95, 0.99, 1)] == [50, 95, 99, 100]

    @given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.sampled_from([0.5, 0.99]))
    def test_an_interval_is_of_values_that_were_seen(self, values, share):
        low, high = measure.interval(values, share, rounds=40)
        assert {low, high} <= set(values)
        assert low <= high

    def test_an_interval_holds_what_was_found(self):
        values = [float(number) for number in range(1, 31)]
        low, high = measure.interval(values, 0.5)
        assert 9 < low < measure.percentile(values, 0.5) < high < 22

    def test_of_one_run(self):
        summary = measure.summary([{"write_gap": 2.0}], "write_gap")
        assert (summary["n"], summary["p50"], summary["p99_ci"]) == (1, 2.0, (2.0, 2.0))


class TestComplaints:
    """What a run must not show."""

    RECORD = dict.fromkeys(("lost", "duplicate", "nowhere"), 0) | {
        "write_gap": 0.1,
        "two_writable": 0.0,
        "failover": False,
        "leader_after": "db1",
    }

    @pytest.mark.parametrize(
        ("seen", "word"),
        [
            ({"write_gap": 0.6}, "0.60 s, at most 0.5"),
            ({"lost": 1}, "1 writes lost"),
            ({"nowhere": 1}, "nowhere"),
            ({"two_writable": 0.2}, "two nodes"),
            ({"failover": True, "leader_after": "db2"}, "db2 leads now"),
        ],
    )
    def test_each_is_named(self, seen, word):
        (text,) = drill.complaints(faults.FAULTS["haproxy-kill"], self.RECORD | seen)
        assert word in text

    def test_none(self):
        assert drill.complaints(faults.FAULTS["haproxy-kill"], self.RECORD) == []

    def test_a_failover_that_did_not_come(self):
        (text,) = drill.complaints(faults.FAULTS["postgres-crash"], self.RECORD)
        assert "as before" in text


def test_a_timeline_has_every_tenth_of_a_second():
    line = report.timeline(writes(["ok"] * 5 + ["failed"] * 10 + ["ok"] * 5), struck=0.5)
    assert all(round(later - sooner, 1) == 0.1 for (sooner, _), (later, _) in itertools.pairwise(line))
    assert [count for _, count in line].count(0) == 10


def test_the_report_shows_every_fault(tmp_path):
    run = TestComplaints.RECORD | dict.fromkeys(report.COUNTS, 0) | dict.fromkeys(report.FIGURES, 0.2)
    run |= {"run": "haproxy-kill-001", "complaints": ["<b>"]}
    records = {"haproxy-kill": {"what": "x", "number": "38", "write_gap": 0.5, "runs": [run]}}
    told = report.content(records, {"ttl": 20}, {"haproxy": "3.0"})
    report.write(tmp_path, told, {"haproxy-kill-001": [(-0.1, 20), (0.0, 0), (0.1, 20)]})
    page = (tmp_path / "report.html").read_text()
    assert "haproxy-kill" in page
    assert "&lt;b&gt;" in page
    assert (tmp_path / "report.json").exists()


def test_the_address_of_the_client_is_nobodys(plan):
    address = drill.free_address(plan)
    assert address.startswith("10.0.0.")
    assert address not in {node["address"] for node in plan["nodes"].values()} | {
        plan["virtual_ip"]["address"]
    }
