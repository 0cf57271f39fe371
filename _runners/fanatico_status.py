"""
The view of the whole: what no node can tell alone.
"""

import time

import fanatico_cluster
import fanatico_master
import fanatico_plan
import fanatico_sweep
import fanatico_verdict

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def status(timeout=5):
    """
    Judge the whole cluster from one sweep over all nodes of the plan.

    Exactly one writable primary, one timeline, one holder of the virtual IP, etcd's quorum and agreement,
    replicas streaming, HAProxy's view equal to Patroni's, one chain; and how each node is, those that do not
    answer by name.

    timeout
        Seconds until a node that has not answered counts as silent.

    Prints a table; ``--out=json`` gives ``{"status", "checks", "nodes", "took_ms"}``. ``salt-run`` ends with 1,
    and a step of an orchestration fails, where the status is critical.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.status
        salt-run fanatico.status --out=json
    """
    begun, sent = time.monotonic(), time.time()
    plan = fanatico_master.plan(__opts__)
    answers = fanatico_sweep.fanout(__opts__, list(plan["nodes"]), "fanatico.report", (), timeout)
    reports = {name: one for name, one in answers.items() if isinstance(one, dict) and "health" in one}
    checks = fanatico_cluster.judge(plan, reports, sent, time.time())
    seen = {
        "status": fanatico_verdict.overall(checks),
        "checks": checks,
        "nodes": {name: _node(plan, name, answers.get(name)) for name in plan["nodes"]},
        "took_ms": round((time.monotonic() - begun) * 1000),
    }
    if seen["status"] == "critical":
        __context__["retcode"] = 1
        seen["retcode"] = 1
    return {**seen, "outputter": "fanatico"}


def _node(plan, name, answer):
    """Return one node's health; one that did not answer, or could not look, has a check that says so."""
    if isinstance(answer, dict) and "health" in answer:
        return answer["health"]
    if answer is None:
        detail, hint = "no answer", f"is it up? salt {name} test.ping"
    else:
        detail, hint = str(answer).strip().rpartition("\n")[2], f"salt {name} fanatico.health"
    return {
        "status": "unknown",
        "roles": fanatico_plan.roles(plan, name),
        "checks": {"node.answer": fanatico_verdict.unknown(None, detail, hint)},
        "took_ms": 0,
    }
