"""
Healing and its brake: the part of ``fanatico`` that acts by itself. Its lock is everybody's (`fanatico_lock.py`).
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
_LOOK = 10  # seconds for a node to say how it is
_SYNC = 60  # seconds for a node to fetch all modules


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def heal(host, what, why="", roles=(), settings=None):
    """
    Start a unit that went down, or cure another fault of a node, unless something speaks against it. Called by ``orch.heal``
    and ``fanatico.reconcile``; harmless by hand.

    host
        The minion it should run on.
    what
        The unit's full name, or a fault that ``fanatico_cure.symptoms`` names.
    why
        What was seen, for the history.
    roles
        The roles the plan gives ``host``.
    settings
        Pillar ``heal``, all of it; without it the master's.

    Returns the line written to the history, ``{"decision": "healed" | "refused" | "left", "reason", "took", ...}``; ``left``: a
    deploy or a drill that a person asked for goes first. ``code`` is there beside every ``reason`` why not (docs/operations.md).
    Raises ``CommandExecutionError`` when it was tried and the fault is still there.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.heal etcd1 etcd.service roles='[etcd]'
        salt-run fanatico.heal etcd1 etcd-full roles='[etcd]'
    """
    begun = time.time()
    owner = uuid.uuid4().hex  # the reactor heals in threads of one process
    conf = settings or _settings()
    facts = {"host": host, "what": what, "why": fanatico_guard.plain(why)}
    refusal = fanatico_guard.unknown(host, what, list(roles), conf)
    if refusal:  # not even worth a line: whoever asks has made it up
        return _quietly(facts, refusal)
    try:
        _change(fanatico_guard.record_seen, host, what, begun)
    except ValueError as exc:
        return _refuse_all(facts, exc, conf, begun)
    refusal = _objection(host, what, roles, conf) or (
        _bare_objection(host) if what == "unprovisioned" else None
    )
    refusal = refusal or _left_to_a_person(facts)
    if refusal:
        return _refuse(facts, refusal, conf, begun)
    fanatico_record.left_over(__opts__)
    taken, holder = fanatico_lock.acquire(
        fanatico_record.home(__opts__),
        "heal",
        f"{host}/{what}",
        jid=_jid(),
        wait=conf["lock_timeout"],
        behind="heal",  # what a person has asked for may take minutes
        owner=owner,
    )
    if not taken:
        text = f"{fanatico_lock.describe(holder)}: one change at a time"
        return _refuse(facts, _Refusal(f"{holder['purpose']}-running", text), conf, begun)
    try:
        refusal, outcome = _attempt(host, what, roles, conf, owner, begun)
        if refusal:
            return _refuse(facts, refusal, conf, begun)
    finally:
        fanatico_lock.release(fanatico_record.home(__opts__), owner=owner)
    if outcome.get("instead"):
        # Its unit would not start, or start wrongly, with that.
        return heal(host, outcome["instead"], outcome["detail"], roles, conf)
    if outcome["running"] and not outcome["acted"]:
        gone = "it runs again already" if fanatico_faults.is_unit(what) else "it is gone already"
        refusal = _Refusal(outcome.get("code", "gone"), outcome["detail"] or gone)
        return _refuse(facts, refusal, conf, begun)
    if outcome["running"]:
        return _decide("healed", facts, f"{why or 'down'}, {outcome['did']}", begun)
    if outcome.get("left"):
        return _decide("left", facts, outcome["detail"], begun, code=outcome["code"])
    entry = _decide("failed", facts, outcome["detail"], begun, code=outcome.get("code", "not-gone"))
    raise CommandExecutionError(f"{what} on {host} could not be healed: {entry['reason']}")


def freeze(reason, duration="2h"):
    """
    Switch healing off for a while, for work by hand. Refused healings are still written to the history.

    reason
        Why, for the next person who wonders.
    duration
        How long: ``90s``, ``15m``, ``2h``, ``1d``. It ends by itself.

    Returns a sentence.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.freeze 'new disks for db2' 30m
    """
    try:
        seconds = fanatico_duration.seconds(duration)
    except fanatico_duration.NoDuration as exc:
        raise SaltInvocationError(f"duration: {exc}") from exc
    _change(fanatico_guard.frozen, time.time(), seconds, str(reason), afresh=True)
    fanatico_record.note(__opts__, "freeze", "frozen", reason=str(reason), seconds=seconds)
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + seconds))
    return f"Nothing is healed until {until}; `salt-run fanatico.unfreeze` ends that earlier."


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
    _change(fanatico_guard.thawed, afresh=True)
    fanatico_record.note(__opts__, "freeze", "thawed")
    return "Healing is on."


def _is_off():
    """Return whether healing is frozen now, or refused because the guard's memory is damaged."""
    try:
        return time.time() < _state().get("frozen", {}).get("until", 0)
    except ValueError:
        return True


