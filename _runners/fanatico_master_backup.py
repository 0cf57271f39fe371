"""
The backup of the Salt master itself: an encrypted file on the master, and a verified copy on each backup host.

``_runners/_utils/fanatico_master_state.py`` lists what is in it; docs/disaster.md says how to restore it.
"""

import base64
import contextlib
import fcntl
import json
import os
import pathlib
import subprocess
import time

import salt.exceptions

import fanatico_file
import fanatico_master
import fanatico_master_archive
import fanatico_master_copies
import fanatico_master_state
import fanatico_plan
import fanatico_sweep

__virtualname__ = "fanatico"

_SECRET = "MASTER_BACKUP_PASSPHRASE"
_ANSWER = 8  # seconds for a backup host to answer one message
_SENDING = 90  # seconds for a whole copy
_TURN = 60  # seconds to wait for another run
# What goes wrong outside of this code.
_FAULTS = (
    fanatico_master_archive.ArchiveError,
    salt.exceptions.SaltException,
    subprocess.SubprocessError,
    OSError,
    ValueError,
)


class _CopyError(Exception):
    """A backup host has no copy; the message is the reason."""


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def master_backup():
    """
    Back up the Salt master now, and have each backup host confirm a copy. A timer does it every night (``backup:master:at``).

    Without any change since the last backup no file is made. Only the copies need the Salt master's daemon.

    Returns ``{"file": path, "sha256", "bytes", "made": whether a file was made, "copies": {host: "" or why it has none}}``. The
    exit code is 1 if a host has no copy. Raises where no backup can be made.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.master_backup
    """
    result = _run(lasting=False)
    if any(result["copies"].values()):
        result["retcode"] = __context__["retcode"] = 1
    return result


def master_changed():
    """
    Back up the Salt master if its keys, authorities, secrets, plan or settings have changed. Orchestrations end with it.

    It never fails: a fault is recorded, and ``fanatico.health`` of the master shows it as ``master.backup``.

    Returns what ``master_backup`` does, or ``{"error": why there is no backup}``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.master_changed
    """
    try:
        return _run(lasting=True)
    except _FAULTS as exc:
        return {"error": str(exc)}


def master_backups():
    """
    Return the backups of the Salt master, oldest first, and who has them: ``{name: {"bytes", "on": [hosts]}}``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.master_backups
    """
    plan = fanatico_master.plan(__opts__)
    me, settings, _ = _site(plan)
    mine = [{"name": path.name, "bytes": path.stat().st_size} for path in _files(settings["path"])]
    hosts = _hosts(plan, me)
    answers = fanatico_sweep.fanout(__opts__, hosts, "fanatico_master_copy.listing", timeout=_ANSWER)
    found: dict = {}
    for host, listed in {me: mine, **answers}.items():
        for one in listed if isinstance(listed, list) else []:
            name, size = (one.get("name"), one.get("bytes")) if isinstance(one, dict) else (None, None)
            if not fanatico_master_copies.fault(name) and isinstance(size, int):
                found.setdefault(name, {"bytes": size, "on": []})["on"].append(host)
    silent = [host for host in hosts if not isinstance(answers.get(host), list)]
    if silent:
        __context__["retcode"] = 1
        return {**dict(sorted(found.items())), "no answer": silent, "retcode": 1}
    return dict(sorted(found.items()))


def _run(lasting):
    """Make a backup if the state has changed, send it to the backup hosts, and record the result."""
    plan = fanatico_master.plan(__opts__)
    me, settings, pillar = _site(plan)
    directory = pathlib.Path(settings["path"])
    with _turn(directory):
        state = _state(directory)
        try:
            made = _make(directory, state, pillar, me, lasting)
        except _FAULTS as exc:
            _record(directory, {**state, "error": str(exc)})
            raise
        for name in fanatico_master_copies.expired(
            [path.name for path in _files(directory)], settings["keep"]
        ):
            (directory / name).unlink()
        copies = {host: _copied(host, directory, made, lasting) for host in _hosts(plan, me)}
        _record(directory, {**made, "copies": copies})
    path = directory / made["file"]
    return {
        "file": str(path),
        "sha256": made["sha256"],
        "bytes": path.stat().st_size,
        "made": made["file"] != state.get("file"),
        "copies": {host: one["error"] for host, one in copies.items()},
    }


def _site(plan):
    """Return ``(the master's id, the settings of its backup, its pillar)``; raises where the pillar has none."""
    me = fanatico_plan.nodes(plan, "master")[0]
    pillar, faults = fanatico_master.compiled(__opts__, me)
    if faults:
        fanatico_master.refuse(
            f"The pillar of {me} cannot be compiled: {faults[0]}. No backup of the master was made."
        )
    return me, pillar["backup"]["master"], pillar


def _hosts(plan, me):
    """Return the hosts that get a copy: the backup hosts, without this one."""
    return [host for host in fanatico_plan.nodes(plan, "backup") if host != me]


