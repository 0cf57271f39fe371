"""
HAProxy on this node, asked through its runtime socket.
"""

import csv
import pathlib
import re
import socket
import time

from salt.exceptions import CommandExecutionError

SOCKET = "/run/haproxy/admin.sock"
# Of `show sess all`: what a session of a database's port has in its first lines.
_SESSION = re.compile(
    r"source=(?P<client>\S+)\n  flags=[^\n]*\n  frontend=postgres_\w+ [^\n]* addr=(?P<port>\S+)\n"
    r"  backend=[^\n]* addr=(?P<from>\S+)\n  server=(?P<server>\S+) "
)
# What a worker reads once, at its start. A reload that fails leaves the worker before it, and says so in the journal alone.
CONFIGURATION = ("haproxy.cfg", "rpc_guard.lua", "end_sessions.lua")
FOLDER = pathlib.Path("/etc/haproxy")
ANSWER_LIMIT = 4 * 1024**2  # bytes; ours is about 10 kB

# What a backend owes, by the plan: its role's nodes, less those that by design take no traffic there.
BACKENDS = {
    "rpc_http": ("rpc", lambda nodes: nodes),
    "rpc_ws": ("rpc", lambda nodes: nodes),
    "postgres_primary": ("patroni", lambda nodes: 1),
    "postgres_replica": ("patroni", lambda nodes: nodes - 1),
}


def _util(name):
    """Return a function of _utils/ as it is: threads, and callbacks that use dunders, must not pass the loader."""
    function = __utils__[name]
    return getattr(function, "func", function)


def method_classes(edge):
    """
    Return ``{how a method's name begins: its class}`` of ``rpc:edge``, for the map that HAProxy judges by.

    edge
        The settings ``rpc:edge``.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.method_classes '{allowed: [eth_], forbidden: [], heavy: [], write: []}'
    """
    return _util("fanatico_edge.method_classes")(edge)


