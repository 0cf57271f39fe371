"""
Replace the data of this database host by what it was at a moment. Steps of ``orch.restore``, ``orch.restore_accept`` and
``orch.restore_undo``: nobody else calls the functions that change something.
"""

import json
import os
import pathlib
import pwd
import shutil
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_file
import fanatico_probe
import fanatico_restore_target
import fanatico_wait

HOLD = "/var/lib/fanatico/patroni.hold"  # Patroni's unit does not start while it exists
UNIT = "fanatico-restore.service"
UNDONE = "undone"  # data of a restored cluster that served and was undone
_ENVIRONMENT = "/var/lib/fanatico/restore.env"
_FOLDER, _SOCKET, _PORT = "/var/lib/fanatico-restore", "/run/fanatico-restore", 5497
_PROGRAM = "/usr/local/lib/fanatico/restore_cluster.py"


def _me():
    return __opts__["id"]


def _wanted():
    return __salt__["fanatico_postgres.wanted"]()


def _data():
    return pathlib.Path(_wanted()["data_dir"])


def _mark():
    """Return the path of the mark that restore_cluster.py makes: the data can be restored once more."""
    return _data().with_name(f"{_data().name}.restoring")


def _systemctl(*words, timeout=120):
    done = fanatico_probe.run("systemctl", *words, timeout=timeout)
    if done.returncode:
        raise CommandExecutionError(f"{_me()}: systemctl {' '.join(words)}: {done.stderr.strip()[-300:]}")


def _as_postgres(*argv, timeout):
    """Run a program as postgres and return what it printed. Raises ``CommandExecutionError`` with its message."""
    try:
        done = fanatico_probe.run("runuser", "-u", "postgres", "--", *map(str, argv), timeout=timeout)
    except subprocess.TimeoutExpired as exc:
        raise CommandExecutionError(f"{_me()}: {argv[0]}: no result within {timeout:g} s") from exc
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[-500:]
        raise CommandExecutionError(f"{_me()}: {argv[0]} failed with code {done.returncode}: {why}")
    return done.stdout


def local_state() -> dict:
    """
    Return what a restore has changed on this host, and whether there is room for one.

    ``{"held": whether Patroni is prevented from starting, "restoring": whether the data directory has restored data that has not
    served, "undo": [paths of the data before the restore], "undone": [paths], "data": whether there is data, "free":
    bytes on its disk}``.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.local_state
    """
    data = _data()
    parent = next(path for path in data.parents if path.exists())
    return {
        "held": pathlib.Path(HOLD).exists(),
        "restoring": _mark().exists(),
        "undo": fanatico_aside.paths(data, fanatico_aside.UNDO),
        "undone": fanatico_aside.paths(data, UNDONE),
        "data": (data / "global" / "pg_control").exists(),
        "free": shutil.disk_usage(parent).free,
    }


def hold(timeout: float = 60) -> bool:
    """
    Stop Patroni and prevent it from starting, also after a reboot. While Patroni is paused, PostgreSQL keeps running.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.hold
    """
    path = pathlib.Path(HOLD)
    path.parent.mkdir(parents=True, exist_ok=True)
    fanatico_file.replace(path, "orch.restore\n", 0o644)
    _systemctl("daemon-reload")  # the condition may be new
    _systemctl("stop", "patroni", timeout=timeout)
    return True


def release() -> bool:
    """
    Let Patroni start again, and start it. Returns whether it was held.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.release
    """
    held = pathlib.Path(HOLD).exists()
    pathlib.Path(HOLD).unlink(missing_ok=True)
    _systemctl("start", "--no-block", "patroni")
    return held


def wait_paused(timeout: float = 60) -> bool:
    """
    Wait until this node's Patroni knows that it is paused: stopped then, it leaves PostgreSQL running and promotes nobody.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.wait_paused
    """

    def paused():
        try:
            return bool(__salt__["fanatico_patroni.status"](timeout=2).get("pause")), "it is not paused"
        except CommandExecutionError as exc:
            return not _patroni_runs(), str(exc)

    done, seen = fanatico_wait.until(paused, timeout)
    if not done:
        raise CommandExecutionError(
            fanatico_wait.timeout_message(_me(), "Patroni to pause", timeout, seen, "patroni")
        )
    return True


