"""The activities of a lab test: booting, deploying, waiting, and the lab's CPU time.

The figures become properties of the test in the JUnit report; `./fanatico test` prints them for the slowest tests.
"""

import functools
import time
from contextlib import contextmanager

from lab import cgroup

CATEGORIES = ("booting", "deploying", "waiting", "cpu")

_seconds = dict.fromkeys(CATEGORIES, 0.0)
_open = []  # the categories being counted; only the outermost counts


@contextmanager
def on(category):
    """Count the time of the block for a category, unless an outer block is being counted."""
    begun = time.monotonic()
    _open.append(category)
    try:
        yield
    finally:
        _open.pop()
        if not _open:
            _seconds[category] += time.monotonic() - begun


def counted(category):
    """Return a decorator that counts every call of a function for a category."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            with on(category):
                return function(*args, **kwargs)

        return wrapper

    return decorate


def cpu(lab_name):
    """Return the CPU time of a lab's machines in seconds."""
    stat = cgroup.path(lab_name) / "cpu.stat"
    lines = stat.read_text().splitlines() if stat.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("usage_usec")) / 1e6


def take():
    """Return {category: seconds} since the last call and reset the counts."""
    taken = dict(_seconds)
    _seconds.update(dict.fromkeys(CATEGORIES, 0.0))
    return taken
