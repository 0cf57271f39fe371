"""
Ctrl-C in ``salt-run``: what is running ends in one sentence, not in a traceback. Master only.

Salt's handler raises ``SystemExit`` wherever the process happens to be, and Salt's runner client prints that as a traceback. The
handler here raises it only within a runner or a step of ours (``interruptible``). Anywhere else it sets a flag, and the next step
ends the orchestration. A second Ctrl-C goes to Salt's handler.
"""

import contextlib
import functools
import signal
import sys
import threading

WORDS = "interrupted by the operator. Hosts finish what they have begun. Next: {next}run it again"
_ORCHESTRATE = ("state.orchestrate", "state.orch")


class Interrupted(SystemExit):
    """The operator pressed Ctrl-C. A ``SystemExit``, since asyncio lets no other exception of that kind out of a callback."""


class _Interrupt:
    """State of this process: whether Ctrl-C was pressed, and how many runners and steps of ours are running."""

    happened = False
    depth = 0


def happened():
    """Return whether the operator has pressed Ctrl-C."""
    return _Interrupt.happened


@contextlib.contextmanager
def interruptible():
    """Have Ctrl-C raise ``Interrupted`` within this block. Of no effect in a thread, and outside ``salt-run``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _install()
    _Interrupt.depth += 1
    try:
        yield
    finally:
        _Interrupt.depth -= 1


def prepare(opts):
    """Take over Ctrl-C where ``opts`` are those of a ``salt-run`` that starts one of our orchestrations."""
    arguments = [str(argument).removeprefix("mods=") for argument in opts.get("arg") or ()]
    if opts.get("fun") in _ORCHESTRATE and any(argument.startswith("orch.") for argument in arguments):
        _install()


def _install():
    before = signal.getsignal(signal.SIGINT)
    # The handler of Salt's commands is a partial of a function in salt.scripts. Daemons have others, and keep them.
    if not isinstance(before, functools.partial) or before.func.__module__ != "salt.scripts":
        return
    if threading.current_thread() is not threading.main_thread():
        return

    def interrupt(signum, frame):
        if _Interrupt.happened:
            before(signum, frame)
        _Interrupt.happened = True
        # Event loops that are cut short print a traceback when they are collected. A function in C, in which no handler runs.
        sys.unraisablehook = id
        if _Interrupt.depth:
            raise Interrupted(1)

    signal.signal(signal.SIGINT, interrupt)
