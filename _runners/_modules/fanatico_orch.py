"""
The first and the last steps of every orchestration, as text for its SLS.

An orchestration that is a step of another runs under the lock of that one: it does not check the pillar again, and neither takes
nor releases the lock.
"""

import salt.utils.yaml

import fanatico_evict_steps
import fanatico_lock
import fanatico_record
import fanatico_recover
import fanatico_restore_steps

__virtualname__ = "fanatico_orch"

_CHECK = "Check the pillar"
_LOCK = "Lock the cluster"
_ADMIT = "Open the master's firewall to every host"
_WAIT = "Wait for every host"
_REFRESH = "Refresh the pillar of every host"
_PROVE = "Prove the service end to end"
_BACKUP = "Back up the Salt master"
_UNLOCK = "Unlock the cluster"


def __virtual__():
    return __virtualname__


def begin(purpose, roles=None, admit=False):
    """
    Return the first steps: validate the pillar, take the lock, wait for the hosts, refresh their pillar.

    purpose
        The name of the orchestration without ``orch.``, for the history and for others that wait for the lock.
    roles
        The roles whose hosts have to answer; all hosts of the plan without it, none for an empty list.
    admit
        Whether to open the master's firewall to hosts that are new in the plan; they cannot reach the master before.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.begin deploy
    """
    steps = []
    if not _is_nested():
        steps.append((_CHECK, "runner", {"name": "fanatico.validate", "begins": purpose}))
        steps.append(
            (
                _LOCK,
                "runner",
                {"name": "fanatico.lock", "purpose": purpose, "wait": _seconds("lock"), "begins": purpose},
            )
        )
    if admit:
        steps.append((_ADMIT, "runner", {"name": "fanatico.admit", "timeout": _seconds("firewall")}))
    hosts = _hosts(roles)
    if hosts:
        only = {} if roles is None else {"ids": hosts}
        steps.append((_WAIT, "runner", {"name": "fanatico.wait_minions", **only}))
        steps.append(_refresh(_REFRESH, hosts))
    return _text(steps)


def refresh(title, after):
    """
    Return the step that refreshes the pillar of every host, after an orchestration has changed it.

    title
        The title of the step.
    after
        The title of the step before.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.refresh 'Distribute the new secrets to every host' 'Generate the new secrets'
    """
    return _text([_refresh(title, _hosts())], after)


def prove(after):
    """
    Return the step that proves the whole service end to end, as a client of the virtual IP.

    after
        The title of the step before.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.prove 'Bring up haproxy2'
    """
    return _text([_proof()], after)


def end(after, host="", reason=""):
    """
    Return the last steps: back up the master where its state has changed; release the lock, ``finished`` in the history.

    A step that fails releases the lock earlier. The backup of the master does not fail: ``fanatico.health`` reports it.

    after
        The title of the step before.
    host, reason
        The host that the orchestration was about, and its result, for the history.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.end 'Prove the service end to end'
    """
    if _is_nested():
        return ""
    facts = {name: value for name, value in (("host", host), ("reason", reason)) if value}
    backup = (_BACKUP, "runner", {"name": "fanatico.master_changed"})
    return _text([backup, (_UNLOCK, "runner", {"name": "fanatico.unlock", **facts})], after)


def evict(scope):
    """
    Return all steps of ``orch.evict``: which ones, the host's roles and an interrupted rotation decide.

    scope
        What ``fanatico.evict_scope`` returned; text is the reason of a refusal, and becomes the only step.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.evict 'db9 is no host of the plan'
    """
    if not isinstance(scope, dict):
        return _text(fanatico_evict_steps.refused(scope))
    host, hosts, timeouts = scope["host"], _hosts(), __pillar__["orch"]["timeouts"]
    steps = [
        *fanatico_evict_steps.isolate(host, hosts, timeouts["firewall"]),
        _refresh(_REFRESH, hosts),
        *fanatico_evict_steps.replace(scope, _hosts(["etcd"])[0], timeouts),
    ]
    return _whole("evict", steps, host=host, reason=fanatico_evict_steps.result(scope))


