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
    ``{"etcd1/etcd.service": [when, kind]}``, the last refusal that was written down.
``frozen``
    ``{"reason": ..., "until": when}``, present while healing is switched off.
"""

import re
from typing import Any

import fanatico_plan
from fanatico_components import COMPONENTS, EVERY

# Faults of a node whose units run; how each is told and cured on the node is in _modules/fanatico_cure.py.
# role: whose nodes can have it. spares: what has to be left standing meanwhile, see ``lacking``; None: nobody is taken out of
# service. timeout: seconds to cure it and to prove it. lasting: the setting that says how long it has to last first. asks: the
# setting that allows it at all. whole: no node can tell it alone. dear: too much work for a beacon. Neither is looked for by
# the beacon, both are by fanatico.reconcile. left: not cured at all but reported, with what a person does next: what is wrong is
# a configuration, a package, a path or load, and the data may be whole.
CURES: dict[str, dict[str, Any]] = {
    "bare": {"role": None, "spares": "rest", "timeout": 600, "whole": True},
    "drift": {"role": None, "spares": None, "timeout": 300, "asks": "correct", "whole": True},
    "key-denied": {"role": None, "spares": None, "timeout": 60, "whole": True},
    "certificate-ending": {"role": None, "spares": None, "timeout": 180, "dear": True},
    "firewall-gone": {"role": None, "spares": None, "timeout": 30},
    "disk-full": {"role": None, "spares": None, "timeout": 60},
    "etcd-data-lost": {"role": "etcd", "spares": "quorum", "timeout": 120},
    "etcd-full": {"role": "etcd", "spares": None, "timeout": 60},
    "patroni-hung": {"role": "patroni", "spares": None, "timeout": 60},
    "patroni-paused": {"role": "patroni", "spares": None, "timeout": 30, "lasting": "paused"},
    "replica-lost": {"role": "patroni", "spares": "replica", "timeout": 600},
    "replica-astray": {
        "role": "patroni",
        "lasting": "astray",
        "left": "put right what keeps it from following; `salt HOST fanatico_patroni.reinitialize` copies it again",
    },
    "postgres-failed": {
        "role": "patroni",
        "left": "put right what PostgreSQL names, a parameter in the pillar by orch.deploy; Patroni starts it again by itself",
    },
    "haproxy-unconfigured": {"role": "haproxy", "spares": None, "timeout": 90},
    "keepalived-hung": {"role": "haproxy", "spares": None, "timeout": 30},
    "address-missing": {"role": "haproxy", "spares": None, "timeout": 30},
    "address-doubled": {"role": "haproxy", "spares": None, "timeout": 30, "whole": True},
    "writes-stall": {
        "role": "patroni",
        "spares": "successor",
        "timeout": 90,
        "asks": "switchover",
        "whole": True,
    },
    "rpc-hung": {"role": "rpc", "spares": "another", "timeout": 60},
    "rpc-behind": {"role": "rpc", "spares": "another", "timeout": 120},
}
# What a host that is built anew needs of the others, by its roles: who is to be joined has to be there.
REST = {"etcd": "quorum", "patroni": "leader", "haproxy": "another", "rpc": "another"}

# What can drift, by the state module that would put it right. Commands run because of something else.
DRIFT = {
    "file": "files",
    "pkg": "packages",
    "pkgrepo": "packages",
    "fanatico_artifact": "packages",
    "service": "units",
    "fanatico_firewall": "firewall",
    "fanatico_haproxy": "certificates",
    "fanatico_pki": "certificates",
    "fanatico_etcd": "settings",
    "fanatico_patroni": "settings",
    "fanatico_postgres": "settings",
    "user": "users",
    "group": "users",
    "cmd": "consequences",
}

HOUR = 3600
SHARE = 1 / 3  # of the budget, for one host: it must not use up what the others may need
MISTAKES = 20  # reports of one host within the window that come to nothing, before no more are asked for
FORGOTTEN = 300  # seconds; who tells of a fault that stays does so every minute


def drifted(entries):
    """
    Return what has drifted, ``[{"state", "kind", "sls", "would"}]``, of what a highstate with ``test=True`` returned.

    Only that, and what kind: a difference may show a secret.
    """
    found = []
    for key, one in entries.items():
        if one.get("result") is True:
            continue
        would = (one.get("comment") or "").strip().splitlines()[:1] or ["would change"]
        kind = DRIFT.get(key.split("_|-")[0], "others")
        if kind == "units" and re.search(r"(?i)set to be re(load|start)ed", would[0]):
            kind = "consequences"
        state = {"state": one.get("__id__", key), "kind": kind, "sls": one.get("__sls__", "")}
        found.append({**state, "would": would[0][:200]})
    return found


def correctable(found, kinds):
    """
    Return ``{component: [sls, ...]}``: what of ``drifted`` may be put right where ``kinds`` may.

    A component is put right as a whole, with what follows from it, or not at all.
    """
    components: dict[str, Any] = {}
    for one in found:
        components.setdefault(one["sls"].split(".")[0], []).append(one)
    allowed = {*kinds, "consequences"}
    return {
        name: sorted({one["sls"] for one in ones})
        for name, ones in components.items()
        if name and all(one["kind"] in allowed for one in ones) and any(one["kind"] in kinds for one in ones)
    }


def units(roles, overrides=None, settings=None):
    """
    Return the units that a node with ``roles`` promises to keep running.

    roles
        The node's roles, and ``fanatico_components.EVERY`` for the units of every node.
    overrides
        ``{role: [unit, ...]}``, replaces the built-in list of that role (pillar ``heal:units``).
    settings
        The node's pillar: units that it does not make exist are left out. Without ``settings`` they are all in, since the node
        may have them.
    """
    known = {role: _units(role, settings) for role in roles} | (overrides or {})
    return list(dict.fromkeys(unit for role in roles for unit in known[role]))


def _units(role, settings):
    """Return the units of a role that are healed, as far as the settings make them exist."""
    return [
        unit.name
        for one in COMPONENTS
        if role in one.roles
        for unit in one.units
        if unit.healed and (settings is None or unit.when is None or _meets(settings, *unit.when))
    ]


def _meets(settings, path, value):
    return fanatico_plan.get(settings, path) == value


def possible(roles):
    """Return the faults that a node with ``roles`` can have, without those of its units."""
    return [fault for fault, cure in CURES.items() if cure["role"] is None or cure["role"] in roles]


def spares(what):
    """Return what a cure has to leave standing, or None; starting a unit takes nobody out of service."""
    return CURES.get(what, {}).get("spares")


def own(roles):
    """Return the faults that a node with ``roles`` can tell of itself."""
    return [fault for fault in possible(roles) if not CURES[fault].get("whole")]


def believed(plan, host, answer):
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
    can_be = [*units([*roles, EVERY]), *own(roles)]
    names = sorted(what for what in answer if isinstance(what, str))
    others = [what for what in names if what not in can_be and _UNIT.fullmatch(what)]
    return {
        what: plain(answer[what]) for what in [*(one for one in names if one in can_be), *others[:_OTHERS]]
    }


_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.:-]{0,99}\.(service|socket|timer|mount|path)")
_OTHERS = 2  # units at once that only the pillar can have named (heal:units)
_WORDS = 300  # characters of what a host says about one of them


def plain(words):
    """Return what a minion has said as one line of text: cut, and without what a terminal or a log would obey."""
    return "".join(one if one.isprintable() else " " for one in str(words)[:_WORDS])


def left(what, host):
    """Return what a person does about a fault that is reported and never cured; empty for one that is cured."""
    return CURES.get(what, {}).get("left", "").replace("HOST", host)


def cheap(roles):
    """Return those of ``own`` that can be looked for every few seconds."""
    return [fault for fault in own(roles) if not CURES[fault].get("dear")]


def peers(what, roles):
    """Return the roles whose nodes have to be looked at before ``what`` is cured on a node with ``roles``."""
    if spares(what) == "rest":
        return [role for role in roles if role in REST]
    return [CURES[what]["role"]] if spares(what) else []


def timeout(what, conf):
    """Return the seconds that curing ``what`` may take; ``conf`` is the pillar's ``heal``."""
    return CURES.get(what, {}).get("timeout", conf["timeout"])


