"""
The status of the whole cluster, from the reports of all nodes.
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
    Check the whole cluster: ask all nodes of the plan once, at the same time.

    Exactly one writable primary, one timeline, one holder of the virtual IP, a quorum of etcd with one leader, all replicas
    streaming, HAProxy in agreement with Patroni, one chain; and the health of each node, with those that do not answer.

    timeout
        Seconds until a node that has not answered counts as silent.

    Prints a table; ``--out=json`` gives ``{"status", "checks", "nodes", "took_ms"}``. Where the status is critical, ``salt-run``
    ends with exit code 1 and a step of an orchestration fails.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.status
        salt-run fanatico.status --out=json
    """
    begun, sent = time.monotonic(), time.time()
    plan = fanatico_master.plan(__opts__)
    answers = fanatico_sweep.fanout(__opts__, list(plan["nodes"]), "fanatico.report", (), timeout)
    reports = {
        name: report for name, report in answers.items() if isinstance(report, dict) and "health" in report
    }
    checks = fanatico_verdict.with_runbooks(
        fanatico_cluster.judge(plan, reports, sent, time.time()), "cluster-"
    )
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
    """Return a node's health; where it did not answer, or failed, a single check that shows that."""
    if isinstance(answer, dict) and "health" in answer:
        return answer["health"]
    if answer is None:
        detail, hint = "no answer", f"salt {name} test.ping; on {name}: systemctl status salt-minion"
    else:
        detail, hint = str(answer).strip().rpartition("\n")[2], f"salt {name} fanatico.health"
    return {
        "status": "unknown",
        "roles": fanatico_plan.roles(plan, name),
        "checks": fanatico_verdict.with_runbooks(
            {"node.answer": fanatico_verdict.unknown(None, detail, hint)}
        ),
        "took_ms": 0,
    }
