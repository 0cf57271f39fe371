"""
The guard: decide whether a cure may run now. Pure: the caller reads clocks and files.

It enforces quorum, attempts, rate limits, budget and cooldown, and a freeze. Its state is one dict, which the caller keeps
between calls; times are epoch seconds:

``attempts``
    ``{"etcd1/etcd.service": [when, ...]}``: the cures that ran. After the slash: a unit or a fault.
``seen``
    ``{"db1/patroni-paused": [first, last]}``: when a fault was reported first and last, without a gap of ``SEEN_TIMEOUT``.
``disturbed``
    ``[when, what]``: the last cure that took a node out of service. The cooldown starts there.
``mistaken``
    ``{"rpc1": [until, ...]}``: false reports of a host, each with the time at which it expires.
``refused``
    ``{"etcd1/etcd.service": [when, code]}``: the last refusal in the history.
``frozen``
    ``{"reason": ..., "until": when}``: present during a freeze.
"""

import dataclasses
import re

import fanatico_faults
import fanatico_plan
from fanatico_components import ANY, COMPONENTS, EVERY

# What must be healthy on the other hosts while a host with this role is rebuilt: it joins them.
_REBUILD_NEEDS = {
    role: component.rebuild_needs
    for component in COMPONENTS
    if component.rebuild_needs
    for role in component.roles
}

HOUR = 3600
HOST_SHARE = 1 / 3  # of the hourly budget, at most, for one host: the others keep the rest
MAX_FALSE_REPORTS = 20  # of one host within the window; further reports are ignored until some expire
SEEN_TIMEOUT = 300  # seconds without a report after which a fault counts as new; reports repeat every minute


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a cure must not run: a code for the history, decisions and tests, and a text for operators."""

    code: str
    text: str


def units(roles, overrides=None, settings=None):
    """
    Return the units that a node with ``roles`` must keep running, including those of every node.

    roles
        The node's roles.
    overrides
        ``{role: [unit, ...]}``, replaces the built-in list of that role (pillar ``heal:units``).
    settings
        The node's pillar: units that it does not enable are left out. Without it all units are included, since the node may
        have them.
    """
    found = (unit for role in [*roles, EVERY] for unit in units_of(role, overrides, settings))
    return list(dict.fromkeys(found))


def units_of(role, overrides=None, settings=None):
    """Return the units of one role, or of every node (``fanatico_components.EVERY``). Other arguments: see ``units``."""
    if role in (overrides or {}):
        return overrides[role]
    return [
        unit.name
        for component in COMPONENTS
        if role in component.roles
        for unit in component.units
        if unit.healed and (settings is None or _exists(unit, settings))
    ]


def _exists(unit, settings):
    """Tell whether a node with these settings has a unit of its role."""
    if unit.when and not _meets(settings, *unit.when):
        return False
    return (
        not unit.beside or "plan" not in settings or bool(fanatico_plan.nodes(settings["plan"], unit.beside))
    )


def _meets(settings, path, value):
    found = fanatico_plan.get(settings, path)
    return bool(found) if value is ANY else found == value


def accepted(plan, host, answer):
    """
    Return the faults in a host's answer that this host can have, ``{unit or fault: what was seen}``.

    Every report of a minion passes here. For a host in the plan the faults of its roles and a few units are accepted (``refusal``
    checks which units the host must keep running), with short texts without control characters. All else is dropped.

    plan
        The dict under the pillar key ``plan``.
    host
        The host that was asked.
    answer
        Its answer, of any type.
    """
    roles = plan["nodes"].get(host, {}).get("roles", [])
    if not isinstance(answer, dict) or not roles:
        return {}
    possible = [*units(roles), *fanatico_faults.of_node(roles)]
    names = sorted(what for what in answer if isinstance(what, str))
    known = [what for what in names if what in possible]
    others = [what for what in names if what not in possible and _UNIT.fullmatch(what)]
    return {what: printable(answer[what]) for what in [*known, *others[:_MAX_OTHER_UNITS]]}


_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.:-]{0,99}\.(service|socket|timer|mount|path)")
_MAX_OTHER_UNITS = 2  # in one answer, of units that are no built-in ones: heal:units may name them
_MAX_TEXT = 300  # characters of the text of one fault


def printable(text):
    """Return a text of a minion as one line: cut to a limit, control characters replaced by spaces."""
    return "".join(char if char.isprintable() else " " for char in str(text)[:_MAX_TEXT])


def peers(what, roles):
    """Return the roles whose nodes' health must be checked before ``what`` is cured on a node with ``roles``."""
    needs = fanatico_faults.needs(what)
    if needs == "rebuild":
        return [role for role in roles if role in _REBUILD_NEEDS]
    return [fanatico_faults.FAULTS[what].role] if needs else []