def lasting(what, conf):
    """Return how many seconds ``what`` has to last before it is one for us to cure."""
    return conf[CURES[what]["lasting"]] if "lasting" in CURES.get(what, {}) else 0


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
    proofs = {
        "etcd": "etcd.serving",
        "patroni": "patroni.state",
        "haproxy": "haproxy.serving",
        "rpc": "rpc.http",
    }
    checks = {
        name: one["checks"] for name, one in answers.items() if isinstance(one, dict) and "checks" in one
    }
    proof = proofs[role]
    named = [one["patroni.leader"]["value"] for one in checks.values() if "patroni.leader" in one]
    # Who leads has to be beyond doubt: a leader's data is never thrown away.
    leader = named[0] if named and named.count(named[0]) == len(named) else None
    return {
        "role": role,
        "nodes": fanatico_plan.nodes(plan, role),
        "well": [name for name, one in checks.items() if one.get(proof, {}).get("status") == "ok"],
        "leader": leader,
    }


def lacking(what, host, seen):
    """
    Return what would be missing with ``host`` out of service, as a sentence; empty where it can be spared.

    seen
        What ``view`` returned.
    """
    others = [node for node in seen["well"] if node != host]
    owed = REST[seen["role"]] if spares(what) == "rest" else spares(what)
    if owed == "quorum":
        majority = len(seen["nodes"]) // 2 + 1
        if len(others) < majority:
            return f"only {len(others)} other members are well, and a majority is {majority}"
    elif owed == "replica":
        leader = seen["leader"]
        if leader is None:
            return "it is not beyond doubt who leads"
        if leader == host:
            return f"{host} leads: its data is never thrown away"
        if leader not in others:
            return f"{leader} leads and is not well: what {host} holds may be needed"
        if len(seen["nodes"]) > 2 and len(others) < 2:
            return f"no other replica is well: what {host} holds may be needed"
    elif owed == "leader":
        if seen["leader"] in (None, host):
            return "it is not beyond doubt who leads"
        if seen["leader"] not in others:
            return f"{seen['leader']} leads and is not well: nobody could be followed"
    elif owed == "successor":
        if not [node for node in others if node != seen["leader"]]:
            return "no replica is well that could take the lead"
    elif owed == "another" and not others:
        return "no other node of its role is well"
    return ""


