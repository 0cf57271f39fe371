"""
Recover from the loss of a whole component: what the orchestrations of this kind ask first.
"""

import secrets

import fanatico_master
import fanatico_plan
import fanatico_recover
import fanatico_sweep

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def recover_scope(discard=(), timeout=60):
    """
    Return what ``orch.recover_etcd`` has to do now. It calls this before its first step.

    discard
        Hosts whose data is given up, because it is lost or damaged. One that answers takes part, and its data is moved aside.
    timeout
        Seconds for all hosts to answer. Reading the WAL of a PostgreSQL that does not run takes some of them.

    Returns ``{"case": "rebuild", "unfinished" or "serves", "why", "primary", "databases": [ids], "etcd": [ids], "bootstrap": a
    value that is used once}``. Raises, with nothing changed, where data could be lost.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.recover_scope
        salt-run fanatico.recover_scope '[etcd2]'
    """
    plan = fanatico_master.plan(__opts__)
    discard = fanatico_master.known(plan, discard)
    etcd, databases = (fanatico_plan.nodes(plan, role) for role in ("etcd", "patroni"))
    states = fanatico_sweep.fanout(__opts__, etcd, "fanatico_etcd.local_state", timeout=15)
    states = {node: state for node, state in states.items() if isinstance(state, dict)}
    ends = fanatico_sweep.fanout(__opts__, databases, "fanatico_postgres.wal_end", timeout=timeout)
    try:
        scope = fanatico_recover.scope(plan, states, ends, discard)
    except fanatico_recover.Refused as exc:
        fanatico_master.refuse(f"etcd cannot be recovered: {exc}")
    return {**scope, "bootstrap": secrets.token_hex(8)}


def recover_refused(reason):
    """
    Raise with the refusal of ``recover_scope``: the only step of an ``orch.recover_etcd`` that must not start.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.recover_refused 'etcd2: no answer'
    """
    fanatico_master.refuse(reason)
