"""
Status and health of Patroni, through its REST API.

A request about the cluster goes to this node first, and to its peers if this node does not answer. Changes are in
`fanatico_patroni_admin.py`, the log and the watchdog in `fanatico_patroni_host.py`; Salt loads the three files as one module.
"""

import pathlib
import time

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_backup_checks
import fanatico_patroni_checks
import fanatico_patroni_plan
import fanatico_patroni_rest
import fanatico_plan
import fanatico_restore_files
import fanatico_timing
import fanatico_wait

UNIT = "patroni.service"


def _me():
    return __opts__["id"]


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _timing():
    return fanatico_timing.resolved(fanatico_plan.get(__pillar__, "plan:timing"))["patroni"]


def _rest():
    return fanatico_patroni_rest.Rest(__pillar__, _me(), __salt__["fanatico_pki.paths"]("service"))


def _data_directory():
    return fanatico_patroni_plan.data_directory(_setting("postgresql"))


def status(node: str | None = None, timeout: float = 2) -> dict:
    """
    Return the status that Patroni on a node reports.

    node
        A Patroni node of the plan; default: this node.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.status
    """
    rest = _rest()
    address = rest.address(node or _me())
    # /patroni answers 503 with the same body while PostgreSQL is not running.
    code, body = rest.get(address, "patroni", timeout)
    if not isinstance(body, dict):
        raise CommandExecutionError(f"{rest.url(address, 'patroni')}: HTTP {code} without a status")
    return body


def local_state() -> dict:
    """
    Return the state of this node: ``{"data_dir": bool, "active": bool, "leader": id or None}``.

    ``data_dir``: PostgreSQL has data here. ``active``: Patroni's unit runs. ``leader``: the leader that Patroni on any node
    reports; None if no Patroni answers.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.local_state
    """
    directory = pathlib.Path(_data_directory())
    try:
        now = leader(timeout=1)
    except CommandExecutionError:
        now = None
    return {
        "data_dir": (directory / "PG_VERSION").is_file(),
        "active": __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"] == "active",
        "leader": now,
    }


def cluster(timeout: float = 2) -> dict:
    """
    Return Patroni's view of the cluster: members with role, state, timeline and lag.

    timeout
        Seconds, for each node that is tried.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.cluster
    """
    return _rest().ask("cluster", timeout)


def leader(timeout: float = 2) -> str | None:
    """
    Return the id of the leader, or None if there is none.

    timeout
        Seconds, for each node that is tried.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.leader
    """
    return fanatico_patroni_checks.leader_of(cluster(timeout))


def history(timeout: float = 2) -> list[dict]:
    """
    Return the failovers and switchovers that Patroni has recorded, oldest first.

    timeout
        Seconds, for each node that is tried.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.history
    """
    names = ("timeline", "lsn", "reason", "time", "new_leader")
    return [dict(zip(names, entry, strict=False)) for entry in _rest().ask("history", timeout) or []]


def config(timeout: float = 2) -> dict:
    """
    Return the dynamic configuration in etcd.

    timeout
        Seconds, for each node that is tried.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.config
    """
    return _rest().ask("config", timeout)


def wait_leader(timeout: float = 90) -> str:
    """
    Wait until the cluster has a running leader and return its id.

    timeout
        Seconds.

    Raises ``CommandExecutionError`` after the timeout, with the last state and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wait_leader
    """

    def seen():
        view = cluster(timeout=1)
        name = fanatico_patroni_checks.leader_of(view)
        state = next((member.get("state") for member in view["members"] if member["name"] == name), None)
        done = state in fanatico_patroni_checks.RUNNING
        return done, name if done else fanatico_patroni_checks.describe(view)

    return _wait(seen, timeout, "a running Patroni leader")


def wait_streaming(timeout: float = 120, members: list[str] | None = None) -> dict[str, str]:
    """
    Wait until the leader runs and every other member streams, and return ``{id: role}``.

    timeout
        Seconds.
    members
        The ids to wait for; default: all Patroni nodes of the plan.

    Raises ``CommandExecutionError`` after the timeout, with the last state and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wait_streaming
    """
    awaited = list(members or fanatico_plan.nodes(__pillar__["plan"], "patroni"))

    def seen():
        view = cluster(timeout=1)
        by_name = {member["name"]: member for member in view["members"]}
        missing = [
            name
            for name in awaited
            if by_name.get(name, {}).get("state")
            not in fanatico_patroni_checks.healthy_states(by_name.get(name))
        ]
        done = not missing and fanatico_patroni_checks.leader_of(view) is not None
        return done, {
            name: by_name[name]["role"] for name in awaited
        } if done else fanatico_patroni_checks.describe(view)

    return _wait(seen, timeout, f"{', '.join(sorted(awaited))} to run and stream")


def _wait(check, timeout, awaited):
    done, seen = fanatico_wait.until(check, timeout)
    if done:
        return seen
    journal = __salt__["fanatico.journal"]("patroni")
    raise CommandExecutionError(
        fanatico_wait.timeout_message(_me(), awaited, timeout, seen, "patroni", journal)
    )


def probe(timeout: float = 2) -> dict:
    """
    Probe Patroni once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds, for each request; all run in parallel.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.probe
    """
    rest = _rest()
    address = rest.nodes[_me()]
    answers = fanatico_wait.gather(
        {
            "patroni": lambda: rest.get(address, "patroni", timeout)[1],
            "liveness": lambda: rest.get(address, "liveness", timeout)[0],
            "cluster": lambda: rest.fetch(address, "cluster", timeout),
        },
        timeout * 1.5,
    )
    facts = {name: value for name, (value, error) in answers.items() if error is None}
    facts["errors"] = {name: str(error) for name, (_, error) in answers.items() if error is not None}
    own = facts.get("patroni")
    if isinstance(own, dict) and own.get("state") in fanatico_patroni_checks.DOWN:
        facts["complaint"] = __salt__["fanatico_patroni.last_fatal"]()
    if fanatico_plan.get(__pillar__, "patroni:watchdog") == "required":
        facts["watchdog"] = __salt__["fanatico_patroni.watchdog"]()
    facts["aside"] = fanatico_aside.paths(_data_directory())
    facts["restore"] = fanatico_restore_files.state(_data_directory())
    checks = fanatico_patroni_checks.member(facts, _me(), sorted(rest.nodes), time.time(), _timing()["ttl"])
    checks["patroni.restore"] = fanatico_backup_checks.restoring(facts["restore"])
    return {"facts": facts, "checks": checks}


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of Patroni on this node, ``{name: check}``.

    timeout
        Seconds, for each request; all run in parallel.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.checks
    """
    return probe(timeout)["checks"]