def _patroni_runs():
    return __salt__["fanatico_unit.states"]("patroni.service")["patroni.service"]["active"] == "active"


def stop(timeout: float = 300) -> dict:
    """
    Stop PostgreSQL cleanly on a host where Patroni is held. Returns how far its WAL reaches, as ``fanatico_postgres.wal_end``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.stop
    """
    if _patroni_runs():
        raise CommandExecutionError(
            f"{_me()}: Patroni runs; nothing was changed. Next: salt {_me()} fanatico_restore.hold"
        )
    if state()["state"] == "running":
        return {}  # an earlier run of this orchestration restores it
    if (_data() / "postmaster.pid").exists() and _ready():
        where = ["-D", _data(), "-s", "-w", "-t", int(timeout * 0.9), "-m", "fast"]
        _as_postgres(f"{_wanted()['bin_dir']}/pg_ctl", *where, "stop", timeout=timeout)
    return {} if _mark().exists() else __salt__["fanatico_postgres.wal_end"]()


def _ready():
    """Return whether a server runs on the data: pg_ctl knows a stale postmaster.pid."""
    argv = ["runuser", "-u", "postgres", "--", f"{_wanted()['bin_dir']}/pg_ctl", "-D", str(_data()), "status"]
    return fanatico_probe.run(*argv).returncode == 0


