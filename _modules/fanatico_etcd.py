"""
etcd on this node and its peers: status, health, and what is to be said of it.

Through the JSON gateway alone: health must not depend on python-etcd3, whose gRPC does not survive the fork of a Salt job
(`fanatico_etcd_members.py`). The three files of this name are one module to Salt: ``fanatico_etcd``.
"""

import pathlib

from salt.exceptions import CommandExecutionError

import fanatico_etcd_checks
import fanatico_etcd_gateway
import fanatico_etcd_plan
import fanatico_plan
import fanatico_wait

UNIT = "etcd.service"


def _me():
    return __opts__["id"]


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _gateway():
    return fanatico_etcd_gateway.Gateway(__pillar__, _me(), __salt__["fanatico_pki.paths"]("etcd"))


def status(timeout=1):
    """
    Return the status of every member of the plan, ``{id: {...}}``; ``{"error": reason}`` for one without an
    answer.

    timeout
        Seconds, for each member; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.status
    """
    gateway = _gateway()
    return gateway.everywhere(gateway.status, timeout)


def health(timeout=1):
    """
    Return what every member of the plan says to ``GET /health``, ``{id: {"healthy": bool, "reason": text}}``.

    timeout
        Seconds, for each member; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.health
    """
    gateway = _gateway()
    return gateway.everywhere(gateway.health, timeout)


def leader(timeout=1):
    """
    Return the id of the node that leads, or None where the members that answer know no leader.

    timeout
        Seconds, for each member; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.leader
    """
    return fanatico_etcd_plan.leader_of(status(timeout))


def local_state():
    """
    Return what this node holds: ``{"data_dir": bool, "active": bool, "member": bool or None}``.

    ``data_dir``: etcd has written data here. ``active``: its unit runs. ``member``: the cluster lists this
    node; None where no member anywhere could be asked. A deploy decides from this between bootstrap and
    rejoin.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.local_state
    """
    directory = pathlib.Path(_setting("etcd:data_dir"))
    return {
        "data_dir": (directory / "member").is_dir(),
        "active": __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"] == "active",
        "member": _listed(),
    }


def _listed(timeout=1):
    """Tell whether any member that answers lists this node; None where none answers."""
    gateway = _gateway()
    answers = gateway.everywhere(gateway.members, timeout)
    views = [one for one in answers.values() if "error" not in one]
    return any(_me() in one for one in views) if views else None


def alarms(timeout=1):
    """
    Return what this node's member itself calls wrong, a list of texts, such as alarms; empty where all is well.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.alarms
    """
    gateway = _gateway()
    return gateway.status(gateway.nodes[_me()], timeout)["errors"]


def wait_quorum(timeout=60):
    """
    Wait until a majority of the plan's members serve and agree on a leader; return ``{"leader", "members"}``.

    timeout
        Seconds; then ``CommandExecutionError`` with what was seen and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.wait_quorum timeout=30
    """

    def look():
        statuses = status(timeout=1)
        healths = health(timeout=1)
        serving = sorted(name for name, one in healths.items() if one.get("healthy"))
        now = fanatico_etcd_plan.leader_of(statuses)
        done = (
            now is not None
            and len(serving) > len(healths) // 2
            and (_me() in serving or _me() not in healths)
        )
        return done, {"leader": now, "members": serving}

    done, seen = fanatico_wait.until(look, timeout)
    if done:
        return seen
    unit = "etcd" if fanatico_plan.has_role(__pillar__["plan"], _me(), "etcd") else ""
    journal = __salt__["fanatico.journal"](unit) if unit else ""
    raise CommandExecutionError(
        fanatico_wait.timeout_message(_me(), "etcd's quorum", timeout, seen, unit, journal)
    )


def probe(timeout=2):
    """
    Look at etcd on this node and at its peers once: ``{"facts": {...}, "checks": {name: check}}``. Never
    raises.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.probe
    """
    facts = _facts(_gateway(), timeout)
    checks = fanatico_etcd_checks.member(facts, _me(), _setting("etcd:quota_backend_bytes"))
    if facts.get("users"):
        checks["etcd.users"] = fanatico_etcd_checks.users(facts["users"], _setting("etcd:users"))
    return {"facts": facts, "checks": checks}


def _facts(gateway, timeout):
    """Return what this node's member and its peers answer, all asked side by side."""
    mine = gateway.nodes[_me()]
    own = {
        "health": lambda: gateway.health(mine, timeout),
        "members": lambda: gateway.members(mine, timeout),
        "inside": lambda: gateway.inside(mine, timeout),
    }
    peers = {
        f"status {name}": (lambda address=address: gateway.status(address, timeout))
        for name, address in gateway.nodes.items()
    }
    answers = fanatico_wait.gather(own | peers, timeout * 1.5)
    errors = {name: str(error) for name, (_, error) in answers.items() if error is not None}
    facts = {name: answers[name][0] for name in own if name not in errors}
    facts |= facts.pop("inside", {})
    statuses = {
        name.removeprefix("status "): {"error": errors[name]} if name in errors else answers[name][0]
        for name in peers
    }
    return {"status": statuses, "errors": errors, **facts}


def checks(timeout=2):
    """
    Return the checks of etcd on this node, ``{name: check}``.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.checks
    """
    return probe(timeout)["checks"]
