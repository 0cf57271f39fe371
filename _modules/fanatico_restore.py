"""
Replace the data of this database host by what it was at a moment. Steps of ``orch.restore``, ``orch.restore_accept`` and
``orch.restore_undo``: nobody else calls what changes something. The data itself is moved in ``fanatico_restore_data.py``.
"""

import json
import os
import pathlib
import pwd
import shutil
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_file
import fanatico_postmaster
import fanatico_probe
import fanatico_restore_files
import fanatico_restore_target
import fanatico_wait

UNIT = "fanatico-restore.service"
_ENVIRONMENT = "/var/lib/fanatico/restore.env"
_FOLDER, _SOCKET, _PORT = "/var/lib/fanatico-restore", "/run/fanatico-restore", 5497
_PROGRAM = "/usr/local/lib/fanatico/restore_cluster.py"


def _me():
    return __opts__["id"]


def _wanted():
    return __salt__["fanatico_postgres.wanted"]()


def _data():
    return pathlib.Path(_wanted()["data_dir"])


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

    See ``fanatico_restore_files.state``.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.local_state
    """
    return fanatico_restore_files.state(_data())


def hold(timeout: float = 60) -> bool:
    """
    Stop Patroni and prevent it from starting, also after a reboot. While Patroni is paused, PostgreSQL keeps running.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.hold
    """
    path = pathlib.Path(fanatico_restore_files.HOLD)
    _systemctl("daemon-reload")  # the condition may be new
    unit = fanatico_probe.run("systemctl", "cat", "patroni").stdout
    if f"!{path}" not in unit and pathlib.Path(fanatico_restore_files.PATRONI).exists():
        raise CommandExecutionError(
            f"{_me()}: patroni.service would start in spite of {path}; nothing was changed. "
            f"Next: salt {_me()} state.apply patroni.installed"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    fanatico_file.replace(path, "orch.restore\n", 0o644)
    _systemctl("stop", "patroni", timeout=timeout)
    return True


def release() -> bool:
    """
    Let Patroni start again, and start it. Returns whether it was held.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.release
    """
    held = pathlib.Path(fanatico_restore_files.HOLD).exists()
    pathlib.Path(fanatico_restore_files.HOLD).unlink(missing_ok=True)
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
    if fanatico_postmaster.pid(_data()):
        where = ["-D", _data(), "-s", "-w", "-t", int(timeout * 0.9), "-m", "fast"]
        _as_postgres(f"{_wanted()['bin_dir']}/pg_ctl", *where, "stop", timeout=timeout)
    return {} if fanatico_restore_files.mark(_data()).exists() else __salt__["fanatico_postgres.wal_end"]()


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
    if not pathlib.Path(fanatico_restore_files.HOLD).exists() or _patroni_runs():
        raise CommandExecutionError(f"{_me()}: Patroni is not held; nothing was changed")
    found = state()
    if found["state"] in ("running", "looking"):
        return UNIT
    try:
        variables = fanatico_restore_target.environment(backup, kind, value, timeline)
    except ValueError as exc:
        raise CommandExecutionError(f"{_me()}: {exc}. Nothing was changed") from exc
    variables["LOOK"] = "yes" if look else ""
    _make(_data(), pwd.getpwnam("postgres"))
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    fanatico_file.replace(pathlib.Path(_ENVIRONMENT), lines, 0o600)
    forget()
    _systemctl("start", "--no-block", UNIT)
    return UNIT


def _make(directory, owner):
    """Create the data directory of a bare host, and what is missing above it."""
    if not directory.exists():
        _make(directory.parent, owner)
        directory.mkdir(mode=0o700)
        os.chown(directory, owner.pw_uid, owner.pw_gid)


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
    if found == "looking" and not fanatico_postmaster.pid(_data()):
        found = "failed"  # its host was rebooted: it is restored once more
    command = f"runuser -u postgres -- psql -h {_SOCKET} -p {_PORT} fanatico" if found == "looking" else ""
    return {"state": found, "report": report, "command": command}


def _report():
    try:
        return json.loads((pathlib.Path(_FOLDER) / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def forget() -> bool:
    """
    End the unit that restores, and forget its report: the data will be replaced.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.forget
    """
    _systemctl("stop", UNIT)
    (pathlib.Path(_FOLDER) / "report.json").unlink(missing_ok=True)
    return True


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