def set_aside() -> str:
    """
    Move the data of this host aside, where they stay until the restore is accepted or undone. Returns their path.

    Nothing happens where they are aside already, and where there is no data.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.set_aside
    """
    state = local_state()
    if state["restoring"] or not state["data"]:
        return (state["undo"] or [""])[-1]
    if _ready():
        raise CommandExecutionError(f"{_me()}: PostgreSQL runs; nothing was changed")
    try:
        return fanatico_aside.move(_data(), emptied=True, kind=fanatico_aside.UNDO)
    except (ValueError, OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{_me()}: {exc}") from exc


def start(backup: str, kind: str = "", value: str = "", timeline: int = 0, look: bool = False) -> str:
    """
    Start to restore a backup in the background and return the name of the unit. ``state`` shows how far it is.

    backup
        Its label.
    kind, value
        The target: ``time`` with seconds since 1970, ``xid``, ``lsn``, ``name``; without them, the end of the WAL.
    timeline
        Its number; 0: the latest.
    look
        Whether PostgreSQL stays for a person, who reads.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.start 20261130-155731F time 1796054300 look=True
    """
    if not pathlib.Path(HOLD).exists() or _patroni_runs():
        raise CommandExecutionError(f"{_me()}: Patroni is not held; nothing was changed")
    found = state()
    if found["state"] in ("running", "looking"):
        return UNIT
    try:
        variables = fanatico_restore_target.environment(backup, kind, value, timeline)
    except ValueError as exc:
        raise CommandExecutionError(f"{_me()}: {exc}. Nothing was changed") from exc
    variables["LOOK"] = "yes" if look else ""
    if not _data().exists():  # a bare host
        owner = pwd.getpwnam("postgres")
        _data().mkdir(mode=0o700, parents=True)
        os.chown(_data(), owner.pw_uid, owner.pw_gid)
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    fanatico_file.replace(pathlib.Path(_ENVIRONMENT), lines, 0o600)
    (pathlib.Path(_FOLDER) / "report.json").unlink(missing_ok=True)
    _systemctl("stop", UNIT)
    _systemctl("start", "--no-block", UNIT)
    return UNIT


def state() -> dict:
    """
    Return how far a restore on this host is.

    ``{"state": "none", "running", "looking" (a person), "stopped" (restored) or "failed", "report": {...} or None, "command":
    how to look}``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.state
    """
    active = __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"]
    report = _report()
    if active == "activating":
        found = "running"
    elif report is None:
        found = "none" if active != "failed" else "failed"
    else:
        found = report["state"]
    if found == "looking" and not _ready():
        found = "failed"  # its host was rebooted: it is restored once more
    command = f"runuser -u postgres -- psql -h {_SOCKET} -p {_PORT} fanatico" if found == "looking" else ""
    return {"state": found, "report": report, "command": command}


def _report():
    try:
        return json.loads((pathlib.Path(_FOLDER) / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def finish(timeout: float = 600) -> dict:
    """
    Stop the restored data that a person looked at. Returns the report.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.finish
    """
    report = _step("finish", timeout)
    _systemctl("stop", UNIT)
    return report


def _step(what, timeout):
    """Run a step of restore_cluster.py as postgres and return its report."""
    for folder in (_FOLDER, _SOCKET):
        pathlib.Path(folder).mkdir(mode=0o700, exist_ok=True)
        shutil.chown(folder, "postgres", "postgres")
    where = ["--data", _data(), "--socket", _SOCKET, "--port", _PORT, "--programs", _wanted()["bin_dir"]]
    where += ["--report", f"{_FOLDER}/report.json"]
    return json.loads(
        _as_postgres("/opt/salt/bin/python", _PROGRAM, what, *where, timeout=timeout).splitlines()[-1]
    )


def served() -> bool:
    """
    Note that the restored data of this host has begun to serve: from now on it is not reproducible.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.served
    """
    _mark().unlink(missing_ok=True)
    return True


def rejoin() -> str:
    """
    Make this host a replica of the restored primary: move its data aside and start Patroni, which clones the primary.

    Where the disk has no room for both, the data is deleted: the host that is kept for an undo has the same.

    Returns what was done.

    CLI Example:

    .. code-block:: bash

        salt db2 fanatico_restore.rejoin
    """
    if not pathlib.Path(HOLD).exists():
        return "nothing: Patroni is not held"
    if _ready():
        raise CommandExecutionError(f"{_me()}: PostgreSQL runs; nothing was changed")
    data, done = _data(), "no data was there"
    if (data / "global" / "pg_control").exists():
        try:
            done = (
                f"the former data are in {fanatico_aside.move(data, emptied=True, kind=fanatico_aside.UNDO)}"
            )
        except ValueError:
            for path in data.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            done = "the former data are deleted: no room for both"
    release()
    return f"clone started; {done}"


def put_back(clone: bool = False) -> str:
    """
    Put the data before the restore back in place. Restored data that has not served is deleted, other data kept as ``undone``.

    clone
        Whether a host without data of before shall clone them: its present data is moved aside, too.

    Returns the path that the data had; empty where this host's data was not moved.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.put_back
    """
    found = local_state()
    if not (found["undo"] or clone):
        return ""
    if _ready() or _patroni_runs():
        raise CommandExecutionError(f"{_me()}: PostgreSQL or Patroni runs; nothing was changed")
    _systemctl("stop", UNIT)
    try:
        if found["data"] and not found["restoring"]:
            fanatico_aside.move(_data(), emptied=not found["undo"], kind=UNDONE)
        path = fanatico_aside.put_back(_data()) if found["undo"] else ""
        _add_histories()
    except (ValueError, OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{_me()}: {exc}") from exc
    _mark().unlink(missing_ok=True)
    (pathlib.Path(_FOLDER) / "report.json").unlink(missing_ok=True)
    return path


def _add_histories():
    """Write the history of the restored cluster's timelines into the pg_wal of the former data: ``reopen`` goes past them."""
    if not (_data() / "pg_wal").exists():
        return
    owner = _data().stat()
    for kept in fanatico_aside.paths(_data(), UNDONE):
        for source in pathlib.Path(kept, "pg_wal").glob("*.history"):
            path = _data() / "pg_wal" / source.name
            if not path.exists():
                shutil.copyfile(source, path)
                path.chmod(0o600)
                os.chown(path, owner.st_uid, owner.st_gid)


def reopen(timeout: float = 600) -> dict:
    """
    Promote the data that ``put_back`` put back, to a timeline that the restored cluster has not used. Returns the report.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.reopen
    """
    return _step("reopen", timeout)


def discard() -> int:
    """
    Delete the data of before the restore and of an undone restore: the restore is accepted. Returns the freed bytes.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.discard
    """
    return sum(fanatico_aside.delete(_data(), kind) for kind in (fanatico_aside.UNDO, UNDONE))
