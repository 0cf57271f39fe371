"""
What every node owes, whatever its roles: its units, room on its disks, the right time. And the master's part.
"""

import ctypes
import hashlib
import inspect
import os
import pathlib
import socket
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_drift
import fanatico_patroni_plan
import fanatico_plan
import fanatico_verdict
from fanatico_components import COMPONENTS

MASTER = next(one for one in COMPONENTS if one.name == "master")
MASTER_KEYS = "/etc/salt/pki/master"
CONTAINER = "/run/systemd/container"  # what systemd writes in a container: its kind

_TIME_ERROR = 5  # what adjtimex returns while the kernel's clock is not synchronised


def _roles():
    return fanatico_plan.roles(__pillar__["plan"], __opts__["id"])


def _components():
    return fanatico_plan.components(_roles())


def _kept_by_systemd():
    """Return the units of this node that nothing but systemd starts again."""
    return [unit.name for one in _components() for unit in one.units if not unit.healed]


def _master_ports():
    """Return ``{"publish": port, "request": port}``."""
    return {port.name.removeprefix("salt_"): port.number for port in MASTER.ports}


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def probe(timeout: float = 2) -> dict:
    """
    Look at this node once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds, for what could hang.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node.probe
    """
    roles = _roles()
    units = [*_kept_by_systemd(), *__salt__["fanatico_unit.expected"]()]
    states = inspect.unwrap(__salt__["fanatico_unit.states"])  # in a thread, past the loader
    asked = {
        "units": lambda: states(*units),
        "disk": lambda: _disks(_data_paths()),
        "clock": _clock,
        "firewall": __salt__["fanatico_firewall.state"],
    }
    if "master" in roles:
        asked.update(ports=lambda: _ports(timeout), keys=_keys)
    facts: dict = {"errors": {}}
    for name, ask in asked.items():
        try:
            facts[name] = ask()
        except (OSError, subprocess.TimeoutExpired, CommandExecutionError) as exc:
            facts["errors"][name] = str(exc)
    judged = _judge(facts, fanatico_plan.nodes(__pillar__["plan"]))
    return {"facts": facts, "checks": {**judged, **__salt__["fanatico_pki.checks"]()}}


def modules() -> dict[str, str]:
    """
    Return the modules that this node was handed out, ``{"utils/fanatico_plan.py": SHA-256 as hexadecimal digits, ...}``.

    The master compares them with the tree (``salt-run fanatico.sync_modules``).

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node.modules
    """
    top = pathlib.Path(__opts__["extension_modules"])
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.glob("*/*.py"))
    }


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of this node, ``{name: check}``.

    timeout
        Seconds, for what could hang.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node.checks
    """
    return probe(timeout)["checks"]


def disk() -> dict:
    """
    Return the check of this node's disks.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node.disk
    """
    return _judge_disk({"disk": _disks(_data_paths())})


def drift() -> dict[str, dict]:
    """
    Return what a highstate would change here, ``{state: {"kind", "would"}}``; nothing is changed.

    Kinds are those of ``fanatico_drift.KINDS``. Raises ``CommandExecutionError`` where the states cannot even be put together.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node.drift
    """
    return {one["state"]: {"kind": one["kind"], "would": one["would"]} for one in _drifted()}


def correctable(kinds: list[str]) -> dict[str, list]:
    """
    Return what has drifted here and may be put right, ``{component: [sls, ...]}``.

    kinds
        Those of ``fanatico_drift.KINDS`` that may.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node.correctable '[files, firewall]'
    """
    return fanatico_drift.correctable(_drifted(), kinds)


def _drifted():
    answer = __salt__["state.highstate"](test=True, queue=True)
    if not isinstance(answer, dict):
        raise CommandExecutionError(f"{__opts__['id']}: {'; '.join(map(str, answer))}")
    return fanatico_drift.drifted(answer)


def _data_paths():
    """Return where the data of this node's components lie; the root file system is looked at everywhere."""
    pillar = fanatico_patroni_plan.completed(__pillar__)
    places = [place for one in _components() for place in one.data]
    return sorted(
        {"/", *(one if one.startswith("/") else fanatico_plan.setting(pillar, one) for one in places)}
    )


def _disks(paths):
    """Return ``{path: {"total", "free"}}`` in bytes, each file system once; of what is not there yet, the one it will be in."""
    found, seen = {}, set()
    for wanted in map(pathlib.Path, paths):
        path = str(next(place for place in (wanted, *wanted.parents) if place.exists()))
        device, room = os.stat(path).st_dev, os.statvfs(path)
        if device not in seen:
            seen.add(device)
            found[path] = {"total": room.f_blocks * room.f_frsize, "free": room.f_bavail * room.f_frsize}
    return found


def in_container() -> bool:
    """
    Tell whether this node is a container: its clock is its host's, and its kernel tells it of no other process's death.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node.in_container
    """
    return os.path.isfile(CONTAINER)


def _clock():
    """
    Return ``"synchronised"``, ``"unsynchronised"``, or ``"host"`` in a container, whose clock is its host's.
    """
    if in_container():
        return "host"
    # struct timex is 208 bytes on 64 bit Linux; all zero asks and changes nothing.
    answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    return "unsynchronised" if answer in (_TIME_ERROR, -1) else "synchronised"


