"""
Backups of the Salt master on the master and on the hosts with the role backup: names, limits, and health checks. No I/O.
"""

import datetime
import re

import fanatico_verdict

NAME = re.compile(r"master-[0-9]{8}T[0-9]{6}Z\.tar\.gpg")
PART = ".part"  # a copy that is not complete yet
STATE = "state.json"  # on the master, beside the backups: what the last run found
CONFIRMED = "confirmed.json"  # on a backup host, beside the copies: which one the master has confirmed last
LARGEST = 32 * 1024**2  # bytes of a backup
CHUNK = 512 * 1024  # bytes of a backup in one message
SPARE = 256 * 1024**2  # bytes that a copy leaves free on the file system
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOW = "salt-run fanatico.master_backup"


def name(now):
    """Return the name of a backup; ``now``: seconds since 1970."""
    return datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("master-%Y%m%dT%H%M%SZ.tar.gpg")


def fault(name, sha256="0" * 64):
    """Return why a name or a SHA-256 of a backup is refused; empty if both are well formed."""
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        return f"{name!r:.60} is no name of a backup of the master"
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        return f"{sha256!r:.80} is no SHA-256"
    return ""


def chunk_fault(present, offset, size, free):
    """
    Return why a chunk of a copy is refused; empty if it is accepted.

    present
        Bytes of the copy so far.
    offset
        Where the chunk belongs; 0 starts the copy again.
    size
        Bytes of the chunk.
    free
        Bytes that are free on the file system.
    """
    if type(offset) is not int or offset < 0 or (offset and offset != present):
        return f"the chunk belongs at {offset!r:.20}, but {present} bytes are there"
    if not 0 < size <= CHUNK:
        return f"the chunk has {size} bytes; 1 to {CHUNK} are allowed"
    if offset + size > LARGEST:
        return f"the copy would have more than {LARGEST} bytes"
    if free < size + SPARE:
        return f"only {free // 1024**2} MiB are free on the file system"
    return ""


def expired(names, keep):
    """Return which backups to delete, by name: all but the ``keep`` newest. Other files are left alone."""
    return sorted(name for name in names if NAME.fullmatch(name))[: -max(1, keep)]


def on_master(state, intact, shown, hosts, settings, now):
    """
    Return the check of the backups on the master.

    state
        What the last run has recorded, ``{"file", "sha256", "confirmed": seconds since 1970, "error", "copies": {host: {"time",
        "file", "error"}}}``; ``{}`` before the first.
    intact
        Whether the newest file is there, with this SHA-256.
    shown
        Whether the passphrase was shown to an operator.
    hosts
        The hosts that must have a copy.
    settings
        The pillar's ``backup:master``.
    now
        Seconds since 1970.
    """
    if not state.get("file"):
        why = f": {state['error']}" if state.get("error") else ""
        return fanatico_verdict.degraded(None, f"no backup of the master was made yet{why}", _NOW)
    age, file = now - state["confirmed"], state["file"]
    detail = f"{file}, up to date {_hours(age)} ago"
    if not intact:
        return fanatico_verdict.degraded(age, f"{file} is missing or damaged on the master", _NOW)
    if state.get("error"):
        return fanatico_verdict.degraded(age, f"the last run failed: {state['error']}", _NOW)
    if age > settings["max_age"]:
        hint = f"systemctl list-timers fanatico-master-backup.timer; {_NOW}"
        return fanatico_verdict.degraded(age, detail, hint)
    copies = state.get("copies", {})
    missing = [host for host in hosts if copies.get(host, {}).get("file") != file]
    if missing:
        why = copies.get(missing[0], {}).get("error") or "not sent yet"
        return fanatico_verdict.degraded(age, f"{detail}; not on {', '.join(missing)}: {why}", _NOW)
    if not shown:
        return fanatico_verdict.degraded(
            age,
            "the passphrase of the master's backups was shown to nobody",
            "./bootstrap-master --passphrase",
        )
    where = (
        f"on {', '.join(hosts)}, verified"
        if hosts
        else "on the master alone: the plan has no other backup host"
    )
    return fanatico_verdict.ok(age, f"{detail}, {where}")


def on_host(confirmed, intact, me, settings, now):
    """
    Return the check of the copies on a backup host.

    confirmed
        ``{"file", "sha256", "time": seconds since 1970}``: which copy the master has confirmed last; ``{}`` before the first.
    intact
        Whether that file is there, with this SHA-256.
    me
        This host.
    settings
        The pillar's ``backup:master``.
    now
        Seconds since 1970.
    """
    hint = f"on the master: {_NOW}"
    if not confirmed:
        return fanatico_verdict.degraded(None, f"{me} has no backup of the master yet", hint)
    age = now - confirmed["time"]
    if not intact:
        return fanatico_verdict.degraded(age, f"{confirmed['file']} is missing or damaged", hint)
    detail = f"{confirmed['file']}, confirmed by the master {_hours(age)} ago"
    judge = fanatico_verdict.degraded if age > settings["max_age"] else fanatico_verdict.ok
    return judge(age, detail, hint if judge is fanatico_verdict.degraded else "")


def _hours(seconds):
    return f"{seconds / 3600:.1f} h"
