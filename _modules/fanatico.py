"""
The front door: is this node what its roles promise, and does the whole thing work end to end?
"""

import inspect
import secrets
import time

from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_plan
import fanatico_verdict
import fanatico_wait

# Shown to a person as one line for each node and each fault (_output/fanatico.py); --out=yaml shows it all.
__outputter__ = {"health": "fanatico"}

_PROOF_TABLE = "CREATE TABLE IF NOT EXISTS proof (node text PRIMARY KEY, token text NOT NULL, at timestamptz DEFAULT now())"
_NO_PROOF = "the cluster's own database is not there yet: salt-run fanatico.secrets_init, then orch.deploy"
# One row for each node that ever proved anything: the table does not grow.
_PROOF_WRITE = """
    INSERT INTO proof (node, token) VALUES (%(node)s, %(token)s)
    ON CONFLICT (node) DO UPDATE SET token = excluded.token, at = now()
    RETURNING host(inet_server_addr()) AS server
"""
_PROOF_READ = """
    SELECT host(inet_server_addr()) AS server, pg_is_in_recovery() AS replica, token
      FROM (SELECT 1) AS one LEFT JOIN proof ON node = %(node)s
"""


def _plan():
    return __pillar__.get("plan") or {"nodes": {}}


def roles():
    """
    Return the roles of this node, from the plan; an empty list where it is not in it.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico.roles
    """
    return fanatico_plan.roles(_plan(), __opts__["id"])


def journal(unit, lines=15):
    """
    Return the last lines of a unit's journal.

    unit
        The name of the unit.
    lines
        How many.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico.journal patroni
    """
    command = ["journalctl", "-u", unit, "-n", str(int(lines)), "--no-pager", "-o", "short-iso"]
    return __salt__["cmd.run_stdout"](command, python_shell=False, ignore_retcode=True)


def health(timeout=2):
    """
    Check what this node's roles promise, all checks side by side.

    timeout
        Seconds, for each question.

    Returns ``{"status", "roles", "checks", "took_ms"}``. The return code is not 0 where the status is
    critical.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico.health
    """
    return _look(timeout)["health"]


def report(timeout=2):
    """
    Return ``health`` together with the facts it was judged from, for `salt-run fanatico.status`.

    timeout
        Seconds, for each question.

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
    status = fanatico_verdict.overall(checks)
    if status == "critical":
        __context__["retcode"] = 1
    took = round((time.monotonic() - started) * 1000)
    return {
        "health": {"status": status, "roles": mine, "checks": dict(sorted(checks.items())), "took_ms": took},
        "facts": facts,
        "time": time.time(),
    }


def _components(mine, timeout):
    """Have the modules of all components look side by side; return their checks and their facts."""
    names = [name for one in fanatico_plan.components(mine) for name in one.health_modules]
    # Loaded here, and called past the loader: it is not made for several threads at once.
    looks = {name: inspect.unwrap(__salt__[f"fanatico_{name}.probe"]) for name in names}
    probes = {name: (lambda look=look: look(timeout=timeout)) for name, look in looks.items()}
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
    hint = "add it under plan:nodes in pillar/plan.sls, then saltutil.refresh_pillar"
    detail = f"{__opts__['id']} is not in the plan"
    return {"node.plan": fanatico_verdict.unknown(None, detail, hint)}


def canary(timeout=3):
    """
    Write one row through the virtual IP, on a session of its own, as an application does; run it on a Patroni node.

    timeout
        Seconds.

    Returns ``{"ok": bool, "why": str}``; ``ok`` is None where nothing can be told: the cluster's own database is not made yet.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico.canary
    """
    values = {"node": __opts__["id"], "token": secrets.token_hex(8)}
    try:
        # The table has been made by the proof that ended the first deploy.
        __salt__["fanatico_postgres.proof"](_PROOF_WRITE, values, timeout=timeout)
    except CommandExecutionError as exc:
        if __salt__["fanatico_postgres.has_proof"]() is False:
            return {"ok": None, "why": _NO_PROOF}
        return {"ok": False, "why": str(exc)}
    return {"ok": True, "why": ""}


def proof(timeout=30):
    """
    Prove through the virtual IP that everything works together; run it on a Patroni node.

    Write a row on the primary's port, read it on the replicas' port, ask a block number, subscribe to new
    heads, ask ``/health``.

    timeout
        Seconds, for each step.

    Returns ``{step: what was seen}``. Raises ``CommandExecutionError`` naming the step, what was seen
    and what to do next.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico.proof
    """
    if not fanatico_plan.get(__pillar__, "secrets:POSTGRES_PROOF_PASSWORD"):
        raise CommandExecutionError(
            f"{__opts__['id']} has no POSTGRES_PROOF_PASSWORD in its pillar, so it cannot prove a write: "
            "run this on a node with the role patroni, or see `salt-run fanatico.secrets_init`"
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
        seen = f"{node_at(row['server'])} ({'replica' if row['replica'] else 'primary'})"
        return row["token"] == token, f"read on {seen}" if row[
            "token"
        ] == token else f"not there yet on {seen}"

    def rpc():
        return True, f"block {__salt__['fanatico_rpc.head'](ip, timeout=2)}"

    def websocket():
        return True, f"block {__salt__['fanatico_rpc.subscribe'](1, timeout=timeout, node=ip)[0]['number']}"

    def answer():
        code, body = fanatico_http.get(f"http://{ip}:{ports['rpc_http']}/health", 2)
        return code == 200, f"HTTP {code} {body}"

    # Each step, and where to look when it fails.
    steps = {
        f"write on {ports['postgres_primary']}": (write, "salt 'db*' fanatico.health"),
        f"read on {ports['postgres_replica']}": (read, "salt 'db*' fanatico_patroni.cluster"),
        f"JSON-RPC on {ports['rpc_http']}": (rpc, "salt 'rpc*' fanatico.health"),
        f"new heads on {ports['rpc_ws']}": (websocket, "salt 'rpc*' fanatico.health"),
        f"GET /health on {ports['rpc_http']}": (answer, "salt 'haproxy*' fanatico_haproxy.backends"),
    }
    return {step: _prove(step, look, ip, timeout, hint) for step, (look, hint) in steps.items()}


def _prove(step, look, ip, timeout, hint):
    done, seen = fanatico_wait.until(look, timeout, 0.2)
    if not done:
        raise CommandExecutionError(
            f"{__opts__['id']}: {step} of the virtual IP {ip} failed for {timeout:g} s: {seen}. Next: {hint}"
        )
    return seen
