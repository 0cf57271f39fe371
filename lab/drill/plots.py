"""The charts of a report: Vega-Lite specifications, and their SVG.

Colors are CSS variables of the page (``report.html.jinja``), so one SVG works for light and dark screens.
"""

import itertools
import math
import re
import statistics

import vl_convert

from lab.drill import phases

BEFORE = 3.0  # seconds shown before the fault, at most
NEAR_LIMIT, NEAR_HEALING = 4, 1.5  # the limit and the healing are shown up to this multiple of the rest
LEAST = 1.5  # seconds shown after the fault, at least
WIDE, NARROW = 620, 250  # pixels of the plotting area, without the axis
LABELS = 100  # pixels for the names of phases and for the numbers of the axis above them
ONE_RUN, MEDIAN = "one run", "median"
FAULT, HEALED, PHASE = "fault", "fault healed (median)", "phase (median)"
WITHIN, OVER = "run within the limit", "run over the limit"
STEPS = [factor * 10**power for power in range(-2, 4) for factor in (1, 2, 5)][2:]  # seconds: 0.05, 0.1, ...

STEP_LINE = {"type": "line", "interpolate": "step-after"}

CONFIG = {
    "aria": False,  # the page has the numbers as tables
    "font": "system-ui, sans-serif",
    "axis": {
        "labelColor": "var(--text)", "titleColor": "var(--text)", "domainColor": "var(--muted)",
        "tickColor": "var(--muted)", "gridColor": "var(--grid)", "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "titlePadding": 6, "labelFlush": False,
    },
    "legend": {"labelColor": "var(--text)", "labelFontSize": 12, "labelLimit": 320, "symbolSize": 360, "columnPadding": 24},
    "view": {"stroke": None},
    "line": {"strokeCap": "butt"},
}  # fmt: skip

# Style of each kind of line: (color, dash, width in pixels). No two differ by color only.
LINES = {
    "run": ("var(--run)", [1, 0], 1),
    "median": ("var(--median)", [1, 0], 3),
    "fault": ("var(--fault)", [7, 4], 2),
    "healed": ("var(--healed)", [2, 3], 2),
    "phase": ("var(--phase)", [1, 4], 2),
    "limit": ("var(--limit)", [12, 3, 3, 3], 2),
}
LOOKS = {FAULT: "fault", HEALED: "healed", PHASE: "phase"}


def coarser(line, step):
    """
    Return a timeline with one point for every ``step`` seconds: the mean of the points in it.

    line
        ``[(second from the fault, writes per second), ...]``, as ``report.timeline`` returns it.
    """
    kept: dict[int, list[float]] = {}
    for second, rate in line:
        kept.setdefault(math.floor(second / step + 1e-6), []).append(rate)
    return [(round(bin * step, 2), statistics.fmean(rates)) for bin, rates in sorted(kept.items())]


def step_for(span, points):
    """Return the shortest step, in seconds, that shows ``span`` seconds with at most ``points`` points."""
    return next((step for step in STEPS if span / step <= points), STEPS[-1])


def median(lines):
    """Return the median timeline: a point wherever at least half of the runs have one. All need the same steps."""
    rates: dict[float, list[float]] = {}
    for line in lines:
        for second, rate in line:
            rates.setdefault(second, []).append(rate)
    return [
        (second, statistics.median(of)) for second, of in sorted(rates.items()) if len(of) * 2 >= len(lines)
    ]


def sparse(line, step, end):
    """
    Return the points that a step line needs.

    Points with the rate of the point before are left out; a last point extends the line to the end of its last step, or to
    ``end``.
    """
    kept = [next(same) for _, same in itertools.groupby(line, key=lambda point: point[1])]
    return [*kept, (min(line[-1][0] + step, end), line[-1][1])]


def distribution(values):
    """Return ``[(value, percentage of all values up to it)]`` of the finite values, with a first point at (0, 0)."""
    ended = sorted(value for value in values if math.isfinite(value))
    return [(0.0, 0.0), *((value, 100 * count / len(values)) for count, value in enumerate(ended, 1))]


def limit_words(limit, room):
    """Return the legend's text for the limit, where ``room`` seconds of the chart are left for it."""
    return f"longest gap allowed: {limit:g} s" + ("" if limit <= room else " (outside)")


def healed_after(fault):
    """Return the median seconds from the fault until it was reverted, or None where the drill does not revert it."""
    if not fault["heals"]:
        return None
    return statistics.median(run["at"]["healed"] - run["at"]["struck"] for run in fault["runs"])


def disturbed(line):
    """Return the seconds after the fault at which a timeline is below half of its median before the fault; [0] if never."""
    normal = statistics.median([rate for second, rate in line if second < 0] or [0])
    return [second for second, rate in line if second >= 0 and rate < normal / 2] or [0]


def outage_begin(lines):
    """Return the first second after the fault at which the median of the timelines is disturbed; 0 if never."""
    return disturbed(median(lines))[0]