def _attempt(host, what, roles, conf, owner, begun):
    """Look again and cure, under the lock; return ``(refusal, None)`` or ``(None, outcome)``."""
    # What spoke for it may have changed while another healing had the lock.
    refusal = _objection(host, what, roles, conf) or _lacking(host, what, roles)
    if conf["dry_run"] and not refusal:
        refusal = _Refusal("dry-run", "dry run (heal:dry_run): it would be cured now")
    if refusal:
        return refusal, None
    outcome = _cure(host, what, conf, owner)
    if outcome.get("acted") or not (outcome["running"] or outcome.get("instead")):
        # Silence counts too: it has held the lock.
        _change(fanatico_guard.attempted, host, what, begun, conf["window"])
    elif outcome["running"]:
        _change(fanatico_guard.mistaken, host, begun, conf["window"])
    return None, outcome


def _objection(host, what, roles, conf):
    return fanatico_guard.refusal(time.time(), host, what, list(roles), _state(), conf)


def _left_to_a_person(facts):
    """Return why a fault is reported only, a refusal; None for one that is cured."""
    next_step = fanatico_faults.next_step(facts["what"], facts["host"])
    if not next_step:
        return None
    seen = facts["why"] or "reported by the host"
    return _Refusal("left-to-a-person", f"not cured, nothing was touched: {seen}. Next: {next_step}")


def _bare_objection(host):
    """Return why a host that seems to be reinstalled is not built now, a refusal; None where it may be."""
    if fanatico_sweep.fanout(__opts__, [host], "test.ping", timeout=_LOOK).get(host) is not True:
        text = f"{host} does not answer: nothing can be built there. Next: look at its salt-minion"
        return _Refusal("no-answer", text)
    return _never_deployed(host)


def _never_deployed(host):
    """
    Return why ``host`` is a person's to deploy and not one that was reinstalled, a refusal; None where it was deployed before.

    The hosts of the last deploy have one another in /etc/hosts, and in their firewalls. What they do not know cannot be
    built by a highstate of its own, and trying would hold the lock against the deploy that can.
    """
    plan = fanatico_master.plan(__opts__)
    address = fanatico_plan.address(plan, host)
    others = fanatico_sweep.fanout(
        __opts__, [node for node in plan["nodes"] if node != host], "hosts.has_pair", [address, host], _LOOK
    )
    strangers = sorted(node for node, knows in others.items() if knows is False)
    if 2 * len(strangers) <= len(others):
        return None  # one that lacks it may have been reinstalled itself
    return _Refusal(
        "never-deployed",
        f"{host} is new in the plan: {len(strangers)} of {len(others)} other hosts do not know it at {address} yet. "
        "Next: salt-run state.orchestrate orch.deploy",
    )


def _settings():
    """Return pillar ``heal``, as the master has it."""
    plan = fanatico_master.plan(__opts__)
    master = fanatico_plan.nodes(plan, "master")[0]
    pillar, _ = fanatico_master.compiled(__opts__, master)
    return fanatico_plan.setting(pillar, "heal")