def _ask(command, timeout=1.0):
    """Send one command to the runtime socket and return the whole answer."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(SOCKET)
            connection.sendall(command.encode() + b"\n")
            while piece := connection.recv(65536):
                answer += piece
                if len(answer) > ANSWER_LIMIT:
                    raise CommandExecutionError(f"{SOCKET}: more than {ANSWER_LIMIT} bytes for '{command}'")
    except OSError as exc:
        reason = f"no answer within {timeout:g} s" if isinstance(exc, TimeoutError) else exc.strerror or exc
        raise CommandExecutionError(
            f"{__opts__['id']}: HAProxy's socket {SOCKET}: {reason}. Next: systemctl status haproxy"
        ) from exc
    return answer.decode("utf-8", "replace")


def info(timeout=1):
    """
    Return ``show info`` as a dict of strings: version, uptime, connections, limits.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.info
    """
    pairs = (line.partition(": ") for line in _ask("show info", timeout).splitlines())
    return {name: value for name, found, value in pairs if found}


def sessions(timeout=2):
    """
    Return the database sessions that this HAProxy has at the moment, as a list of ``{"client", "port", "server", "from"}``.

    ``from`` is our address and port towards the database, by which PostgreSQL's log knows the session.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.sessions
    """
    found = _SESSION.finditer(_ask("show sess all", timeout))
    return [{key: one[key] for key in ("client", "port", "server", "from")} for one in found]


def stat(timeout=1):
    """
    Return ``show stat``: one dict per frontend, backend and server, without the empty fields.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.stat
    """
    rows = csv.DictReader(_ask("show stat", timeout).lstrip("# ").splitlines())
    return [{name: value for name, value in row.items() if name and value} for row in rows]


def servers(timeout=1):
    """
    Return ``show servers state``: one dict per server, with address, operational and administrative state.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.servers
    """
    lines = [line for line in _ask("show servers state", timeout).splitlines() if line]
    names = next((line[2:].split() for line in lines if line.startswith("# ")), [])
    rows = [line.split() for line in lines[1:] if not line.startswith("# ")]
    return [dict(zip(names, row, strict=False)) for row in rows]


def backends(timeout=1):
    """
    Return ``{backend: {"status", "up": [servers], "down": {server: why}, "sessions": n}}``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.backends
    """
    return _backends(stat(timeout))


def _backends(rows):
    found = {}
    for row in rows:
        if row["svname"] == "FRONTEND":
            continue
        backend = found.setdefault(row["pxname"], {"status": "", "up": [], "down": {}, "sessions": 0})
        status = row.get("status", "")
        if row["svname"] == "BACKEND":
            backend.update(status=status, sessions=int(row.get("scur", 0)))
        elif status.startswith(("UP", "no check")):
            backend["up"].append(row["svname"])
        else:
            why = row.get("last_chk") or row.get("check_desc") or row.get("check_status", "")
            backend["down"][row["svname"]] = f"{status} {why}".strip()
    return {name: one for name, one in found.items() if one["up"] or one["down"]}


def look(timeout=2):
    """
    Look at HAProxy once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds, for each question.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.look
    """
    try:
        rows, about = stat(timeout), info(timeout)
    except CommandExecutionError as exc:
        facts = {"error": str(exc)}
    else:
        facts = {
            "version": about.get("Version"),
            "connections": int(about.get("CurrConns", 0)),
            "max_connections": int(about.get("Maxconn", 0)),
            "frontends": {row["pxname"]: row.get("status") for row in rows if row["svname"] == "FRONTEND"},
            "backends": _backends(rows),
            "files": int(about.get("Ulimit-n", 0)),
            "files_wanted": int(about.get("Maxsock", 0)),
            "older": _older(about),
        }
    plan = __pillar__["plan"]
    owed = {
        name: count(len(_util("fanatico_plan.nodes")(plan, role))) for name, (role, count) in BACKENDS.items()
    }
    return {"facts": facts, "checks": _judge(facts, owed)}


def _older(about):
    """Return the seconds by which the worker that runs is older than its configuration; 0 where it has read that."""
    started = time.time() - int(about.get("Uptime_sec", 0))
    changed = [path.stat().st_mtime for path in (FOLDER / name for name in CONFIGURATION) if path.exists()]
    # Uptime is in whole seconds.
    return max(0, round(max(changed, default=0) - started - 1))


def wait_current(timeout=10):
    """
    Wait until HAProxy runs with its configuration as it is on disk; the last step of a change.

    timeout
        Seconds. Raises ``CommandExecutionError`` with what HAProxy said: a reload that fails leaves the old process.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.wait_current
    """

    def look():
        older = _older(info())
        return not older, f"it runs with a configuration from {older} s before the present one"

    done, seen = _util("fanatico_wait.until")(look, timeout, 0.2)
    if done:
        return True
    said = __salt__["cmd.run_stdout"](
        "journalctl -u haproxy -n 200 --no-pager -o cat --since=-2min", python_shell=False
    )
    alerts = [line for line in said.splitlines() if "ALERT" in line]
    raise CommandExecutionError(
        f"{__opts__['id']}: HAProxy did not take up its configuration: {alerts[-1][:300] if alerts else seen}. "
        "Next: journalctl -u haproxy -n 50"
    )


def checks(timeout=2):
    """
    Return the checks of HAProxy on this node, ``{name: check}``.

    timeout
        Seconds, for each question.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.checks
    """
    return look(timeout)["checks"]


def _verdicts():
    return tuple(_util(f"fanatico_verdict.{word}") for word in ("ok", "degraded", "critical"))


def _judge(facts, owed):
    """Return the checks for what HAProxy said; ``owed`` is ``{backend: servers that should be up}``."""
    ok, degraded, critical = _verdicts()
    if "error" in facts:
        return {"haproxy.serving": critical(None, facts["error"], "journalctl -u haproxy -n 50")}
    closed = [name for name, status in facts["frontends"].items() if status not in ("OPEN", "FULL")]
    if closed:
        serving = critical(closed, f"closed: {', '.join(closed)}", "salt-call state.apply haproxy")
    else:
        opened = sorted(facts["frontends"])
        serving = ok(facts["version"], f"HAProxy {facts['version']} takes connections on {', '.join(opened)}")
    found = {"haproxy.serving": serving}
    used, limit = facts["connections"], facts["max_connections"]
    full = limit and used > 0.9 * limit
    found["haproxy.connections"] = (degraded if full else ok)(
        used,
        f"{used} of {limit} connections in use",
        "raise haproxy:maxconn in pillar/haproxy.sls, or see who holds them: fanatico_haproxy.stat"
        if full
        else "",
    )
    found["haproxy.configuration"] = ok(0, "it runs with the configuration on disk")
    if facts["older"]:
        detail = f"it was started {facts['older']} s before its configuration changed: a reload failed, or nobody asked for one"
        hint = "journalctl -u haproxy -n 50; systemctl reload haproxy"
        found["haproxy.configuration"] = degraded(facts["older"], detail, hint)
    files, wanted = facts["files"], facts["files_wanted"]
    found["haproxy.files"] = ok(files, f"{files} files may be open")
    if files < wanted:
        detail = f"{wanted} files for haproxy:maxconn connections, and the host allows {files}"
        found["haproxy.files"] = degraded(
            files, detail, "a smaller haproxy:maxconn, or a larger hard limit of this host"
        )
    for name, number in owed.items():
        found[f"haproxy.{name}"] = _judge_backend(name, facts["backends"].get(name), number)
    reads, writes = found["haproxy.postgres_replica"], found["haproxy.postgres_primary"]
    if reads["status"] == "critical" and writes["value"]:
        reads.update(status="degraded", detail=f"{reads['detail']}; the primary serves the reads")
    return found


def _judge_backend(name, backend, owed):
    """Return the check of one backend: enough servers, too few, or none."""
    ok, degraded, critical = _verdicts()
    if backend is None:
        return critical(None, f"HAProxy has no backend {name}", "salt-call state.apply haproxy")
    up = backend["up"]
    down = "; ".join(f"{server} {why}" for server, why in backend["down"].items())
    detail = f"{len(up)} of {owed} up" + (f" ({', '.join(up)})" if up else "")
    if len(up) >= owed:
        return ok(up, detail)
    hint = f"salt -L {','.join(backend['down'])} fanatico.health"
    return (degraded if up else critical)(up, f"{detail}; down: {down}", hint)