def window(fault, lines):
    """
    Return (first, last): the range of a chart, in seconds from the fault.

    It ends after the last time at which a run had less than half of its normal rate, after the last phase, and after the
    healing and the limit if these are near; with a margin on both sides.
    """
    seen = [phase["after"] for run in fault["runs"] for phase in run["phases"].values()]
    last = max([LEAST, *seen, *(disturbed(coarser(line, 0.1))[-1] for line in lines)])
    healed = healed_after(fault)
    ends = [outage_begin(lines) + fault["write_gap"]] if fault["write_gap"] <= NEAR_LIMIT * last else []
    ends += [healed] if healed is not None and healed <= NEAR_HEALING * last else []
    last = max([last, *ends])
    return -min(BEFORE, max(0.5, 0.2 * last)), min(last * 1.2, max(line[-1][0] for line in lines))


def events(fault, end):
    """Return ``[{"second", "what"}, ...]``: the fault, and its healing if that is before ``end``."""
    healed = healed_after(fault)
    found = [{"second": 0, "what": FAULT}]
    return found if healed is None or healed > end else [*found, {"second": healed, "what": HEALED}]


def around_fault(fault, timelines, width):
    """
    Return the specification of "what clients saw": writes per second of every run, and the phases below it.

    fault
        A fault of ``report.content``.
    timelines
        ``{run: what report.timeline returns}``.
    width
        Pixels of the plotting area.
    """
    lines = [timelines[run["run"]] for run in fault["runs"]]
    start, end = window(fault, lines)
    step = step_for(end - start, width / 6)
    lines = [[point for point in coarser(line, step) if start <= point[0] < end] for line in lines]
    one_alone = len(lines) == 1
    middle = "the run" if one_alone else f"median of {len(lines)} runs"
    begun, top = outage_begin(lines), 1.25 * max(rate for line in lines for _, rate in line) or 1
    rate, limit = _rate(top), limit_words(fault["write_gap"], end - begun)
    drawn, rules = [sparse(line, step, end) for line in lines], events(fault, end)
    seen = [row for row in phase_rows(fault) if row["second"] <= end]
    marked = [{"second": row["second"], "what": PHASE} for row in seen if row["what"] == MEDIAN]
    looks = {} if one_alone else {ONE_RUN: "run"}
    looks |= {middle: "median", **{row["what"]: LOOKS[row["what"]] for row in rules + marked}, limit: "limit"}
    second = {"field": "second", "type": "quantitative", "scale": {"domain": [start, end], "nice": False}}
    time = {"title": "time after the fault (s)", "axis": {"tickCount": 8}}
    bare = {"title": None, "axis": {"labels": False, "ticks": False}}  # the panel below has the axis
    writes = {
        "width": width,
        "height": 200,
        "layer": [
            *([] if one_alone else [_steps(drawn, ONE_RUN, rate)]),
            _rules(rules + marked),
            _steps([sparse(median(lines), step, end)], middle, rate),
            _span(begun, min(begun + fault["write_gap"], end), 0.93 * top, limit, rate),
        ],
        "encoding": {
            "x": second | (bare if seen else time),
            **_look(looks, _legend_of_lines(columns=1 if width == NARROW else 3)),
        },
    }
    panels = [writes]
    if seen:
        below = [_rules(rules) | {"encoding": _look(looks, None)}, _phases(seen)]
        panels.append(
            {"width": width, "height": {"step": 20}, "layer": below, "encoding": {"x": second | time}}
        )
    independent = {"legend": {"shape": "independent", "fill": "independent"}}
    return {"vconcat": panels, "spacing": 10, "resolve": independent}


def _steps(lines, what, rate):
    """Return step lines; ``rate`` is the axis."""
    rows = [
        {"second": second, "rate": round(rate, 1), "run": number, "what": what}
        for number, line in enumerate(lines)
        for second, rate in line
    ]
    return {"data": {"values": rows}, "mark": STEP_LINE, "encoding": {"y": rate, "detail": {"field": "run"}}}


def _rate(top):
    """Return the axis of writes per second."""
    return {
        "field": "rate",
        "type": "quantitative",
        "title": "acknowledged writes (per second)",
        "axis": {"minExtent": LABELS, "tickCount": 5},
        "scale": {"domain": [-0.03 * top, top], "nice": False},  # an outage is visible above the axis
    }


def _span(first, last, height, what, rate):
    """Return a horizontal line between two times."""
    row = {"second": first, "until": last, "rate": height, "what": what}
    return _rules([row]) | {"encoding": {"y": rate, "x2": {"field": "until"}}}


def _rules(rows):
    """Return rules across the chart; rows with more fields limit them."""
    return {"data": {"values": rows}, "mark": {"type": "rule"}}


def phase_rows(fault):
    """Return ``[{"phase", "second", "what"}, ...]``: every phase of every run, and the median of each phase."""
    rows = [
        *((mark, seen["after"], ONE_RUN) for run in fault["runs"] for mark, seen in run["phases"].items()),
        *((mark, seen["p50"], MEDIAN) for mark, seen in fault["phases"].items()),
    ]
    return [{"phase": phases.NAMES[mark], "second": second, "what": what} for mark, second, what in rows]


