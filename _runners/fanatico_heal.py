"""
Healing: cure a fault of a node, if the guard allows it; freeze and unfreeze.
"""

import time
import uuid
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

import fanatico_duration
import fanatico_faults
import fanatico_file
import fanatico_guard
import fanatico_history
import fanatico_lock
import fanatico_master
import fanatico_plan
import fanatico_record
import fanatico_sweep

__virtualname__ = "fanatico"

_Refusal = fanatico_guard.Refusal
_ASK = 10  # seconds for a node to answer
_SYNC = 60  # seconds for a node to fetch all modules


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def heal(host, what, why="", roles=(), settings=None):
    """
    Start a unit that is down, or cure another fault of a node, if the guard allows it.

    Called by ``orch.heal`` and ``fanatico.reconcile``. Safe to call by hand: the guard decides in the same way.

    host
        The minion with the fault.
    what
        The unit's full name, or a fault that ``fanatico_cure.symptoms`` returns.
    why
        What was seen, for the history.
    roles
        The roles of ``host`` in the plan.
    settings
        Pillar ``heal``, all of it; the master's without it.

    Returns the entry of the history, ``{"decision": "healed" | "refused" | "left", "reason", "took", ...}``; ``left``: the cure
    gave way to a deploy or a drill. Beside a ``reason`` why not there is a ``code`` (docs/operations.md).
    Raises ``CommandExecutionError`` where a cure was tried and the fault is still there.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.heal etcd1 etcd.service roles='[etcd]'
        salt-run fanatico.heal etcd1 etcd-full roles='[etcd]'
    """
    begun = time.time()
    owner = uuid.uuid4().hex  # the reactor runs cures in threads of one process
    conf = settings or _settings()
    facts = {"host": host, "what": what, "why": fanatico_guard.printable(why)}
    refusal = fanatico_guard.unknown(host, what, list(roles), conf)
    if refusal:  # no entry in the history: there is no such fault
        return _quietly(facts, refusal)
    try:
        _change(fanatico_guard.record_seen, host, what, begun)
    except ValueError as exc:
        return _refuse_all(facts, exc, conf, begun)
    refusal = _objection(host, what, roles, conf) or (
        _unprovisioned_objection(host) if what == "unprovisioned" else None
    )
    refusal = refusal or _reported_only(facts)
    if refusal:
        return _refuse(facts, refusal, conf, begun)
    fanatico_record.left_over(__opts__)
    taken, holder = fanatico_lock.acquire(
        fanatico_record.home(__opts__),
        "heal",
        f"{host}/{what}",
        jid=_jid(),
        wait=conf["lock_timeout"],
        behind="heal",  # a deploy or a drill may take minutes
        owner=owner,
    )
    if not taken:
        text = f"{fanatico_lock.describe(holder)}; only one change runs at a time"
        return _refuse(facts, _Refusal(f"{holder['purpose']}-running", text), conf, begun)
    try:
        refusal, outcome = _attempt(host, what, roles, conf, owner, begun)
        if refusal:
            return _refuse(facts, refusal, conf, begun)
    finally:
        fanatico_lock.release(fanatico_record.home(__opts__), owner=owner)
    if outcome.get("instead"):
        # Another fault of the node is the cause, and has to be cured instead.
        return heal(host, outcome["instead"], outcome["detail"], roles, conf)
    if outcome["running"] and not outcome["acted"]:
        gone = "it is running again" if fanatico_faults.is_unit(what) else "the fault is gone"
        refusal = _Refusal(outcome.get("code", "gone"), outcome["detail"] or gone)
        return _refuse(facts, refusal, conf, begun)
    if outcome["running"]:
        return _decide("healed", facts, f"{why or 'down'}, {outcome['did']}", begun, **_removed(outcome))
    if outcome.get("left"):
        return _decide("left", facts, outcome["detail"], begun, code=outcome["code"])
    entry = _decide("failed", facts, outcome["detail"], begun, code=outcome.get("code", "not-gone"))
    raise CommandExecutionError(f"{host}: the cure of {what} failed: {entry['reason']}")


