"""
Patroni, asked through its REST API: status, health, and what is to be said of it.

A question about the cluster goes to this node first and to its peers where it does not answer. What is ordered of it is in
`fanatico_patroni_admin.py`, what its host knows of it in `fanatico_patroni_host.py`; the three are one module to Salt.
"""

import pathlib
import time

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_patroni_checks
import fanatico_patroni_plan
import fanatico_patroni_rest
import fanatico_plan
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


def status(node=None, timeout=2):
    """
    Return what Patroni on ``node`` (this one without one) says of itself.

    node
        A Patroni node of the plan.
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
        raise CommandExecutionError(f"{rest.url(address, 'patroni')}: HTTP {code} and no status in it")
    return body


def local_state():
    """
    Return what this node holds: ``{"data_dir": bool, "active": bool, "leader": id or None}``.

    ``data_dir``: PostgreSQL has data here. ``active``: Patroni's unit runs. ``leader``: who leads, as far as any
    Patroni can tell; None where none answers.

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


def cluster(timeout=2):
    """
    Return Patroni's view of the cluster: members with role, state, timeline and lag.

    timeout
        Seconds, for each node asked.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.cluster
    """
    return _rest().ask("cluster", timeout)


def leader(timeout=2):
    """
    Return the id of the leader, or None while there is none.

    timeout
        Seconds, for each node asked.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.leader
    """
    return fanatico_patroni_checks.leader_of(cluster(timeout))


def history(timeout=2):
    """
    Return the failovers Patroni remembers, oldest first: timeline, LSN, reason, time, new leader.

    timeout
        Seconds, for each node asked.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.history
    """
    names = ("timeline", "lsn", "reason", "time", "new_leader")
    return [dict(zip(names, line, strict=False)) for line in _rest().ask("history", timeout) or []]


def config(timeout=2):
    """
    Return the dynamic configuration, as it stands in etcd.

    timeout
        Seconds, for each node asked.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.config
    """
    return _rest().ask("config", timeout)


def wait_leader(timeout=90):
    """
    Wait until the cluster has a running leader and return its id.

    timeout
        Seconds; then ``CommandExecutionError`` with what was seen and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wait_leader
    """

    def seen():
        view = cluster(timeout=1)
        name = fanatico_patroni_checks.leader_of(view)
        state = next((one.get("state") for one in view["members"] if one["name"] == name), None)
        done = state in fanatico_patroni_checks.RUNNING
        return done, name if done else fanatico_patroni_checks.describe(view)

    return _wait(seen, timeout, "a running Patroni leader")


def wait_streaming(timeout=120, members=None):
    """
    Wait until the leader runs and every other member streams from it, and return ``{id: role}``.

    timeout
        Seconds; then ``CommandExecutionError`` with what was seen and the last lines of the journal.
    members
        The ids awaited; all Patroni nodes of the plan without them.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wait_streaming
    """
    awaited = list(members or fanatico_plan.nodes(__pillar__["plan"], "patroni"))

    def seen():
        view = cluster(timeout=1)
        by_name = {one["name"]: one for one in view["members"]}
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


def _wait(look, timeout, awaited):
    done, seen = fanatico_wait.until(look, timeout)
    if done:
        return seen
    journal = __salt__["fanatico.journal"]("patroni")
    raise CommandExecutionError(
        fanatico_wait.timeout_message(_me(), awaited, timeout, seen, "patroni", journal)
    )


def probe(timeout=2):
    """
    Look at Patroni once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds, for each question; they are asked side by side.

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
        facts["complaint"] = __salt__["fanatico_patroni.complaint"]()
    if fanatico_plan.get(__pillar__, "patroni:watchdog") == "required":
        facts["watchdog"] = __salt__["fanatico_patroni.watchdog"]()
    facts["aside"] = fanatico_aside.paths(_data_directory())
    checks = fanatico_patroni_checks.member(facts, _me(), sorted(rest.nodes), time.time(), _timing()["ttl"])
    return {"facts": facts, "checks": checks}


def checks(timeout=2):
    """
    Return the checks of Patroni on this node, ``{name: check}``.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.checks
    """
    return probe(timeout)["checks"]
