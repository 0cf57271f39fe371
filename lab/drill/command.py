"""`./fanatico drill`: run faults by name, several times each, and write a report."""

import json
import random
import time
from dataclasses import replace
from pathlib import Path

from lab import health, preflight, report
from lab.drill import nemesis, plots
from lab.drill import report as reports
from lab.drill.faults import FAULTS, named
from lab.drill.run import Scene, drill, password, violations
from lab.errors import LabError
from lab.machines import Lab
from lab.paths import REPO

RESULTS = REPO / "bench" / "results"
PACKAGES = ("etcd-server", "patroni", "postgresql-17", "haproxy", "keepalived")


def main(options):
    """Run the named faults and return the exit code: 1 if a run failed.

    :raises LabError: when an option is not valid, or the lab is not deployed or not healthy.
    """
    if options.fault == "list":
        rows = [(name, fault.number, f"{fault.write_gap:g}", fault.what) for name, fault in FAULTS.items()]
        print("\n".join(report.table(rows, ["fault", "#", "gap s", "what happens"])))
        return 0
    preflight.check_root()
    try:
        faults = {} if options.fault == "nemesis" else named(options.fault)
    except KeyError:
        raise LabError(
            f"There is no fault {options.fault!r}. List the faults: ./fanatico drill list"
        ) from None
    if not 1 <= options.runs <= 1000:
        raise LabError("--runs must be between 1 and 1000.")
    if not 0.1 <= options.minutes <= 600 or not 0 <= (options.hold or 0) <= 36000:
        raise LabError("--minutes must be between 0.1 and 600, --hold between 0 and 36000 seconds.")
    lab = Lab(options.name)
    with lab.locked():
        lab.require_deployed()
        folder = Path(options.report or f"drills/{time.strftime('%Y%m%d-%H%M%S')}")
        folder.mkdir(parents=True)
        say("waiting for all machines to be healthy")
        health.wait(lab)
        if not faults:
            return torment(lab, options, folder)
        if options.hold is not None:
            faults = {name: replace(fault, hold=options.hold) for name, fault in faults.items()}
        ended = carry_out(lab, faults, options.runs, folder)
        if options.keep:
            kept = RESULTS / f"drills-{time.strftime('%Y%m%d-%H%M%S')}.json"
            content = json.loads((folder / "report.json").read_text())
            kept.write_text(json.dumps(reports.kept(content), indent=1) + "\n")
            say(f"raw numbers: {kept.relative_to(REPO)}")
        return ended


def say(text):
    """Print a line without buffering."""
    print(text, flush=True)


def torment(lab, options, folder):
    """Run the nemesis, write nemesis.json, and return 1 if its history is not consistent."""
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    say(f"nemesis: {options.minutes:g} minutes, --seed {seed}")
    record = nemesis.nemesis(lab, password(lab), options.minutes, folder / "nemesis", say, seed)
    record["complaints"] = nemesis.complaints(record)
    (folder / "nemesis.json").write_text(json.dumps({**record, **facts(lab)}, indent=2) + "\n")
    for node, counts in record["nodes"].items():
        say(f"{node}: " + ", ".join(f"{count} {key}" for key, count in counts.items()))
    say(
        f"{len(record['faults'])} faults in {record['seconds'] / 60:.0f} minutes, "
        f"{len(record['leaders']) - 1} changes of leader, timeline {record['timeline']}"
    )
    for complaint in record["complaints"]:
        say(f"FAILED: {complaint}")
    say(f"\n{folder}/nemesis.json")
    return 1 if record["complaints"] else 0


def facts(lab):
    """Return the lab's settings for a report, ``{"timing", "versions"}``."""
    timing = next(iter(lab.salt(lab.nodes("patroni")[0], "fanatico_plan.timing").values()))
    return {"timing": timing, "versions": versions(lab)}


def carry_out(lab, faults, runs, folder):
    """Run all faults, one after the other; return 1 if a run failed.

    The report is rewritten after each run, so an interrupted series keeps its results.
    """
    known, secret = facts(lab), password(lab)
    records, drawn, bad = {}, {}, 0
    for name, fault in faults.items():
        timelines = {}
        record_of_fault = records[name] = {
            "what": fault.what,
            "number": fault.number,
            "write_gap": fault.write_gap,
            "heals": fault.heal is not None,
            "runs": [],
        }
        for number in range(1, runs + 1):
            raw = folder / f"{name}-{number:03}"
            record = drill(
                Scene(lab, secret),
                fault,
                raw,
                lambda text, title=f"{name} {number}/{runs}": say(f"{title}: {text}"),
                known["timing"]["patroni"]["loop_wait"],
            )
            failed = violations(fault, record)
            record["complaints"] = [text for _, text in failed]
            record["violations"] = [code for code, _ in failed]
            record_of_fault["runs"].append(record)
            lines = [json.loads(line) for line in (raw / "client.jsonl").read_text().splitlines()]
            timelines[record["run"]] = reports.timeline(lines, record["at"]["struck"])
            content = reports.content(records, **known)
            drawn[name] = plots.draw(content["faults"][name], timelines)  # those of earlier faults stay
            reports.write(folder, content, drawn)
            bad += bool(record["complaints"])
            say(f"{name} {number}/{runs}: {sentence(record)}")
    say(f"\n{folder}/report.html and report.json: {bad} of {runs * len(faults)} runs failed.")
    return 1 if bad else 0


def sentence(record):
    """Return a one-line summary of a run."""
    text = (
        f"no write for {record['write_gap']:.2f} s, no read for {record['read_gap']:.2f} s, "
        f"{record['acknowledged']} acknowledged, "
        f"{record['unknown']} unknown, {record['lost']} lost"
    )
    return "; ".join([text, *(f"FAILED: {complaint}" for complaint in record["complaints"])])


def versions(lab):
    """Return {package: version} of PACKAGES, as installed on the machines."""
    found: dict[str, str] = {}
    for node in lab.plan["nodes"]:
        said = lab.exec(
            node, ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *PACKAGES], check=False
        ).stdout
        found.update(
            line.split(" ", 1) for line in said.splitlines() if line.count(" ") == 1 and line.split()[1:]
        )
    return found
