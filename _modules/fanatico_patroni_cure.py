"""
Probes and cures for the faults of Patroni and PostgreSQL on this node.

``fanatico_cure.apply`` probes before a cure and proves afterwards; a cure that is called directly acts at once.
"""

import os
import pathlib
import signal
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_patroni_plan
import fanatico_plan
import fanatico_postmaster
import fanatico_probe
import fanatico_wait

_LOOPS = 4  # restarts by systemd after which a unit counts as a restart loop
_LEADS = ("primary", "master", "leader", "standby_leader")
# A replica does not recover from these states by itself.
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


def data_directory() -> str:
    """
    Return the path of PostgreSQL's data, which a cure moves aside.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.data_directory
    """
    return str(_data_directory())


# --- Patroni


def hung() -> str:
    """
    Return the error of a Patroni that runs and does not answer; empty if it answers.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.hung
    """
    return fanatico_probe.hang_reason(_patroni) if _active() else ""


def restart(timeout: float = 60) -> str:
    """
    Kill Patroni as a crash would: PostgreSQL keeps running, and systemd restarts Patroni. Returns what was done.

    timeout
        Not used.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.restart
    """
    pid = __salt__["fanatico_unit.kill"](_UNIT)
    return f"killed process {pid}; systemd restarts it"


def paused() -> str:
    """
    Return that Patroni is paused, on the leader only, which reports for the cluster; else empty.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.paused
    """
    own = _patroni()
    return (
        "Patroni is paused: no automatic failover" if own.get("pause") and own.get("role") in _LEADS else ""
    )


def resume(timeout: float = 30) -> str:
    """
    End a pause of Patroni and return what was done.

    timeout
        Not used: the request has a timeout of its own.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.resume
    """
    __salt__["fanatico_patroni.resume"]()
    return "resumed"


# --- PostgreSQL


def replica_unusable() -> str:
    """
    Return the proof that the data of this replica are unusable; empty without a proof, and on a leader.

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
        return f"{_data_directory()} is empty or incomplete (PostgreSQL: {state})"
    if state in _LOST:
        reason = _data_error("-2min")
        return f"PostgreSQL is {state}: {reason}" if reason else ""
    if state == "running" and own.get("replication_state") != "streaming":
        reason = _data_error()
        return f"the replica cannot follow the leader: {reason}" if reason else ""
    return ""


def _running_replica():
    """Return what Patroni reports of this node if it is a replica that runs and is not paused; else ``{}``."""
    own = _patroni() if _active() else {}
    runs = own.get("state") == "running" and not own.get("pause") and own.get("role") not in _LEADS
    return own if runs else {}


def replica_corrupt() -> str:
    """
    Return that PostgreSQL has read damaged pages on this replica; empty otherwise, and on a leader.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.replica_corrupt
    """
    if not _running_replica():
        return ""
    failures = __salt__["fanatico_postgres.status"](timeout=fanatico_probe.TIMEOUT)["checksum_failures"]
    return f"PostgreSQL has read {failures} damaged pages (wrong checksum)" if failures else ""


def postgres_failed() -> str:
    """
    Return why PostgreSQL does not start, unless its log proves the data unusable; empty if it runs.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.postgres_failed
    """
    if not _active():
        return ""
    own = _patroni()
    if own.get("pause") or own.get("state") not in _LOST or _data_error("-2min"):
        return ""
    return f"PostgreSQL is {own['state']}: {__salt__['fanatico_patroni.last_fatal']() or 'no FATAL line in its log'}"


def _does_not_stay_up():
    """Return the log line that proves damaged data if Patroni restarts in a loop; else empty."""
    unit = fanatico_probe.unit(__context__, __salt__["fanatico_unit.states"], _UNIT)
    reason = _data_error() if unit["restarts"] >= _LOOPS else ""
    return f"Patroni restarts in a loop: {reason}" if reason else ""


def _data_error(since="-30s"):
    """Return the recent log line of PostgreSQL that proves its data unusable for it or for replication; else empty."""
    return fanatico_patroni_plan.unusable(__salt__["fanatico_patroni.postgresql_log"](since))


def replica_not_streaming() -> str:
    """
    Return why a running replica does not stream, unless its log proves the data unusable; empty if it streams.

    Typical causes: the leader refuses it, or the network is down.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.replica_not_streaming
    """
    own = _running_replica()
    if not own:
        return ""
    if own.get("replication_state") == "streaming" or own.get("cluster_unlocked") or _data_error():
        return ""
    reason = __salt__["fanatico_patroni.last_fatal"]() or own.get("replication_state") or "not streaming"
    return f"PostgreSQL runs but does not stream ({reason})"


def clone(timeout: float = 600) -> str:
    """
    Move the data aside and restart Patroni, which clones the leader. The old data are deleted once the clone streams.

    timeout
        Seconds, for PostgreSQL to stop and Patroni to start.

    Returns what was done. Raises ``CommandExecutionError``, before any change, on a leader, without a leader, and while Patroni
    is paused.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni_cure.clone
    """
    if __salt__["fanatico_patroni.cluster"]().get("pause"):  # an operator works on the cluster
        raise CommandExecutionError(f"{__opts__['id']}: clone refused: Patroni is paused")
    leader = __salt__["fanatico_patroni.leader"]()
    if leader in (None, __opts__["id"]):
        raise CommandExecutionError(
            f"{__opts__['id']}: clone refused: {'this node is the leader' if leader else 'the cluster has no leader'}"
        )
    fanatico_probe.run("systemctl", "stop", "patroni", timeout=timeout)
    try:
        _stop_postmaster(timeout / 4)
        path = fanatico_aside.move(_data_directory(), emptied=True)
    except (ValueError, OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{__opts__['id']}: {exc}") from exc
    finally:
        fanatico_probe.run("systemctl", "start", "patroni", timeout=timeout)
    return f"clone from {leader} started; the old data are in {path} until it streams"


def _stop_postmaster(timeout):
    """Stop PostgreSQL, which keeps running when Patroni's unit is stopped."""
    pid = fanatico_postmaster.pid(_data_directory())
    if pid:
        os.kill(pid, signal.SIGQUIT)  # its immediate shutdown
    ended, seen = fanatico_wait.until(
        lambda: (not fanatico_postmaster.pid(_data_directory()), f"PostgreSQL ({pid}) does not stop"),
        timeout,
        0.25,
    )
    if not ended:
        raise CommandExecutionError(f"{__opts__['id']}: clone aborted, data unchanged: {seen}")


def not_streaming() -> str:
    """
    Return the state of a replica that does not stream; empty if it streams.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni_cure.not_streaming
    """
    own = _patroni()
    if own.get("state") == "running" and own.get("replication_state") == "streaming":
        return ""
    return f"{own.get('state')}, {own.get('replication_state') or 'not streaming'}"


def writes_stalled() -> str:
    """
    Return why a write through the virtual IP fails; empty if it succeeds or if that is not known.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.writes_stalled
    """
    seen = __salt__["fanatico.canary"]()
    return seen["why"] if seen["ok"] is False else ""


def switchover(timeout: float = 90) -> str:
    """
    Run a switchover to the replica that Patroni chooses, and return what was done.

    timeout
        Seconds; two thirds of it for the switchover.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni_cure.switchover
    """
    return f"switchover to {__salt__['fanatico_patroni.switchover']('any', timeout * 2 / 3)}"
