"""`./fanatico test`: run the test layers and print one table at the end."""

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab import deploy, lint, machines, snapshot
from lab.errors import LabError
from lab.machines import Lab
from lab.paths import REPO

BIN = Path(sys.executable).parent
NAME = os.environ.get("FANATICO_TEST_LAB", "test")  # prefix of the names of the labs that tests create
LABS_AT_ONCE = 2
# Properties that lab tests record (tests/support/spent.py).
SPENT = ("booting", "deploying", "waiting", "cpu")


@dataclass
class Result:
    """The result of one layer: counts of tests, and its duration in seconds."""

    layer: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    reason: str = ""
    tests: list = field(default_factory=list)  # of _test


def lint_layer(extra_args, lab_name):
    """Run the linters and formatters over every file that git tracks or would add; each counts as one test."""
    result = Result("lint")
    for argv in lint.commands():
        print(f"$ {' '.join(map(str, argv))[:110]}", flush=True)
        if subprocess.run(argv, cwd=REPO, check=False).returncode == 0:
            result.passed += 1
        else:
            result.failed += 1
    return result


def types(extra_args, lab_name):
    """Run the type checker over the files that pyproject.toml names; its cache is .venv/mypy."""
    result = Result("types")
    ended = subprocess.run([BIN / "mypy"], cwd=REPO, check=False)
    result.passed, result.failed = (1, 0) if ended.returncode == 0 else (0, 1)
    return result


def pytest_layer(name, *options):
    """Return a layer that runs pytest over tests/<name>."""

    def layer(extra_args, lab_name, output=None):
        (result,) = run_pytest([name], [*options, *extra_args], output)
        return result

    return layer


def lab_layer(extra_args, lab_name):
    """Run the lab tests: on the named lab, or in parallel on new labs that start from a snapshot."""
    if lab_name:
        options = ["--lab", lab_name]
    else:
        deploy_first(worker_lab(0))
        # Files run in the order of tests/lab/conftest.py.
        options = [
            "-n",
            str(LABS_AT_ONCE),
            "--dist",
            "loadfile",
            "--no-loadscope-reorder",
            *shuffled(extra_args),
        ]
    (result,) = run_pytest(["lab"], [*options, *extra_args])
    return result


def shuffled(extra_args):
    """Return the option for a random order of files, the default in `full`; print the seed that repeats it."""
    if os.environ.get("FANATICO_TEST") != "full" or "--shuffle" in extra_args:
        return []
    seed = str(random.randrange(1_000_000))
    print(f"lab: files in a random order; repeat it with: -- --shuffle {seed}", flush=True)
    return ["--shuffle", seed]


def deploy_first(name, output=None):
    """Deploy a lab unless there is a snapshot of this tree; the other labs start from its snapshot.

    :param output: a file for the commands' output, instead of the terminal.
    :raises LabError: when the deploy fails.
    """
    if snapshot.automatic().facts:
        return
    began = time.monotonic()
    if command("down", name, output) or command("up", name, output):
        raise LabError(f"the lab {name!r} did not start; see its output above")
    Lab(name).note(untouched=True)
    print(f"deployed the lab {name} in {time.monotonic() - began:.0f} s", flush=True)


@contextlib.contextmanager
def first_deploy(name):
    """Run deploy_first during the block: it often waits, and tests that compute use that time.

    Its output is printed after the block. If it fails, the lab layer deploys again and reports the error.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output, ThreadPoolExecutor() as pool:
        deployed = pool.submit(deploy_first, name, output)
        yield
        with contextlib.suppress(LabError):
            deployed.result()
        output.seek(0)
        print(f"\n== the lab's first deploy ==\n{output.read()}", flush=True)


def worker_lab(number):
    """Return the name of the lab of a pytest-xdist worker, by the worker's number."""
    return f"{NAME}-gw{number}"


def command(verb, name, output=None):
    """Run a command of ./fanatico on a lab and return its exit code.

    :param output: a file for its output, instead of the terminal.
    """
    argv = [sys.executable, "-m", "lab", verb, "--name", name]
    streams = {"stdout": output, "stderr": subprocess.STDOUT} if output else {}
    return subprocess.run(argv, cwd=REPO, check=False, stdin=subprocess.DEVNULL, **streams).returncode


def run_pytest(names, options, output=None):
    """Run several layers in one pytest, which starts once and balances better; return a Result for each.

    :param output: a file for pytest's output, instead of the terminal.
    """
    with tempfile.TemporaryDirectory(prefix="fanatico-test-") as scratch:
        report = Path(scratch) / "report.xml"
        paths = [f"tests/{name}" for name in names]
        argv = [sys.executable, "-m", "pytest", *paths, f"--junitxml={report}", *options]
        streams = {"stdout": output, "stderr": subprocess.STDOUT} if output else {}
        code = subprocess.run(argv, cwd=REPO, check=False, env=_environment(), **streams).returncode
        return counted_by_layer(names, report, code)


