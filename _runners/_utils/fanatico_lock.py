"""
One change of the cluster at a time: a lock file that a crash cannot leave behind.

The lock belongs to a process (pid, its start time and the boot it lives in), so it is free again the moment
that process is gone, whatever became of it. ``directory`` is where it lives: ``/var/lib/fanatico`` on the
master.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

_FILE = "lock.json"
_YIELDS = "heal"  # to everybody else: what they do was asked for by a person


def acquire(directory, purpose, detail="", jid="", wait=0, behind=None, owner=""):
    """
    Take the lock for this process. Taken again by the same owner it stays what it is, and is free after as many releases.

    purpose
        Who takes it: ``heal``, ``drill``, or what an orchestration is called, ``deploy``.
    detail
        What exactly is being done, for people.
    jid
        The job it belongs to, for ``fanatico.watch``.
    wait
        Seconds to wait for the present holder.
    behind
        The only purpose that is worth waiting for: give up at once where another one has it.
    owner
        Tells those apart that work side by side in one process.

    Returns ``(taken, holder)``; ``holder`` is this process, or the one that has the lock.
    """
    deadline = time.monotonic() + wait
    while True:
        with _exclusive(directory):
            present = _read(directory)
            if present is not None and _is_mine(present, owner):
                mine = {**present, "depth": present.get("depth", 0) + 1}
                _write(directory, mine)
                return True, mine
            if present is None:
                mine = {
                    **_identity(os.getpid()),
                    "owner": owner,
                    "purpose": purpose,
                    "detail": detail,
                    "jid": jid,
                    "since": time.time(),
                }
                _write(directory, mine)
                return True, mine
            if present["purpose"] == _YIELDS != purpose and not present.get("asked"):
                _write(directory, {**present, "asked": purpose})
        if behind not in (None, present["purpose"]) or time.monotonic() >= deadline:
            return False, present
        time.sleep(0.2)


def mine(directory):
    """Tell whether this process has the lock."""
    present = _read(directory)
    return present is not None and _is_mine(present, "")


def asked(directory, owner=""):
    """Return what somebody waits for whom this process' lock has to be given to at its next step; empty where nobody does."""
    present = _read(directory)
    return present.get("asked", "") if present and _is_mine(present, owner) else ""


def release(directory, force=False, owner="", whole=False):
    """
    Give the lock back, with ``force`` also another's, with ``whole`` however often it was taken.

    Returns the holder that lost it, or None where it has to be given back once more, or was not this owner's.
    """
    with _exclusive(directory):
        present = _read(directory)
        if present is None or not (force or _is_mine(present, owner)):
            return None
        if present.get("depth") and not (force or whole):
            _write(directory, {**present, "depth": present["depth"] - 1})
            return None
        Path(directory, _FILE).unlink()
        return present


def will_fail(directory, reason):
    """
    Write into the lock why its holder is going to end, where that is the process which has started this one.

    A step that runs beside others is such a process: what it is a step of goes on until those have ended, under the lock.
    Returns whether it was.
    """
    with _exclusive(directory):
        present = _read(directory)
        if present is None or present["pid"] != os.getppid():
            return False
        _write(directory, {**present, "failed": reason})
        return True


def holder(directory):
    """Return who has the lock (``{"purpose", "detail", "pid", "since", ...}``), or None when it is free."""
    return _read(directory)


def abandoned(directory):
    """
    Return who had the lock and ended without a word, and forget him; None where nobody did.

    Whoever gives a lock back removes the file. One of a process that is gone was killed, with its terminal or its host.
    """
    with _exclusive(directory):
        if _read(directory) is not None:
            return None
        path = Path(directory, _FILE)
        try:
            left = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        path.unlink()
        return left if isinstance(left, dict) and "purpose" in left else None


def describe(present):
    """Return a holder in words: ``a deploy (salt-run, pid 4711) has been running for 12 s``."""
    detail = f" of {present['detail']}" if present.get("detail") else ""
    running = round(time.time() - present["since"])
    return f"a {present['purpose']}{detail} (pid {present['pid']}) has been running for {running} s"


def _is_mine(present, owner):
    return present["pid"] == os.getpid() and present.get("owner", "") == owner


def _read(directory):
    try:
        present = json.loads(Path(directory, _FILE).read_text(encoding="utf-8"))
        return present if _identity(present["pid"])["started"] == present["started"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(directory, content):
    temporary = Path(directory, f"{_FILE}.new")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(Path(directory, _FILE))


def _identity(pid):
    """A living process as no other can ever be: its pid, the boot it lives in and the tick it started in."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The command's name stands in parentheses and may hold anything, so count from the last one.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return {"pid": pid, "started": f"{boot}/{fields[19]}"}


@contextlib.contextmanager
def _exclusive(directory):
    Path(directory).mkdir(parents=True, exist_ok=True)
    with open(Path(directory, ".lock"), "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
