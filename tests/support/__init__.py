"""Helpers that more than one layer of tests uses."""

import importlib.util
import sys
import time
from pathlib import Path

from tests.support import spent

REPO = Path(__file__).resolve().parents[2]
MODULES = [str(REPO), str(REPO / "_runners")]  # `module_dirs` of a master; no minion has the second


@spent.counted("waiting")
def wait_until(fn, timeout, what, interval=0.25):
    """Poll *fn* until it returns something true, and return that.

    fn
        Called without arguments. An exception counts as "not yet" and is shown if time runs out.
    timeout
        Seconds.
    what
        What is awaited, for the message.

    Raises AssertionError that names what was awaited and the last value seen.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            seen = fn()
            if seen:
                return seen
        except Exception as exc:  # noqa: BLE001  whatever is wrong may be right at the next look
            seen = f"{type(exc).__name__}: {exc}"
        if time.monotonic() >= end:
            raise AssertionError(f"waited {timeout} s for {what}; last seen: {seen!r}")
        time.sleep(interval)


def program(path):
    """Return a program of the state tree as a module, without running it.

    path
        From the repository's root, for example `salt/rpc/files/rpc_ws.py`.
    """
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, REPO / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
