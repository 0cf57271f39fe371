"""
Keepalived on this node: who holds the virtual IP, and does it answer.
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
_HANGS = 5  # seconds without what comes twice a second: more than a busy machine makes of it


def _plan():
    return __pillar__["plan"]


def interface():
    """
    Return the name of the interface that carries this node's plan address, or None.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.interface
    """
    return _interface_of(fanatico_plan.address(_plan(), __opts__["id"]))


def _interface_of(address):
    import psutil

    found = psutil.net_if_addrs()
    return next((name for name, ones in found.items() if any(one.address == address for one in ones)), None)


def holds_address():
    """
    Tell whether this node holds the virtual IP on one of its interfaces.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.holds_address
    """
    return _interface_of(_plan()["virtual_ip"]["address"]) is not None


def state(timeout=1):
    """
    Return ``{"address", "role": "master" or "backup", "running": bool, "answers": bool}``.

    ``answers`` is whether a HAProxy answers on the virtual IP, as seen from this node.

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


def idle():
    """
    Return for how many seconds Keepalived has not asked HAProxy whether it answers; 0.0 where that is not known.

    It asks twice a second: one that has not for seconds hangs, and would neither take nor give up the address.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.idle
    """
    try:
        return max(0.0, time.time() - pathlib.Path(ASKED_FILE).stat().st_mtime)
    except OSError:
        return 0.0


def _running():
    """Tell whether Keepalived runs, by its pid file: systemctl would cost more than all the rest of this look."""
    try:
        pid = pathlib.Path(PID_FILE).read_text(encoding="ascii").strip()
        return pathlib.Path("/proc", pid, "comm").read_text(encoding="utf-8").strip() == "keepalived"
    except OSError:
        return False


def _answers(timeout):
    """Tell whether a HAProxy behind the virtual IP says that it lives."""
    url = f"https://{_plan()['virtual_ip']['address']}:{_plan()['ports']['haproxy_stats']}/live"
    # In the middle of an upgrade the other balancer still shows a certificate of `service`, as all did before there was `edge`.
    for authority in ("edge", "service"):
        try:
            return fanatico_http.get(url, timeout, __salt__["fanatico_pki.paths"](authority))[0] == 200
        except CommandExecutionError:
            continue
    return False


def can_sign():
    """
    Tell whether the Keepalived that is installed here can sign what it sends (``auth_hmac``): 2.4 and later.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.can_sign
    """
    return fanatico_version.numbers(__salt__["pkg.version"]("keepalived")) >= (2, 4)


def wait_address(timeout=30):
    """
    Wait until a HAProxy answers on the virtual IP; return ``state()``.

    timeout
        Seconds; then ``CommandExecutionError`` with what was seen and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_keepalived.wait_address
    """
    address = _plan()["virtual_ip"]["address"]

    def look():
        held = holds_address()
        return _answers(
            1
        ), f"{'held' if held else 'not held'} by {__opts__['id']}, and no HAProxy answers there"

    done, seen = fanatico_wait.until(look, timeout)
    if done:
        return state()
    journal = __salt__["fanatico.journal"]("keepalived")
    raise CommandExecutionError(
        fanatico_wait.timeout_message(
            __opts__["id"], f"the virtual IP {address}", timeout, seen, "keepalived", journal
        )
    )


def probe(timeout=2):
    """
    Look at Keepalived once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.probe
    """
    facts = state(timeout)
    return {"facts": facts, "checks": {"keepalived.address": _judge(facts)}}


def checks(timeout=2):
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
    """Return the check of the virtual IP. Being the standby is as good as being the master."""
    address, role = facts["address"], facts["role"]
    if not facts["running"] and role == "master":
        return fanatico_verdict.critical(
            role,
            f"keepalived is dead and left {address} here: both balancers may hold it",
            "systemctl restart keepalived",
        )
    if not facts["running"]:
        return fanatico_verdict.critical(
            role, "keepalived does not run: this node cannot take over", "systemctl start keepalived"
        )
    if facts["answers"]:
        held = "held here" if role == "master" else "held by the other balancer; this one stands by"
        return fanatico_verdict.ok(role, f"{address} {held}")
    if role == "master":
        return fanatico_verdict.critical(
            role, f"{address} is held here and no HAProxy answers on it", "systemctl status haproxy"
        )
    return fanatico_verdict.critical(
        role, f"{address} is not held here and does not answer", "salt 'haproxy*' fanatico_keepalived.state"
    )


# --- faults, and their cure: fanatico_cure.apply calls it, which looks first and proves afterwards


def _seen():
    return fanatico_probe.once(__context__, "keepalived", lambda: state(fanatico_probe.TIMEOUT))


def _active(unit):
    return fanatico_probe.active(__context__, __salt__["fanatico_unit.states"], unit)


def hung():
    """
    Return for how long a Keepalived that runs has not asked HAProxy; empty where it does.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.hung
    """
    seconds = idle()
    if seconds < _HANGS or not _active("keepalived.service"):
        return ""
    return f"Keepalived has not asked HAProxy for {seconds:.0f} s, which it does twice a second"


def vip_down():
    """
    Return that nobody answers at the virtual IP although this balancer could; else empty.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.vip_down
    """
    held = _seen()
    mine = _active("haproxy.service") and _active("keepalived.service")
    if mine and held["role"] == "backup" and not held["answers"]:
        return f"nobody answers at {held['address']}, and this balancer could"
    return ""


def vip_duplicate():
    """
    Return that the virtual IP is held here; whether another holds it as well, whoever asks for the cure has seen.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.vip_duplicate
    """
    held = _seen()
    return (
        f"{held['address']} is held here, and by another balancer as well" if held["role"] == "master" else ""
    )


def address_unsettled():
    """
    Return that nobody answers at the virtual IP, or that Keepalived does not run here; else empty.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_keepalived.address_unsettled
    """
    held = _seen()
    return "" if held["answers"] and held["running"] else f"nobody answers at {held['address']}"


def force_election(timeout=30):
    """
    Restart Keepalived, which settles who holds the virtual IP, and return what was done.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_keepalived.force_election
    """
    fanatico_probe.run("systemctl", "restart", "keepalived", timeout=timeout)
    return "Keepalived restarted, which settles who holds it"
