"""Tests on a whole lab. Every file starts from the snapshot `deployed`, so files pass alone and in any order.

Tests of one file run in their order and share the lab's state. A restore costs as much as a deploy, so these marks
avoid it (not in `./fanatico test full`):

- `reads_only`: the file, or the test, does not change the lab.
- `healthy_is_enough`: the file needs a healthy lab and leaves a healthy one. It may move leaders and the virtual IP, and
  write to the history. After a failed test the lab is restored.
- `ends_healthy`: the file needs an untouched lab, and leaves a healthy one.
"""

import contextlib
import os
import random

import pytest
from xdist.scheduler import LoadFileScheduling

from lab.machines import Lab
from lab.testing import SharedLab, restore
from tests.support import labs, spent

UNTOUCHED, HEALTHY, USED = range(3)
_left = {"state": USED}  # state in which earlier files have left this process's lab

for _name in ("wait_booted", "renew", "reboot"):
    setattr(Lab, _name, spent.counted("booting")(getattr(Lab, _name)))
labs.watch_what_is_done()


def pytest_addoption(parser):
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the files in a random order")


def pytest_collection_modifyitems(config, items):
    """Sort the files, or shuffle them with --shuffle; a file's tests stay together and in their order."""
    seed, files = config.getoption("--shuffle"), sorted({item.path for item in items})
    if seed is not None:
        random.Random(seed).shuffle(files)
        items.sort(key=lambda item: files.index(item.path))
    elif config.getoption("--lab") is None:
        # See FromBothEnds: first files that need the newly deployed lab, then those that mostly wait, last those that compute.
        wants = {path: _wants([item for item in items if item.path == path]) for path in files}
        items.sort(key=lambda item: (wants[item.path], files.index(item.path)))


def _wants(items):
    """0 for a file that needs an untouched lab, 1 for one that needs a healthy lab, 2 for one with its own lab."""
    shares = [item for item in items if {"lab", "healthy"} & set(item.fixturenames)]
    return 2 if not shares else 1 if _worst_taken(shares[0]) >= HEALTHY else 0


class FromBothEnds(LoadFileScheduling):
    """Distribute files to two processes from both ends of their order.

    Two computing files in parallel take more than twice as long as one; a computing and a waiting file hardly longer.
    """

    def _assign_work_unit(self, node):
        if list(self.nodes).index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config, log):
    return FromBothEnds(config, log) if config.getvalue("dist") == "loadfile" else None


def _worst_taken(node):
    """Return the worst state of the lab that a test, or a file of tests, accepts."""
    if os.environ.get("FANATICO_TEST") == "full":
        return UNTOUCHED
    marks = ("reads_only", "healthy_is_enough")
    return HEALTHY if any(node.get_closest_marker(mark) for mark in marks) else UNTOUCHED


@pytest.fixture(scope="session")
def shared_lab(request):
    """The lab of this process: a running one (`--lab`), or a new one that is destroyed at the end."""
    worker = getattr(request.config, "workerinput", {}).get("workerid", "")
    shared = SharedLab(request.config.getoption("--lab"), worker)
    try:
        with spent.on("booting"):
            shared.name()
        _left["state"] = UNTOUCHED
        yield shared
    finally:
        shared.destroy()


@pytest.fixture(scope="module")
def lab(request, shared_lab):
    """The lab in its deployed state. With `--lab` it is used as it is."""
    if shared_lab.ours and _left["state"] > _worst_taken(request.node):
        with spent.on("booting"):
            restore(shared_lab.name())
        _left["state"] = UNTOUCHED
    before, failed = _left["state"], request.session.testsfailed
    _left["state"] = USED  # until the file has passed
    labs.forget_health()
    yield Lab(shared_lab.name())
    if request.session.testsfailed == failed:
        if request.node.get_closest_marker("reads_only"):
            _left["state"] = before
        elif any(map(request.node.get_closest_marker, ("healthy_is_enough", "ends_healthy"))):
            _left["state"] = HEALTHY


@pytest.fixture
def healthy(lab):
    """The lab, after waiting until it is healthy.

    A query of all machines takes three seconds of processor time, so within a file only those are asked on which something
    has run since the last one. A test that is about the health of all ends with `labs.wait_healthy`.
    """
    touched = labs.touched(lab)
    if touched:
        labs.wait_healthy(lab, names=touched)
    return lab


@pytest.fixture
def untouched_budget(lab):
    """Reset the guard before the test: full budget, no attempts."""
    with labs.reading():  # it does not affect health
        lab.exec(lab.master, ["rm", "-f", "/var/lib/fanatico/guard.json"])


@pytest.fixture(autouse=True)
def what_it_takes(request):
    """Record how the test's time was spent, for the table of `./fanatico test`."""
    shared = request.getfixturevalue("shared_lab") if "lab" in request.fixturenames else None
    before = spent.cpu(shared.name()) if shared else 0.0
    reads_only = request.node.get_closest_marker("reads_only") is not None
    with labs.reading() if reads_only else contextlib.nullcontext():
        yield
    figures = spent.take()
    if shared:
        after = spent.cpu(shared.name())
        figures["cpu"] = (
            after - before if after >= before else after
        )  # the lab was restored: the counter starts at zero
    request.node.user_properties.extend(figures.items())