def _environment():
    """Return an environment with a bytecode cache outside the tree, which minions are served; it saves seconds per process."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(BIN.parent / "pycache")}


def counted_by_layer(names, report, code):
    """Return a Result for each layer from one report; its seconds are the sum over its tests, on all workers.

    names
        The layers, as folders below tests/.
    report
        Path of pytest's JUnit report; it may not exist.
    code
        pytest's exit code: a failure without a failed test counts as a failure of the first layer.
    """
    results = {name: Result(name) for name in names}
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        # A file that could not be collected has no class name, only a name; an interrupted run has an entry without a file.
        parts = (case.get("classname") or case.get("name", "")).split(".")
        result = results.get(parts[1] if len(parts) > 1 else names[0], results[names[0]])
        outcomes = {child.tag for child in case}
        result.failed += bool(outcomes & {"failure", "error"})
        result.skipped += not outcomes & {"failure", "error"} and "skipped" in outcomes
        result.passed += not outcomes & {"failure", "error", "skipped"}
        result.tests.append(_test(case))
        result.seconds += result.tests[-1][0]
    if code and not any(result.failed for result in results.values()):
        results[names[0]].failed = 1
        results[names[0]].reason = (
            "no test was selected" if code == 5 else f"pytest ended with exit code {code}"
        )
    return list(results.values())


def _test(case):
    """Return (seconds, name, {activity: seconds}) of a test in a JUnit report."""
    spent = {item.get("name"): float(item.get("value")) for item in case.iter("property")}
    name = f"{case.get('classname', '').removeprefix('tests.')}.{case.get('name')}"
    return float(case.get("time", 0)), name, spent


LAYERS = {
    "lint": lint_layer,
    "types": types,
    # Four workers: the tests mostly wait for HAProxy's timers.
    "traffic": pytest_layer("traffic", "-n", "4", "--dist", "worksteal"),
    # Each worker has its own master and minion.
    "integration": pytest_layer("integration", "-n", "2", "--dist", "loadfile"),
    # Each worker boots its suites' machines in a separate network, see tests/kitchen/conftest.py.
    "kitchen": pytest_layer("kitchen", "-n", "2", "--dist", "loadfile"),
    "unit": pytest_layer("unit", "-n", "2"),
    # All tests of a node run on one worker, which reuses Salt's loaders and pillar.
    "rendering": pytest_layer("rendering", "-n", "2", "--dist", "loadgroup"),
    "functional": pytest_layer("functional"),
    "lab": lab_layer,
}
FAST = ("lint", "types", "unit", "rendering", "functional")
GROUPS = {"fast": FAST, "full": tuple(LAYERS)}
# Run in one pytest when all three are requested: they compute. So they come last before the lab, whose first deploy they share
# the cores with; a lab that is up before it is needed costs a third of a core.
TOGETHER = ("unit", "rendering", "functional")
BESIDE = ("traffic", "integration", "kitchen")  # mostly wait, so they run in parallel


def run(layers=None, extra_args=(), lab_name=None, slowest=0):
    """Run layers in order and return an exit code.

    layers
        Names from LAYERS and GROUPS; all layers without names. `full` also runs the tests that are marked `long`.
    extra_args
        Arguments for pytest.
    lab_name
        A running lab, which the lab tests use as it is. Without it they create labs named `test-…` and destroy them
        afterwards, unless FANATICO_KEEP=1.
    slowest
        How many of the slowest tests to list, with the activities that their time was spent on.

    A layer that cannot run counts as failed.
    """
    asked = list(layers or LAYERS)
    names = list(dict.fromkeys(layer for name in asked for layer in GROUPS.get(name, (name,))))
    unknown = [name for name in names if name not in LAYERS]
    if unknown:
        known = ", ".join([*LAYERS, *GROUPS])
        raise LabError(f"There is no layer {unknown[0]!r}. Known layers and groups: {known}")
    for mode in GROUPS:
        if mode in asked:
            os.environ["FANATICO_TEST"] = mode  # sets the number of examples, see tests/conftest.py
    options = [*([] if "full" in asked else ["-m", "not long"]), *extra_args]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        if "lab" in names:
            pause_others(stack, lab_name)
        alone = "lab" not in names or bool(lab_name)  # no lab of the tests' own is needed
        results = [
            result for group in groups(names) for result in _run_group(group, options, lab_name, alone)
        ]
        if "lab" in names and os.environ.get("FANATICO_KEEP") != "1":
            command("down", worker_lab(0))  # deploy_first has started it, and perhaps no test has used it
    _show_slowest(results, slowest)
    return _summary(results, time.monotonic() - began)


def _run_group(group, options, lab_name, alone):
    if group == TOGETHER:
        print(f"\n== {', '.join(TOGETHER)} ==", flush=True)
        with contextlib.nullcontext() if alone else first_deploy(worker_lab(0)):
            return run_pytest(TOGETHER, ["-n", "2", "--dist", "loadgroup", *options])
    if len(group) > 1:
        return _beside(group, options)
    print(f"\n== {group[0]} ==", flush=True)
    return [_timed(group[0], options, lab_name)]


def pause_others(stack, lab_name=None):
    """Pause all other running labs until the stack ends: on two cores a third lab makes tests time out.

    :param lab_name: the lab that the tests use.
    """
    for lab in map(Lab, machines.names()):
        if lab.name == lab_name or lab.name.startswith(f"{NAME}-") or not lab.running():
            continue
        try:
            stack.enter_context(lab.locked())
        except LabError as error:
            print(f"The lab {lab.name} keeps running and slows the tests down: {error}", flush=True)
            continue
        print(f"The lab {lab.name} is paused until the tests end.", flush=True)
        stack.callback(lab.pause, False)
        lab.pause()


def groups(names):
    """Return the layers in their order, as tuples of layers that run together."""
    together = TOGETHER if set(TOGETHER) <= set(names) else ()
    beside = tuple(name for name in names if name in BESIDE)
    found = [next((group for group in (together, beside) if name in group), (name,)) for name in names]
    return list(dict.fromkeys(found))


def _beside(names, options):
    """Run layers in parallel and print the output of each when it has ended."""
    print(f"\n== {', '.join(names)}, in parallel ==", flush=True)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fanatico-test-")))
        pool = stack.enter_context(ThreadPoolExecutor())
        outputs = [stack.enter_context(open(scratch / name, "w+", encoding="utf-8")) for name in names]
        runs = [
            pool.submit(_timed, name, options, None, output=output)
            for name, output in zip(names, outputs, strict=True)
        ]
        for name, output, running in zip(names, outputs, runs, strict=True):
            running.result()
            output.seek(0)
            print(f"\n== {name} ==\n{output.read()}", flush=True)
        return [running.result() for running in runs]


def _timed(name, *arguments, **options):
    began = time.monotonic()
    try:
        result = LAYERS[name](*arguments, **options)
    except LabError as error:
        print(f"{name} cannot run: {error}", flush=True)
        result = Result(name, failed=1, reason=str(error))
    result.seconds = time.monotonic() - began
    return result


def _show_slowest(results, count):
    """Print the slowest tests of all layers, and how the time of each layer was spent."""
    tests = sorted((test for result in results for test in result.tests), reverse=True)
    if not count or not tests:
        return
    print(f"\n{'seconds':>8}{''.join(f'{kind:>11}' for kind in SPENT)}  test")
    for seconds, name, spent in tests[:count]:
        print(f"{seconds:>8.1f}{''.join(f'{spent.get(kind, 0):>11.1f}' for kind in SPENT)}  {name}")
    for result in results:
        sums = [sum(spent.get(kind, 0) for _, _, spent in result.tests) for kind in SPENT]
        if any(sums):
            whole = sum(seconds for seconds, _, _ in result.tests)
            print(f"{whole:>8.1f}{''.join(f'{total:>11.1f}' for total in sums)}  all of {result.layer}")


class SharedLab:
    """The lab that the tests of one process share, created by `up` for the first test that needs it."""

    def __init__(self, name=None, worker=""):
        """Use the named lab, or create one when it is needed.

        :param name: of a running lab, which is not destroyed afterwards.
        :param worker: of pytest-xdist; each worker has its own lab.
        """
        self.ours = not name
        self._name = name or "-".join(filter(None, [NAME, worker]))
        self._made = False
        self._fault = ""

    def name(self):
        """Return the lab's name, starting the lab if necessary. Raises LabError when it does not start."""
        if self.ours and not self._made:
            self._make()
        if self._fault:
            raise LabError(self._fault)
        return self._name

    def _make(self):
        self._made = True
        if Lab(self._name).state.get("untouched"):
            Lab(self._name).note(untouched=False)
            return
        if command("down", self._name) or command("up", self._name):
            self._fault = f"the lab {self._name!r} did not start; see its output above"

    def destroy(self):
        """Destroy the lab, if this object has created it."""
        if self._made and os.environ.get("FANATICO_KEEP") != "1":
            command("down", self._name)


def restore(name):
    """Restore a lab from the automatic snapshot."""
    lab = Lab(name)
    with lab.locked():
        deploy.restore(lab, snapshot.find(snapshot.DEPLOYED))


def _summary(results, seconds):
    print(f"\n{'layer':<14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for result in results:
        line = (
            f"{result.layer:<14}{result.passed:>8}{result.failed:>8}{result.skipped:>9}{result.seconds:>9.1f}"
        )
        print(f"{line}  {result.reason}".rstrip())
    passed, failed, skipped = (
        sum(getattr(r, what) for r in results) for what in ("passed", "failed", "skipped")
    )
    print(f"\nin {seconds / 60:.1f} minutes")
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0
