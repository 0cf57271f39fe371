"""
What may be healed, and when not. Pure: the caller reads clocks and files.

The state is one dict, kept by the caller between calls; times are epoch seconds:

``attempts``
    ``{"etcd1/etcd.service": [when, ...]}``, the actions taken; what stands behind the slash is a unit or a fault.
``seen``
    ``{"db1/patroni-paused": [first, last]}``, since when it has been told of, without a longer break.
``disturbed``
    ``[when, what]``, the last action that took a node out of service.
``mistaken``
    ``{"rpc1": [until, ...]}``, reports of a host that came to nothing, each with the time at which it is forgotten.
``refused``
    ``{"etcd1/etcd.service": [when, code]}``, the last refusal that was written down.
``frozen``
    ``{"reason": ..., "until": when}``, present while healing is switched off.
"""

import dataclasses
import re

import fanatico_faults
import fanatico_plan
from fanatico_components import COMPONENTS, EVERY

# What a host that is rebuilt needs of the others, by its roles: who is to be joined has to be there.
_REBUILD_NEEDS = {role: one.rebuild_needs for one in COMPONENTS if one.rebuild_needs for role in one.roles}

HOUR = 3600
HOST_SHARE = 1 / 3  # of the budget, for one host: it must not use up what the others may need
MAX_FALSE_REPORTS = (
    20  # reports of one host within the window that come to nothing, before no more are asked for
)
SEEN_TIMEOUT = 300  # seconds; who tells of a fault that stays does so every minute


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why nothing is done about a fault: a code for the history, decisions and tests, a text for people."""

    code: str
    text: str


def units(roles, overrides=None, settings=None):
    """
    Return the units that a node with ``roles`` promises to keep running, those of every node among them.

    roles
        The node's roles.
    overrides
        ``{role: [unit, ...]}``, replaces the built-in list of that role (pillar ``heal:units``).
    settings
        The node's pillar: units that it does not make exist are left out. Without ``settings`` they are all in, since the node
        may have them.
    """
    found = (unit for role in [*roles, EVERY] for unit in units_of(role, overrides, settings))
    return list(dict.fromkeys(found))


def units_of(role, overrides=None, settings=None):
    """Return the units of one role alone, or of every node (``fanatico_components.EVERY``); the rest as for ``units``."""
    if role in (overrides or {}):
        return overrides[role]
    return [
        unit.name
        for one in COMPONENTS
        if role in one.roles
        for unit in one.units
        if unit.healed and (settings is None or unit.when is None or _meets(settings, *unit.when))
    ]


def _meets(settings, path, value):
    return fanatico_plan.get(settings, path) == value


def accepted(plan, host, answer):
    """
    Return what of a host's answer can be a fault of that host, ``{unit or fault: what was seen}``.

    The one place where what a minion says is let in: of a host of the plan, names that can be a fault of its roles, or a unit
    (``refusal`` knows which units it has to keep running), and few of them; in words of a bounded length without control
    characters. Everything else is left out.

    plan
        The dict under the pillar key ``plan``.
    host
        Who was asked.
    answer
        What came back, whatever that is.
    """
    roles = plan["nodes"].get(host, {}).get("roles", [])
    if not isinstance(answer, dict) or not roles:
        return {}
    can_be = [*units(roles), *fanatico_faults.of_node(roles)]
    names = sorted(what for what in answer if isinstance(what, str))
    others = [what for what in names if what not in can_be and _UNIT.fullmatch(what)]
    return {
        what: printable(answer[what])
        for what in [*(one for one in names if one in can_be), *others[:_OTHERS]]
    }


_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.:-]{0,99}\.(service|socket|timer|mount|path)")
_OTHERS = 2  # units at once that only the pillar can have named (heal:units)
_WORDS = 300  # characters of what a host says about one of them


def printable(words):
    """Return what a minion has said as one line of text: cut, and without what a terminal or a log would obey."""
    return "".join(one if one.isprintable() else " " for one in str(words)[:_WORDS])


def peers(what, roles):
    """Return the roles whose nodes have to be looked at before ``what`` is cured on a node with ``roles``."""
    needs = fanatico_faults.needs(what)
    if needs == "rest":
        return [role for role in roles if role in _REBUILD_NEEDS]
    return [fanatico_faults.FAULTS[what].role] if needs else []


def view(plan, role, answers):
    """
    Return ``{"role", "nodes": [...], "well": [...], "leader": node or None}`` of a role.

    plan
        The dict under the pillar key ``plan``.
    role
        ``etcd``, ``patroni``, ``haproxy`` or ``rpc``.
    answers
        ``{node: what its fanatico.health returned}``; a node that did not answer is not in it.
    """
    checks = {
        name: one["checks"] for name, one in answers.items() if isinstance(one, dict) and "checks" in one
    }
    proof = next(one.serving_check for one in COMPONENTS if one.serving_check and role in one.roles)
    named = [one["patroni.leader"]["value"] for one in checks.values() if "patroni.leader" in one]
    # Who leads has to be beyond doubt: a leader's data is never thrown away.
    leader = named[0] if named and named.count(named[0]) == len(named) else None
    return {
        "role": role,
        "nodes": fanatico_plan.nodes(plan, role),
        "well": [name for name, one in checks.items() if one.get(proof, {}).get("status") == "ok"],
        "leader": leader,
    }


def missing_redundancy(what, host, seen):
    """
    Return what would be missing with ``host`` out of service, a ``Refusal``; None where it can be spared.

    seen
        What ``view`` returned.
    """
    others = [node for node in seen["well"] if node != host]
    leader = seen["leader"]
    needs = fanatico_faults.needs(what)
    owed = _REBUILD_NEEDS[seen["role"]] if needs == "rest" else needs
    if owed == "quorum":
        majority = len(seen["nodes"]) // 2 + 1
        if len(others) < majority:
            text = f"only {len(others)} other members are well, and a majority is {majority}"
            return Refusal("no-majority", text)
    elif owed == "replica":
        return _lacking_for_a_copy(host, seen, others)
    elif owed == "leader":
        if leader in (None, host):
            return Refusal("leader-in-doubt", "the leader is ambiguous: nodes name none, or different ones")
        if leader not in others:
            return Refusal("leader-unwell", f"{leader} leads and is not well: nobody could be followed")
    elif owed == "successor":
        if not [node for node in others if node != leader]:
            return Refusal("no-successor", "no replica is well that could take the lead")
    elif owed == "another" and not others:
        return Refusal("no-other-node", "no other node of its role is well")
    return None


def _lacking_for_a_copy(host, seen, others):
    """Return what forbids to throw the data of ``host`` away and to copy the leader's, a ``Refusal`` or None."""
    leader, needed = seen["leader"], f"what {host} holds may be needed"
    if leader is None:
        return Refusal("leader-in-doubt", "the leader is ambiguous: nodes name none, or different ones")
    if leader == host:
        return Refusal("leads-itself", f"{host} leads: its data is never thrown away")
    if leader not in others:
        return Refusal("leader-unwell", f"{leader} leads and is not well: {needed}")
    if len(seen["nodes"]) > 2 and len(others) < 2:
        return Refusal("no-other-replica", f"no other replica is well: {needed}")
    return None


