"""
Status and health of etcd on this node and its peers.

Everything here uses the JSON gateway: health must not depend on python-etcd3, whose gRPC does not survive the fork of a Salt
job (`fanatico_etcd_members.py`). Salt loads the three files `fanatico_etcd*.py` as one module, ``fanatico_etcd``.
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


def status(timeout: float = 1) -> dict[str, dict]:
    """
    Return the status of every member in the plan, ``{id: {...}}``; ``{"error": reason}`` for a member that does not answer.

    timeout
        Seconds, for each member; all are queried in parallel.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.status
    """
    gateway = _gateway()
    return gateway.everywhere(gateway.status, timeout)


def health(timeout: float = 1) -> dict[str, dict]:
    """
    Return the answers of all members in the plan to ``GET /health``, ``{id: {"healthy": bool, "reason": text}}``.

    timeout
        Seconds, for each member; all are queried in parallel.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.health
    """
    gateway = _gateway()
    return gateway.everywhere(gateway.health, timeout)


def leader(timeout: float = 1) -> str | None:
    """
    Return the id of the leader, or None if the members that answer know no leader.

    timeout
        Seconds, for each member; all are queried in parallel.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.leader
    """
    return fanatico_etcd_plan.leader_of(status(timeout))


def local_state() -> dict:
    """
    Return the state of this node's member, from which ``orch.deploy`` and ``orch.recover_etcd`` decide what to do.

    ``{"data_dir": whether etcd has written data here, "lost": why that data is unusable or "", "active": whether its unit runs,
    "member": whether the cluster lists this node, None if no member answers, "healthy": whether its member serves,
    "clients": what ``clients`` returns}``.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.local_state
    """
    directory = pathlib.Path(_setting("etcd:data_dir"))
    return {
        "data_dir": (directory / "member").is_dir(),
        "lost": __salt__["fanatico_etcd_cure.data_lost"](),
        "active": __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"] == "active",
        "member": _listed(),
        "healthy": bool(health().get(_me(), {}).get("healthy")),
        "clients": __salt__["fanatico_etcd.clients"](),
    }


def _listed(timeout=1):
    """Return whether a member that answers lists this node; None if no member answers."""
    gateway = _gateway()
    answers = gateway.everywhere(gateway.members, timeout)
    views = [view for view in answers.values() if "error" not in view]
    return any(_me() in view for view in views) if views else None


def alarms(timeout: float = 1) -> list[str]:
    """
    Return the errors that this node's member reports, such as alarms, as a list of texts; empty if there are none.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.alarms
    """
    gateway = _gateway()
    return gateway.status(gateway.nodes[_me()], timeout)["errors"]


def wait_quorum(timeout: float = 60) -> dict:
    """
    Wait until a majority of the members in the plan are healthy and agree on a leader.

    timeout
        Seconds.

    Returns ``{"leader": id, "members": [healthy ids]}``. Raises ``CommandExecutionError`` after the timeout, with the last
    state and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.wait_quorum timeout=30
    """

    def check():
        statuses = status(timeout=1)
        healths = health(timeout=1)
        serving = sorted(name for name, answer in healths.items() if answer.get("healthy"))
        now = fanatico_etcd_plan.leader_of(statuses)
        done = (
            now is not None
            and len(serving) > len(healths) // 2
            and (_me() in serving or _me() not in healths)
        )
        return done, {"leader": now, "members": serving}

    done, seen = fanatico_wait.until(check, timeout)
    if done:
        return seen
    unit = "etcd" if fanatico_plan.has_role(__pillar__["plan"], _me(), "etcd") else ""
    journal = __salt__["fanatico.journal"](unit) if unit else ""
    raise CommandExecutionError(
        fanatico_wait.timeout_message(_me(), "etcd's quorum", timeout, seen, unit, journal)
    )


def probe(timeout: float = 2) -> dict:
    """
    Probe etcd on this node and its peers once. Never raises.

    Returns ``{"facts": {...}, "checks": {name: check}}``.

    timeout
        Seconds, for each request; all run in parallel.

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
    """Return the answers of this node's member and of its peers, queried in parallel."""
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
    here = {"data": _has_data(), "clients": __salt__["fanatico_etcd.clients"]()}
    return {"status": statuses, "errors": errors, **here, **facts}


def _has_data():
    return any(pathlib.Path(_setting("etcd:data_dir")).glob("member/wal/*.wal"))


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of etcd on this node, ``{name: check}``.

    timeout
        Seconds, for each request; all run in parallel.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.checks
    """
    return probe(timeout)["checks"]
