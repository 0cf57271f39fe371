"""
Watch the units this node has to keep running, and what else can be wrong with it, and say when something is.

One event per fault, tag ``salt/beacon/<minion>/fanatico/<unit or fault>``; while it stays the event is
repeated now and then, because an event that nobody heard is lost. A unit that systemd is restarting by itself
is no fault unless it does so again and again, and what is not a unit has to be seen several times in a row.

A running unit costs one read of a small file a second: systemd itself is asked only when the unit's control
group is empty, and otherwise every few seconds to be sure, once for all units and for the look at the services:
to start `systemctl` costs more than everything else here.
"""

import contextlib
import importlib
import json
import os
import socket
import time

# A minion's job is a fork of the process this file lives in. What `fanatico.health` needs is loaded here once
# instead of in every job (psycopg: 80 ms of CPU, websocket: 40 ms); never gRPC, which does not survive a fork.
for _library in ("psycopg", "websocket"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_library)

__virtualname__ = "fanatico"

DEFAULTS = {
    "settle": 30,  # seconds a unit may take to come up after a boot before it counts as down
    "repeat": 60,  # seconds between two events about a unit that stays down
    "gap": 5,  # seconds between two events about a unit that comes and goes
    "resync": 5,  # seconds between two questions to systemd about a unit that looks well
    "loops": 5,  # restarts by systemd within `repeat` seconds after which a unit is said not to stay up
    "look": 5,  # seconds between two looks for other faults
    "sure": 2,  # looks in a row that must find one
    "hang": 60,  # seconds without a turn of this file after which systemd restarts the minion
}
_SALTS_OWN = {"_beacon_name", "interval", "enabled", "disable_during_state_run", "beacon_module", "run_once"}

_memory = {}
_symptoms = {"next": 0.0, "seen": {}, "told": {}, "looked": False}


def __virtual__():
    return __virtualname__


def validate(config):
    """
    Return ``(valid, reason)``: the configuration is a list of ``{name: seconds}`` with the names of
    ``DEFAULTS``.
    """
    if not isinstance(config, list) or not all(isinstance(item, dict) for item in config):
        return (
            False,
            "The beacon fanatico wants a list of settings, for example `- repeat: 60`, or an empty list.",
        )
    for name, value in _merged(config).items():
        if name in _SALTS_OWN:
            continue
        if name not in DEFAULTS:
            return False, f"The beacon fanatico does not know {name!r}, only {', '.join(DEFAULTS)}."
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            return False, f"The beacon fanatico wants a number of seconds for {name}, not {value!r}."
    return True, "Valid beacon configuration"


def beacon(config):
    """Return an event for every unit of this node that has gone down, and every other fault; again where it stays."""
    settings = {**DEFAULTS, **_merged(config)}
    now = time.monotonic()
    _alive(settings["hang"])
    looking = _symptoms["looked"] = now >= _symptoms["next"]
    states = _states(now, looking)
    events = _units(now, settings, states) + (_faults(now, settings, states) if looking else []) + _address()
    if events and __salt__["fanatico_unit.shutting_down"]():
        return []
    _report(events, states, settings)
    return events


def _report(events, states, settings):
    """
    Write down what was reported and is still seen, for whoever the event makes ask (``fanatico_cure.reported``).

    The master believes nothing of an event but that there is a reason to ask: any minion can fire one in this one's name.
    """
    now, known = time.time(), _symptoms.get("reported", {})
    # One that systemd restarts again and again is active at times.
    gone = {
        what
        for what, one in known.items()
        if states.get(what, {}).get("active") == "active" and now - one["when"] > settings["gap"]
    }
    if _symptoms["looked"]:
        gone |= {what for what in known if what not in _memory and what not in _symptoms["seen"]}
    news = {one["what"]: {"why": one["why"], "when": now} for one in events if "what" in one}
    after = {**{what: one for what, one in known.items() if what not in gone}, **news}
    if after != known:
        _symptoms["reported"] = after
        path = os.path.join(__opts__["cachedir"], REPORTED)
        with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(after, file)
        os.replace(f"{path}.new", path)


REPORTED = "fanatico-reported.json"