def unknown(host, what, roles, conf):
    """Return why ``what`` is nothing that could be healed on ``host`` at all, as a sentence; empty where it could."""
    if roles and what in [*units([*roles, EVERY], conf["units"]), *possible(roles)]:
        return ""
    return f"{plain(what)} is neither a unit that {plain(host)} has to keep running nor a fault it can have"


def refusal(now, host, what, roles, state, conf):
    """
    Return why nothing must be done now about ``what`` on ``host``, as a sentence; empty when something may.

    now
        Epoch seconds.
    what
        A unit that is down, or one of ``CURES``.
    roles
        The roles the plan gives ``host``.
    state
        See the top of this file.
    conf
        The pillar's ``heal``.
    """
    reason = unknown(host, what, roles, conf)
    if reason:
        return reason
    frozen = state.get("frozen")
    if frozen and now < frozen["until"]:
        return f"healing is frozen for another {round(frozen['until'] - now)} s: {frozen['reason']}"
    if not conf["attempts"]:
        return "healing is switched off in the pillar: heal:attempts is 0"
    asks = CURES.get(what, {}).get("asks")
    if asks and not conf[asks]:
        return f"left to a person, since heal:{asks} is not set: look at {host}"
    since, owed = now - state.get("seen", {}).get(f"{host}/{what}", [now])[0], lasting(what, conf)
    if since < owed:
        return f"that may be meant: it has lasted for {round(since)} s, and is ours after {owed} s"
    # One that holds the lock for minutes gets less of them.
    window = max(conf["window"], 6 * timeout(what, conf))
    recent = _recent(state, host, what, now, window)
    if len(recent) >= conf["attempts"]:
        done, minutes = ("started" if "." in what else "treated"), round(window / 60)
        look = f"`journalctl -u {what}` on {host}" if "." in what else "`salt-run fanatico.history`"
        return f"already {done} {len(recent)} times in {minutes} minutes: look at it with {look}"
    hour = {
        key: sum(now - when < HOUR for when in moments) for key, moments in state.get("attempts", {}).items()
    }
    of_host = sum(count for key, count in hour.items() if key.startswith(f"{host}/"))
    if of_host >= conf["budget"] * SHARE:
        return f"{of_host} actions on {host} in an hour, its share of heal:budget: look at {host}, the others are healed"
    spent = sum(hour.values())
    if spent >= conf["budget"]:
        return f"{spent} actions in an hour are all there may be (heal:budget): somebody has to look at the whole"
    when, last = state.get("disturbed", (now - conf["calm"], ""))
    if spares(what) and now - when < conf["calm"]:
        return f"one node at a time: {last} was {round(now - when)} s ago, and {conf['calm']} s have to pass"
    return ""


