"""
The load and the measurement of a drill (``salt-run fanatico.drill``).
"""

import asyncio
import io
import json
import secrets
from concurrent.futures import ThreadPoolExecutor

from salt.exceptions import CommandExecutionError

import fanatico_measure
import fanatico_plan

try:
    import fanatico_client

    MISSING = ""
except ImportError as exc:
    MISSING = str(exc)

WRITERS, READERS = 2, 1  # each 25 writes or 10 reads per second: a light load
_PROOF = "fanatico_proof"  # role and database, as fanatico_postgres.PROOF
_HELD = "SELECT worker, seq FROM drill_ledger WHERE run = %s"


def __virtual__():
    if MISSING:
        return False, f"psycopg is not installed: {MISSING}. Next: salt-call state.apply minion"
    return True


def load(seconds: float = 20) -> dict:
    """
    Write and read through the virtual IP at a fixed rate and measure what a client sees. Run it on a Patroni node.

    seconds
        Duration of the load.

    Returns the figures of ``fanatico_measure.run``: ``{"write_gap", "read_gap", "unavailable", "acknowledged", "failed",
    "unknown", "lost", "recovered", "duplicate", "nowhere"}``, times in seconds. All rows written are deleted. Raises
    ``CommandExecutionError`` if the cluster cannot be reached at the start or takes no write at the end.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_drill.load 10
    """
    password = fanatico_plan.get(__pillar__, "secrets:POSTGRES_PROOF_PASSWORD")
    if not password:
        raise CommandExecutionError(
            f"{__opts__['id']} has no POSTGRES_PROOF_PASSWORD in its pillar. Next: run this on a node with the role patroni"
        )
    plan = __pillar__["plan"]
    address, ports = plan["virtual_ip"]["address"], plan["ports"]
    authority = __salt__["fanatico_pki.paths"]("service")["ca"]
    connect = fanatico_client.settings(address, authority, password, _PROOF, _PROOF)
    name, out = f"load-{secrets.token_hex(4)}", io.StringIO()
    work = fanatico_client.main(
        connect,
        (ports["postgres_primary"], ports["postgres_replica"]),
        float(seconds),
        name,
        out,
        writers=WRITERS,
        readers=READERS,
    )
    try:
        # In a new thread: this thread may have the minion's event loop.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, work).result()
    except Exception as exc:
        raise CommandExecutionError(
            f"{__opts__['id']}: cannot open a session on {address}:{ports['postgres_primary']}: {exc}. "
            "Next: salt-run fanatico.status"
        ) from exc
    lines = [json.loads(line) for line in out.getvalue().splitlines()]

    def sql(statement, *values):
        return __salt__["fanatico_postgres.proof"](statement, list(values), timeout=20)

    held = [(row["worker"], row["seq"]) for row in sql(_HELD, name)]
    sql("DROP TABLE drill_ledger")
    figures = fanatico_measure.run(lines, [], 0.0, held, fanatico_client.rate(WRITERS))
    figures.pop("two_writable")  # the nodes themselves were not probed
    return figures
