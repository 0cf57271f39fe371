"""
HAProxy on this node: health, sessions and certificates, over the runtime sockets of its two processes.

``haproxy`` serves the databases, ``haproxy-edge`` is the public edge.
"""

import csv
import hashlib
import pathlib
import re
import socket
import ssl
import time

from salt.exceptions import CommandExecutionError

import fanatico_capacity
import fanatico_edge
import fanatico_plan
import fanatico_verdict
import fanatico_wait
from fanatico_components import COMPONENTS

RUN = pathlib.Path("/run")
# The first lines of a session on a database port in `show sess all`.
_SESSION = re.compile(
    r"source=(?P<client>\S+)\n  flags=[^\n]*\n  frontend=postgres_\w+ [^\n]* addr=(?P<port>\S+)\n"
    r"  backend=[^\n]* addr=(?P<from>\S+)\n  server=(?P<server>\S+) "
)
# Unit: the files that a worker reads at its start. A reload that fails keeps the old worker and is logged in the journal only.
CONFIGURATION = {
    "haproxy": ("haproxy.cfg", "end_sessions.lua"),
    "haproxy-edge": ("edge.cfg", "rpc_guard.lua"),
}
FOLDER = pathlib.Path("/etc/haproxy")
ANSWER_LIMIT = 4 * 1024**2  # bytes; ours is about 10 kB

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# The kinds of loaded files in HAProxy's commands.
_LOADED = ("cert", "ca-file")

# The setting that limits a unit's connections.
MAXCONN = {"haproxy": "haproxy:maxconn", "haproxy-edge": "haproxy:edge:maxconn"}
# The component of a unit: the prefix of its checks, and its states.
COMPONENT = {
    name: component
    for component in COMPONENTS
    for unit in component.units
    if (name := unit.name.removesuffix(".service")) in CONFIGURATION
}
# The number of servers that must be up, given the number of nodes.
UP = {"one": lambda nodes: 1, "others": lambda nodes: nodes - 1, "all": lambda nodes: nodes}


def method_classes(edge: dict) -> dict[str, str]:
    """
    Return ``{prefix of a method's name: class}`` of ``rpc:edge``, for HAProxy's map of methods.

    edge
        The settings ``rpc:edge``.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.method_classes '{allowed: [eth_], forbidden: [], heavy: [], write: []}'
    """
    return fanatico_edge.method_classes(edge)


def quoted(text: str) -> str:
    """
    Quote a text as a single word of HAProxy's configuration.

    text
        Any text, such as a password.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.quoted "it's 5 %"
    """
    return fanatico_edge.quoted(text)


def edge_policy() -> dict[str, list]:
    """
    Return the rules of the edge for public requests, ``{part of edge.cfg: [lines]}``, from this node's pillar.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.edge_policy
    """
    return fanatico_edge.policy(__pillar__, __opts__["id"])


def edge_shares(haproxy_edge: dict, rpc_edge: dict) -> dict:
    """
    Return the limits of the edge's process, ``{"large": requests, "lua": MiB, "buffers": number, "memory": MiB, ...}``.

    Also ``port``, ``process`` and ``statistics``, as in ``shares``.

    haproxy_edge
        The settings ``haproxy:edge``.
    rpc_edge
        The settings ``rpc:edge``.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.edge_shares '{maxconn: 3072}' '{body_limit: 120000}'
    """
    return fanatico_capacity.edge(haproxy_edge["maxconn"], rpc_edge["body_limit"])


def shares(haproxy: dict) -> dict:
    """
    Return the connection limits of the databases' process, ``{"port", "process", "statistics"}``.

    ``port``: clients of one port; ``process``: in total; ``statistics``: one port of statistics and metrics.

    haproxy
        The settings ``haproxy``.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.shares '{maxconn: 1024}'
    """
    return fanatico_capacity.databases(haproxy["maxconn"])


