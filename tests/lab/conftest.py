"""The real thing. Every file starts from the snapshot `deployed`, so files pass alone and in any order.

Tests of one file run in their order and share what the ones before left. A file, or a test, that changes nothing is
marked `reads_only`: after such a file the next one needs no restore.
"""

import contextlib
import random

import pytest

from lab.machines import Lab
from lab.testing import SharedLab, restore
from tests.support import labs, spent

_left = {"clean": False}  # how the file before left the lab of this process

for _name in ("wait_booted", "renew", "reboot"):
    setattr(Lab, _name, spent.counted("booting")(getattr(Lab, _name)))
labs.watch_what_is_done()


def pytest_addoption(parser):
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the files in a random order")


def pytest_collection_modifyitems(config, items):
    """Put files into a random order where that is asked for; a file's tests stay together and in their order."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        files = sorted({item.path for item in items})
        random.Random(seed).shuffle(files)
        items.sort(key=lambda item: files.index(item.path))


@pytest.fixture(scope="session")
def shared_lab(request):
    """The lab of this process: one that is up already (`--lab`), or one that is made here and goes at the end."""
    worker = getattr(request.config, "workerinput", {}).get("workerid", "")
    shared = SharedLab(request.config.getoption("--lab"), worker)
    try:
        with spent.on("booting"):
            shared.name()
        _left["clean"] = True
        yield shared
    finally:
        shared.destroy()


@pytest.fixture(scope="module")
def lab(request, shared_lab):
    """The lab, as it was deployed. Somebody's own lab (`--lab`) is taken as it is."""
    if shared_lab.ours and not _left["clean"]:
        with spent.on("booting"):
            restore(shared_lab.name())
    _left["clean"] = request.node.get_closest_marker("reads_only") is not None
    return Lab(shared_lab.name())


@pytest.fixture
def healthy(lab):
    """The lab, once everything in it is healthy."""
    if not labs.known_healthy(lab):
        labs.wait_healthy(lab)
    return lab


@pytest.fixture
def untouched_budget(lab):
    """Let the test begin with an untouched budget of healing."""
    with labs.reading():  # it makes nobody less healthy
        lab.exec(lab.master, ["rm", "-f", "/var/lib/fanatico/guard.json"])


@pytest.fixture(autouse=True)
def what_it_takes(request):
    """Note what the test's time went to, for the table that `./fanatico test` prints."""
    shared = request.getfixturevalue("shared_lab") if "lab" in request.fixturenames else None
    before = spent.cpu(shared.name()) if shared else 0.0
    reads_only = request.node.get_closest_marker("reads_only") is not None
    with labs.reading() if reads_only else contextlib.nullcontext():
        yield
    figures = spent.take()
    if shared:
        after = spent.cpu(shared.name())
        figures["cpu"] = after - before if after >= before else after  # restored meanwhile: counted from zero
    request.node.user_properties.extend(figures.items())