def recover_etcd(scope):
    """
    Return all steps of ``orch.recover_etcd``.

    scope
        What ``fanatico.recover_scope`` returned; text is the reason of a refusal, and becomes the only step.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.recover_etcd 'etcd2: no answer'
    """
    if not isinstance(scope, dict):
        return _text(fanatico_recover.refused(str(scope)))
    hosts = list(dict.fromkeys([*scope["etcd"], *scope["databases"]]))
    steps = fanatico_recover.steps(scope, scope["bootstrap"], __pillar__["orch"]["timeouts"])
    steps = [_refresh(_REFRESH, hosts), *steps, _proof()]
    return _whole("recover_etcd", steps, reason=fanatico_recover.result(scope))


def restore(scope):
    """
    Return all steps of ``orch.restore``.

    scope
        What ``fanatico.restore_scope`` returned; text is the reason of a refusal, and becomes the only step.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.restore 'db3: no answer'
    """

    def decide(found, timeouts):
        return fanatico_restore_steps.restore(found["journal"], found["states"], timeouts)

    return _of_a_restore("restore", scope, decide)


def restore_accept(found):
    """
    Return all steps of ``orch.restore_accept``.

    found
        What ``fanatico.restore_open`` returned; text is the reason of a refusal, and becomes the only step.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.restore_accept 'no restore is open'
    """

    def decide(found, timeouts):
        return fanatico_restore_steps.accept(found["journal"], found["states"], timeouts)

    return _of_a_restore("restore_accept", found, decide)


def restore_undo(found):
    """
    Return all steps of ``orch.restore_undo``.

    found
        What ``fanatico.restore_open`` returned; text is the reason of a refusal, and becomes the only step.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_orch.restore_undo 'no restore is open'
    """

    def decide(found, timeouts):
        return fanatico_restore_steps.undo(found["journal"], found["states"], found["ends"], timeouts)

    return _of_a_restore("restore_undo", found, decide)


def _of_a_restore(purpose, found, decide):
    """Return an orchestration whose steps ``decide(found, timeouts)`` returns; text in ``found`` is the reason of a refusal."""
    if not isinstance(found, dict):
        return _text(fanatico_restore_steps.refused(found))
    journal = found["journal"]
    refresh = _refresh(_REFRESH, [*journal["hosts"], journal["backup_host"]])
    steps = [refresh, *decide(found, __pillar__["orch"]["timeouts"])]
    return _whole(purpose, steps, host=journal["host"], reason=f"to {journal['target']}")


def _whole(purpose, steps, **facts):
    """Return an orchestration whose ``steps`` were decided in Python, with its begin and its end."""
    return begin(purpose, roles=[]) + _text(steps, after=_LOCK) + end(after=steps[-1][0], **facts)


def _proof():
    return (
        _PROVE,
        "function",
        {"name": "fanatico.proof", "tgt": _hosts(["patroni"])[0], "timeout": _seconds("ready")},
    )


def _is_nested():
    """Return whether this is a step of an orchestration, which then runs in this process and has the lock."""
    return fanatico_lock.mine(fanatico_record.home(__opts__))


def _seconds(what):
    return __pillar__["orch"]["timeouts"][what]


def _hosts(roles=None):
    nodes = __salt__["fanatico_plan.nodes"]
    return nodes() if roles is None else list(dict.fromkeys(host for role in roles for host in nodes(role)))


def _refresh(title, hosts):
    # A state run compiles a pillar of its own. Everything else uses the pillar that a minion has kept since it started: the
    # signing of certificates by the master, health checks, beacons and cures.
    arguments = {"name": "saltutil.refresh_pillar", "kwarg": {"wait": True}, "tgt_type": "list"}
    return title, "function", {**arguments, "tgt": hosts, "timeout": _seconds("pillar")}


def _text(steps, after=None):
    """Return steps, ``(title, kind, arguments)``, as YAML. Each requires the step before; the first requires ``after``."""
    high = {}
    for title, kind, arguments in steps:
        parts = [{"failhard": True}, *({name: value} for name, value in arguments.items())]
        if after:
            parts.append({"require": [{"step": after}]})
        high[title] = {f"step.{kind}": parts}
        after = title
    return salt.utils.yaml.safe_dump(high, default_flow_style=False, sort_keys=False) if high else ""
