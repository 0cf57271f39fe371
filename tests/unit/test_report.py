"""The report of drills: its timelines, its charts, and its self-contained page."""

import itertools
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.drill import plots, report
from tests.support import reports

NEVER = float("inf")
FAILOVER = {"released": 0.4, "lock_taken": 0.8, "promoted": 0.85, "haproxy_up": 0.95}


@pytest.fixture(scope="module")
def crash():
    """Three runs of a fault with a failover, one of them too slow: (fault, timelines)."""
    records, timelines = reports.fault("postgres-crash", [1.5, 2.0, 6.0], marks=FAILOVER)
    return content(records), timelines


def content(records):
    return report.content({"x": records}, {}, {})["faults"]["x"]


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def rows(specification, key):
    """Return all rows of data, of any layer of any panel, that have a key."""
    layers = [layer for panel in specification["vconcat"] for layer in panel["layer"]]
    return [row for layer in layers for row in layer["data"]["values"] if key in row]


class TestTimeline:
    """The timeline of a run."""

    def test_every_step_has_a_point_and_the_outage_has_zeroes(self):
        line = report.timeline(reports.lines(gap=1.0, first=0.0), 0.0)
        steps = {round(late - early, 2) for (early, _), (late, _) in itertools.pairwise(line)}
        assert steps == {report.BIN}
        assert [second for second, rate in line if rate == 0] == [round(0.05 * bin, 2) for bin in range(20)]

    def test_a_steady_load_is_a_flat_line_also_at_the_fault(self):
        line = report.timeline(reports.lines(gap=0.0), 0.0)
        assert {rate for _, rate in line} == {reports.RATE}

    def test_seconds_count_from_the_fault(self):
        at_zero = report.timeline(reports.lines(gap=1.0), 0.0)
        assert report.timeline(reports.lines(gap=1.0, struck=512.0), 512.0) == at_zero


class TestSeries:
    """From the points of runs to the lines of a chart."""

    def test_coarser_takes_means_on_both_sides_of_the_fault(self):
        line = [(-0.1, 10), (-0.05, 20), (0.0, 30), (0.05, 50), (0.1, 70)]
        assert plots.coarser(line, 0.1) == [(-0.1, 15), (0.0, 40), (0.1, 70)]

    def test_coarser_leaves_a_line_of_the_same_step_alone(self):
        line = report.timeline(reports.lines(gap=1.0), 0.0)
        assert plots.coarser(line, report.BIN) == line

    @pytest.mark.parametrize(
        ("span", "points", "step"), [(5, 100, 0.05), (5.1, 100, 0.1), (30, 100, 0.5), (1800, 40, 50)]
    )
    def test_the_step_grows_with_the_span(self, span, points, step):
        assert plots.step_for(span, points) == pytest.approx(step)

    def test_the_median_is_over_runs_and_where_half_of_them_are(self):
        lines = [[(0.0, 1), (0.1, 9)], [(0.0, 5), (0.1, 7)], [(0.0, 2), (0.1, 8), (0.2, 1)]]
        assert plots.median(lines) == [(0.0, 2), (0.1, 8)]

    @given(st.lists(st.integers(0, 2), min_size=1))
    def test_sparse_draws_the_same_steps(self, rates):
        line = list(enumerate(rates))
        kept, drawn = dict(plots.sparse(line, 1, 1000)), []
        for second, _ in line:
            drawn.append((second, kept.get(second, drawn[-1][1] if drawn else None)))
        assert drawn == line
        assert max(kept.items()) == (len(rates), rates[-1])

    def test_a_line_of_steps_ends_with_its_last_step_or_with_the_picture(self):
        assert plots.sparse([(0, 2), (1, 3)], 1, 1.5) == [(0, 2), (1, 3), (1.5, 3)]
        assert plots.sparse([(0, 2), (1, 3)], 1, 9) == [(0, 2), (1, 3), (2, 3)]

    def test_a_run_that_never_ended_is_missing_from_the_distribution(self):
        assert plots.distribution([2.0, NEVER, 1.0, 4.0]) == [
            (0.0, 0.0),
            (1.0, 25.0),
            (2.0, 50.0),
            (4.0, 75.0),
        ]


class TestWindow:
    """The range of a chart."""

    def window(self, name, found, marks=None):
        records, timelines = reports.fault(name, found, marks=marks)
        one = content(records)
        return one, plots.window(one, [timelines[run["run"]] for run in one["runs"]])

    def test_it_shows_the_outage_the_phases_and_a_limit_that_is_near(self):
        one, (first, last) = self.window("postgres-crash", [1.5, 2.0], FAILOVER)
        assert -1.5 < first < 0
        assert one["write_gap"] == 5
        assert 5 < last < 7

    def test_a_limit_that_is_far_does_not_stretch_it(self):
        one, (_, last) = self.window("primary-power", [0.2])
        assert last < one["write_gap"] / 4

    def test_a_second_outage_is_inside(self, crash):
        one, timelines = crash
        again = [
            (second, 0 if 9 < second < 9.5 else rate) for second, rate in timelines[one["runs"][0]["run"]]
        ]
        assert plots.window(one, [again])[1] > 9.4

    def test_all_is_shown_of_a_run_without_recovery(self):
        _, (_, last) = self.window("haproxy-kill", [0.1, NEVER])
        assert last > reports.END - 0.2

    def test_without_an_outage_there_is_still_something_to_see(self):
        _, (first, last) = self.window("patroni-kill", [0.0])
        assert first < 0
        assert last >= plots.LEAST


