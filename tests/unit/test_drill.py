"""The figures of a drill's raw data: gaps, losses, and split-brain."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanatico_measure as measure
from lab.drill import faults, phases
from lab.drill import run as drill

RATE = 10  # writes per second in these tests


def writes(outcomes, first=0.0):
    """A worker's attempts, a tenth of a second apart, each answered at once."""
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
    """Probes of a node that accepts writes from one time to another, and not afterwards."""
    rows = [
        {"node": node, "done": first + tenth / 10, "writable": True}
        for tenth in range(int((last - first) * 10) + 1)
    ]
    return [*rows, {"node": node, "done": last + 0.1, "writable": False}]


class TestRun:
    """The figures of a run."""

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
        )  # 1.1 s between two answers, of which 0.1 s is the interval
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
        assert figures["nowhere"] == 2  # a refused write, and a write that was never sent


class TestTwoWritable:
    """Two nodes that accept writes at the same time."""

    def test_one_after_the_other(self):
        assert measure.two_writable(probes("db1", 0, 5) + probes("db2", 6, 9)) == 0

    def test_both(self):
        assert measure.two_writable(probes("db1", 0, 5) + probes("db2", 3, 9)) == pytest.approx(2)

    def test_one_that_comes_back(self):
        """A node that led twice was not the leader in between."""
        rows = probes("db1", 0, 5) + probes("db2", 6, 9) + probes("db1", 10, 12)
        assert measure.two_writable(rows) == 0


class TestSummary:
    """Percentiles and their confidence intervals."""

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
    """The reasons why a run fails."""

    RECORD = dict.fromkeys(("lost", "duplicate", "nowhere"), 0) | {
        "write_gap": 0.1,
        "two_writable": 0.0,
        "failover": False,
        "leader_after": "db1",
        "removed": [],
    }

    @pytest.mark.parametrize(
        ("seen", "code", "word"),
        [
            ({"write_gap": 0.6}, "write_gap", "0.60 s"),
            ({"write_gap": float("inf")}, "no_write", ""),
            ({"lost": 1}, "lost", "1"),
            ({"nowhere": 1}, "nowhere", "1"),
            ({"two_writable": 0.2}, "split_brain", "0.20 s"),
            ({"failover": True, "leader_after": "db2"}, "failover", "db2"),
        ],
    )
    def test_each_is_named(self, seen, code, word):
        ((found, text),) = drill.violations(faults.FAULTS["haproxy-kill"], self.RECORD | seen)
        assert found == code
        assert word in text

    def test_none(self):
        assert drill.violations(faults.FAULTS["haproxy-kill"], self.RECORD) == []

    def test_a_cure_where_there_was_nothing_to_cure(self):
        record = self.RECORD | {"cures": ["healed: patroni.service on db1, stopped"]}
        ((code, text),) = drill.violations(faults.FAULTS["cpu-saturated"], record)
        assert code == "cure"
        assert "patroni.service on db1" in text

    def test_data_that_healing_deleted(self):
        """Only a fault that makes data unusable itself is a reason for that."""
        entry = {"host": "db3", "what": "replica-unusable", "why": "its data are gone", "removed": 4096}
        record = self.RECORD | {"removed": [entry]}
        ((code, text),) = drill.violations(faults.FAULTS["haproxy-kill"], record)
        assert code == "removed"
        assert "4096" in text
        assert drill.violations(faults.FAULTS["etcd-wiped"], record) == []

    @pytest.mark.parametrize(
        ("noted", "codes"),
        [({"waited": 40.1}, ["waited"]), ({}, ["waited"]), ({"waited": 8.0}, [])],
    )
    def test_a_session_that_waited_too_long(self, noted, codes):
        fault = faults.FAULTS["primary-pause-after-reload"]
        record = self.RECORD | {"failover": True, "noted": noted}
        assert [code for code, _ in drill.violations(fault, record)] == codes

    def test_a_failover_that_did_not_come(self):
        ((code, text),) = drill.violations(faults.FAULTS["postgres-crash"], self.RECORD)
        assert code == "failover"
        assert "db1" in text


