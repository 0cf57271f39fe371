"""`./fanatico test`: every layer of tests, one after the other, and one table at the end."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.paths import REPO

BIN = Path(sys.executable).parent
NAME = os.environ.get("FANATICO_TEST_LAB", "test")  # the lab that the tests make for themselves


@dataclass
class Result:
    """What one layer came to: how many tests, and how long it took in seconds."""

    layer: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    reason: str = ""


def lint(extra_args, lab_name):
    """Run the linters and formatters over every file git knows or would take; each counts as one test."""
    result = Result("lint")
    for argv in lint_commands():
        print(f"$ {' '.join(map(str, argv))[:110]}", flush=True)
        if subprocess.run(argv, cwd=REPO, check=False).returncode == 0:
            result.passed += 1
        else:
            result.failed += 1
    return result


def lint_commands():
    """Return the command lines of the lint layer.

    Raises LabError when shellcheck, the only one that is not in the venv, is missing and cannot be installed.
    """
    states = _files("*.sls")
    scripts = [path for path in _files() if path.is_file() and _is_shell(path)]
    if not shutil.which("shellcheck"):
        install("shellcheck")
    return [
        [BIN / "ruff", "check", "."],
        [BIN / "ruff", "format", "--check", "."],
        [BIN / "yamllint", "--strict", "."],
        [BIN / "salt-lint", *states],
        ["shellcheck", *scripts],
    ]


def types(extra_args, lab_name):
    """Run the type checker over what pyproject.toml names for it; it keeps what it has read in .venv/mypy."""
    result = Result("types")
    ended = subprocess.run([BIN / "mypy"], cwd=REPO, check=False)
    result.passed, result.failed = (1, 0) if ended.returncode == 0 else (0, 1)
    return result


def _files(*patterns):
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(argv, cwd=REPO, check=True, capture_output=True, text=True).stdout.splitlines()
    return [REPO / name for name in names if (REPO / name).exists()]


def _is_shell(path):
    with open(path, "rb") as file:
        return file.readline().rstrip() in (b"#!/bin/bash", b"#!/bin/sh", b"#!/usr/bin/env bash")


def install(package):
    """Install a Debian package on this machine whose program has the same name.

    :raises LabError: when we are not root, or it cannot be had.
    """
    if os.geteuid() != 0:
        raise LabError(
            f"{package} is not installed: run `sudo ./fanatico test`, or `apt-get install {package}`."
        )
    for argv in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-qq", "-y", "--no-install-recommends", package],
    ):
        subprocess.run(
            argv,
            check=False,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    if not shutil.which(package):
        raise LabError(f"{package} could not be installed: `apt-get install {package}` says why.")


def pytest_layer(name, *options, needs_lab=False):
    """Return a layer that runs pytest over tests/<name>."""

    def layer(extra_args, lab_name):
        options_now = [*options, "--lab", lab_name] if needs_lab else options
        with tempfile.TemporaryDirectory(prefix="fanatico-test-") as scratch:
            report = Path(scratch) / "report.xml"
            argv = [
                sys.executable,
                "-m",
                "pytest",
                f"tests/{name}",
                f"--junitxml={report}",
                *options_now,
                *extra_args,
            ]
            code = subprocess.run(argv, cwd=REPO, check=False, env=_environment()).returncode
            return _counted(name, report, code)

    layer.needs_lab = needs_lab
    return layer


def pytest_together(names, *options):
    """Return a function that runs several layers as one pytest, which starts once and balances better; Results by layer."""

    def together(extra_args):
        with tempfile.TemporaryDirectory(prefix="fanatico-test-") as scratch:
            report = Path(scratch) / "report.xml"
            paths = [f"tests/{name}" for name in names]
            argv = [sys.executable, "-m", "pytest", *paths, f"--junitxml={report}", *options, *extra_args]
            code = subprocess.run(argv, cwd=REPO, check=False, env=_environment()).returncode
            return counted_by_layer(names, report, code)

    return together


def counted_by_layer(names, report, code):
    """Return a Result for each layer out of one report; its seconds are those of its tests, added up over all workers.

    names
        The layers, as folders below tests/.
    report
        Where pytest's report in JUnit's format lies, if it got that far.
    code
        pytest's exit code: what no test accounts for is a failure of the first layer.
    """
    results = {name: Result(name) for name in names}
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        # A file that could not be read has no class: its name is what counts.
        result = results[(case.get("classname") or case.get("name", "")).split(".")[1]]
        outcomes = {child.tag for child in case}
        result.failed += bool(outcomes & {"failure", "error"})
        result.skipped += not outcomes & {"failure", "error"} and "skipped" in outcomes
        result.passed += not outcomes & {"failure", "error", "skipped"}
        result.seconds += float(case.get("time", 0))
    if code and not any(result.failed for result in results.values()):
        results[names[0]].failed = 1
        results[names[0]].reason = _reason(code)
    return list(results.values())


def _reason(code):
    return "no test was selected" if code == 5 else f"pytest ended with exit code {code}"


def _environment():
    """Keep what Python and pytest compile, seconds for each process, but out of the tree that minions are served."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(BIN.parent / "pycache")}


