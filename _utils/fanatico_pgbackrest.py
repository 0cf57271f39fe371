"""
The configuration of pgBackRest on a host, derived from the plan and the settings; the command that archives WAL. Pure.

Both sides accept only hosts with a certificate of the authority ``backup`` whose name is listed. The passphrase is on the
backup hosts alone: they encrypt, the database hosts send and receive through the TLS connection.
"""

import fanatico_patroni_plan
import fanatico_plan

STANZA = "main"
FILE = "/etc/pgbackrest/pgbackrest.conf"
SPOOL, LOGS, LOCKS = "/var/spool/pgbackrest", "/var/log/pgbackrest", "/run/pgbackrest"
PASSPHRASE = "@PASSPHRASE@"  # salt/archive/files/pgbackrest.conf.jinja puts the secret in its place
ARCHIVE = "/usr/local/lib/fanatico/pgbackrest-archive"
_PKI = "/etc/pgbackrest/pki/backup"
_SOCKET = "/var/run/postgresql"


def sections(pillar, me):
    """
    Return the configuration of this host, ``{section: {key: value or list of values}}``.

    pillar
        With ``plan``, ``backup`` and ``postgresql``.
    me
        The id of the host: a node with the role backup or patroni.
    """
    plan = pillar["plan"]
    repository, database = (fanatico_plan.has_role(plan, me, role) for role in ("backup", "patroni"))
    found = {"global": {**_common(pillar["backup"]), **_server(plan, me)}}
    if repository:
        found["global"] |= _repository(pillar)
        found[STANZA] = _databases(pillar, me)
    else:
        found["global"] |= _remote_repositories(plan)
        found[STANZA] = _database(pillar, 1)
    if database:
        found["global"] |= {"archive-async": "y", "spool-path": SPOOL}
        # Before 2.59, an asynchronous archive-get can end a recovery too early where the timeline changes.
        found["global:archive-get"] = {"archive-async": "n"}
    return found


def text(sections):
    """Return a configuration as the text of pgBackRest's file."""
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        for key, values in options.items():
            lines += [f"{key}={value}" for value in (values if isinstance(values, list) else [values])]
        lines.append("")
    return "\n".join(lines)


def archive_command(plan):
    """
    Return PostgreSQL's ``archive_command``.

    Without a backup host it only says that a segment may be removed: archiving can then be switched on without a restart.
    """
    if not fanatico_plan.nodes(plan, "backup"):
        return "/bin/true"
    return f"{ARCHIVE} %p"


def _common(own):
    return {
        "compress-type": "zst",
        "compress-level": str(own["compress_level"]),
        "process-max": str(own["processes"]),
        "log-level-console": "warn",
        "log-level-file": "warn",
        "log-path": LOGS,
        "lock-path": LOCKS,
        "io-timeout": "15",  # seconds: a host that vanished is noticed
    }


def _server(plan, me):
    """Return the settings of the TLS server, which the other side connects to; databases do not connect to each other."""
    # A host with both roles lists itself: the server does not start without a client.
    roles = ("backup", "patroni") if fanatico_plan.has_role(plan, me, "backup") else ("backup",)
    clients = [
        node for node in plan["nodes"] if any(fanatico_plan.has_role(plan, node, role) for role in roles)
    ]
    return {
        "tls-server-address": fanatico_plan.address(plan, me),
        "tls-server-port": _port(plan),
        "tls-server-ca-file": f"{_PKI}-ca.crt",
        "tls-server-cert-file": f"{_PKI}.crt",
        "tls-server-key-file": f"{_PKI}.key",
        "tls-server-auth": [f"{node}={STANZA}" for node in clients],
    }


def _repository(pillar):
    own = pillar["backup"]
    return {
        "repo1-path": own["path"],
        "repo1-cipher-type": "aes-256-cbc",
        "repo1-cipher-pass": PASSPHRASE,
        "repo1-bundle": "y",
        "repo1-block": "y",
        "repo1-retention-full-type": "count",
        "repo1-retention-full": str(own["keep"]),
        "start-fast": "y",
        "resume": "n",
        "backup-standby": "prefer",
    }


def _remote_repositories(plan):
    """Return the repositories of a database host: all backup hosts, in plan order."""
    found: dict[str, str] = {}
    for number, node in enumerate(fanatico_plan.nodes(plan, "backup"), 1):
        found |= _peer(f"repo{number}", plan, node)
    return found


def _databases(pillar, me):
    """Return the database hosts of a backup host."""
    found: dict[str, str] = {}
    for number, node in enumerate(fanatico_plan.nodes(pillar["plan"], "patroni"), 1):
        if node != me:
            found |= _peer(f"pg{number}", pillar["plan"], node)
        found |= _database(pillar, number)
    return found


def _database(pillar, number):
    return {
        f"pg{number}-path": fanatico_patroni_plan.data_directory(pillar["postgresql"]),
        f"pg{number}-port": pillar["plan"]["ports"]["postgres"],
        f"pg{number}-socket-path": _SOCKET,
    }


def _peer(name, plan, node):
    return {
        f"{name}-host": fanatico_plan.address(plan, node),
        f"{name}-host-type": "tls",
        f"{name}-host-port": _port(plan),
        f"{name}-host-ca-file": f"{_PKI}-ca.crt",
        f"{name}-host-cert-file": f"{_PKI}.crt",
        f"{name}-host-key-file": f"{_PKI}.key",
    }


def _port(plan):
    return str(fanatico_plan.port(plan, "pgbackrest"))