def _lacking(host, what, roles):
    """Return what would be missing with ``host`` out of service, a refusal or None, by what its peers say right now."""
    plan = fanatico_master.plan(__opts__)
    for role in fanatico_guard.peers(what, list(roles)):
        nodes = fanatico_plan.nodes(plan, role)
        answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico.health", timeout=_LOOK)
        seen = fanatico_guard.view(plan, role, answers)
        refusal = fanatico_guard.missing_redundancy(what, host, seen)
        if refusal:
            return refusal
    return None


def _cure(host, what, conf, owner):
    """Have the target look again, cure what is still wrong, and prove it; or leave it, where a person wants the lock."""
    timeout = fanatico_faults.timeout(what, conf)
    runner = fanatico_faults.runner(what)
    if runner:
        return __salt__[runner](host, timeout)
    home = fanatico_record.home(__opts__)
    if what == "unprovisioned":
        # It does not know how to look yet.
        fanatico_sweep.fanout(__opts__, [host], "saltutil.sync_all", timeout=_SYNC)
    answers = fanatico_sweep.fanout(
        __opts__,
        [host],
        "fanatico_cure.apply",
        [what, conf["samples"], timeout],
        timeout + _LOOK,
        enough=lambda: fanatico_lock.asked(home, owner),
    )
    waiting = fanatico_lock.asked(home, owner)
    if waiting and host not in answers:
        detail = f"a {waiting} goes first; what {host} had begun it ends by itself, and nobody has seen how"
        code = f"{waiting}-first"
        return {"running": False, "acted": True, "left": waiting, "code": code, "detail": detail}
    answer = answers.get(host)
    if isinstance(answer, dict) and "running" in answer:
        # Codes are the master's: a minion writes what it likes into an answer.
        return {name: value for name, value in answer.items() if name not in ("code", "left")}
    if not answer:
        return {"running": False, "acted": False, "code": "no-answer", "detail": f"{host} did not answer"}
    return {"running": False, "acted": False, "code": "cure-broke-off", "detail": str(answer)}


def _refuse(facts, refusal, conf, begun):
    """Return a refusal; written down where it is news."""
    news = _change(fanatico_guard.refused, facts["host"], facts["what"], begun, refusal.code, conf["window"])
    if not news:
        return _quietly(facts, refusal)
    return _decide("refused", facts, refusal.text, begun, code=refusal.code)


def _refuse_all(facts, fault, conf, begun):
    """Refuse since the guard has lost its memory: what was done, and whether somebody has switched healing off."""
    text = f"{fault}. Nothing is healed until a person says so. Next: salt-run fanatico.unfreeze"
    refusal = _Refusal("memory-damaged", text)
    since = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(begun - conf["window"]))
    known = fanatico_history.newest(fanatico_record.history(__opts__), 20)
    if any(entry.get("code") == refusal.code and entry["time"] > since for entry in known):
        return _quietly(facts, refusal)
    return _decide("refused", facts, refusal.text, begun, code=refusal.code)


def _quietly(facts, refusal):
    """Return a refusal as the history would have it, without writing it down."""
    return {"decision": "refused", "code": refusal.code, "reason": refusal.text, **facts}


def _decide(decision, facts, reason, begun, **code):
    return fanatico_record.note(
        __opts__, "heal", decision, **facts, **code, reason=reason, took=round(time.time() - begun, 2)
    )


def _jid():
    return globals().get("__jid__", "")


def _file():
    return Path(fanatico_record.home(__opts__), "guard.json")


def _state():
    return fanatico_file.read_json(_file())


def _change(function, *arguments, afresh=False):
    """Change the guard's memory by one of the functions of ``fanatico_guard`` that return it, and return what else it says."""

    def change(state):
        after = function(state, *arguments)
        return after if isinstance(after, tuple) else (after, None)

    return fanatico_file.change_json(_file(), change, afresh)