def _ask(command, timeout=1.0, unit="haproxy"):
    """Send a command to a unit's runtime socket and return the full answer."""
    if unit not in CONFIGURATION:
        raise CommandExecutionError(f"{unit} is not a HAProxy unit; possible: {', '.join(CONFIGURATION)}")
    answer, path = bytearray(), str(RUN / unit / "admin.sock")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(command.encode() + b"\n")
            while piece := connection.recv(65536):
                answer += piece
                if len(answer) > ANSWER_LIMIT:
                    raise CommandExecutionError(
                        f"{path}: the answer to '{command.splitlines()[0]}' exceeds {ANSWER_LIMIT} bytes"
                    )
    except OSError as exc:
        reason = f"no answer within {timeout:g} s" if isinstance(exc, TimeoutError) else exc.strerror or exc
        raise CommandExecutionError(
            f"{__opts__['id']}: HAProxy's socket {path}: {reason}. Next: systemctl status {unit}"
        ) from exc
    return answer.decode("utf-8", "replace")


def info(timeout: float = 1, unit: str = "haproxy") -> dict[str, str]:
    """
    Return ``show info`` as a dict of strings: version, uptime, connections, limits.

    timeout
        Seconds.
    unit
        ``haproxy`` (databases) or ``haproxy-edge`` (public edge).

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.info
    """
    pairs = (line.partition(": ") for line in _ask("show info", timeout, unit).splitlines())
    return {name: value for name, found, value in pairs if found}


def sessions(timeout: float = 2) -> list[dict]:
    """
    Return the open database sessions of this HAProxy, ``[{"client", "port", "server", "from"}]``.

    ``from`` is HAProxy's address and port on the database side, which PostgreSQL's log shows for the session.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.sessions
    """
    found = _SESSION.finditer(_ask("show sess all", timeout))
    return [{key: session[key] for key in ("client", "port", "server", "from")} for session in found]


def stat(timeout: float = 1, unit: str = "haproxy") -> list[dict]:
    """
    Return ``show stat``: one dict per frontend, backend and server, without empty fields.

    timeout
        Seconds.
    unit
        ``haproxy`` (databases) or ``haproxy-edge`` (public edge).

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.stat
    """
    rows = csv.DictReader(_ask("show stat", timeout, unit).lstrip("# ").splitlines())
    return [{name: value for name, value in row.items() if name and value} for row in rows]


def servers(timeout: float = 1, unit: str = "haproxy") -> list[dict]:
    """
    Return ``show servers state`` with HAProxy's own field names and codes, one dict per server.

    For a summary of which servers are up, see ``fanatico_haproxy.backends``.

    timeout
        Seconds.
    unit
        ``haproxy`` (databases) or ``haproxy-edge`` (public edge).

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_haproxy.servers
    """
    lines = [line for line in _ask("show servers state", timeout, unit).splitlines() if line]
    names: list[str] = next((line[2:].split() for line in lines if line.startswith("# ")), [])
    rows = [line.split() for line in lines[1:] if not line.startswith("# ")]
    return [dict(zip(names, row, strict=False)) for row in rows]


def backends(timeout: float = 1) -> dict[str, dict]:
    """
    Return the servers of each backend of both processes: which are up, and why others are down.

    timeout
        Seconds.

    Returns ``{backend: {"status", "up": [servers], "down": {server: reason}, "sessions": number}}``. For a process that does not
    answer, ``{unit: ...}`` of the same shape with the reason as its status. Raises ``CommandExecutionError`` if none answers.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.backends
    """
    found: dict[str, dict] = {}
    silent = []
    for unit in CONFIGURATION:
        try:
            found.update(_backends(stat(timeout, unit)))
        except CommandExecutionError as exc:
            silent.append(exc)
            found[unit] = {"status": str(exc), "up": [], "down": {}, "sessions": 0}
    if len(silent) == len(CONFIGURATION):
        raise silent[0]
    return found


