"""
Watch this node's units and probe for other faults; send an event for each.

One event per fault, with the tag ``salt/beacon/<minion>/fanatico/<unit or fault>``. It is repeated while the fault lasts, because
events can get lost. A unit that systemd is restarting is a fault only if it restarts repeatedly; any other fault must be found
several times in a row.

A running unit costs one read of a small file per second. systemd is queried only if the unit's control group is empty, and every
few seconds for all units together: starting `systemctl` costs more than everything else here.
"""

import contextlib
import importlib
import json
import os
import socket
import time

# The minion's jobs are forks of this process. Libraries of `fanatico.health` are loaded here once instead of in every job
# (psycopg: 80 ms of CPU, websocket: 40 ms); never gRPC, which does not survive a fork.
for _library in ("psycopg", "websocket"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_library)

__virtualname__ = "fanatico"

DEFAULTS = {
    "settle": 30,  # seconds that a unit may take to start after a boot before it counts as down
    "repeat": 60,  # seconds between two events about a unit that stays down
    "gap": 5,  # seconds between two events about a unit that flaps
    "resync": 5,  # seconds between two queries to systemd about a running unit
    "loops": 5,  # restarts by systemd within `repeat` seconds that count as a restart loop
    "look": 5,  # seconds between two probes for other faults
    "sure": 2,  # probes in a row that must find a fault
    "hang": 60,  # seconds without a run of this beacon after which systemd restarts the minion
}
_SALTS_OWN = {"_beacon_name", "interval", "enabled", "disable_during_state_run", "beacon_module", "run_once"}

_memory = {}
_symptoms = {"next": 0.0, "seen": {}, "sent": {}, "probed": False}


def __virtual__():
    return __virtualname__


def validate(config):
    """
    Return ``(valid, reason)``. The configuration is a list of ``{name: seconds}`` with the names in ``DEFAULTS``.
    """
    if not isinstance(config, list) or not all(isinstance(item, dict) for item in config):
        return (
            False,
            "The beacon fanatico needs a list of settings, for example `- repeat: 60`, or an empty list.",
        )
    for name, value in _merged(config).items():
        if name in _SALTS_OWN:
            continue
        if name not in DEFAULTS:
            return False, f"The beacon fanatico has no setting {name!r}. Known: {', '.join(DEFAULTS)}."
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            return False, f"The beacon fanatico needs a positive number of seconds for {name}, not {value!r}."
    return True, "Valid beacon configuration"


def beacon(config):
    """Return an event for every unit of this node that is down and every other fault; repeated while it lasts."""
    settings = {**DEFAULTS, **_merged(config)}
    now = time.monotonic()
    _notify_watchdog(settings["hang"])
    probing = _symptoms["probed"] = now >= _symptoms["next"]
    states = _states(now, probing)
    events = _units(now, settings, states) + (_faults(now, settings, states) if probing else []) + _address()
    if events and __salt__["fanatico_unit.shutting_down"]():
        return []
    _report(events, states, settings)
    return events


def _report(events, states, settings):
    """
    Save the reported faults that last, for ``fanatico_cure.reported``, which the master calls after an event.

    The master does not trust the content of an event: any minion can send one in the name of this one.
    """
    now, known = time.time(), _symptoms.get("reported", {})
    # A unit in a restart loop is active at times.
    gone = {
        what
        for what, report in known.items()
        if states.get(what, {}).get("active") == "active" and now - report["when"] > settings["gap"]
    }
    if _symptoms["probed"]:
        gone |= {what for what in known if what not in _memory and what not in _symptoms["seen"]}
    new = {event["what"]: {"why": event["why"], "when": now} for event in events if "what" in event}
    after = {**{what: report for what, report in known.items() if what not in gone}, **new}
    if after != known:
        _symptoms["reported"] = after
        path = os.path.join(__opts__["cachedir"], REPORTED)
        with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(after, file)
        os.replace(f"{path}.new", path)


REPORTED = "fanatico-reported.json"