def view(plan, role, answers):
    """
    Return the health of a role's nodes, ``{"role", "nodes": [...], "healthy": [...], "leader": node or None}``.

    plan
        The dict under the pillar key ``plan``.
    role
        ``etcd``, ``patroni``, ``haproxy`` or ``rpc``.
    answers
        ``{node: what its fanatico.health returned}``, without nodes that did not answer.
    """
    checks = {
        name: answer["checks"]
        for name, answer in answers.items()
        if isinstance(answer, dict) and "checks" in answer
    }
    serving = next(
        component.serving_check
        for component in COMPONENTS
        if component.serving_check and role in component.roles
    )
    named = [found["patroni.leader"]["value"] for found in checks.values() if "patroni.leader" in found]
    # Only if all nodes name the same leader: a leader's data must never be deleted.
    leader = named[0] if named and named.count(named[0]) == len(named) else None
    return {
        "role": role,
        "nodes": fanatico_plan.nodes(plan, role),
        "healthy": [name for name, found in checks.items() if found.get(serving, {}).get("status") == "ok"],
        "leader": leader,
    }


def missing_redundancy(what, host, seen):
    """
    Return a ``Refusal`` if the cluster cannot spare ``host``; None if it can be taken out of service.

    what
        The fault, see ``fanatico_faults``.
    host
        The host that the cure takes out of service.
    seen
        What ``view`` returned.
    """
    others = [node for node in seen["healthy"] if node != host]
    leader = seen["leader"]
    needs = fanatico_faults.needs(what)
    required = _REBUILD_NEEDS[seen["role"]] if needs == "rebuild" else needs
    if required == "quorum":
        majority = len(seen["nodes"]) // 2 + 1
        if len(others) < majority:
            text = f"quorum at risk without {host}: {len(others)} other etcd members are healthy, {majority} are required"
            return Refusal("no-majority", f"{text}. Next: salt-run fanatico.status")
    elif required == "replica":
        return _missing_for_clone(host, seen, others)
    elif required == "leader":
        if leader in (None, host):
            return Refusal("leader-ambiguous", _AMBIGUOUS)
        if leader not in others:
            text = f"leader {leader} is not healthy, so {host} cannot follow it. Next: salt {leader} fanatico.health"
            return Refusal("leader-unhealthy", text)
    elif required == "successor":
        if not [node for node in others if node != leader]:
            text = f"no healthy replica can take over from {host}. Next: salt {host} fanatico_patroni.status"
            return Refusal("no-successor", text)
    elif required == "another" and not others:
        text = f"no other healthy {seen['role']} node is left without {host}. Next: salt-run fanatico.status"
        return Refusal("no-other-node", text)
    return None


_AMBIGUOUS = "leader is ambiguous: the nodes report no leader or different leaders. Next: salt 'db*' fanatico_patroni.status"


def _missing_for_clone(host, seen, others):
    """Return a ``Refusal`` if the data of ``host`` must not be replaced by a clone of the leader's; else None."""
    leader, kept = seen["leader"], f"the data of {host} may be the last good copy"
    if leader is None:
        return Refusal("leader-ambiguous", _AMBIGUOUS)
    if leader == host:
        return Refusal("host-is-leader", f"{host} is the leader: a leader's data is never replaced")
    if leader not in others:
        text = f"leader {leader} is not healthy: {kept}. Next: salt {leader} fanatico.health"
        return Refusal("leader-unhealthy", text)
    if len(seen["nodes"]) > 2 and len(others) < 2:
        text = f"no other replica is healthy: {kept}. Next: salt-run fanatico.status"
        return Refusal("no-other-replica", text)
    return None


def unknown(host, what, roles, conf):
    """Return a ``Refusal`` if ``host`` cannot have the fault or unit ``what``; else None. ``conf``: the pillar's ``heal``."""
    if roles and what in [*units(roles, conf["units"]), *fanatico_faults.of_roles(roles)]:
        return None
    text = f"{printable(what)} is neither a healed unit nor a possible fault of {printable(host)}"
    return Refusal("unknown-fault", text)


