"""
etcd's service: it runs, is healthy, in the cluster of its peers and with its present configuration.

Its members and users are in `fanatico_etcd_members.py` and `fanatico_etcd_users.py`; the three are one state module to Salt.
"""

import pathlib

from salt.exceptions import CommandExecutionError

import fanatico_etcd_plan
import fanatico_state
import fanatico_wait

# A running etcd has read these when it started.
# (Certificates and keys it reads again for each connection, whom to trust and the key of its tokens it does not.)
READ_AT_START = (
    fanatico_etcd_plan.CONFIGURATION,
    "/etc/systemd/system/etcd.service.d/fanatico.conf",
    "/etc/etcd/pki/etcd-ca.crt",
    "/etc/etcd/pki/etcd-peer-ca.crt",
    "/etc/etcd/pki/token.key",
)


def _me():
    return __opts__["id"]


def running(name, timeout=60):
    """
    Have etcd running, at boot too, healthy, in the cluster of its peers and with its present configuration.

    A configuration that is newer than the process is taken up by a restart: only while every other member is healthy,
    and only by one node at a time.

    name
        The unit.
    timeout
        Seconds to wait: for this member to be healthy, and for the other nodes' restarts.
    """
    unit = _unit(name)
    changes = _due(unit)
    if __opts__["test"]:
        return fanatico_state.answer(name, None if changes else True, "", changes)
    why = ""
    try:
        _take_up(name, unit, changes, timeout)
    except CommandExecutionError as exc:
        why = str(exc)
    left = _due(_unit(name)) if changes else {}
    if left and not why:
        shortfall = fanatico_state.not_applied(left)
        why = f"{_me()}: {name} is not as ordered: {shortfall}. Next: systemctl status {name}"
    if why:
        return fanatico_state.answer(name, False, why, fanatico_state.applied(changes, left))
    return fanatico_state.answer(name, True, f"{name} runs and its member is healthy", changes)


def _due(unit):
    """Return what there is to do about the unit, as changes."""
    found = {}
    if unit["UnitFileState"] != "enabled":
        found["enabled"] = {"old": False, "new": True}
    if unit["ActiveState"] not in ("active", "activating", "reloading"):
        return found | {"running": {"old": False, "new": True}}
    stale = _newer_than(unit)
    return found | ({"restarted for": stale} if stale else {})


def _take_up(name, unit, changes, timeout):
    if "enabled" in changes:
        __salt__["service.enable"](name)
    if unit["NeedDaemonReload"] == "yes":
        __salt__["service.systemctl_reload"]()
    if "running" in changes:
        _systemctl("start", name)
    _wait_healthy(name, timeout)
    _forget_first_start()
    if "restarted for" in changes:
        _restart_in_turn(name, timeout)
    _same_cluster()


def _unit(name):
    wanted = "ActiveState,UnitFileState,NeedDaemonReload,ExecMainStartTimestamp"
    told = __salt__["cmd.run_stdout"](
        ["systemctl", "show", "--timestamp=unix", f"--property={wanted}", name], python_shell=False
    )
    return dict(line.partition("=")[::2] for line in told.splitlines())


def _systemctl(verb, name):
    # Not waiting: the first of three members is ready when the second is.
    done = __salt__["cmd.run_all"](["systemctl", verb, "--no-block", name], python_shell=False)
    if done["retcode"]:
        raise CommandExecutionError(f"{_me()}: `systemctl {verb} {name}` failed: {done['stderr']}")


def _newer_than(unit):
    """Return the files that were written after the running process had started."""
    started = int(unit["ExecMainStartTimestamp"].lstrip("@") or 0)
    if not started:
        return []
    return [path for path in READ_AT_START if int(pathlib.Path(path).stat().st_mtime) > started]


def _wait_healthy(name, timeout):
    me = _me()

    def look():
        mine = __salt__["fanatico_etcd.health"]().get(me, {})
        if mine.get("healthy"):
            return True, "healthy"
        return False, mine.get("error") or mine.get("reason") or "unhealthy"

    done, seen = fanatico_wait.until(look, timeout, interval=0.25)
    if done:
        return
    journal = __salt__["fanatico.journal"](name)
    known = fanatico_etcd_plan.explain(journal)
    if known:
        cause, remedy = known
        raise CommandExecutionError(f"{me}: etcd does not come up: {cause}. Next: {remedy}")
    raise CommandExecutionError(
        fanatico_wait.timeout_message(
            me, "its etcd member to be one of a quorum", timeout, seen, name, journal
        )
    )


def _same_cluster():
    """Raise where the members that answer are of more than one cluster."""
    clusters = fanatico_etcd_plan.clusters(__salt__["fanatico_etcd.status"]())
    if len(clusters) > 1:
        sides = "; ".join(f"cluster {key}: {', '.join(nodes)}" for key, nodes in clusters.items())
        raise CommandExecutionError(
            f"{_me()}: the members of the plan are of different etcd clusters ({sides}). Next: on the side that is not "
            "to stay, stop etcd, empty its data directory and run the highstate again"
        )


def _forget_first_start():
    """The cluster has this member now: from here on it starts on etcd.conf.yml, and the token need not lie about."""
    for file in ("environment", "etcd.conf.yml"):
        (pathlib.Path(fanatico_etcd_plan.FIRST_START) / file).unlink(missing_ok=True)


def _restart_in_turn(name, timeout):
    lease = _take_turn(timeout)
    try:
        _systemctl("restart", name)
        _wait_restarted(name, timeout)
    finally:
        __salt__["fanatico_etcd.unlock"](lease)


def _take_turn(timeout):
    """Return the lock that lets this node restart: no other node is at it, and every other member is healthy."""

    def look():
        ill = _ill()
        if ill:
            return False, f"{', '.join(ill)} is not healthy"
        turn = __salt__["fanatico_etcd.lock"]("restart-etcd", ttl=2 * timeout + 10)
        if not turn["lease"]:
            return False, f"{turn['holder']} is at it"
        if not _ill():
            return True, turn["lease"]
        # Whoever had the turn before has not come back.
        __salt__["fanatico_etcd.unlock"](turn["lease"])
        return False, "another member has just gone"

    done, seen = fanatico_wait.until(look, timeout, interval=0.5)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: etcd still runs on its old configuration: it is restarted by one node at a time and only while "
            f"all other members are healthy; after {timeout} s, {seen}. Next: see to that, then run the highstate again"
        )
    return seen


def _ill():
    """Return the other members that are not healthy: while there is one, the cluster cannot spare this one."""
    health = __salt__["fanatico_etcd.health"]()
    return [node for node, one in health.items() if node != _me() and not one.get("healthy")]


def _wait_restarted(name, timeout):
    """Wait for the new process: the old one still answers for a moment."""
    done, _ = fanatico_wait.until(lambda: (not _newer_than(_unit(name)), None), timeout, interval=0.25)
    if not done:
        raise CommandExecutionError(f"{_me()}: systemd has not restarted {name} within {timeout} s")
    _wait_healthy(name, timeout)
