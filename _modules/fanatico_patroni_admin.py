"""
Changes of Patroni through its REST API: settings, restarts, switchover, pause.
"""

from salt.exceptions import CommandExecutionError

import fanatico_patroni_checks
import fanatico_patroni_plan
import fanatico_patroni_rest
import fanatico_plan
import fanatico_timing
import fanatico_wait

__virtualname__ = "fanatico_patroni"

ANY = "any"  # the candidate of a switchover that Patroni chooses


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def _timing():
    return fanatico_timing.resolved(fanatico_plan.get(__pillar__, "plan:timing"))["patroni"]


def _rest():
    return fanatico_patroni_rest.Rest(__pillar__, _me(), __salt__["fanatico_pki.paths"]("service"))


def wanted_config() -> dict:
    """
    Return the dynamic configuration that follows from ``patroni:dynamic``, ``plan:timing`` and ``postgresql:parameters``.

    Patroni before 4.0 has no ``synchronous_mode: quorum``; there it is the nearest mode.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wanted_config
    """
    version = __salt__["pkg.version"]("patroni")
    return fanatico_patroni_plan.dynamic(__pillar__, _timing(), version)


def patch_config(settings: dict, timeout: float = 5) -> dict:
    """
    Change settings of the dynamic configuration and return the new configuration.

    settings
        Merged into the configuration; None deletes a key.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.patch_config '{"loop_wait": 2, "postgresql": {"use_slots": null}}'
    """
    return _rest().call("PATCH", "config", settings, timeout)


def reload(timeout: float = 10) -> str:
    """
    Reload Patroni's configuration file on this node.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.reload
    """
    return str(_rest().call("POST", "reload", {}, timeout, _me())).strip()


def restart(pending: bool = False, timeout: float = 120) -> str:
    """
    Restart PostgreSQL on this node through Patroni.

    pending
        Only if a changed setting requires a restart.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db2 fanatico_patroni.restart pending=True
    """
    try:
        answer = _rest().call("POST", "restart", {"restart_pending": True} if pending else {}, timeout, _me())
    except CommandExecutionError as exc:
        line = __salt__["fanatico_patroni.last_fatal"]("-1min")
        raise CommandExecutionError(f"{exc}. PostgreSQL's log: {line}" if line else str(exc)) from exc
    return str(answer).strip()


def reinitialize(force: bool = False, timeout: float = 30) -> str:
    """
    Delete this replica's data and clone it again from the leader. A leader refuses.

    force
        Also if a clone is already running.
    timeout
        Seconds, for the request. To wait for the clone: ``fanatico_patroni.wait_streaming``.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.reinitialize
    """
    return str(_rest().call("POST", "reinitialize", {"force": force}, timeout, _me())).strip()


def switchover(candidate: str | None = None, timeout: float = 60) -> str:
    """
    Run a planned switchover and return the id of the new leader.

    candidate
        The replica that becomes leader, or ``any``: Patroni chooses the healthiest replica. Required.
    timeout
        Seconds until the new leader leads.

    Raises ``CommandExecutionError`` without a candidate and for a node that cannot become leader, with the names of the nodes
    that can; also without a current leader, and if the new leader does not lead in time.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.switchover db2
    """
    view = __salt__["fanatico_patroni.cluster"]()
    old = fanatico_patroni_checks.leader_of(view)
    if old is None:
        raise CommandExecutionError(f"{_me()}: switchover refused: the cluster has no leader")
    if candidate == old:
        return old
    if candidate != ANY:
        _refuse_candidate(candidate, old, fanatico_patroni_checks.candidates(view))
    payload = {"leader": old} if candidate == ANY else {"leader": old, "candidate": candidate}
    answer = _rest().call("POST", "switchover", payload, timeout)
    done, seen = fanatico_wait.until(lambda: _new_leader(old, candidate), timeout, 0.25)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: switchover from {old} to {candidate} not done after {timeout:g} s: {seen}; "
            f"Patroni answered {str(answer).strip()!r}. Next: journalctl -u patroni -n 50"
        )
    return seen


def _refuse_candidate(candidate, old, possible):
    """Raise unless ``candidate`` is one of the replicas that can become leader."""
    if candidate in possible:
        return
    reason = f"{candidate} cannot become leader" if candidate else "no candidate given"
    names = f"Possible: {', '.join(possible)}" if possible else "No replica can become leader now"
    command = f"fanatico_patroni.switchover {possible[0]}" if possible else "fanatico_patroni.cluster"
    raise CommandExecutionError(
        f"{_me()}: switchover from {old} refused: {reason}. {names}. Next: salt {_me()} {command}"
    )


def _leader():
    return __salt__["fanatico_patroni.leader"]()


def _new_leader(old, candidate):
    now = _leader()
    done = now not in (None, old) if candidate == ANY else now == candidate
    return done, now if done else f"the leader is {now or 'not known'}"


def pause(timeout: float = 5) -> bool:
    """
    Pause Patroni on all nodes: no failover and no restart until ``resume``. Returns whether it is paused.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.pause
    """
    return patch_config({"pause": True}, timeout).get("pause", False)


def resume(timeout: float = 5) -> bool:
    """
    End a pause of Patroni. Returns True once it is not paused.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.resume
    """
    return not patch_config({"pause": None}, timeout).get("pause", False)
