"""
The etcd service: running, healthy, in the cluster of its peers, with its current configuration.

Members and users are in `fanatico_etcd_members.py` and `fanatico_etcd_users.py`. Salt sees the three files as one state module.
"""

import pathlib

from salt.exceptions import CommandExecutionError

import fanatico_etcd_plan
import fanatico_state
import fanatico_wait

# etcd reads these files only when it starts.
# (It reads certificates and keys again for each connection, but not the trusted authorities and the token key.)
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
    Ensure that etcd runs and starts at boot, is healthy, is in the cluster of its peers and uses its current configuration.

    A configuration that is newer than the process needs a restart. A node restarts etcd only while every other member is
    healthy, and only one node restarts at a time.

    name
        The systemd unit.
    timeout
        Seconds to wait for this member to be healthy, and for the restarts of the other nodes.
    """
    unit = _unit(name)
    changes = _pending(unit)
    if __opts__["test"]:
        return fanatico_state.answer(name, None if changes else True, "", changes)
    why = ""
    try:
        _apply(name, unit, changes, timeout)
    except CommandExecutionError as exc:
        why = str(exc)
    left = _pending(_unit(name)) if changes else {}
    if left and not why:
        shortfall = fanatico_state.not_applied(left)
        why = f"{_me()}: {name} did not change as requested: {shortfall}. Next: systemctl status {name}"
    if why:
        return fanatico_state.answer(name, False, why, fanatico_state.applied(changes, left))
    return fanatico_state.answer(name, True, f"{name} runs and its member is healthy", changes)


def _pending(unit):
    """Return what has to change in the unit, as ``changes``."""
    found = {}
    if unit["UnitFileState"] != "enabled":
        found["enabled"] = {"old": False, "new": True}
    if unit["ActiveState"] not in ("active", "activating", "reloading"):
        return found | {"running": {"old": False, "new": True}}
    stale = _newer_than(unit)
    return found | ({"restarted for": stale} if stale else {})


def _apply(name, unit, changes, timeout):
    if "enabled" in changes:
        __salt__["service.enable"](name)
    if unit["NeedDaemonReload"] == "yes":
        __salt__["service.systemctl_reload"]()
    if "running" in changes:
        _systemctl("start", name)
    _wait_healthy(name, timeout)
    _remove_first_start()
    if "restarted for" in changes:
        _restart_in_turn(name, timeout)
    _same_cluster()


def _unit(name):
    wanted = "ActiveState,UnitFileState,NeedDaemonReload,ExecMainStartTimestamp"
    output = __salt__["cmd.run_stdout"](
        ["systemctl", "show", "--timestamp=unix", f"--property={wanted}", name], python_shell=False
    )
    return dict(line.partition("=")[::2] for line in output.splitlines())


def _systemctl(verb, name):
    # Do not wait: the first of three members is ready only when the second is.
    done = __salt__["cmd.run_all"](["systemctl", verb, "--no-block", name], python_shell=False)
    if done["retcode"]:
        raise CommandExecutionError(f"{_me()}: `systemctl {verb} {name}` failed: {done['stderr']}")


def _newer_than(unit):
    """Return the files that are newer than the running process."""
    started = int(unit["ExecMainStartTimestamp"].lstrip("@") or 0)
    if not started:
        return []
    return [path for path in READ_AT_START if int(pathlib.Path(path).stat().st_mtime) > started]


def _wait_healthy(name, timeout):
    me = _me()

    def check():
        mine = __salt__["fanatico_etcd.health"]().get(me, {})
        if mine.get("healthy"):
            return True, "healthy"
        return False, mine.get("error") or mine.get("reason") or "unhealthy"

    done, seen = fanatico_wait.until(check, timeout, interval=0.25)
    if done:
        return
    journal = __salt__["fanatico.journal"](name)
    known = fanatico_etcd_plan.explain(journal)
    if known:
        cause, remedy = known
        raise CommandExecutionError(f"{me}: etcd does not start: {cause}. Next: {remedy}")
    raise CommandExecutionError(
        fanatico_wait.timeout_message(
            me, "its etcd member to be one of a quorum", timeout, seen, name, journal
        )
    )


def _same_cluster():
    """Raise an error if the members that answer belong to more than one cluster."""
    clusters = fanatico_etcd_plan.clusters(__salt__["fanatico_etcd.status"]())
    if len(clusters) > 1:
        sides = "; ".join(f"cluster {key}: {', '.join(nodes)}" for key, nodes in clusters.items())
        raise CommandExecutionError(
            f"{_me()}: the members of the plan belong to different etcd clusters ({sides}). Next: on the members of the "
            "cluster that you do not keep, stop etcd, empty its data directory and run the highstate again"
        )


def _remove_first_start():
    """Remove the configuration of the first start: the member now starts from etcd.conf.yml, without the cluster token."""
    for file in ("environment", "etcd.conf.yml"):
        (pathlib.Path(fanatico_etcd_plan.FIRST_START) / file).unlink(missing_ok=True)


def _restart_in_turn(name, timeout):
    lease = _restart_lock(timeout)
    try:
        _systemctl("restart", name)
        _wait_restarted(name, timeout)
    finally:
        __salt__["fanatico_etcd.unlock"](lease)


def _restart_lock(timeout):
    """Return the lease of the restart lock: no other node restarts etcd, and every other member is healthy."""

    def acquire():
        unhealthy = _unhealthy_peers()
        if unhealthy:
            return False, f"not healthy: {', '.join(unhealthy)}"
        lock = __salt__["fanatico_etcd.lock"]("restart-etcd", ttl=2 * timeout + 10)
        if not lock["lease"]:
            return False, f"the restart lock is held by {lock['holder']}"
        if not _unhealthy_peers():
            return True, lock["lease"]
        # The previous holder of the lock has not recovered from its restart.
        __salt__["fanatico_etcd.unlock"](lock["lease"])
        return False, "another member has just become unhealthy"

    done, seen = fanatico_wait.until(acquire, timeout, interval=0.5)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: etcd still runs with its old configuration. It restarts on one node at a time, and only while all other "
            f"members are healthy. After {timeout} s: {seen}. Next: salt {_me()} fanatico_etcd.status, then repeat the highstate"
        )
    return seen


def _unhealthy_peers():
    """Return the other members that are not healthy. While there is one, this member must not stop: quorum would be at risk."""
    health = __salt__["fanatico_etcd.health"]()
    return [node for node, member in health.items() if node != _me() and not member.get("healthy")]


def _wait_restarted(name, timeout):
    """Wait for the new process: the old process answers for a moment longer."""
    done, _ = fanatico_wait.until(lambda: (not _newer_than(_unit(name)), None), timeout, interval=0.25)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: systemd has not restarted {name} within {timeout} s. Next: systemctl status {name}"
        )
    _wait_healthy(name, timeout)