def _backends(rows):
    found: dict[str, dict] = {}
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
            reason = row.get("last_chk") or row.get("check_desc") or row.get("check_status", "")
            backend["down"][row["svname"]] = f"{status} {reason}".strip()
    return {name: backend for name, backend in found.items() if backend["up"] or backend["down"]}


def certificates(timeout: float = 2, unit: str = "haproxy") -> dict[str, dict]:
    """
    Return the certificates and authorities that HAProxy has loaded: ``{path: {"kind", "used", "runs", "disk"}}``.

    ``kind``: ``cert`` or ``ca-file``. ``runs`` and ``disk``: SHA-1 fingerprints of the certificate or of all authorities, in
    HAProxy and in the file; ``disk`` is None if the file cannot be read. ``used``: HAProxy can replace it without a reload;
    HAProxy 3.0 cannot if only `server` lines name the file of authorities.

    timeout
        Seconds, for each request.
    unit
        ``haproxy`` (databases) or ``haproxy-edge`` (public edge).

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.certificates
    """
    return {
        path: _loaded(kind, path, timeout, unit)
        for kind in _LOADED
        for path in _paths(_ask(f"show ssl {kind}", timeout, unit))
    }


def _paths(text):
    """Return the files in a list of HAProxy's; entries with a star are transactions, those with an at sign no files."""
    return [line.split()[0] for line in text.splitlines() if line.startswith("/")]