def _ports(timeout):
    """Return which of the master's ports take a connection at its address in the plan: ``{name: bool}``."""
    address = fanatico_plan.address(__pillar__["plan"], __opts__["id"])
    found = {}
    for name, port in _master_ports().items():
        try:
            socket.create_connection((address, port), timeout).close()
            found[name] = True
        except OSError:
            found[name] = False
    return found


def _keys():
    """Return the minion keys the master holds: ``{"accepted": [ids], "pending": [ids]}``."""
    folders = {"accepted": "minions", "pending": "minions_pre"}
    return {
        name: sorted(path.name for path in pathlib.Path(MASTER_KEYS, folder).glob("[!.]*"))
        for name, folder in folders.items()
    }


def _judge(facts, nodes):
    """Return the checks for what was seen; ``nodes`` are the plan's."""
    found = {
        "node.units": _judge_units(facts),
        "node.disk": _judge_disk(facts),
        "node.clock": _judge_clock(facts),
        "node.firewall": _judge_firewall(facts),
    }
    if "ports" in facts or "ports" in facts["errors"]:
        found["master.ports"] = _judge_ports(facts)
        found["master.keys"] = _judge_keys(facts, nodes)
    return found


def _judge_units(facts):
    if "units" not in facts:
        return fanatico_verdict.unknown(None, facts["errors"]["units"], "systemctl --failed")
    down = {unit: one["active"] for unit, one in facts["units"].items() if one["active"] != "active"}
    if not down:
        names = ", ".join(unit.removesuffix(".service") for unit in facts["units"])
        return fanatico_verdict.ok([], f"{names} run")
    first = next(iter(down))
    spared = {unit.name for one in COMPONENTS for unit in one.units if not unit.essential}
    verdict = fanatico_verdict.degraded if set(down) <= spared else fanatico_verdict.critical
    detail = ", ".join(f"{unit.removesuffix('.service')} is {state}" for unit, state in down.items())
    return verdict(sorted(down), detail, f"systemctl status {first}; journalctl -u {first} -n 50")


def _judge_disk(facts):
    if "disk" not in facts:
        return fanatico_verdict.unknown(None, facts["errors"]["disk"], "df -h")
    percent = {path: 100 * room["free"] / max(1, room["total"]) for path, room in facts["disk"].items()}
    worst = min(percent, key=lambda path: percent[path])
    share, free = percent[worst], facts["disk"][worst]["free"]
    detail = f"{worst} has {free / 1024**3:.1f} GiB free ({share:.0f} %)"
    for status, limit in (("critical", "critical"), ("degraded", "warning")):
        least = _setting(f"base:disk:{limit}")
        if share < least["percent"] and free < least["gib"] * 1024**3:
            return fanatico_verdict.check(status, round(share), detail, f"du -xh {worst} | sort -h | tail")
    return fanatico_verdict.ok(round(share), detail)


def _judge_clock(facts):
    clock = facts.get("clock")
    if clock == "host":
        return fanatico_verdict.ok(clock, "a container: its host keeps the time")
    if clock == "synchronised":
        return fanatico_verdict.ok(clock, "the clock is synchronised")
    if clock is None:
        return fanatico_verdict.unknown(None, facts["errors"]["clock"], "timedatectl")
    return fanatico_verdict.degraded(
        clock, "the clock is not synchronised", "timedatectl; timedatectl set-ntp true"
    )


def _judge_firewall(facts):
    state = facts.get("firewall")
    if state == "in force":
        return fanatico_verdict.ok(state, "the rules of the plan are in force")
    hint = f"salt {__opts__['id']} state.apply firewall"
    if state is None:
        return fanatico_verdict.unknown(None, facts["errors"]["firewall"], hint)
    words = {
        "none": "no rules were ever loaded",
        "outdated": "the plan has changed since the rules were loaded",
        "touched": "somebody has changed the rules in the kernel",
    }
    return fanatico_verdict.degraded(state, words[state], hint)


def _judge_ports(facts):
    closed = [name for name, opened in facts.get("ports", {"master": False}).items() if not opened]
    if closed:
        return fanatico_verdict.critical(
            closed, f"the master does not listen: {', '.join(closed)}", "journalctl -u salt-master -n 50"
        )
    return fanatico_verdict.ok([], "the master listens on 4505 and 4506")


def _judge_keys(facts, nodes):
    if "keys" not in facts:
        return fanatico_verdict.unknown(None, facts["errors"]["keys"], "salt-key -L")
    missing = [name for name in nodes if name not in facts["keys"]["accepted"]]
    strangers = [name for name in facts["keys"]["accepted"] if name not in nodes]
    if missing:
        return fanatico_verdict.degraded(
            missing,
            f"no accepted key from {', '.join(missing)}",
            "salt-key -L; compare with `salt-call --local key.finger` there, then salt-key -a ID",
        )
    if strangers:
        return fanatico_verdict.degraded(
            strangers, f"accepted and not in the plan: {', '.join(strangers)}", f"salt-key -d {strangers[0]}"
        )
    return fanatico_verdict.ok([], f"the keys of all {len(nodes)} nodes are accepted")