class TestPhases:
    """The phases of a failover from the journals."""

    def said(self, *entries):
        return phases.marks(entries, 100.0, 130.0)

    def test_each_is_the_first_after_the_fault(self):
        found = self.said(
            ("haproxy1", "haproxy", 99.0, "Server postgres_primary/db1 is UP, reason: Layer7 check passed"),
            ("haproxy1", "haproxy", 103.5, "Server postgres_primary/db2 is UP, reason: Layer7 check passed"),
            ("haproxy2", "haproxy", 103.2, "Server postgres_primary/db2 is UP, reason: Layer7 check passed"),
            ("db2", "patroni", 102.0, "INFO: promoted self to leader by acquiring session lock"),
            ("db2", "patroni", 102.3, "LOG:  selected new timeline ID: 2"),
            ("db3", "patroni", 140.0, "INFO: promoted self to leader by acquiring session lock"),
        )
        assert {mark: (round(one["after"], 1), one["node"]) for mark, one in found.items()} == {
            "lock_taken": (2.0, "db2"),
            "promoted": (2.3, "db2"),
            "haproxy_up": (3.2, "haproxy2"),
        }

    def test_a_unit_does_not_speak_for_another(self):
        assert self.said(("db1", "etcd", 101.0, "Entering MASTER STATE")) == {}

    @pytest.mark.parametrize("message", ["(fanatico) Entering MASTER STATE", [40, 102], None])
    def test_an_entry_of_the_journal(self, message):
        line = {
            "MESSAGE": message,
            "_SYSTEMD_UNIT": "keepalived.service",
            "__MONOTONIC_TIMESTAMP": "1500000",
        }
        text = message if isinstance(message, str) else ""
        assert phases.entry("haproxy1", line) == ("haproxy1", "keepalived", 1.5, text)


class TestFaults:
    """The table of faults."""

    def test_it_covers_most_of_the_matrix(self):
        rows = {row for fault in faults.FAULTS.values() for row in fault.number.split(", ")}
        assert all(row == "soak" or (row.isdecimal() and 1 <= int(row) <= 53) for row in rows)
        assert len(rows) > 35

    @pytest.mark.parametrize("name", faults.FAULTS)
    def test_its_rules_name_parts_and_ports_that_there_are(self, name, plan):
        """Steps that only load rules run against a scene that records them."""
        scene = FakeScene(plan)
        with contextlib.suppress(NotInTest):
            faults.FAULTS[name].strike(scene)
        assert all("%" not in text and "{  }" not in text for text in scene.loaded)

    def test_the_short_set_and_lists_of_names(self):
        assert list(faults.named("short")) == list(faults.SHORT)
        assert list(faults.named("switchover,haproxy-kill")) == ["switchover", "haproxy-kill"]
        assert faults.named("all") == faults.FAULTS
        with pytest.raises(KeyError):
            faults.named("haproxy")


class NotInTest(Exception):
    """A step needs a machine."""


class FakeScene:
    """A scene that knows the parts and records rules."""

    def __init__(self, plan):
        self.plan, self.lab, self.loaded = plan, self, []
        self.leader, self.password = "db1", ""
        self.struck = drill.parts(plan["nodes"], "salt", "db1", "etcd2", ["haproxy1"])

    def address(self, node):
        return self.plan["nodes"][node]["address"]

    def rules(self, text):
        self.loaded.append(text)

    def __getattr__(self, name):
        raise NotInTest(name)


def test_the_address_of_the_client_is_free(plan):
    address = drill.free_address(plan)
    assert address.startswith("10.0.0.")
    assert address not in {node["address"] for node in plan["nodes"].values()} | {
        plan["virtual_ip"]["address"]
    }
