"""
The lock of the cluster, so that one change runs at a time. A crash cannot leave it locked.

The lock belongs to a process: its pid, its start time and the boot. It is free again as soon as that process has ended, for
whatever reason. ``directory``: where the lock file is, ``/var/lib/fanatico`` on the master.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

_FILE = "lock.json"
_YIELDS = "heal"  # the purpose that gives way to every other: those are started by an operator


def acquire(directory, purpose, detail="", jid="", wait=0, behind=None, owner=""):
    """
    Take the lock for this process. The same owner may take it more than once, and has to release it as often.

    purpose
        What it is taken for: ``heal``, ``drill``, or the name of an orchestration, ``deploy``.
    detail
        What exactly is done, for the operator.
    jid
        The job that takes it, for ``fanatico.watch``.
    wait
        Seconds to wait for the present holder.
    behind
        Wait only for a holder with this purpose; give up at once for any other.
    owner
        Distinguishes owners within one process.

    Returns ``(taken, holder)``: ``holder`` is this process where ``taken``, else the present holder.
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
    """Return whether this process has the lock."""
    present = _read(directory)
    return present is not None and _is_mine(present, "")


def asked(directory, owner=""):
    """Return the purpose that waits for this process to give way; empty where none waits."""
    present = _read(directory)
    return present.get("asked", "") if present and _is_mine(present, owner) else ""


def release(directory, force=False, owner="", whole=False):
    """
    Release the lock.

    force
        Also the lock of another process.
    owner
        As in ``acquire``.
    whole
        At once, however often it was taken.

    Returns the former holder; None where it has to be released once more, or this owner does not have it.
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


def will_fail(directory, reason, code=""):
    """
    Write into the lock why its holder is going to fail, where the holder is the parent of this process.

    A step that runs in parallel is a process of its own. Its orchestration continues until the other steps have ended, and
    holds the lock until then. Returns whether the holder is the parent.
    """
    with _exclusive(directory):
        present = _read(directory)
        if present is None or present["pid"] != os.getppid():
            return False
        _write(directory, {**present, "failed": reason, "code": code})
        return True


def holder(directory):
    """Return the holder (``{"purpose", "detail", "pid", "since", ...}``), or None where the lock is free."""
    return _read(directory)


def abandoned(directory):
    """
    Return the former holder whose process ended without releasing the lock, and remove its file; None where there is none.

    A release removes the file. A file whose process is gone was left by one that was killed, or whose host went down.
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
    """Return a holder as text: ``deploy (pid 4711) has been running for 12 s``."""
    detail = f" of {present['detail']}" if present.get("detail") else ""
    running = round(time.time() - present["since"])
    return f"{present['purpose']}{detail} (pid {present['pid']}) has been running for {running} s"


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
    """Return what identifies a running process: its pid, the boot and the clock tick in which it started."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The command's name is in parentheses and may contain any character, so count from the last one.
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