@contextlib.contextmanager
def _turn(directory):
    """One run at a time; raises where another one takes longer than ``_TURN``."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    deadline = time.monotonic() + _TURN
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    fanatico_master.refuse(
                        f"Another backup of the master has been running for {_TURN} s. Next: ps aux"
                    )
                time.sleep(0.2)
        yield
    finally:
        os.close(handle)


def _state(directory):
    """Return what the last run has recorded; without a usable record a new backup is made."""
    try:
        return fanatico_file.read_json(directory / fanatico_master_copies.STATE)
    except ValueError:
        return {}


def _record(directory, state):
    fanatico_file.replace(directory / fanatico_master_copies.STATE, json.dumps(state), 0o600)


def _files(directory):
    """Return the paths of the backups on the master, oldest first."""
    found = pathlib.Path(directory).glob("master-*")
    return sorted(path for path in found if fanatico_master_copies.NAME.fullmatch(path.name))


def _make(directory, state, pillar, me, lasting):
    """Return the record of the newest backup, which is made now where the state has changed."""
    tree, ca_dir = pillar["master"]["tree"], pillar["master"]["ca_dir"]
    known = fanatico_master_state.parts(tree, ca_dir)
    with _secrets_at_rest():
        entries = fanatico_master_archive.collect(known)
    now = {
        kind: fanatico_master_state.digest(entries, known, kind == "lasting") for kind in ("lasting", "whole")
    }
    compared = "lasting" if lasting else "whole"
    path = directory / state.get("file", "none")
    if state.get(compared) == now[compared] and fanatico_file.sha256(path) == state.get("sha256"):
        return {**state, "confirmed": time.time(), "error": ""}
    manifest = {**_manifest(pillar, me), "made": time.time()}
    path = directory / fanatico_master_copies.name(manifest["made"])
    fanatico_master_archive.write(path, manifest, entries, _passphrase(pillar))
    facts = {
        "file": path.name,
        "sha256": fanatico_file.sha256(path),
        "confirmed": manifest["made"],
        "error": "",
    }
    return {**facts, **now, "copies": state.get("copies", {})}


def _manifest(pillar, me):
    """Return what ``./bootstrap-master`` has to know before it can read the pillar."""
    tree, plan = pillar["master"]["tree"], pillar["plan"]
    artifacts = pathlib.Path(tree, "salt/artifacts")
    return {
        "plan": plan["name"],
        "master": me,
        "address": plan["nodes"][me]["address"],
        "nodes": list(plan["nodes"]),
        "tree": tree,
        "ca_dir": pillar["master"]["ca_dir"],
        "commit": _commit(tree),
        "install": pillar["minion"]["install"],
        "artifacts": sorted(path.name for path in artifacts.glob("*") if path.name != "README.md"),
    }


@contextlib.contextmanager
def _secrets_at_rest():
    """Wait until no other process is writing the secrets: one file could otherwise be new and another old."""
    handle = os.open(fanatico_master.root(__opts__) / "secrets", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _passphrase(pillar):
    found = pillar.get("secrets", {}).get(_SECRET)
    if not found:
        fanatico_master.refuse(
            f"There is no secret {_SECRET}: no backup of the master was made. Next: salt-run fanatico.secrets_init"
        )
    return found


def _commit(tree):
    """Return the commit of the tree; empty where it is no working copy, or git does not trust its owner."""
    argv = ["git", "-C", tree, "rev-parse", "HEAD"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _copied(host, directory, made, trust):
    """
    Bring the newest backup to one place outside of this host, and return ``{"file": what it has, "time", "error"}``.

    trust
        Do not ask a host that has confirmed this file before.

    The only place that copies: another kind of place, for example a bucket, is one more function beside ``_send``, called here.
    """
    former = made.get("copies", {}).get(host, {})
    if trust and former.get("file") == made["file"] and not former.get("error"):
        return former
    try:
        if not _ask(host, "confirm", made["file"], made["sha256"]):
            _send(host, directory / made["file"], made["sha256"])
    except (_CopyError, *_FAULTS) as exc:
        return {**former, "error": str(exc)[:500]}
    return {"file": made["file"], "time": time.time(), "error": ""}


def _send(host, path, sha256):
    """Send a file to a backup host in chunks; it counts once that host has verified its SHA-256."""
    content, offset = path.read_bytes(), 0
    deadline = time.monotonic() + _SENDING
    while offset < len(content):
        if time.monotonic() > deadline:
            raise _CopyError(f"{host}: the copy was not complete after {_SENDING} s")
        chunk = content[offset : offset + fanatico_master_copies.CHUNK]
        # In a list: Salt would take a text that ends with = for a keyword argument.
        present = _ask(host, "receive", path.name, offset, [base64.b64encode(chunk).decode()])
        offset += len(chunk)
        if present != offset:
            raise _CopyError(f"{host}: the copy has {present!r:.20} bytes instead of {offset}")
    if _ask(host, "complete", path.name, sha256) is not True:
        raise _CopyError(f"{host}: the copy was not verified")


def _ask(host, function, *arguments):
    """Return a backup host's answer; raises where it does not answer or refuses."""
    name = f"fanatico_master_copy.{function}"
    answer = fanatico_sweep.fanout(__opts__, [host], name, arguments, _ANSWER).get(host)
    if answer is None:
        raise _CopyError(f"{host} did not answer within {_ANSWER} s")
    if isinstance(answer, str):  # none of them returns text: it is an error
        raise _CopyError(answer.strip().removeprefix("ERROR: ")[-300:])
    return answer
