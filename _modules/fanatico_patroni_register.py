"""
Bring this node's Patroni into an etcd that was rebuilt. A step of ``orch.recover_etcd``.
"""

from salt.exceptions import CommandExecutionError

import fanatico_wait

__virtualname__ = "fanatico_patroni"

_UNIT = "patroni.service"


def __virtual__():
    return __virtualname__


def register(leads: bool = False, timeout: float = 60) -> dict:
    """
    Wait until this node's Patroni has written its keys to etcd; start it if it does not run.

    A Patroni that does not do so in a third of the time is killed once, as a crash would: PostgreSQL keeps running, and systemd
    restarts Patroni. It may hold a token of the former etcd, or take the new one for stale.

    leads
        Whether it must also be the leader, with the cluster's identity and settings in etcd.
    timeout
        Seconds.

    Returns ``{"leader": id, "started": bool, "restarted": bool}``. Raises ``CommandExecutionError`` after the timeout, with what
    is missing and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.register leads=True
    """
    started = _start()

    def check():
        return _registered(leads)

    done, seen = fanatico_wait.until(check, timeout / 3, interval=0.3)
    restarted = not done and not started
    if restarted:
        __salt__["fanatico_unit.kill"](_UNIT)
    if not done:
        done, seen = fanatico_wait.until(check, timeout * 2 / 3, interval=0.3)
    if not done:
        journal = __salt__["fanatico.journal"]("patroni")
        awaited = "Patroni to lead in etcd" if leads else "Patroni to write its keys to etcd"
        raise CommandExecutionError(
            fanatico_wait.timeout_message(__opts__["id"], awaited, timeout, seen, "patroni", journal)
        )
    return {"leader": seen, "started": started, "restarted": restarted}


def _start():
    """Start Patroni if it does not run; return whether it was started."""
    if __salt__["fanatico_unit.states"](_UNIT)[_UNIT]["active"] == "active":
        return False
    __salt__["service.start"]("patroni", no_block=True)
    return True


def _registered(leads):
    """Return ``(done, the leader or what is missing)`` from the keys in etcd."""
    me, prefix = __opts__["id"], f"/service/{__pillar__['plan']['name']}/"
    keys = __salt__["fanatico_etcd.keys"](prefix)
    needed = [f"members/{me}", "leader", *(["initialize", "config"] if leads else [])]
    missing = [name for name in needed if f"{prefix}{name}" not in keys]
    if missing:
        return False, f"not in etcd: {', '.join(missing)}"
    leader = __salt__["fanatico_etcd.get"](f"{prefix}leader")
    return leader == me or not leads, leader if leader == me or not leads else f"{leader} is the leader"
