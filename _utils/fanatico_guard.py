"""
What may be healed, and when not. Pure: the caller reads clocks and files.

The state is one dict, kept by the caller between calls; times are epoch seconds:

``attempts``
    ``{"etcd1/etcd.service": [when, ...]}``, the actions taken.
``refused``
    ``{"etcd1/etcd.service": [when, kind]}``, the last refusal that was written down.
``frozen``
    ``{"reason": ..., "until": when}``, present while healing is switched off.
"""

# The units each role promises to keep running; pillar `heal:units:<role>` replaces a role's.
UNITS = {
    "etcd": ["etcd.service"],
    "patroni": ["patroni.service"],
    "haproxy": ["haproxy.service", "keepalived.service"],
    # The last two are not there with every kind of node: a unit that does not exist is not watched.
    "rpc": ["fanatico-rpc.service", "fanatico-rpc-ws.socket", "fanatico-rpc-follow.service"],
}

DEFAULTS = {
    "attempts": 3,  # actions per unit (0: never act) ...
    "window": 600,  # ... within so many seconds
    "patience": 20,  # seconds to wait for another healing to end
    "samples": 3,  # consecutive looks at the same process that prove a start
    "timeout": 30,  # seconds for a unit to start and prove itself
    "units": {},
}


def settings(overrides=None):
    """Return the settings in force: ``DEFAULTS`` with ``overrides`` (pillar ``heal``) on top."""
    return {**DEFAULTS, **(overrides or {})}


def units(roles, overrides=None):
    """
    Return the units that a node with ``roles`` promises to keep running.

    roles
        The node's roles.
    overrides
        ``{role: [unit, ...]}``, replaces the built-in list of that role (pillar ``heal:units``).
    """
    known = {**UNITS, **(overrides or {})}
    return list(dict.fromkeys(unit for role in roles for unit in known.get(role, [])))


def refusal(now, host, unit, roles, state, conf):
    """
    Return why ``unit`` on ``host`` must not be started now, as a sentence; empty when it may.

    now
        Epoch seconds.
    roles
        The roles the plan gives ``host``.
    state
        See the top of this file.
    conf
        What ``settings`` returned.
    """
    if unit not in units(roles, conf["units"]):
        return f"{unit} is not a unit that {host} has to keep running"
    frozen = state.get("frozen")
    if frozen and now < frozen["until"]:
        return f"healing is frozen for another {round(frozen['until'] - now)} s: {frozen['reason']}"
    if not conf["attempts"]:
        return "healing is switched off in the pillar: heal:attempts is 0"
    recent = _recent(state, host, unit, now, conf["window"])
    if len(recent) >= conf["attempts"]:
        return (
            f"already started {len(recent)} times in {round(conf['window'] / 60)} minutes: "
            f"look at it with `journalctl -u {unit}` on {host}"
        )
    return ""


def attempted(state, host, unit, now, window):
    """Return ``state`` with one more action on ``unit`` of ``host``, none older than ``window`` seconds."""
    recent = [*_recent(state, host, unit, now, window), now]
    return {**state, "attempts": {**state.get("attempts", {}), f"{host}/{unit}": recent}}


def refused(state, host, unit, now, reason, window):
    """
    Return ``(state, news)``: ``state`` with this refusal, and whether it is worth a line in the history.

    A beacon repeats itself while a unit stays down; the same refusal is news once per ``window`` seconds.
    """
    key = f"{host}/{unit}"
    # Only the kind of refusal counts: the rest of the sentence holds counters and process ids.
    kind = reason.split(":")[0].rstrip("0123456789 s")
    when, last = state.get("refused", {}).get(key, (0, ""))
    if last == kind and now - when < window:
        return state, False
    return {**state, "refused": {**state.get("refused", {}), key: [now, kind]}}, True


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


def _recent(state, host, unit, now, window):
    return [when for when in state.get("attempts", {}).get(f"{host}/{unit}", []) if now - when < window]
