"""
What can be wrong with Patroni and its PostgreSQL on this node, told and cured.

``fanatico_cure.apply`` calls the cures: it looks first and proves afterwards. Here each does what it is called for at once.
"""

import os
import pathlib
import signal
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_patroni_plan
import fanatico_plan
import fanatico_probe
import fanatico_wait

_LOOPS = 4  # restarts by systemd, which a unit that stays up does not come to
_LEADS = ("primary", "master", "leader", "standby_leader")
# A replica in one of these does not get better by waiting.
_LOST = ("start failed", "crashed")
_UNIT = "patroni.service"


def _patroni():
    return fanatico_probe.once(
        __context__, "patroni", lambda: __salt__["fanatico_patroni.status"](timeout=fanatico_probe.TIMEOUT)
    )


def _active():
    return fanatico_probe.active(__context__, __salt__["fanatico_unit.states"], _UNIT)


def _data_directory():
    return pathlib.Path(fanatico_patroni_plan.data_directory(fanatico_plan.setting(__pillar__, "postgresql")))


def data_directory():
    """
    Return the path of PostgreSQL's data, which a cure puts aside.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.data_directory
    """
    return str(_data_directory())


# --- Patroni


def hung():
    """
    Return what is heard of a Patroni that runs and does not answer; empty where it answers.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.hung
    """
    return fanatico_probe.hang_reason(_patroni) if _active() else ""


def restart(timeout=60):
    """
    End Patroni as a crash would: PostgreSQL goes on, and the unit starts Patroni again. Returns what was done.

    timeout
        Seconds; not needed.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.restart
    """
    pid = __salt__["fanatico_unit.kill"](_UNIT)
    return f"process {pid} ended, its unit starts it again"


def paused():
    """
    Return that Patroni is paused, on the node that leads, which speaks for all; else empty.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.paused
    """
    own = _patroni()
    return "Patroni is paused: nothing fails over" if own.get("pause") and own.get("role") in _LEADS else ""


def resume(timeout=30):
    """
    End a pause of Patroni, and return what was done.

    timeout
        Seconds; Patroni's answer has its own.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.resume
    """
    __salt__["fanatico_patroni.resume"]()
    return "resumed"


# --- PostgreSQL


def replica_unusable():
    """
    Return what proves the data of this replica to be of no use; empty where nothing does, and on a leader.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.replica_unusable
    """
    if not _active():
        return ""
    try:
        own = _patroni()
    except CommandExecutionError:
        return _does_not_stay_up()
    state, role = own.get("state"), own.get("role")
    if (
        own.get("pause")
        or role in _LEADS
        or state in ("creating replica", "starting", "restarting", "initializing new cluster")
    ):
        return ""
    if not (_data_directory() / "global" / "pg_control").is_file():
        return f"{_data_directory()} has lost its content ({state})"
    if state in _LOST:
        said = _said_by_postgresql("-2min")
        return f"its PostgreSQL is {state}: {said}" if said else ""
    if state == "running" and own.get("replication_state") != "streaming":
        said = _said_by_postgresql()
        return f"it cannot follow: {said}" if said else ""
    return ""


def postgres_failed():
    """
    Return why PostgreSQL does not start where nothing that it says proves its data unusable; empty where it runs.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.postgres_failed
    """
    if not _active():
        return ""
    own = _patroni()
    if own.get("pause") or own.get("state") not in _LOST or _said_by_postgresql("-2min"):
        return ""
    return f"its PostgreSQL is {own['state']}: {__salt__['fanatico_patroni.complaint']() or 'it does not say why'}"


def _does_not_stay_up():
    """A Patroni that ends again and again because its PostgreSQL takes no connection: its data are damaged."""
    unit = fanatico_probe.unit(__context__, __salt__["fanatico_unit.states"], _UNIT)
    said = _said_by_postgresql() if unit["restarts"] >= _LOOPS else ""
    return f"Patroni does not stay up with its data: {said}" if said else ""


def _said_by_postgresql(since="-30s"):
    """Return why PostgreSQL cannot use its data, or follow with them, if it has said so lately."""
    said = __salt__["fanatico_patroni.said_by_postgresql"](since)
    return fanatico_patroni_plan.unusable(said)


def replica_not_streaming():
    """
    Return what a replica says that runs and follows nobody, and does not prove its data unusable; empty where it follows.

    It may be refused, or cut off.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.replica_not_streaming
    """
    if not _active():
        return ""
    own = _patroni()
    if own.get("pause") or own.get("role") in _LEADS or own.get("state") != "running":
        return ""
    if own.get("replication_state") == "streaming" or own.get("cluster_unlocked") or _said_by_postgresql():
        return ""
    said = __salt__["fanatico_patroni.complaint"]()
    return (
        f"its PostgreSQL runs and does not follow ({said or own.get('replication_state') or 'not streaming'})"
    )


def copy_again(timeout=600):
    """
    Put the data aside and start Patroni without: it copies the leader's. What was put aside goes once the copy streams.

    Raises ``CommandExecutionError``, before anything is touched, on a leader, while nobody leads, and while Patroni is paused.

    timeout
        Seconds, for PostgreSQL to end and Patroni to start.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni_cure.copy_again
    """
    if __salt__["fanatico_patroni.cluster"]().get("pause"):  # as everywhere here: somebody is at work
        raise CommandExecutionError(f"{__opts__['id']}: Patroni is paused, so its data stay as they are")
    leader = __salt__["fanatico_patroni.leader"]()
    if leader in (None, __opts__["id"]):
        raise CommandExecutionError(
            f"{__opts__['id']}: {leader or 'nobody'} leads, so its data stay as they are"
        )
    fanatico_probe.run("systemctl", "stop", "patroni", timeout=timeout)
    try:
        _stop_postmaster(timeout / 4)
        path = fanatico_aside.move(_data_directory(), emptied=True)
    except (ValueError, OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{__opts__['id']}: {exc}") from exc
    finally:
        fanatico_probe.run("systemctl", "start", "patroni", timeout=timeout)
    return f"copied again from {leader}, the old data in {path} until then"


def _stop_postmaster(timeout):
    """Stop the PostgreSQL that runs on the data; Patroni's unit leaves it running."""
    pid = _postmaster()
    if pid:
        os.kill(pid, signal.SIGQUIT)  # its immediate shutdown
    ended, seen = fanatico_wait.until(
        lambda: (not _postmaster(), f"PostgreSQL ({pid}) does not end"), timeout, 0.25
    )
    if not ended:
        raise CommandExecutionError(f"{__opts__['id']}: {seen}, so its data stay as they are")


def _postmaster():
    """Return the pid of the PostgreSQL that runs on the data, or None."""
    try:
        pid = int((_data_directory() / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        name = pathlib.Path("/proc", str(pid), "comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError, IndexError):
        return None
    return pid if name == "postgres" else None


def not_streaming():
    """
    Return how this replica is while it does not stream; empty where it does.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.not_streaming
    """
    own = _patroni()
    if own.get("state") == "running" and own.get("replication_state") == "streaming":
        return ""
    return f"{own.get('state')}, {own.get('replication_state') or 'not streaming'}"


def writes_stalled():
    """
    Return why no write goes through the virtual IP; empty where one does, or where that cannot be told.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.writes_stalled
    """
    seen = __salt__["fanatico.canary"]()
    return seen["why"] if seen["ok"] is False else ""


def hand_over(timeout=90):
    """
    Have another node lead, and return which.

    timeout
        Seconds; two thirds are for the switchover.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.hand_over
    """
    return f"{__salt__['fanatico_patroni.switchover'](timeout=timeout * 2 / 3)} leads now"
