"""
What is ordered of Patroni through its REST API: settings, restarts, who leads.
"""

from salt.exceptions import CommandExecutionError

import fanatico_patroni_plan
import fanatico_patroni_rest
import fanatico_plan
import fanatico_timing
import fanatico_wait

__virtualname__ = "fanatico_patroni"


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def _timing():
    return fanatico_timing.resolved(fanatico_plan.get(__pillar__, "plan:timing"))["patroni"]


def _rest():
    return fanatico_patroni_rest.Rest(__pillar__, _me(), __salt__["fanatico_pki.paths"]("service"))


def wanted_config():
    """
    Return the dynamic configuration that the pillar wants: ``patroni:dynamic``, ``plan:timing`` and ``postgresql:parameters``.

    With a Patroni before 4.0, which has no ``synchronous_mode: quorum``, what comes nearest to it.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wanted_config
    """
    version = __salt__["pkg.version"]("patroni")
    return fanatico_patroni_plan.dynamic(__pillar__, _timing(), version)


def patch_config(settings, timeout=5):
    """
    Change settings of the dynamic configuration and return all of it as it stands then.

    settings
        Merged into the configuration; None deletes a key.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.patch_config '{"loop_wait": 2, "postgresql": {"use_slots": null}}'
    """
    return _rest().call("PATCH", "config", settings, timeout)


def reload(timeout=10):
    """
    Have Patroni on this node read its configuration file again.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.reload
    """
    return str(_rest().call("POST", "reload", {}, timeout, _me())).strip()


def restart(pending=False, timeout=120):
    """
    Restart PostgreSQL on this node through Patroni.

    pending
        Only where a changed setting asks for it.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db2 fanatico_patroni.restart pending=True
    """
    try:
        said = _rest().call("POST", "restart", {"restart_pending": True} if pending else {}, timeout, _me())
    except CommandExecutionError as exc:
        why = __salt__["fanatico_patroni.complaint"]("-1min")
        raise CommandExecutionError(f"{exc}. PostgreSQL says: {why}" if why else str(exc)) from exc
    return str(said).strip()


def reinitialize(force=False, timeout=30):
    """
    Throw away this replica's data and have Patroni clone it again from the cluster. The leader refuses.

    force
        Also while a copy is already under way.
    timeout
        Seconds, for the order; wait for the end with ``fanatico_patroni.wait_streaming``.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.reinitialize
    """
    return str(_rest().call("POST", "reinitialize", {"force": force}, timeout, _me())).strip()


def switchover(candidate=None, timeout=60):
    """
    Hand the leadership over and return the id of the new leader.

    candidate
        The node to lead; the healthiest replica without one.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.switchover db2
    """
    old = _leader()
    if old is None:
        raise CommandExecutionError(f"{_me()}: there is no leader to hand over from")
    if old == candidate:
        return candidate
    order = {"leader": old, **({"candidate": candidate} if candidate else {})}
    answer = _rest().call("POST", "switchover", order, timeout)
    done, seen = fanatico_wait.until(lambda: _new_leader(old, candidate), timeout, 0.25)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: switchover from {old} to {candidate or 'any'}: "
            f"Patroni said {str(answer).strip()!r}, but {seen}"
        )
    return seen


def _leader():
    return __salt__["fanatico_patroni.leader"]()


def _new_leader(old, candidate):
    now = _leader()
    done = now == candidate if candidate else now not in (None, old)
    return done, now if done else f"the leader is {now}"


def pause(timeout=5):
    """
    Stop Patroni from failing over or restarting anything, on all nodes, until ``resume``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.pause
    """
    return patch_config({"pause": True}, timeout).get("pause", False)


def resume(timeout=5):
    """
    Let Patroni act again after ``pause``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.resume
    """
    return not patch_config({"pause": None}, timeout).get("pause", False)
