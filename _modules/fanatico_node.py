"""
Health of every node, whatever its roles: units, disks, clock, firewall, certificates; on the master also ports and keys.
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

MASTER = next(component for component in COMPONENTS if component.name == "master")
MASTER_KEYS = "/etc/salt/pki/master"
CONTAINER = "/run/systemd/container"  # systemd writes the kind of container into it

_TIME_ERROR = 5  # adjtimex returns it while the kernel's clock is not synchronised


def _roles():
    return fanatico_plan.roles(__pillar__["plan"], __opts__["id"])


def _components():
    return fanatico_plan.components(_roles())


def _kept_by_systemd():
    """Return the units of this node that only systemd restarts."""
    return [unit.name for component in _components() for unit in component.units if not unit.healed]


def _master_ports():
    """Return ``{"publish": port, "request": port}``."""
    return {port.name.removeprefix("salt_"): port.number for port in MASTER.ports}


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def probe(timeout: float = 2) -> dict:
    """
    Probe this node once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds, for connections.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node.probe
    """
    roles = _roles()
    units = [*_kept_by_systemd(), *__salt__["fanatico_unit.expected"]()]
    # This runs in a thread, where the loader cannot be used.
    states = inspect.unwrap(__salt__["fanatico_unit.states"])
    questions = {
        "units": lambda: states(*units),
        "disk": lambda: _disks(_data_paths()),
        "clock": _clock,
        "firewall": __salt__["fanatico_firewall.state"],
    }
    if "master" in roles:
        questions.update(ports=lambda: _ports(timeout), keys=_keys)
    facts: dict = {"errors": {}}
    for name, ask in questions.items():
        try:
            facts[name] = ask()
        except (OSError, subprocess.TimeoutExpired, CommandExecutionError) as exc:
            facts["errors"][name] = str(exc)
    judged = _judge(facts, fanatico_plan.nodes(__pillar__["plan"]))
    return {"facts": facts, "checks": {**judged, **__salt__["fanatico_pki.checks"]()}}


def modules() -> dict[str, str]:
    """
    Return the modules that this node has received, ``{"utils/fanatico_plan.py": SHA-256 in hexadecimal, ...}``.

    The master compares them with its tree (``salt-run fanatico.sync_modules``).

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
        Seconds, for connections.

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
    Return what a highstate would change here, ``{state: {"kind", "would"}}``. A dry run: nothing is changed.

    The kinds are those of ``fanatico_drift.KINDS``. Raises ``CommandExecutionError`` if the states cannot be rendered.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node.drift
    """
    return {state["state"]: {"kind": state["kind"], "would": state["would"]} for state in _drifted()}


def correctable(kinds: list[str]) -> dict[str, list]:
    """
    Return the drift that may be corrected, ``{component: [sls, ...]}``.

    kinds
        The kinds of ``fanatico_drift.KINDS`` that may be corrected.

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
    """Return the data directories of this node's components, and ``/``."""
    pillar = fanatico_patroni_plan.completed(__pillar__)
    places = [place for component in _components() for place in component.data]
    return sorted(
        {"/", *(place if place.startswith("/") else fanatico_plan.setting(pillar, place) for place in places)}
    )


def _disks(paths):
    """Return ``{path: {"total", "free"}}`` in bytes, once per file system; a missing path stands for its nearest parent."""
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
    Return whether this node is a container: it has its host's clock, and its kernel reports no process events.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node.in_container
    """
    return os.path.isfile(CONTAINER)


def _clock():
    """
    Return ``"synchronised"``, ``"unsynchronised"``, or ``"host"`` in a container, which has its host's clock.
    """
    if in_container():
        return "host"
    # struct timex is 208 bytes on 64-bit Linux; all zeros read the state and change nothing.
    answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    return "unsynchronised" if answer in (_TIME_ERROR, -1) else "synchronised"


def _ports(timeout):
    """Return which ports of the master accept a connection at its address in the plan: ``{name: bool}``."""
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
    """Return the minion keys of the master: ``{"accepted": [ids], "pending": [ids]}``."""
    folders = {"accepted": "minions", "pending": "minions_pre"}
    return {
        name: sorted(path.name for path in pathlib.Path(MASTER_KEYS, folder).glob("[!.]*"))
        for name, folder in folders.items()
    }


def _judge(facts, nodes):
    """Return the checks for the facts of this node; ``nodes`` are the plan's."""
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
    down = {unit: state["active"] for unit, state in facts["units"].items() if state["active"] != "active"}
    if not down:
        names = ", ".join(unit.removesuffix(".service") for unit in facts["units"])
        return fanatico_verdict.ok([], f"{names} run")
    first = next(iter(down))
    optional = {unit.name for component in COMPONENTS for unit in component.units if not unit.essential}
    verdict = fanatico_verdict.degraded if set(down) <= optional else fanatico_verdict.critical
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
        return fanatico_verdict.ok(clock, "container: the clock is the host's")
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
    details = {
        "none": "no rules were ever loaded",
        "outdated": "the plan has changed since the rules were loaded",
        "touched": "the rules in the kernel differ from those that were loaded",
    }
    return fanatico_verdict.degraded(state, details[state], hint)


def _judge_ports(facts):
    closed = [name for name, opened in facts.get("ports", {"master": False}).items() if not opened]
    if closed:
        return fanatico_verdict.critical(
            closed,
            f"the master does not listen on its ports: {', '.join(closed)}",
            "journalctl -u salt-master -n 50",
        )
    return fanatico_verdict.ok([], "the master listens on 4505 and 4506")


def _judge_keys(facts, nodes):
    if "keys" not in facts:
        return fanatico_verdict.unknown(None, facts["errors"]["keys"], "salt-key -L")
    missing = [name for name in nodes if name not in facts["keys"]["accepted"]]
    unknown = [name for name in facts["keys"]["accepted"] if name not in nodes]
    if missing:
        return fanatico_verdict.degraded(
            missing,
            f"no accepted key from {', '.join(missing)}",
            f"compare salt-key -f {missing[0]} with salt-call --local key.finger on {missing[0]}; then salt-key -a {missing[0]}",
        )
    if unknown:
        return fanatico_verdict.degraded(
            unknown,
            f"accepted keys that are not in the plan: {', '.join(unknown)}",
            f"salt-key -d {unknown[0]}",
        )
    return fanatico_verdict.ok([], f"the keys of all {len(nodes)} nodes are accepted")
