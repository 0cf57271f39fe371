"""
Health of this node, and the end-to-end proof of the cluster.
"""

import functools
import inspect
import secrets
import time

from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_plan
import fanatico_verdict
import fanatico_wait

# Printed as one line for each node and each check that is not ok (_output/fanatico.py); --out=yaml prints everything.
__outputter__ = {"health": "fanatico"}

_PROOF_TABLE = "CREATE TABLE IF NOT EXISTS proof (node text PRIMARY KEY, token text NOT NULL, at timestamptz DEFAULT now())"
_NO_PROOF = (
    "the database fanatico_proof does not exist yet. "
    "Next: salt-run fanatico.secrets_init, then salt-run state.orchestrate orch.deploy"
)
# One row per node: the table does not grow.
_PROOF_WRITE = """
    INSERT INTO proof (node, token) VALUES (%(node)s, %(token)s)
    ON CONFLICT (node) DO UPDATE SET token = excluded.token, at = now()
    RETURNING host(inet_server_addr()) AS server
"""
_PROOF_READ = """
    SELECT host(inet_server_addr()) AS server, pg_is_in_recovery() AS replica, token
      FROM (SELECT 1) AS always LEFT JOIN proof ON node = %(node)s
"""


def _plan():
    return __pillar__.get("plan") or {"nodes": {}}


def roles() -> list[str]:
    """
    Return the roles of this node from the plan; an empty list for a node that is not in the plan.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico.roles
    """
    return fanatico_plan.roles(_plan(), __opts__["id"])


def journal(unit: str, lines: int = 15) -> str:
    """
    Return the last lines of a unit's journal.

    unit
        The name of the unit.
    lines
        The number of lines.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico.journal patroni
    """
    command = ["journalctl", "-u", unit, "-n", str(int(lines)), "--no-pager", "-o", "short-iso"]
    return __salt__["cmd.run_stdout"](command, python_shell=False, ignore_retcode=True)


def health(timeout: float = 2) -> dict:
    """
    Run the health checks of this node's components in parallel.

    timeout
        Seconds, for each request.

    Returns ``{"status", "roles", "checks": {name: check}, "took_ms"}``; a check that is not ok names its entry in the runbook.
    The exit code is not 0 if the status is critical.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico.health
    """
    return _look(timeout)["health"]


def report(timeout: float = 2) -> dict:
    """
    Return ``health`` together with the facts behind it, for ``salt-run fanatico.status``.

    timeout
        Seconds, for each request.

    Returns ``{"health": {...}, "facts": {component: {...}}, "time": seconds since 1970}``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico.report
    """
    return _look(timeout)


def _look(timeout):
    started = time.monotonic()
    mine = roles()
    checks, facts = _components(mine, timeout) if mine else (_not_in_plan(), {})
    status, checks = (
        fanatico_verdict.overall(checks),
        fanatico_verdict.with_runbooks(dict(sorted(checks.items()))),
    )
    if status == "critical":
        __context__["retcode"] = 1
    took = round((time.monotonic() - started) * 1000)
    return {
        "health": {"status": status, "roles": mine, "checks": checks, "took_ms": took},
        "facts": facts,
        "time": time.time(),
    }


def _components(mine, timeout):
    """Probe all components in parallel; return their checks and their facts."""
    names = [name for component in fanatico_plan.components(mine) for name in component.health_modules]
    # Loaded here and called without the loader, which is not thread-safe.
    functions = {name: inspect.unwrap(__salt__[f"fanatico_{name}.probe"]) for name in names}
    probes = {name: functools.partial(function, timeout=timeout) for name, function in functions.items()}
    checks, facts = {}, {}
    for name, (found, error) in fanatico_wait.gather(probes, timeout * 2).items():
        if error is None:
            checks.update(found["checks"])
            facts[name] = found["facts"]
        else:
            checks[f"{name}.probe"] = fanatico_verdict.unknown(
                None, f"{type(error).__name__}: {error}", f"salt {__opts__['id']} fanatico_{name}.probe"
            )
    return checks, facts