def freeze(reason, duration="2h"):
    """
    Switch healing off for a time, for work by hand. Refused cures are still written to the history.

    reason
        Why, for the history and for every refusal meanwhile.
    duration
        How long: ``90s``, ``15m``, ``2h``, ``1d``. Then healing is on again.

    Returns a sentence.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.freeze 'new disks for db2' 30m
    """
    try:
        seconds = fanatico_duration.seconds(duration)
    except fanatico_duration.NoDuration as exc:
        raise SaltInvocationError(f"duration: {exc}") from exc
    _change(fanatico_guard.freeze, time.time(), seconds, str(reason), afresh=True)
    fanatico_record.note(__opts__, "freeze", "frozen", reason=str(reason), seconds=seconds)
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + seconds))
    return f"Healing is off until {until}. To switch it on earlier: salt-run fanatico.unfreeze"


def unfreeze():
    """
    Switch healing on again. Where the guard's memory is damaged, start a new one.

    Returns a sentence. Changes nothing and writes no history entry where healing is not frozen.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.unfreeze
    """
    if not _is_off():
        return "Healing is not frozen. Nothing was changed."
    _change(fanatico_guard.thaw, afresh=True)
    fanatico_record.note(__opts__, "freeze", "thawed")
    return "Healing is on."


def _is_off():
    """Return whether healing is frozen now, or refused because the guard's memory is damaged."""
    try:
        return time.time() < _state().get("frozen", {}).get("until", 0)
    except ValueError:
        return True


def _attempt(host, what, roles, conf, owner, begun):
    """Check again and cure, under the lock; return ``(refusal, None)`` or ``(None, outcome)``."""
    # The state may have changed while another cure had the lock.
    refusal = _objection(host, what, roles, conf) or _lacking(host, what, roles)
    if conf["dry_run"] and not refusal:
        refusal = _Refusal("dry-run", "dry run (heal:dry_run): it would be cured")
    if refusal:
        return refusal, None
    outcome = _cure(host, what, conf, owner)
    if outcome.get("acted") or not (outcome["running"] or outcome.get("instead")):
        # A host that did not answer counts too: it was waited for under the lock.
        _change(fanatico_guard.record_attempt, host, what, begun, conf["window"])
    elif outcome["running"]:
        _change(fanatico_guard.record_false_report, host, begun, conf["window"])
    return None, outcome


def _objection(host, what, roles, conf):
    return fanatico_guard.refusal(time.time(), host, what, list(roles), _state(), conf)


def _reported_only(facts):
    """Return the refusal of a fault that is reported and never cured; None for a fault with a cure."""
    next_step = fanatico_faults.next_step(facts["what"], facts["host"])
    if not next_step:
        return None
    seen = facts["why"] or "reported by the host"
    return _Refusal("no-cure", f"reported only, nothing was changed: {seen}. Next: {next_step}")


def _unprovisioned_objection(host):
    """Return why a host that seems to be reinstalled is not provisioned now, a refusal; None where it may be."""
    if fanatico_sweep.fanout(__opts__, [host], "test.ping", timeout=_ASK).get(host) is not True:
        text = f"{host} does not answer. Next, on {host}: systemctl status salt-minion"
        return _Refusal("no-answer", text)
    return _never_deployed(host)


def _never_deployed(host):
    """
    Return the refusal of a host that is new in the plan and needs a deploy; None for a host that was deployed before.

    The hosts of the last deploy have one another in /etc/hosts and in their firewalls. A host that they do not know cannot be
    provisioned by its own highstate, and the attempt would hold the lock against the deploy that can do it.
    """
    plan = fanatico_master.plan(__opts__)
    address = fanatico_plan.address(plan, host)
    others = fanatico_sweep.fanout(
        __opts__, [node for node in plan["nodes"] if node != host], "hosts.has_pair", [address, host], _ASK
    )
    without = sorted(node for node, knows in others.items() if knows is False)
    if 2 * len(without) <= len(others):
        return None  # a host without the entry may have been reinstalled itself
    return _Refusal(
        "never-deployed",
        f"{host} is new in the plan: {len(without)} of {len(others)} other hosts do not have it at {address} in /etc/hosts. "
        "Next: salt-run state.orchestrate orch.deploy",
    )


def _settings():
    """Return pillar ``heal`` of the master."""
    plan = fanatico_master.plan(__opts__)
    master = fanatico_plan.nodes(plan, "master")[0]
    pillar, _ = fanatico_master.compiled(__opts__, master)
    return fanatico_plan.setting(pillar, "heal")


