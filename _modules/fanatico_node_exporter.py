"""
Health of this host's metrics exporter, requested with the host's own certificate.
"""

from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_plan
import fanatico_verdict


def probe(timeout: float = 2) -> dict:
    """
    Probe the exporter once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node_exporter.probe
    """
    try:
        # Not /metrics, which makes it read all of /proc and /sys.
        status, _ = fanatico_http.get(_url(), timeout, __salt__["fanatico_pki.paths"]("monitor"))
        facts = {"status": status}
    except CommandExecutionError as exc:
        facts = {"error": str(exc)}
    return {"facts": facts, "checks": {"node_exporter.up": _judge(facts)}}


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the check of this host's exporter, ``{name: check}``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node_exporter.checks
    """
    return probe(timeout)["checks"]


def _url():
    plan = __pillar__["plan"]
    address = fanatico_plan.address(plan, __opts__["id"])
    return f"https://{address}:{fanatico_plan.port(plan, 'node_exporter')}/"


def _judge(facts):
    """Return the check: without the exporter the host serves, but its metrics are missing."""
    hint = "journalctl -u prometheus-node-exporter -n 50"
    if "error" in facts:
        return fanatico_verdict.degraded(None, facts["error"], hint)
    if facts["status"] != 200:
        return fanatico_verdict.degraded(
            facts["status"], f"the exporter answers HTTP {facts['status']}", hint
        )
    return fanatico_verdict.ok(200, "the metrics of this host can be read")