def _counted(name, report, code):
    result = Result(name)
    if report.exists():
        suite = ElementTree.parse(report).getroot().find("testsuite")
        result.skipped = int(suite.get("skipped"))
        result.failed = int(suite.get("failures")) + int(suite.get("errors"))
        result.passed = int(suite.get("tests")) - result.skipped - result.failed
    if code and not result.failed:
        result.failed = 1
        result.reason = _reason(code)
    return result


LAYERS = {
    "lint": lint,
    "types": types,
    "unit": pytest_layer("unit", "-n", "2"),
    # Tests of one node go to one worker, which keeps what Salt has gathered for it.
    "rendering": pytest_layer("rendering", "-n", "2", "--dist", "loadgroup"),
    # Four at once: most of it is waiting for HAProxy's timers.
    "traffic": pytest_layer("traffic", "-n", "4", "--dist", "worksteal"),
    "functional": pytest_layer("functional"),
    # A worker has its own master and minion.
    "integration": pytest_layer("integration", "-n", "2", "--dist", "loadfile"),
    "kitchen": pytest_layer("kitchen", needs_lab=True),
    "lab": pytest_layer("lab", "--durations=30", "--durations-min=20", needs_lab=True),
}


def run(layers=None, extra_args=(), lab_name=None):
    """Run the named layers (all without names) in order and return an exit code.

    layers
        Names out of LAYERS.
    extra_args
        Handed to pytest as they are.
    lab_name
        A lab that is up already, for quick work. Without it the layers that need one share a lab named `test`
        that is made for them and destroyed afterwards, unless FANATICO_KEEP=1.

    A layer that cannot run has failed: nothing is left out without a word.
    """
    layers = list(layers or LAYERS)
    unknown = [name for name in layers if name not in LAYERS]
    if unknown:
        raise LabError(f"There is no layer {unknown[0]!r}; the layers are: {', '.join(LAYERS)}.")
    results, shared = [], SharedLab(lab_name)
    try:
        for name in layers:
            results.append(_timed(name, extra_args, shared))
    finally:
        shared.destroy()
    return _summary(results + shared.results)


def _timed(name, extra_args, shared):
    print(f"\n== {name} ==", flush=True)
    began = time.monotonic()
    layer = LAYERS[name]
    try:
        result = layer(extra_args, shared.name() if getattr(layer, "needs_lab", False) else None)
    except LabError as error:
        print(f"{name} cannot run: {error}", flush=True)
        result = Result(name, failed=1, reason=str(error))
    result.seconds = time.monotonic() - began
    return result


class SharedLab:
    """The lab that the layers of one run share, made by `up` when the first of them asks for it."""

    def __init__(self, name=None):
        self.results = []
        self._given = name
        self._made = False
        self._fault = ""

    def name(self):
        """Return the lab's name, bringing the lab up if need be. Raises LabError when it does not come up."""
        if self._given:
            return self._given
        if not self._made:
            self._make()
        if self._fault:
            raise LabError(self._fault)
        return NAME

    def _make(self):
        began = time.monotonic()
        self._made = True
        self.destroy()
        result = Result("(lab up)")
        if _lab("up") != 0:
            self._fault = f"the lab {NAME!r} did not come up; its own words are above"
        result.seconds = time.monotonic() - began
        self.results.append(result)

    def destroy(self):
        """Take the lab down again, if it was made here."""
        if self._made and os.environ.get("FANATICO_KEEP") != "1":
            _lab("down")


def _lab(verb):
    argv = [sys.executable, "-m", "lab", verb, "--name", NAME]
    return subprocess.run(argv, cwd=REPO, check=False, stdin=subprocess.DEVNULL).returncode


def _summary(results):
    print(f"\n{'layer':<14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for result in results:
        line = (
            f"{result.layer:<14}{result.passed:>8}{result.failed:>8}{result.skipped:>9}{result.seconds:>9.1f}"
        )
        print(f"{line}  {result.reason}".rstrip())
    passed, failed, skipped = (
        sum(getattr(r, what) for r in results) for what in ("passed", "failed", "skipped")
    )
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0
