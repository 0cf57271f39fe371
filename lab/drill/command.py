"""`./fanatico drill`: faults by name, so many runs each, and a report."""

import json
import time
from pathlib import Path

from lab import preflight, report
from lab.drill import report as reports
from lab.drill.faults import FAULTS, named
from lab.drill.run import complaints, drill, wait_healthy
from lab.errors import LabError
from lab.machines import Lab

PACKAGES = ("etcd-server", "patroni", "postgresql-17", "haproxy", "keepalived")


def main(options):
    """Run the named fault, or all, and return 1 where one run was not as it must be."""
    if options.fault == "list":
        rows = [(name, fault.number, f"{fault.write_gap:g}", fault.what) for name, fault in FAULTS.items()]
        print("\n".join(report.table(rows, ["fault", "#", "gap s", "what happens"])))
        return 0
    preflight.check_root()
    try:
        faults = named(options.fault)
    except KeyError:
        raise LabError(f"There is no fault {options.fault!r}; `./fanatico drill list` names them.") from None
    if not 1 <= options.runs <= 1000:
        raise LabError("A drill has 1 to 1000 runs.")
    lab = Lab(options.name)
    with lab.locked():
        return carry_out(
            lab, faults, options.runs, Path(options.report or f"drills/{time.strftime('%Y%m%d-%H%M%S')}")
        )


def carry_out(lab, faults, runs, folder):
    """Run everything, one after the other; the report is written anew after each run, so that nothing measured is lost."""
    if not lab.state.get("deployed"):
        raise LabError(f"There is no deployed lab {lab.name!r}; make it with `sudo ./fanatico up`.")
    folder.mkdir(parents=True)
    print("waiting for everything to be healthy", flush=True)
    wait_healthy(lab)
    timing = next(iter(lab.salt(lab.nodes("patroni")[0], "fanatico_plan.timing").values()))
    facts = {"timing": timing, "versions": versions(lab)}
    records, timelines, bad = {}, {}, 0
    for name, fault in faults.items():
        one = records[name] = {
            "what": fault.what,
            "number": fault.number,
            "write_gap": fault.write_gap,
            "runs": [],
        }
        for number in range(1, runs + 1):
            raw = folder / f"{name}-{number:03}"
            record = drill(
                lab,
                fault,
                raw,
                lambda text, title=f"{name} {number}/{runs}": print(f"{title}: {text}", flush=True),
            )
            record["complaints"] = complaints(fault, record)
            one["runs"].append(record)
            lines = [json.loads(line) for line in (raw / "client.jsonl").read_text().splitlines()]
            timelines[record["run"]] = reports.timeline(lines, record["at"]["struck"])
            reports.write(folder, reports.content(records, **facts), timelines)
            bad += bool(record["complaints"])
            print(f"{name} {number}/{runs}: {sentence(record)}", flush=True)
    print(f"\n{folder}/report.html and report.json, {bad} of {runs * len(faults)} runs not as they must be.")
    return 1 if bad else 0


def sentence(record):
    """Return one line about one run."""
    text = (
        f"no write for {record['write_gap']:.2f} s, no read for {record['read_gap']:.2f} s, "
        f"{record['acknowledged']} acknowledged, "
        f"{record['unknown']} unknown, {record['lost']} lost"
    )
    return "; ".join([text, *(f"NOT AS IT MUST BE: {one}" for one in record["complaints"])])


def versions(lab):
    """Return {package: version} of what was drilled, from the machines themselves."""
    found = {}
    for node in lab.plan["nodes"]:
        said = lab.exec(
            node, ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *PACKAGES], check=False
        ).stdout
        found.update(
            line.split(" ", 1) for line in said.splitlines() if line.count(" ") == 1 and line.split()[1:]
        )
    return found