def _notify_watchdog(hang):
    """Notify systemd's watchdog that the minion is running, and of a new timeout. Without a unit of ours there is no watchdog."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    known, _symptoms["hang"] = _symptoms.get("hang"), hang
    message = "WATCHDOG=1" if known == hang else f"WATCHDOG_USEC={round(hang * 1e6)}\nWATCHDOG=1"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(message.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def _states(now, all_of_them):
    """Return the state of the units for which systemd must be queried now, ``{unit: state}``."""
    try:
        expected = __salt__["fanatico_unit.expected"]()
    except KeyError:
        # Salt loads our files one kind after the other; for a moment some of them are missing.
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
    """Return the event that this balancer took or released the virtual IP: no fault, and it triggers no cure."""
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
    """Return the events about faults other than units that are down."""
    _symptoms["next"] = now + settings["look"]
    try:
        found = __salt__["fanatico_cure.symptoms"](states)
    except KeyError:
        return []
    seen = {fault: _symptoms["seen"].get(fault, 0) + 1 for fault in found}
    sent = {fault: when for fault, when in _symptoms["sent"].items() if fault in found}
    events = []
    for fault, why in found.items():
        if (
            seen[fault] >= settings["sure"]
            and now - sent.get(fault, -settings["repeat"]) >= settings["repeat"]
        ):
            sent[fault] = now
            events.append({"tag": fault, "what": fault, "why": why})
    _symptoms.update(seen=seen, sent=sent)
    return events


def _merged(config):
    return {name: value for item in config for name, value in item.items()}


def _due(known, now):
    """Tell whether systemd must be queried about a unit."""
    return known is None or now >= known["next"] or bool(known["group"] and not _populated(known["group"]))


def _populated(group):
    """Tell whether any process is left in a unit's control group."""
    try:
        with open(f"/sys/fs/cgroup{group}/cgroup.events", encoding="ascii") as handle:
            return "populated 1" in handle.read()
    except OSError:
        return False


def _judge(known, state, now, settings):
    """
    Return ``(memory, why)``: what to remember about a unit, and why to report it now (empty: no report).

    known
        The memory that the last call returned; None for a new unit.
    state
        The unit's state, as ``fanatico_unit.states`` returns it.
    now
        Seconds of the monotonic clock.
    """
    memory = dict(known or {"up": False, "down_since": None, "sent": None, "entered": 0, "counted": (now, 0)})
    why = ""
    began, restarts = memory["counted"]
    # A cure of the cause, if there is one, starts earlier.
    if known is None or state["restarts"] < restarts or now - began >= settings["repeat"]:
        memory["counted"] = (now, state["restarts"])
        if known and not state["down"] and state["restarts"] - restarts >= settings["loops"]:
            why = f"restarted {state['restarts'] - restarts} times in {now - began:.0f} s"
    if state["active"] == "active":
        memory.update(up=True, down_since=None)
    elif state["down"]:
        sent = memory["sent"]
        if memory["down_since"] is None:
            memory["down_since"] = now
        # The unit may have been started and stopped again between two queries.
        if memory["up"] or (sent is not None and state["entered"] > memory["entered"]):
            # Within the gap it stays remembered as up, and is judged again at the next query.
            if sent is None or now - sent >= settings["gap"]:
                why = "failed" if state["active"] == "failed" else "stopped"
        elif sent is not None and sent >= memory["down_since"]:
            why = "still down" if now - sent >= settings["repeat"] else ""
        # A unit that is enabled but was never started is no fault: a deploy will start it.
        elif (
            state["enabled"] == "enabled"
            and state["tried"]
            and now - memory["down_since"] >= settings["settle"]
        ):
            why = "did not come up"
        if why:
            memory.update(up=False, sent=now, entered=state["entered"])
    # Query a unit with a fault every time: it may be started and fail again within a second.
    settled = state["active"] == "active" or (not memory["up"] and memory["sent"] is None)
    memory["next"] = now + settings["resync"] if settled else now
    # A unit without processes of its own (a socket) has no group to watch.
    memory["group"] = state["cgroup"] if state["active"] == "active" and _populated(state["cgroup"]) else ""
    return memory, why