def _alive(hang):
    """Tell systemd that the minion turns, and how long it may not where that is new. Before our files are there nobody asks."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    known, _symptoms["hang"] = _symptoms.get("hang"), hang
    words = "WATCHDOG=1" if known == hang else f"WATCHDOG_USEC={round(hang * 1e6)}\nWATCHDOG=1"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(words.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def _states(now, all_of_them):
    """Return how the units are that systemd has to be asked about: ``{unit: state}``."""
    try:
        expected = __salt__["fanatico_unit.expected"]()
    except KeyError:
        # Salt takes in our files one kind after the other; for a moment some of them are not there yet.
        return {}
    due = [unit for unit in expected if all_of_them or _due(_memory.get(unit), now)]
    return __salt__["fanatico_unit.states"](*due) if due else {}


def _units(now, settings, states):
    """Return the events about units."""
    events = []
    for unit, state in states.items():
        _memory[unit], why = _judge(_memory.get(unit), state, now, settings)
        if why:
            facts = {name: state[name] for name in ("active", "sub", "result", "restarts")}
            events.append({"tag": unit, "what": unit, "why": why, **facts})
    return events


def _address():
    """Return the event that this balancer has taken the virtual IP, or given it up. No fault, and nobody reacts to it."""
    try:
        if "keepalived.service" not in __salt__["fanatico_unit.expected"]():
            return []
        holds = __salt__["fanatico_keepalived.holds_address"]()
    except KeyError:
        return []
    before, _symptoms["holds"] = _symptoms.get("holds"), holds
    if before in (None, holds):
        return []
    return [{"tag": f"address/{'taken' if holds else 'left'}"}]


def _faults(now, settings, states):
    """Return the events about faults that are not a unit's."""
    _symptoms["next"] = now + settings["look"]
    try:
        found = __salt__["fanatico_cure.symptoms"](states)
    except KeyError:
        return []
    seen = {fault: _symptoms["seen"].get(fault, 0) + 1 for fault in found}
    told = {fault: when for fault, when in _symptoms["told"].items() if fault in found}
    events = []
    for fault, why in found.items():
        if (
            seen[fault] >= settings["sure"]
            and now - told.get(fault, -settings["repeat"]) >= settings["repeat"]
        ):
            told[fault] = now
            events.append({"tag": fault, "what": fault, "why": why})
    _symptoms.update(seen=seen, told=told)
    return events


def _merged(config):
    return {name: value for item in config for name, value in item.items()}


def _due(known, now):
    """Tell whether systemd must be asked about a unit."""
    return known is None or now >= known["look"] or bool(known["group"] and not _populated(known["group"]))


def _populated(group):
    """Tell whether any process is left in a unit's control group."""
    try:
        with open(f"/sys/fs/cgroup{group}/cgroup.events", encoding="ascii") as handle:
            return "populated 1" in handle.read()
    except OSError:
        return False


def _judge(known, state, now, settings):
    """
    Return ``(memory, why)``: what to remember of a unit, and why to report it now (empty: not).

    known
        What the last call returned as memory; None at first sight.
    state
        The unit as ``fanatico_unit.states`` has it.
    now
        Seconds of a clock that never jumps.
    """
    memory = dict(known or {"up": False, "down_since": None, "told": None, "entered": 0, "counted": (now, 0)})
    why = ""
    began, restarts = memory["counted"]
    # A cure that knows the cause has long been at work by then.
    if known is None or state["restarts"] < restarts or now - began >= settings["repeat"]:
        memory["counted"] = (now, state["restarts"])
        if known and not state["down"] and state["restarts"] - restarts >= settings["loops"]:
            why = f"restarted {state['restarts'] - restarts} times in {now - began:.0f} s"
    if state["active"] == "active":
        memory.update(up=True, down_since=None)
    elif state["down"]:
        told = memory["told"]
        if memory["down_since"] is None:
            memory["down_since"] = now
        # It may have been started and have gone down again between two looks.
        if memory["up"] or (told is not None and state["entered"] > memory["entered"]):
            # Otherwise it is still remembered as up, and judged again at the next look.
            if told is None or now - told >= settings["gap"]:
                why = "failed" if state["active"] == "failed" else "stopped"
        elif told is not None and told >= memory["down_since"]:
            why = "still down" if now - told >= settings["repeat"] else ""
        # Installed and enabled, but never started: a deploy is on its way to it.
        elif (
            state["enabled"] == "enabled"
            and state["tried"]
            and now - memory["down_since"] >= settings["settle"]
        ):
            why = "did not come up"
        if why:
            memory.update(up=False, told=now, entered=state["entered"])
    # While a unit is in trouble every look counts: it may be started and fall again within a second.
    settled = state["active"] == "active" or (not memory["up"] and memory["told"] is None)
    memory["look"] = now + settings["resync"] if settled else now
    # A unit without processes of its own (a socket) has no group to watch.
    memory["group"] = state["cgroup"] if state["active"] == "active" and _populated(state["cgroup"]) else ""
    return memory, why
