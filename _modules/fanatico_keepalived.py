"""
Keepalived on this node: which load balancer holds the virtual IP, and whether HAProxy answers there.
"""

import pathlib
import time

from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_plan
import fanatico_probe
import fanatico_verdict
import fanatico_version
import fanatico_wait

PID_FILE = "/run/keepalived.pid"
ASKED_FILE = "/run/keepalived.asked"  # salt/keepalived/files/haproxy-answers.sh
_HANGS = 5  # seconds without a check that runs twice a second; a busy machine delays it less


def _plan():
    return __pillar__["plan"]


def interface() -> str | None:
    """
    Return the name of the interface that carries this node's plan address, or None.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.interface
    """
    return _interface_of(fanatico_plan.address(_plan(), __opts__["id"]))


def _interface_of(address):
    import psutil

    interfaces = psutil.net_if_addrs()
    return next(
        (name for name, found in interfaces.items() if any(entry.address == address for entry in found)), None
    )


def holds_address() -> bool:
    """
    Return whether this node holds the virtual IP on an interface.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.holds_address
    """
    return _interface_of(_plan()["virtual_ip"]["address"]) is not None


def state(timeout: float = 1) -> dict:
    """
    Return ``{"address", "role": "master" or "backup", "running": bool, "answers": bool}``.

    ``answers``: HAProxy answers on the virtual IP, as seen from this node.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.state
    """
    return {
        "address": _plan()["virtual_ip"]["address"],
        "role": "master" if holds_address() else "backup",
        "running": _running(),
        "answers": _answers(timeout),
    }


def idle() -> float:
    """
    Return the seconds since Keepalived last checked HAProxy; 0.0 if not known.

    It checks twice a second. Without a check for seconds Keepalived hangs, and neither takes nor releases the virtual IP.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.idle
    """
    try:
        return max(0.0, time.time() - pathlib.Path(ASKED_FILE).stat().st_mtime)
    except OSError:
        return 0.0


def _running():
    """Return whether Keepalived runs, from its pid file: systemctl would cost more than the rest of the probe."""
    try:
        pid = pathlib.Path(PID_FILE).read_text(encoding="ascii").strip()
        return pathlib.Path("/proc", pid, "comm").read_text(encoding="utf-8").strip() == "keepalived"
    except OSError:
        return False


def _answers(timeout):
    """Return whether HAProxy answers ``/live`` on the virtual IP."""
    url = f"https://{_plan()['virtual_ip']['address']}:{_plan()['ports']['haproxy_stats']}/live"
    # During an upgrade from a release without the authority `edge`, the other balancer still has a certificate of `service`.
    for authority in ("edge", "service"):
        try:
            return fanatico_http.get(url, timeout, __salt__["fanatico_pki.paths"](authority))[0] == 200
        except CommandExecutionError:
            continue
    return False


def can_sign() -> bool:
    """
    Return whether the installed Keepalived can sign its packets (``auth_hmac``): 2.4 and later.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.can_sign
    """
    return fanatico_version.numbers(__salt__["pkg.version"]("keepalived")) >= (2, 4)


def wait_address(timeout: float = 30) -> dict:
    """
    Wait until HAProxy answers on the virtual IP and return ``state()``.

    timeout
        Seconds.

    Raises ``CommandExecutionError`` after the timeout, with the last state and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_keepalived.wait_address
    """
    address = _plan()["virtual_ip"]["address"]

    def check():
        answers, held = _answers(1), "held" if holds_address() else "not held"
        return answers, f"{held} by {__opts__['id']}, and HAProxy does not answer there"

    done, seen = fanatico_wait.until(check, timeout)
    if done:
        return state()
    journal = __salt__["fanatico.journal"]("keepalived")
    raise CommandExecutionError(
        fanatico_wait.timeout_message(
            __opts__["id"], f"the virtual IP {address}", timeout, seen, "keepalived", journal
        )
    )


def probe(timeout: float = 2) -> dict:
    """
    Probe Keepalived once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.probe
    """
    facts = state(timeout)
    return {"facts": facts, "checks": {"keepalived.address": _judge(facts)}}


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of Keepalived on this node, ``{name: check}``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.checks
    """
    return probe(timeout)["checks"]


def _judge(facts):
    """Return the check of the virtual IP. A standby is as healthy as the master."""
    address, role = facts["address"], facts["role"]
    if not facts["running"] and role == "master":
        return fanatico_verdict.critical(
            role,
            f"Keepalived does not run, but {address} is still on this host: both balancers may hold it",
            "systemctl restart keepalived",
        )
    if not facts["running"]:
        return fanatico_verdict.critical(
            role, "Keepalived does not run: this node cannot take over", "systemctl start keepalived"
        )
    if facts["answers"]:
        held = "held here" if role == "master" else "held by the other balancer; this one is the standby"
        return fanatico_verdict.ok(role, f"{address} {held}")
    if role == "master":
        return fanatico_verdict.critical(
            role, f"{address} is held here, but HAProxy does not answer on it", "systemctl status haproxy"
        )
    return fanatico_verdict.critical(
        role, f"{address} is not held here and does not answer", "salt 'haproxy*' fanatico_keepalived.state"
    )


# --- faults and their cure; fanatico_cure.apply probes before the cure and proves afterwards


def _seen():
    return fanatico_probe.once(__context__, "keepalived", lambda: state(fanatico_probe.TIMEOUT))


def _active(unit):
    return fanatico_probe.active(__context__, __salt__["fanatico_unit.states"], unit)


def hung() -> str:
    """
    Return for how long a running Keepalived has not checked HAProxy; empty if it does.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.hung
    """
    seconds = idle()
    if seconds < _HANGS or not _active("keepalived.service"):
        return ""
    return f"Keepalived hangs: no check of HAProxy for {seconds:.0f} s (normal: twice a second)"


def vip_down() -> str:
    """
    Return that the virtual IP does not answer although this balancer could hold it; else empty.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.vip_down
    """
    held = _seen()
    mine = _active("haproxy.service") and _active("keepalived.service")
    if mine and held["role"] == "backup" and not held["answers"]:
        return f"{held['address']} does not answer, and this balancer is ready to hold it"
    return ""


def vip_duplicate() -> str:
    """
    Return that the virtual IP is held here. The master, which requests the cure, knows whether another balancer holds it too.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.vip_duplicate
    """
    held = _seen()
    return f"{held['address']} is held here and by another balancer" if held["role"] == "master" else ""


def address_unsettled() -> str:
    """
    Return that the virtual IP does not answer or that Keepalived does not run here; else empty.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.address_unsettled
    """
    held = _seen()
    return "" if held["answers"] and held["running"] else f"{held['address']} does not answer"


def force_election(timeout: float = 30) -> str:
    """
    Restart Keepalived, which forces a VRRP election, and return what was done.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_keepalived.force_election
    """
    fanatico_probe.run("systemctl", "restart", "keepalived", timeout=timeout)
    return "restarted Keepalived to force a VRRP election"