def unknown(host, what, roles, conf):
    """Return why ``what`` is nothing that could be healed on ``host`` at all, a ``Refusal``; None where it could."""
    if roles and what in [*units(roles, conf["units"]), *fanatico_faults.of_roles(roles)]:
        return None
    text = f"{printable(what)} is neither a unit that {printable(host)} has to keep running nor a fault it can have"
    return Refusal("unknown-fault", text)


def refusal(now, host, what, roles, state, conf):
    """
    Return why nothing must be done now about ``what`` on ``host``, a ``Refusal``; None when something may.

    now
        Epoch seconds.
    what
        A unit that is down, or a fault of ``fanatico_faults``.
    roles
        The roles the plan gives ``host``.
    state
        See the top of this file.
    conf
        The pillar's ``heal``.
    """
    return (
        unknown(host, what, roles, conf)
        or _switched_off(now, host, what, state, conf)
        or _too_young(now, host, what, state, conf)
        or _too_often(now, host, what, state, conf)
        or _over_budget(now, host, state, conf)
        or _too_soon(now, what, state, conf)
    )


def _switched_off(now, host, what, state, conf):
    frozen = state.get("frozen")
    if frozen and now < frozen["until"]:
        text = f"healing is frozen for another {round(frozen['until'] - now)} s: {frozen['reason']}"
        return Refusal("frozen", text)
    if not conf["attempts"]:
        return Refusal("switched-off", "healing is switched off in the pillar: heal:attempts is 0")
    opt_in = fanatico_faults.opt_in(what)
    if opt_in and not conf[opt_in]:
        return Refusal("not-opted-in", f"left to a person, since heal:{opt_in} is not set: look at {host}")
    return None


def _too_young(now, host, what, state, conf):
    since = now - state.get("seen", {}).get(f"{host}/{what}", [now])[0]
    owed = fanatico_faults.min_age(what, conf)
    if since >= owed:
        return None
    text = f"that may be meant: it has lasted for {round(since)} s, and is ours after {owed} s"
    return Refusal("too-young", text)