def told(state, host, what, now):
    """Return ``state`` in which ``what`` was told of now; it counts as lasting where the last time is not long ago."""
    first, last = state.get("seen", {}).get(f"{host}/{what}", (now, now))
    recent = {key: one for key, one in state.get("seen", {}).items() if now - one[1] < FORGOTTEN}
    return {**state, "seen": {**recent, f"{host}/{what}": [first if now - last < FORGOTTEN else now, now]}}


def mistaken(state, host, now, window):
    """Return ``state`` in which ``host`` has reported what was not there, or was over; that counts for ``window`` seconds."""
    kept = {
        name: [until for until in moments if now < until]
        for name, moments in state.get("mistaken", {}).items()
    }
    kept = {name: moments for name, moments in kept.items() if moments}
    return {**state, "mistaken": {**kept, host: [*kept.get(host, []), now + window]}}


def distrusted(state, host, now):
    """
    Tell whether ``host`` has reported so much that was not there that only ``fanatico.reconcile`` looks at it for a while.

    Each report costs the master a second of its processor, and the lock; who makes them up must not have more of both.
    """
    return sum(now < until for until in state.get("mistaken", {}).get(host, [])) >= MISTAKES


def attempted(state, host, what, now, window):
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
    return {**state, "disturbed": [now, f"{what} on {host}"]} if spares(what) else state


def refused(state, host, what, now, reason, window):
    """
    Return ``(state, news)``: ``state`` with this refusal, and whether it is worth a line in the history.

    A beacon repeats itself while a fault stays; the same refusal is news once per ``window`` seconds.
    """
    key = f"{host}/{what}"
    # Only the kind of refusal counts: the rest of the sentence holds counters and process ids.
    kind = reason.split(":")[0].rstrip("0123456789 s")
    when, last = state.get("refused", {}).get(key, (0, ""))
    if last == kind and now - when < window:
        return state, False
    kept = {name: one for name, one in state.get("refused", {}).items() if now - one[0] < window}
    return {**state, "refused": {**kept, key: [now, kind]}}, True


def frozen(state, now, seconds, reason):
    """Return ``state`` in which nothing is healed for the next ``seconds``."""
    return {**state, "frozen": {"reason": reason, "until": now + seconds}}


def thawed(state):
    """Return ``state`` in which healing works again."""
    return {key: value for key, value in state.items() if key != "frozen"}


def seconds(text):
    """Return the seconds in ``90``, ``"90s"``, ``"15m"``, ``"2h"`` or ``"1d"``; raises ``ValueError``."""
    text = str(text).strip()
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:], 0)
    number = text[:-1] if factor else text
    if not number.isdecimal() or int(number) == 0:
        raise ValueError(f"{text!r} is not a time: write for example 90s, 15m, 2h or 1d")
    return int(number) * (factor or 1)


def _recent(state, host, what, now, window):
    return [when for when in state.get("attempts", {}).get(f"{host}/{what}", []) if now - when < window]
