"""Measure the published figures of the lab on this machine: `./fanatico bench`.

All figures are measured from outside, on a new copy of the tree with its own lab folder and image. The raw numbers of every run
are saved in bench/results/.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import outcome

REPO = Path(__file__).resolve().parent.parent
NAME = "bench"
TARGETS = {  # seconds
    "up, nothing prepared": 360,
    "up, image at hand": 180,
    "up, snapshot at hand": 60,
    "orch.deploy on bare machines": 100,
    "orch.deploy again": 40,
    "health of all machines": 2,
    "health, a database cable pulled": 5,
    "cold boot of every machine": 60,
}


def main(arguments=None):
    """Measure, print a table and save the raw numbers. Return 1 if a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench", description=__doc__)
    options.add_argument("--runs", type=int, default=10, help="runs of the short measurements (default: 10)")
    options.add_argument(
        "--warm", action="store_true", help="use the existing image; skips `up, nothing prepared`"
    )
    chosen = options.parse_args(arguments)
    raw: dict[str, list] = {name: [] for name in TARGETS}
    facts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fanatico-bench-") as temporary:
        tree = copy_tree(Path(temporary) / "tree")
        environment = dict(os.environ)
        if not chosen.warm:
            environment["FANATICO_LAB_DIR"] = f"{temporary}/state"
        try:
            measure(tree, environment, raw, facts, chosen)
        finally:
            fanatico(tree, environment, "down", *([] if chosen.warm else ["--purge"]))
    keep(raw, facts)
    return report(raw)


