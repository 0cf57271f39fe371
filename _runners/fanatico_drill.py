"""
Drills on the running cluster: cause one fault on purpose, and measure what a client sees of it.
"""

import contextvars
import time
from concurrent.futures import ThreadPoolExecutor

import fanatico_drill
import fanatico_guard
import fanatico_master
import fanatico_plan
import fanatico_sweep

__virtualname__ = "fanatico"

BEFORE, AFTER = 5, 10  # seconds of load before the fault and after it
WELL_WITHIN = 180  # seconds until the cluster has to be ok again


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def drill(fault, host=None, unit=None, seconds=5, force=False):
    """
    Cause a fault under a light load through the virtual IP, end it, and return what a client measured.

    The lock is held meanwhile: nothing else is changed, and nothing is healed. It starts only on a cluster that is ok.

    fault
        ``switchover``; ``stop``, with ``host`` and ``unit``; or ``kill``, which sends SIGKILL and needs ``force=True``. The lab
        has more: ``./fanatico drill list``.
    host
        The node.
    unit
        The service, for example ``haproxy.service``.
    seconds
        How long the service stays stopped.
    force
        Allow destructive faults.

    Returns ``{"fault", "host", "unit", "figures", "said", "whole_after"}``: what ``fanatico_drill.load`` measured, the same as
    a sentence, and the seconds from the fault until the cluster was ok again. Raises where the drill is refused, where an
    acknowledged write was lost, and where the cluster is not ok again within three minutes.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.drill switchover
        salt-run fanatico.drill stop host=haproxy1 unit=haproxy.service
        salt-run fanatico.drill kill host=rpc1 unit=fanatico-rpc.service force=True
    """
    plan = fanatico_master.plan(__opts__)
    unit = f"{unit}.service" if unit and "." not in unit else unit
    status = __salt__["fanatico.status"]()["status"]
    reason = fanatico_drill.refusal(fault, host, unit, _units(plan, host), status, force)
    if reason:
        fanatico_master.refuse(f"Not drilled, nothing was changed: {reason}.")
    databases = fanatico_plan.nodes(plan, "patroni")
    client = next(node for node in reversed(databases) if node != host)
    __salt__["fanatico.lock"]("drill", wait=5)
    summary = "not completed"
    try:
        with ThreadPoolExecutor(1) as pool:
            duration = BEFORE + float(seconds) + AFTER
            load = pool.submit(
                # Salt keeps __opts__ in a context variable, which a thread does not inherit.
                contextvars.copy_context().run,
                _ask,
                client,
                "fanatico_drill.load",
                [duration],
                duration + 60,
                lambda answer: isinstance(answer, dict),
            )
            time.sleep(BEFORE)
            struck = time.monotonic()
            _strike(fault, host or databases[0], unit, float(seconds), databases)
            figures = load.result()
        summary = fanatico_drill.sentence(fault, figures)
        _wait_ok(summary)
    finally:
        __salt__["fanatico.unlock"](reason=summary, host=host or "")
    if figures["lost"]:
        fanatico_master.refuse(
            f"{summary}. An acknowledged write is missing: compare the nodes. Next: salt 'db*' fanatico_postgres.status"
        )
    return {
        "fault": fault,
        "host": host,
        "unit": unit,
        "figures": figures,
        "said": summary,
        "whole_after": round(time.monotonic() - struck, 1),
    }


def _units(plan, host):
    """Return ``{node: [services]}`` of the nodes that have services; those of ``host`` by its own settings."""
    pillar = fanatico_master.compiled(__opts__, host)[0] if host in plan["nodes"] else {}
    own = (fanatico_plan.get(pillar, "heal:units"), pillar)
    units = {
        node: fanatico_guard.units(fanatico_plan.roles(plan, node), *(own if node == host else ()))
        for node in plan["nodes"]
    }
    return {node: names for node, names in units.items() if names}


def _strike(fault, host, unit, seconds, databases):
    """Cause the fault, and end it where it does not end by itself."""
    if fault == "switchover":
        _ask(host, "fanatico_patroni.switchover", ["any"], 90, lambda answer: answer in databases)
    elif fault == "kill":
        _ask(host, "fanatico_unit.kill", [unit], 15, lambda answer: isinstance(answer, int))
    else:
        try:
            _ask(host, "service.stop", [unit], 90, lambda answer: answer is True)
            time.sleep(seconds)
        finally:
            _ask(host, "service.start", [unit], 90, lambda answer: answer is True)


def _ask(node, function, arguments, timeout, holds):
    """Call a function on one node and return its answer; raises where ``holds(answer)`` is false."""
    answer = fanatico_sweep.fanout(__opts__, [node], function, arguments, timeout).get(node)
    if not holds(answer):
        result = "no answer" if answer is None else str(answer)[-300:]
        fanatico_master.refuse(
            f"{node}: {function} failed: {result}. The drill has ended. Next: salt-run fanatico.status"
        )
    return answer


def _wait_ok(summary):
    """Wait until the whole cluster is ok again."""
    deadline = time.monotonic() + WELL_WITHIN
    while (status := __salt__["fanatico.status"]()["status"]) != "ok":
        if time.monotonic() > deadline:
            fanatico_master.refuse(
                f"{summary}. The cluster is still {status} after {WELL_WITHIN} s. Next: salt-run fanatico.status"
            )
        time.sleep(2)