def _not_in_plan():
    hint = f"add it to plan:nodes in pillar/plan.sls, then salt {__opts__['id']} saltutil.refresh_pillar"
    detail = f"{__opts__['id']} is not in the plan"
    return {"node.plan": fanatico_verdict.unknown(None, detail, hint)}


def canary(timeout: float = 3) -> dict:
    """
    Write one row through the virtual IP in a new session, as an application does. Run it on a Patroni node.

    timeout
        Seconds.

    Returns ``{"ok": bool, "why": str}``; ``ok`` is None while the database ``fanatico_proof`` does not exist yet.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico.canary
    """
    values = {"node": __opts__["id"], "token": secrets.token_hex(8)}
    try:
        # The proof at the end of the first deploy has created the table.
        __salt__["fanatico_postgres.proof"](_PROOF_WRITE, values, timeout=timeout)
    except CommandExecutionError as exc:
        if __salt__["fanatico_postgres.has_proof"]() is False:
            return {"ok": None, "why": _NO_PROOF}
        return {"ok": False, "why": str(exc)}
    return {"ok": True, "why": ""}


def proof(timeout: float = 30) -> dict[str, str]:
    """
    Run the end-to-end proof through the virtual IP. Run it on a Patroni node.

    Steps: write a row on the primary's port, read it on the replicas' port, get the block number, subscribe to new heads,
    get ``/health``.

    timeout
        Seconds, for each step.

    Returns ``{step: result}``. Raises ``CommandExecutionError`` with the step that failed, its last result and the next
    command.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico.proof
    """
    if not fanatico_plan.get(__pillar__, "secrets:POSTGRES_PROOF_PASSWORD"):
        raise CommandExecutionError(
            f"{__opts__['id']} has no POSTGRES_PROOF_PASSWORD in its pillar, so it cannot write the proof. "
            "Next: run this on a node with the role patroni, or create the secret: salt-run fanatico.secrets_init"
        )
    ip, ports = _plan()["virtual_ip"]["address"], _plan()["ports"]
    token = secrets.token_hex(8)

    def sql(statement, port):
        rows = __salt__["fanatico_postgres.proof"](statement, {"node": __opts__["id"], "token": token}, port)
        return rows[0] if rows else {}

    def node_at(address):
        return fanatico_plan.node_at(_plan(), address) or address

    def write():
        sql(_PROOF_TABLE, "postgres_primary")
        return True, f"written on {node_at(sql(_PROOF_WRITE, 'postgres_primary')['server'])}"

    def read():
        row = sql(_PROOF_READ, "postgres_replica")
        server = f"{node_at(row['server'])} ({'replica' if row['replica'] else 'primary'})"
        found = row["token"] == token
        return found, f"read on {server}" if found else f"row not found on {server}"

    def rpc():
        return True, f"block {__salt__['fanatico_rpc.head'](ip, timeout=2)}"

    def websocket():
        return True, f"block {__salt__['fanatico_rpc.subscribe'](1, timeout=timeout, node=ip)[0]['number']}"

    def answer():
        code, body = fanatico_http.get(f"http://{ip}:{ports['rpc_http']}/health", 2)
        return code == 200, f"HTTP {code} {body}"

    # Each step with the next command if it fails.
    steps = {
        f"write on {ports['postgres_primary']}": (write, "salt 'db*' fanatico.health"),
        f"read on {ports['postgres_replica']}": (read, "salt 'db*' fanatico_patroni.cluster"),
        f"JSON-RPC on {ports['rpc_http']}": (rpc, "salt 'rpc*' fanatico.health"),
        f"new heads on {ports['rpc_ws']}": (websocket, "salt 'rpc*' fanatico.health"),
        f"GET /health on {ports['rpc_http']}": (answer, "salt 'haproxy*' fanatico_haproxy.backends"),
    }
    return {step: _prove(step, check, ip, timeout, hint) for step, (check, hint) in steps.items()}


def _prove(step, check, ip, timeout, hint):
    done, seen = fanatico_wait.until(check, timeout, 0.2)
    if not done:
        raise CommandExecutionError(
            f"{__opts__['id']}: {step} of the virtual IP {ip} failed for {timeout:g} s: {seen}. Next: {hint}"
        )
    return seen
