"""
What can be wrong with a balancer's HAProxy, told and cured: it has no configuration, or not a valid one.

``fanatico_cure.apply`` calls the cure: it looks first and proves afterwards. Here it does what it is called for at once.
"""

import pathlib

import fanatico_probe

_FILES = ("haproxy.cfg", "edge.cfg")


def unconfigured() -> str:
    """
    Return which configuration of HAProxy is missing or not valid; empty where both are right.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy_cure.unconfigured
    """
    seen = (_fault(pathlib.Path("/etc/haproxy", name)) for name in _FILES)
    return next(filter(None, seen), "")


def configure(timeout: float = 90) -> str:
    """
    Write HAProxy's configuration again from the tree, start it, and return what was done.

    timeout
        Seconds; the states have their own.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy_cure.configure
    """
    fanatico_probe.run("systemctl", "reset-failed", "haproxy", "haproxy-edge")
    return fanatico_probe.apply_states(__salt__["state.apply"], __opts__["id"], "haproxy")


def _fault(path):
    if not path.is_file():
        return f"{path} is not there"
    # The check costs more than all the rest: once for each content.
    stamp, key = (path.stat().st_mtime_ns, path.stat().st_size), f"fanatico_haproxy_cure.{path.name}"
    known = __context__.get(key)
    if known and known[0] == stamp:
        return known[1]
    done = fanatico_probe.run("haproxy", "-c", "-q", "-f", str(path))
    lines = [line for line in done.stderr.splitlines() if "ALERT" in line]
    seen = f"{path} is not valid: {(lines or ['haproxy -c says so'])[0][-200:]}" if done.returncode else ""
    __context__[key] = (stamp, seen)
    return seen