def _phases(rows):
    """Return a row for each phase, with a circle for each run and a diamond for the median."""
    legend = _legend_of_points()
    row = {
        "field": "phase",
        "type": "nominal",
        "sort": list(phases.NAMES.values()),
        "title": None,
        "axis": {"minExtent": LABELS, "grid": True},
    }
    return {
        "data": {"values": rows},
        "mark": {"type": "point", "stroke": "var(--phase)", "strokeWidth": 1.5},
        "encoding": {
            "y": row,
            "shape": _category({ONE_RUN: "circle", MEDIAN: "diamond"}, legend),
            "fill": _category({ONE_RUN: "transparent", MEDIAN: "var(--phase)"}, legend),
            "size": _category({ONE_RUN: 30, MEDIAN: 160}, None),
        },
    }


def gaps(fault):
    """Return the specification of "write outage": the distribution of the write gaps of all runs, median and limit."""
    values, allowed = [run["write_gap"] for run in fault["runs"]], fault["write_gap"]
    worst = max([0.0, *filter(math.isfinite, values)])
    edge = 1.05 * max(0.1, worst, allowed if allowed <= max(1, NEAR_LIMIT * worst) else 0)
    limit = limit_words(allowed, edge)
    middle = fault["figures"]["write_gap"]["p50"]
    median_words = f"median: {middle:.2f} s" if math.isfinite(middle) else "median: never recovered (outside)"
    rules = [{"gap": middle, "what": median_words}] if math.isfinite(middle) else []
    rules += [{"gap": allowed, "what": limit}] if allowed <= edge else []
    points = distribution(values)
    steps = [{"gap": gap, "share": share} for gap, share in [*points, (edge, points[-1][1])]]
    dots = [
        {"gap": gap, "share": share, "what": WITHIN if gap <= allowed else OVER} for gap, share in points[1:]
    ]
    kinds = {WITHIN: ("circle", "var(--healed)"), OVER: ("cross", "var(--fault)")}
    kinds = {what: kind for what, kind in kinds.items() if any(dot["what"] == what for dot in dots)}
    legend = _legend_of_points(direction="vertical")
    look = {
        channel: _category({what: kind[part] for what, kind in kinds.items()}, legend)
        for part, channel in enumerate(("shape", "stroke"))
    }
    share = {
        "field": "share",
        "type": "quantitative",
        "title": "runs with at most this gap (%)",
        "scale": {"domain": [0, 100]},
    }
    gap = {
        "field": "gap",
        "type": "quantitative",
        "title": "write gap (s)",
        "axis": {"tickCount": 5},
        "scale": {"domain": [0, edge], "nice": False},
    }
    line = STEP_LINE | {"stroke": "var(--muted)", "strokeWidth": 1.5}
    looks = _look({median_words: "median", limit: "limit"}, _legend_of_lines(columns=1))
    return {
        "width": NARROW,
        "height": 200,
        "layer": [
            {"data": {"values": steps}, "mark": line, "encoding": {"y": share}},
            _rules(rules) | {"encoding": looks},
            {
                "data": {"values": dots},
                "mark": {"type": "point", "size": 50, "strokeWidth": 1.5},
                "encoding": {"y": share, **look},
            },
        ],
        "encoding": {"x": gap},
    }


def _look(looks, legend):
    """Return color, dash and width of lines by ``what``: three scales with one legend."""
    return {
        channel: _category({what: LINES[look][part] for what, look in looks.items()}, legend)
        for part, channel in enumerate(("color", "strokeDash", "strokeWidth"))
    }


def _category(values, legend):
    """Return a channel with a value for each ``what``."""
    scale = {"type": "ordinal", "domain": list(values), "range": list(values.values())}
    return {"field": "what", "type": "nominal", "scale": scale, "legend": legend}


def _legend_of_lines(columns):
    return {"orient": "top", "symbolType": "stroke", "title": None, "columns": columns}


def _legend_of_points(direction="horizontal"):
    return {"orient": "bottom", "symbolSize": 80, "title": None, "direction": direction}


def svg(specification):
    """Return a Vega-Lite specification as SVG text that scales with the page."""
    text = vl_convert.vegalite_to_svg({**specification, "config": CONFIG, "background": "transparent"})
    # Round paths to a tenth of a pixel, to keep the file small with thirty runs.
    text = re.sub(
        r' d="[^"]+"', lambda path: re.sub(r"\d+\.\d+", lambda at: f"{float(at[0]):.1f}", path[0]), text
    )
    return re.sub(r' (width|height)="\d+"', "", text, count=2)


def draw(fault, timelines):
    """Return ``{"wide", "narrow", "gaps"}``: a fault's charts as SVG, for ``report.write``."""
    return {
        "wide": svg(around_fault(fault, timelines, WIDE)),
        "narrow": svg(around_fault(fault, timelines, NARROW)),
        "gaps": svg(gaps(fault)),
    }