class TestPictures:
    """The texts in the charts, with the labels of ticks."""

    @pytest.mark.parametrize("width", [plots.WIDE, plots.NARROW])
    def test_what_clients_saw(self, crash, width):
        found = texts(plots.svg(plots.around_fault(*crash, width)))
        assert {"time after the fault (s)", "acknowledged writes (per second)"} <= set(found)
        assert {"one run", "median of 3 runs", "fault", "phase (median)", "longest gap allowed: 5 s"} <= set(
            found
        )
        assert {"lock released", "lock taken", "promoted", "HAProxy: up"} <= set(found)
        assert {"0", "200"} <= set(found)

    def test_a_single_run_is_not_called_a_median(self):
        records, timelines = reports.fault("haproxy-kill", [0.1])
        found = texts(plots.svg(plots.around_fault(content(records), timelines, plots.WIDE)))
        assert "the run" in found
        assert "one run" not in found
        assert not any(text.startswith("median of") for text in found)

    def test_how_long_no_write_was_acknowledged(self, crash):
        found = texts(plots.svg(plots.gaps(crash[0])))
        assert {"write gap (s)", "runs with at most this gap (%)", "0", "100"} <= set(found)
        assert {"median: 2.00 s", "longest gap allowed: 5 s"} <= set(found)
        assert {"run within the limit", "run over the limit"} <= set(found)

    def test_a_limit_outside_of_the_picture_is_in_its_legend(self):
        records, _ = reports.fault("primary-power", [0.4])
        (legend,) = [text for text in texts(plots.svg(plots.gaps(content(records)))) if "allowed" in text]
        assert legend == f"longest gap allowed: {records['write_gap']} s (outside)"

    def test_the_healing_is_marked_where_the_drill_heals(self):
        def marked(heals):
            records, timelines = reports.fault("primary-power", [4.0])
            one = content(records | {"heals": heals})
            return plots.HEALED in texts(plots.svg(plots.around_fault(one, timelines, plots.WIDE)))

        assert marked(True)
        assert not marked(False)

    def test_the_fault_is_a_line_through_both_panels(self, crash):
        drawn = plots.svg(plots.around_fault(*crash, plots.WIDE))
        lines = re.findall(r'<line [^>]*y2="(-?[1-9]\d*)"[^>]*stroke="var\(--fault\)"', drawn)
        assert len(lines) == 2

    def test_the_limit_is_as_long_as_it_lasts_from_where_the_outage_begins(self, crash):
        one, timelines = crash
        (row,) = rows(plots.around_fault(one, timelines, plots.WIDE), "until")
        assert 0 <= row["second"] <= 0.2
        assert row["until"] - row["second"] == pytest.approx(one["write_gap"])

    def test_nothing_is_drawn_outside(self):
        records, timelines = reports.fault("postgres-crash", [1.0, 2.0], marks=FAILOVER)
        records["runs"][0]["phases"]["stopped"] = {"after": 60.0, "node": "db1"}
        drawn = plots.around_fault(content(records), timelines, plots.WIDE)
        ends = drawn["vconcat"][0]["encoding"]["x"]["scale"]["domain"]
        assert all(ends[0] <= row["second"] <= ends[1] for row in rows(drawn, "second"))
        assert ends[1] <= reports.END
        assert "database stopped" not in texts(plots.svg(drawn))

    def test_lines_differ_by_more_than_colour(self):
        looks = [(tuple(dash), width) for _, dash, width in plots.LINES.values()]
        assert len(set(looks)) == len(looks)

    def test_every_colour_is_one_of_the_page(self, crash):
        drawn = "".join(plots.draw(*crash).values())
        colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', drawn))
        assert colours - {"none", "transparent"} <= {
            f"var(--{name})" for name in ("text", "muted", "grid", *plots.LINES)
        }

    @pytest.mark.parametrize("found", [[NEVER], [0.0], [0.0, NEVER], [0.001] * 30])
    def test_extremes_are_drawn(self, found):
        records, timelines = reports.fault("haproxy-kill", found)
        for svg in plots.draw(content(records), timelines).values():
            assert "write" in svg
            assert not re.search(r"NaN|nan|Infinity|undefined", svg)


class TestPage:
    """The HTML file and the JSON file."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("report")
        records, timelines = reports.fault("haproxy-kill", [0.2, NEVER], marks={"virtual_ip": 1.0})
        records["runs"][0]["complaints"] = ["<b>"]
        made = {
            "haproxy-kill": (records, timelines),
            "switchover": reports.fault("switchover", [1.6], marks=FAILOVER),
        }
        reports.page(folder, made)
        return folder

    @pytest.fixture(scope="class")
    def page(self, folder):
        return (folder / "report.html").read_text()

    def test_it_says_what_was_done_and_what_came_of_it(self, page):
        assert "2 of 3 runs failed" in page
        assert "haproxy-kill-001: &lt;b&gt;" in page
        assert "haproxy-kill-002: no write" in page
        assert "<td>virtual IP</td><td>2</td>" in page
        assert "nan" not in page
        assert page.count("<svg") == 6

    def test_it_asks_the_network_for_nothing(self, page):
        assert "default-src 'none'" in page
        assert "<script" not in page
        assert "@import" not in page
        assert all(target.startswith("#") for target in re.findall(r'(?:src|href|srcset)="([^"]*)"', page))
        assert not re.search(r"url\((?!#)", page)

    def test_it_is_small(self, page):
        assert len(page) < 300_000

    def test_programs_get_json(self, folder):
        assert list(json.loads((folder / "report.json").read_text())["faults"]) == [
            "haproxy-kill",
            "switchover",
        ]

    def test_what_is_kept_for_good(self):
        records, _ = reports.fault("haproxy-kill", [0.2, NEVER])
        kept = report.kept(report.content({"haproxy-kill": records}, {"ttl": 20}, {}))
        assert [one["write_gap"] for one in kept["runs"]["haproxy-kill"]] == [0.2, math.inf]
        assert kept["timing"] == {"ttl": 20}