def refusal(now, host, what, roles, state, conf):
    """
    Return a ``Refusal`` if ``what`` must not be cured on ``host`` now; None if it may.

    now
        Epoch seconds.
    host
        The host.
    what
        A unit that is down, or a fault of ``fanatico_faults``.
    roles
        The roles of ``host`` in the plan.
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
        return Refusal("switched-off", "healing is disabled in the pillar: heal:attempts is 0")
    opt_in = fanatico_faults.opt_in(what)
    if opt_in and not conf[opt_in]:
        text = f"automatic cure of {what} is disabled (heal:{opt_in}); manual action needed on {host}"
        return Refusal("not-opted-in", f"{text}. Next: {fanatico_faults.FAULTS[what].runbook}")
    return None


def _too_young(now, host, what, state, conf):
    since = now - state.get("seen", {}).get(f"{host}/{what}", [now])[0]
    threshold = fanatico_faults.min_age(what, conf)
    if since >= threshold:
        return None
    setting = fanatico_faults.FAULTS[what].min_age
    text = f"below threshold: {what} on {host} seen for {round(since)} s, acted on after {threshold} s (heal:{setting})"
    return Refusal("below-threshold", text)


def _too_often(now, host, what, state, conf):
    # A cure that holds the lock for minutes is allowed less often.
    window = max(conf["window"], 6 * fanatico_faults.timeout(what, conf))
    recent = _recent(state, host, what, now, window)
    if len(recent) < conf["attempts"]:
        return None
    minutes, next_step = round(window / 60), f"salt-run fanatico.history host={host}"
    if fanatico_faults.is_unit(what):
        next_step = f"journalctl -u {what} on {host}"
    text = (
        f"attempt limit reached: {len(recent)} cures of {what} on {host} in {minutes} minutes (heal:attempts)"
    )
    return Refusal("attempts-spent", f"{text}. Next: {next_step}")


def _over_budget(now, host, state, conf):
    hour = {key: sum(now - when < HOUR for when in times) for key, times in state.get("attempts", {}).items()}
    of_host = sum(count for key, count in hour.items() if key.startswith(f"{host}/"))
    if of_host >= conf["max_actions_per_hour"] * HOST_SHARE:
        text = f"hourly action budget of {host} exhausted ({of_host}, a third of heal:max_actions_per_hour)"
        return Refusal("share-spent", f"{text}. Next: salt {host} fanatico.health")
    spent = sum(hour.values())
    if spent >= conf["max_actions_per_hour"]:
        text = f"hourly action budget exhausted ({spent}, heal:max_actions_per_hour); investigate manually"
        return Refusal("budget-spent", f"{text}. Next: salt-run fanatico.status")
    return None


def _too_soon(now, what, state, conf):
    when, last = state.get("disturbed", (now - conf["cooldown"], ""))
    if not fanatico_faults.needs(what) or now - when >= conf["cooldown"]:
        return None
    ago, cooldown = round(now - when), conf["cooldown"]
    text = f"cooldown: last cure ({last}) was {ago} s ago, next cure after {cooldown} s (heal:cooldown)"
    return Refusal("cooldown", text)


def record_seen(state, host, what, now):
    """Return ``state`` with a report of ``what`` on ``host`` at ``now``; the fault is new if the last report is too old."""
    first, last = state.get("seen", {}).get(f"{host}/{what}", (now, now))
    recent = {key: times for key, times in state.get("seen", {}).items() if now - times[1] < SEEN_TIMEOUT}
    return {**state, "seen": {**recent, f"{host}/{what}": [first if now - last < SEEN_TIMEOUT else now, now]}}


def record_false_report(state, host, now, window):
    """Return ``state`` with a report of ``host`` that the second check did not confirm; it counts for ``window`` seconds."""
    kept = {
        name: [until for until in times if now < until] for name, times in state.get("mistaken", {}).items()
    }
    kept = {name: times for name, times in kept.items() if times}
    return {**state, "mistaken": {**kept, host: [*kept.get(host, []), now + window]}}


def reports_ignored(state, host, now):
    """
    Tell whether reports of ``host`` are ignored because too many were false; ``fanatico.reconcile`` still checks it.

    Each report costs the master a second of CPU and the lock; a host that invents faults must not exhaust them.
    """
    return sum(now < until for until in state.get("mistaken", {}).get(host, [])) >= MAX_FALSE_REPORTS


def record_attempt(state, host, what, now, window):
    """Return ``state`` with one more cure of ``what`` on ``host``, without cures older than an hour and ``window`` seconds."""
    keep = max(window, HOUR)
    kept = {
        key: [when for when in times if now - when < keep] for key, times in state.get("attempts", {}).items()
    }
    key = f"{host}/{what}"
    recent = {name: times for name, times in kept.items() if times}
    state = {**state, "attempts": {**recent, key: [*kept.get(key, []), now]}}
    return {**state, "disturbed": [now, f"{what} on {host}"]} if fanatico_faults.needs(what) else state


def record_refusal(state, host, what, now, code, window):
    """
    Return ``(state, new)``: ``state`` with this refusal, and whether the history gets a line.

    A beacon repeats its report while a fault lasts; the same refusal is new once per ``window`` seconds.

    code
        The code of the refusal. Its text is not compared: it holds counters and process ids.
    """
    key = f"{host}/{what}"
    when, last = state.get("refused", {}).get(key, (0, ""))
    if last == code and now - when < window:
        return state, False
    kept = {name: last for name, last in state.get("refused", {}).items() if now - last[0] < window}
    return {**state, "refused": {**kept, key: [now, code]}}, True


def freeze(state, now, seconds, reason):
    """Return ``state`` with healing frozen for the next ``seconds``; ``reason`` is shown in refusals."""
    return {**state, "frozen": {"reason": reason, "until": now + seconds}}


def thaw(state):
    """Return ``state`` without a freeze."""
    return {key: value for key, value in state.items() if key != "frozen"}


def _recent(state, host, what, now, window):
    return [when for when in state.get("attempts", {}).get(f"{host}/{what}", []) if now - when < window]
