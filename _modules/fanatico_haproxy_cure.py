"""
Probe and cure for a load balancer's HAProxy without a valid configuration.

``fanatico_cure.apply`` probes before the cure and proves afterwards; a cure that is called directly acts at once.
"""

import pathlib

import fanatico_probe

_FILES = ("haproxy.cfg", "edge.cfg")


def unconfigured() -> str:
    """
    Return which configuration of HAProxy is missing or invalid; empty if both are valid.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy_cure.unconfigured
    """
    seen = (_fault(pathlib.Path("/etc/haproxy", name)) for name in _FILES)
    return next(filter(None, seen), "")


def configure(timeout: float = 90) -> str:
    """
    Apply the states of HAProxy, which write its configuration and start it. Returns what was done.

    timeout
        Not used: the states have timeouts of their own.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy_cure.configure
    """
    fanatico_probe.run("systemctl", "reset-failed", "haproxy", "haproxy-edge")
    return fanatico_probe.apply_states(__salt__["state.apply"], __opts__["id"], "haproxy")


def _fault(path):
    if not path.is_file():
        return f"{path} does not exist"
    # The check is expensive: once per content.
    stamp, key = (path.stat().st_mtime_ns, path.stat().st_size), f"fanatico_haproxy_cure.{path.name}"
    known = __context__.get(key)
    if known and known[0] == stamp:
        return known[1]
    done = fanatico_probe.run("haproxy", "-c", "-q", "-f", str(path))
    lines = [line for line in done.stderr.splitlines() if "ALERT" in line]
    seen = f"{path} is invalid: {(lines or ['haproxy -c fails'])[0][-200:]}" if done.returncode else ""
    __context__[key] = (stamp, seen)
    return seen