def _loaded(kind, path, timeout, unit):
    about = _ask(f"show ssl {kind} {path}", timeout, unit)
    runs = re.findall(r"^SHA1 FingerPrint: ([0-9A-F]+)$", about, re.MULTILINE)
    try:
        disk = _fingerprints(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        disk = None
    if kind == "cert":  # the others are its chain
        runs, disk = runs[:1], disk and disk[:1]
    used = "\nStatus: Used" in about
    return {
        "kind": kind,
        "used": used,
        "runs": sorted(set(runs)),
        "disk": disk if disk is None else sorted(set(disk)),
    }


def _fingerprints(text):
    """Return the SHA-1 fingerprints of a file of certificates, as HAProxy writes them; raises ``ValueError``."""
    ders = [ssl.PEM_cert_to_DER_cert(certificate) for certificate in _PEM.findall(text)]
    return [hashlib.sha1(der, usedforsecurity=False).hexdigest().upper() for der in ders]


def update_certificates(timeout: float = 5, unit: str = "haproxy") -> dict[str, str]:
    """
    Replace HAProxy's certificates and authorities by those on disk, without a reload. Connections stay open.

    timeout
        Seconds, for each command.
    unit
        ``haproxy`` (databases) or ``haproxy-edge`` (public edge).

    Returns ``{path: ""}`` for each file that was replaced; a text is the reason why HAProxy could not, and a reload is
    required. Files that are up to date are not in it.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.update_certificates
    """
    return {
        path: _exchange(loaded["kind"], path, timeout, unit) if loaded["used"] else "only servers name it"
        for path, loaded in certificates(timeout, unit).items()
        if loaded["runs"] != loaded["disk"]
    }


def _exchange(kind, path, timeout, unit):
    """Replace a loaded file by the file on disk; return the reason if that failed, else an empty text."""
    try:
        text = _with_key(path) if kind == "cert" else pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        return f"cannot be read: {getattr(exc, 'strerror', None) or exc}"
    # An empty line would end the payload.
    lines = "\n".join(line for line in text.splitlines() if line.strip())
    for command, success in (
        (f"set ssl {kind} {path} <<\n{lines}\n", "ransaction"),
        (f"commit ssl {kind} {path}", "Success!"),
    ):
        answer = _ask(command, timeout, unit)
        if success not in answer or "Can't" in answer:
            _ask(f"abort ssl {kind} {path}", timeout, unit)
            return " ".join(answer.split())[:300]
    return ""


def _with_key(path):
    """Return a certificate with its key, from the same file or from the ``.key`` beside it (ssl-load-extra-del-ext)."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    if "PRIVATE KEY-----" in text:
        return text
    return f"{text}\n{pathlib.Path(path.removesuffix('.crt') + '.key').read_text(encoding='utf-8')}"


def probe(timeout: float = 2) -> dict:
    """
    Probe both processes of HAProxy once. Never raises.

    timeout
        Seconds, for each request.

    Returns ``{"facts": {...}, "checks": {name: check}}``. Checks of the databases' process are ``haproxy.…``, those of the
    public edge ``edge.…``; its facts are under ``edge``.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.probe
    """
    plan = __pillar__["plan"]
    checks: dict[str, dict] = {}
    facts = {unit: _facts(unit, timeout) for unit in CONFIGURATION}
    for unit, found in facts.items():
        required = {
            backend.name: UP[backend.up](len(fanatico_plan.nodes(plan, backend.of)))
            for backend in COMPONENT[unit].backends
        }
        checks |= _judge(unit, found, required)
    return {"facts": {**facts["haproxy"], "edge": facts["haproxy-edge"]}, "checks": checks}


def _facts(unit, timeout):
    """Return the facts about one process; ``{"error": reason}`` if it does not answer."""
    try:
        rows, about, loaded = stat(timeout, unit), info(timeout, unit), certificates(timeout, unit)
    except CommandExecutionError as exc:
        return {"error": str(exc)}
    return {
        "version": about.get("Version"),
        "connections": int(about.get("CurrConns", 0)),
        "max_connections": int(about.get("Maxconn", 0)),
        "frontends": {row["pxname"]: row.get("status") for row in rows if row["svname"] == "FRONTEND"},
        "backends": _backends(rows),
        "files": int(about.get("Ulimit-n", 0)),
        "files_wanted": int(about.get("Maxsock", 0)),
        "older": _older(about, unit),
        "stale": sorted(path for path, file in loaded.items() if file["runs"] != file["disk"]),
    }


def _older(about, unit):
    """Return by how many seconds the running worker is older than its configuration; 0 if it is up to date."""
    started = time.time() - int(about.get("Uptime_sec", 0))
    paths = (FOLDER / name for name in CONFIGURATION[unit])
    changed = [path.stat().st_mtime for path in paths if path.exists()]
    # The uptime is in whole seconds.
    return max(0, round(max(changed, default=0) - started - 1))


def wait_current(timeout: float = 10, unit: str = "haproxy") -> bool:
    """
    Wait until HAProxy runs with the configuration on disk, the last step of a change. Returns True.

    timeout
        Seconds.
    unit
        ``haproxy`` (databases) or ``haproxy-edge`` (public edge).

    Raises ``CommandExecutionError`` with HAProxy's log line after the timeout: a reload that fails keeps the old worker.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.wait_current
    """

    def check():
        older = _older(info(unit=unit), unit)
        return not older, f"the running configuration is {older} s older than the file"

    done, seen = fanatico_wait.until(check, timeout, 0.2)
    if done:
        return True
    log = __salt__["cmd.run_stdout"](
        f"journalctl -u {unit} -n 200 --no-pager -o cat --since=-2min", python_shell=False
    )
    alerts = [line for line in log.splitlines() if "ALERT" in line]
    raise CommandExecutionError(
        f"{__opts__['id']}: HAProxy did not load its configuration: {alerts[-1][:300] if alerts else seen}. "
        f"Next: journalctl -u {unit} -n 50"
    )


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of HAProxy on this node, ``{name: check}``.

    timeout
        Seconds, for each request.

    CLI Example:

    .. code-block:: bash

        salt 'haproxy*' fanatico_haproxy.checks
    """
    return probe(timeout)["checks"]


def _judge(unit, facts, required):
    """Return the checks of a unit from its facts; ``required``: ``{backend: number of servers that must be up}``."""
    prefix, setting = COMPONENT[unit].name, MAXCONN[unit]
    if "error" in facts:
        return {
            f"{prefix}.serving": fanatico_verdict.critical(
                None, facts["error"], f"journalctl -u {unit} -n 50"
            )
        }
    found = {f"{prefix}.serving": _judge_frontends(prefix, facts)}
    used, limit = facts["connections"], facts["max_connections"]
    full = limit and used > 0.9 * limit
    found[f"{prefix}.connections"] = (fanatico_verdict.degraded if full else fanatico_verdict.ok)(
        used,
        f"{used} of {limit} connections in use",
        f"salt {__opts__['id']} fanatico_haproxy.stat unit={unit}; raise {setting} in pillar/haproxy.sls"
        if full
        else "",
    )
    found[f"{prefix}.configuration"] = fanatico_verdict.ok(0, "runs with the configuration on disk")
    if facts["older"]:
        detail = f"started {facts['older']} s before its configuration changed: a reload failed or was not requested"
        hint = f"journalctl -u {unit} -n 50; systemctl reload {unit}"
        found[f"{prefix}.configuration"] = fanatico_verdict.degraded(facts["older"], detail, hint)
    found[f"{prefix}.certificates"] = fanatico_verdict.ok(
        0, "runs with the certificates and authorities on disk"
    )
    if facts["stale"]:
        detail = f"runs with certificates or authorities that differ from those on disk: {', '.join(facts['stale'])}"
        found[f"{prefix}.certificates"] = fanatico_verdict.degraded(
            facts["stale"], detail, "salt-call state.apply haproxy.certified"
        )
    files, wanted = facts["files"], facts["files_wanted"]
    found[f"{prefix}.files"] = fanatico_verdict.ok(files, f"limit of open files: {files}")
    if files < wanted:
        detail = f"needs {wanted} open files for the connections of {setting}; the host allows {files}"
        found[f"{prefix}.files"] = fanatico_verdict.degraded(
            files,
            detail,
            f"lower {setting} in pillar/haproxy.sls, or raise this host's hard limit: systemctl show {unit} -P LimitNOFILE",
        )
    for name, number in required.items():
        found[f"{prefix}.{name}"] = _judge_backend(prefix, name, facts["backends"].get(name), number)
    if unit == "haproxy":
        _reads_without_replica(found)
    return found


def _judge_frontends(prefix, facts):
    """Return the check whether a process accepts connections."""
    closed = [name for name, status in facts["frontends"].items() if status not in ("OPEN", "FULL")]
    if closed:
        return fanatico_verdict.critical(
            closed, f"closed: {', '.join(closed)}", f"salt-call state.apply {prefix}"
        )
    opened = sorted(facts["frontends"])
    return fanatico_verdict.ok(
        facts["version"], f"HAProxy {facts['version']} accepts connections on {', '.join(opened)}"
    )


def _reads_without_replica(found):
    """Lower the check of reads to degraded if no replica is up and the primary serves the reads."""
    reads, writes = found["haproxy.postgres_replica"], found["haproxy.postgres_primary"]
    if reads["status"] == "critical" and writes["value"]:
        reads.update(status="degraded", detail=f"{reads['detail']}; the primary serves the reads")


def _judge_backend(prefix, name, backend, required):
    """Return the check of one backend: enough servers up, too few, or none."""
    if backend is None:
        return fanatico_verdict.critical(
            None, f"HAProxy has no backend {name}", f"salt-call state.apply {prefix}"
        )
    up = backend["up"]
    down = "; ".join(f"{server} {reason}" for server, reason in backend["down"].items())
    detail = f"{len(up)} of {required} up" + (f" ({', '.join(up)})" if up else "")
    if len(up) >= required:
        return fanatico_verdict.ok(up, detail)
    hint = f"salt -L {','.join(backend['down'])} fanatico.health"
    return (fanatico_verdict.degraded if up else fanatico_verdict.critical)(
        up, f"{detail}; down: {down}", hint
    )