def measure(tree, environment, raw, facts, chosen):
    """Fill `raw` with seconds, in the order of an operator's work."""
    if not chosen.warm:
        raw["up, nothing prepared"].append(timed(lambda: fanatico(tree, environment, "up")))
        facts["phases, nothing prepared"] = phases(tree, environment)
    fanatico(tree, environment, "down")
    raw["up, image at hand"].append(timed(lambda: fanatico(tree, environment, "up", "--fresh")))
    facts["phases, image at hand"] = phases(tree, environment)
    fanatico(tree, environment, "down")
    raw["up, snapshot at hand"].append(timed(lambda: fanatico(tree, environment, "up")))
    for run in ("phases, nothing prepared", "phases, image at hand"):
        raw["orch.deploy on bare machines"] += [
            seconds for phase, seconds in facts.get(run, []) if phase == "deploy"
        ]
    for _ in range(3):
        began = time.monotonic()
        said = master(tree, environment, "salt-run", "--out=json", "state.orchestrate", "orch.deploy")
        raw["orch.deploy again"].append(time.monotonic() - began)
        facts.setdefault("changes of orch.deploy again", []).append(changed(said))
    for _ in range(chosen.runs):
        _, ended = health_times(tree, environment, 12)
        raw["health of all machines"].append(ended)
    fanatico(tree, environment, "cable", "pull", "db3")
    try:
        for _ in range(max(3, chosen.runs // 3)):
            answered, ended = health_times(tree, environment, 11)
            raw["health, a database cable pulled"].append(answered)
            # Salt polls a silent minion twice before it gives up.
            facts.setdefault(
                "health, a database cable pulled, until salt gives up the silent one", []
            ).append(ended)
    finally:
        fanatico(tree, environment, "cable", "plug", "db3")
    wait_ok(tree, environment, 90)
    raw["cold boot of every machine"].append(cold_boot(tree, environment))


def cold_boot(tree, environment):
    """Cut the power of every machine, restore it, and return the seconds until all machines are healthy."""
    nodes = json.loads((state(environment) / "labs" / NAME / "lab.json").read_text())["plan"]["nodes"]
    for state_ in ("off", "on"):
        began = time.monotonic()
        for node in nodes:
            fanatico(tree, environment, "power", state_, node)
    wait_ok(tree, environment, 180)
    return time.monotonic() - began


def wait_ok(tree, environment, timeout):
    """Wait until every machine is healthy.

    :param timeout: seconds.
    :raises RuntimeError: with the last result, after the timeout.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return health(tree, environment)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def health_times(tree, environment, answers):
    """Time `salt '*' fanatico.health` on the master.

    :param answers: the expected number of machines that answer.
    :returns: (seconds to the last answer, seconds to the end of the command)
    :raises RuntimeError: when another number of machines answers.
    """
    program = """
        began=$EPOCHREALTIME
        export PYTHONUNBUFFERED=1
        salt --out=newline_values_only '*' fanatico.health | while read -r line; do echo "$EPOCHREALTIME $line"; done
        echo "$EPOCHREALTIME $began"
    """
    said = master(tree, environment, "bash", "-c", program, check=False).stdout.splitlines()
    ended, began = map(float, said[-1].split())
    answered = [float(line.split()[0]) for line in said if "took_ms" in line]
    if len(answered) != answers:
        raise RuntimeError(f"{len(answered)} machines answered, expected {answers}: {said}")
    return max(answered) - began, ended - began


def health(tree, environment):
    """Ask every machine for its health once and return the answers; raise RuntimeError when not all are ok."""
    said = master(tree, environment, "salt", "--out=json", "--static", "*", "fanatico.health", check=False)
    try:
        answers = json.loads(said.stdout[said.stdout.index("{") :])
    except ValueError as error:
        raise RuntimeError(f"no answer: {said.stdout[-200:]} {said.stderr[-300:]}") from error
    faults = {
        minion: answer if not isinstance(answer, dict) else answer["status"]
        for minion, answer in answers.items()
        if not isinstance(answer, dict) or answer["status"] != "ok"
    }
    if faults or len(answers) < 12:
        raise RuntimeError(f"not all ok: {faults or sorted(answers)}")
    return answers


def changed(said):
    """Return the number of states on minions with changes, from an orchestration's JSON output."""

    def count(data):
        if isinstance(data, list):
            return sum(count(value) for value in data)
        if not isinstance(data, dict):
            return 0
        if "changes" in data and "result" in data and "__sls__" in data:
            inner = data["changes"].get("ret") if isinstance(data["changes"], dict) else None
            nested = count(inner) if inner else 0
            is_minion_state = not data["__sls__"].startswith("orch.")
            return nested + (1 if data["changes"] and is_minion_state else 0)
        return sum(count(value) for value in data.values())

    return count(json.loads(said.stdout[said.stdout.index("{") :]))


def timed(action):
    """Return the duration of an action in seconds."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def fanatico(tree, environment, command, *arguments):
    """Run ./fanatico of the copied tree for the benchmark's lab. Raises RuntimeError when it fails."""
    argv = [str(tree / "fanatico"), command, "--name", NAME, *arguments]
    said = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    if said.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {said.stdout[-1500:]} {said.stderr[-1500:]}")
    return said


def master(tree, environment, *argv, check=True):
    """Run a command on the master of the benchmark's lab. Raises RuntimeError when it fails and ``check`` is set."""
    full = [str(tree / "fanatico"), "exec", "--name", NAME, "salt", "--", *argv]
    said = subprocess.run(full, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if check and said.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {said.stdout[-1500:]} {said.stderr[-1500:]}")
    return said


def state(environment):
    """Return the lab folder in use."""
    return Path(environment.get("FANATICO_LAB_DIR", "/var/lib/fanatico-lab"))


def phases(tree, environment):
    """Return [(phase, seconds)] of the last `up`."""
    return json.loads((state(environment) / "labs" / NAME / "lab.json").read_text())["phases"]


def copy_tree(target):
    """Copy the files that git tracks, in their present state, to a new folder and return it."""
    files = subprocess.run(
        ["git", "-C", REPO, "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, files.split("\0")):
        source, copy = REPO / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy, follow_symlinks=False)
    return target


def keep(raw, facts):
    """Save the raw numbers with the machine and the revision."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    revision = subprocess.run(
        ["git", "-C", REPO, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    memory = next(
        line.split()[1]
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    machine = {
        "cores": os.cpu_count(),
        "memory_kib": int(memory),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    content = {
        "when": now.isoformat(),
        "revision": revision.stdout.strip(),
        "machine": machine,
        "seconds": raw,
        **facts,
    }
    outcome.keep("figures", content)


def report(raw):
    """Print median, worst, runs and target of every figure; return 1 if the worst run misses the target."""
    missed = 0
    print(f"{'figure':<34}{'median s':>9}{'worst s':>9}{'runs':>6}{'target s':>10}")
    for name, target in TARGETS.items():
        seconds = raw[name]
        if not seconds:
            print(f"{name:<34}{'not measured':>18}")
            continue
        verdict = "" if max(seconds) <= target else "   missed"
        missed += bool(verdict)
        print(
            f"{name:<34}{statistics.median(seconds):>9.2f}{max(seconds):>9.2f}{len(seconds):>6}{target:>10}{verdict}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