def _lacking(host, what, roles):
    """Return the redundancy that would be missing with ``host`` out of service, a refusal or None, by its peers' health."""
    plan = fanatico_master.plan(__opts__)
    for role in fanatico_guard.peers(what, list(roles)):
        nodes = fanatico_plan.nodes(plan, role)
        answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico.health", timeout=_ASK)
        seen = fanatico_guard.view(plan, role, answers)
        refusal = fanatico_guard.missing_redundancy(what, host, seen)
        if refusal:
            return refusal
    return None


def _cure(host, what, conf, owner):
    """Have the node check again, cure the fault, and prove it; or give way where a deploy or a drill waits for the lock."""
    timeout = fanatico_faults.timeout(what, conf)
    runner = fanatico_faults.runner(what)
    if runner:
        return __salt__[runner](host, timeout)
    home = fanatico_record.home(__opts__)
    if what == "unprovisioned":
        # It has no modules of ours yet.
        fanatico_sweep.fanout(__opts__, [host], "saltutil.sync_all", timeout=_SYNC)
    answers = fanatico_sweep.fanout(
        __opts__,
        [host],
        "fanatico_cure.apply",
        [what, conf["samples"], timeout],
        timeout + _ASK,
        enough=lambda: fanatico_lock.asked(home, owner),
    )
    waiting = fanatico_lock.asked(home, owner)
    if waiting and host not in answers:
        detail = f"gave way to a {waiting}; {host} finishes what it has begun, and the result was not checked"
        code = f"{waiting}-first"
        return {"running": False, "acted": True, "left": waiting, "code": code, "detail": detail}
    answer = answers.get(host)
    if isinstance(answer, dict) and "running" in answer:
        # Codes come from the master alone: a minion can write anything into its answer.
        return {name: value for name, value in answer.items() if name not in ("code", "left")}
    if not answer:
        return {"running": False, "acted": False, "code": "no-answer", "detail": f"{host} did not answer"}
    return {"running": False, "acted": False, "code": "cure-broke-off", "detail": str(answer)}


def _refuse(facts, refusal, conf, begun):
    """Return a refusal, and write it to the history where it is not a repetition."""
    is_new = _change(
        fanatico_guard.record_refusal, facts["host"], facts["what"], begun, refusal.code, conf["window"]
    )
    if not is_new:
        return _quietly(facts, refusal)
    return _decide("refused", facts, refusal.text, begun, code=refusal.code)


def _refuse_all(facts, fault, conf, begun):
    """Refuse because the guard's memory is damaged: past attempts are unknown, and whether healing is frozen."""
    text = f"{fault}. Healing is off until an operator switches it on. Next: salt-run fanatico.unfreeze"
    refusal = _Refusal("memory-damaged", text)
    since = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(begun - conf["window"]))
    known = fanatico_history.newest(fanatico_record.history(__opts__), 20)
    if any(entry.get("code") == refusal.code and entry["time"] > since for entry in known):
        return _quietly(facts, refusal)
    return _decide("refused", facts, refusal.text, begun, code=refusal.code)


def _quietly(facts, refusal):
    """Return a refusal in the form of a history entry, without writing it."""
    return {"decision": "refused", "code": refusal.code, "reason": refusal.text, **facts}


def _removed(outcome):
    """Return ``{"removed": bytes}`` for the history if the cure has deleted data that it had replaced."""
    removed = outcome.get("removed")
    return {"removed": removed} if isinstance(removed, int) and 0 < removed < 2**63 else {}


def _decide(decision, facts, reason, begun, **more):
    return fanatico_record.note(
        __opts__, "heal", decision, **facts, **more, reason=reason, took=round(time.time() - begun, 2)
    )


def _jid():
    return globals().get("__jid__", "")


def _file():
    return Path(fanatico_record.home(__opts__), "guard.json")


def _state():
    return fanatico_file.read_json(_file())


def _change(function, *arguments, afresh=False):
    """Change the guard's memory by a function of ``fanatico_guard`` that returns the new one, and return its second result."""

    def change(state):
        after = function(state, *arguments)
        return after if isinstance(after, tuple) else (after, None)

    return fanatico_file.change_json(_file(), change, afresh)