def _too_often(now, host, what, state, conf):
    # One that holds the lock for minutes gets less of them.
    window = max(conf["window"], 6 * fanatico_faults.timeout(what, conf))
    recent = _recent(state, host, what, now, window)
    if len(recent) < conf["attempts"]:
        return None
    minutes, done, look = round(window / 60), "treated", "`salt-run fanatico.history`"
    if fanatico_faults.is_unit(what):
        done, look = "started", f"`journalctl -u {what}` on {host}"
    text = f"already {done} {len(recent)} times in {minutes} minutes: look at it with {look}"
    return Refusal("attempts-spent", text)


def _over_budget(now, host, state, conf):
    hour = {
        key: sum(now - when < HOUR for when in moments) for key, moments in state.get("attempts", {}).items()
    }
    of_host = sum(count for key, count in hour.items() if key.startswith(f"{host}/"))
    if of_host >= conf["max_actions_per_hour"] * HOST_SHARE:
        text = f"{host} has used its share of actions an hour ({of_host}, heal:max_actions_per_hour); check {host}"
        return Refusal("share-spent", text)
    spent = sum(hour.values())
    if spent >= conf["max_actions_per_hour"]:
        text = f"hourly action budget exhausted ({spent}, heal:max_actions_per_hour); check the whole cluster"
        return Refusal("budget-spent", text)
    return None


def _too_soon(now, what, state, conf):
    when, last = state.get("disturbed", (now - conf["cooldown"], ""))
    if not fanatico_faults.needs(what) or now - when >= conf["cooldown"]:
        return None
    text = f"one node at a time: {last} was {round(now - when)} s ago, and {conf['cooldown']} s have to pass"
    return Refusal("one-at-a-time", text)


def record_seen(state, host, what, now):
    """Return ``state`` in which ``what`` was told of now; it counts as lasting where the last time is not long ago."""
    first, last = state.get("seen", {}).get(f"{host}/{what}", (now, now))
    recent = {key: one for key, one in state.get("seen", {}).items() if now - one[1] < SEEN_TIMEOUT}
    return {**state, "seen": {**recent, f"{host}/{what}": [first if now - last < SEEN_TIMEOUT else now, now]}}


def record_false_report(state, host, now, window):
    """Return ``state`` in which ``host`` has reported what was not there, or was over; that counts for ``window`` seconds."""
    kept = {
        name: [until for until in moments if now < until]
        for name, moments in state.get("mistaken", {}).items()
    }
    kept = {name: moments for name, moments in kept.items() if moments}
    return {**state, "mistaken": {**kept, host: [*kept.get(host, []), now + window]}}


def reports_ignored(state, host, now):
    """
    Tell whether ``host`` has reported so much that was not there that only ``fanatico.reconcile`` looks at it for a while.

    Each report costs the master a second of its processor, and the lock; who makes them up must not have more of both.
    """
    return sum(now < until for until in state.get("mistaken", {}).get(host, [])) >= MAX_FALSE_REPORTS


def record_attempt(state, host, what, now, window):
    """Return ``state`` with one more action about ``what`` on ``host``, none older than an hour or ``window`` seconds."""
    keep = max(window, HOUR)
    kept = {
        key: [when for when in moments if now - when < keep]
        for key, moments in state.get("attempts", {}).items()
    }
    key = f"{host}/{what}"
    state = {
        **state,
        "attempts": {**{name: one for name, one in kept.items() if one}, key: [*kept.get(key, []), now]},
    }
    return {**state, "disturbed": [now, f"{what} on {host}"]} if fanatico_faults.needs(what) else state


def record_refusal(state, host, what, now, code, window):
    """
    Return ``(state, news)``: ``state`` with this refusal, and whether it is worth a line in the history.

    A beacon repeats itself while a fault stays; the same refusal is news once per ``window`` seconds.

    code
        The refusal's; its text holds counters and process ids.
    """
    key = f"{host}/{what}"
    when, last = state.get("refused", {}).get(key, (0, ""))
    if last == code and now - when < window:
        return state, False
    kept = {name: one for name, one in state.get("refused", {}).items() if now - one[0] < window}
    return {**state, "refused": {**kept, key: [now, code]}}, True


def freeze(state, now, seconds, reason):
    """Return ``state`` in which nothing is healed for the next ``seconds``."""
    return {**state, "frozen": {"reason": reason, "until": now + seconds}}


def thaw(state):
    """Return ``state`` in which healing works again."""
    return {key: value for key, value in state.items() if key != "frozen"}


def _recent(state, host, what, now, window):
    return [when for when in state.get("attempts", {}).get(f"{host}/{what}", []) if now - when < window]
