"""
The configuration of pgBackRest on a host, derived from the plan and the settings; the command that archives WAL. Pure.

Both sides accept only hosts with a certificate of the authority ``backup`` whose name is listed. The passphrase is on the
backup hosts alone: they encrypt, the database hosts send and receive through the TLS connection.
"""

import fanatico_patroni_plan
import fanatico_plan

STANZA = "main"
FILE = "/etc/pgbackrest/pgbackrest.conf"
# The names of the repositories for operators.
LOCAL, S3 = "local", "s3"
S3_CA = "/etc/pgbackrest/s3-ca.crt"
SPOOL, LOGS, LOCKS = "/var/spool/pgbackrest", "/var/log/pgbackrest", "/run/pgbackrest"
# The templates of salt/archive put the secrets in their place.
PASSPHRASE, S3_KEY, S3_KEY_SECRET = "@PASSPHRASE@", "@S3_KEY@", "@S3_KEY_SECRET@"
ARCHIVE = "/usr/local/lib/fanatico/pgbackrest-archive"
_PKI = "/etc/pgbackrest/pki/backup"
_SOCKET = "/var/run/postgresql"


def repositories(pillar):
    """
    Return all repositories, ``[{"index", "host", "name"}]``.

    A host that uses a repository of another one passes its index, which that host looks up in its own configuration: so a
    repository has the same index on every host. Each backup host has one, in plan order; the one in S3 is the last, and only the
    first backup host uses it. The databases send to the local ones alone: while S3 is away, pgBackRest would try it for minutes
    before it sends anything. That host sends on what has arrived.

    pillar
        With ``plan`` and ``backup``.
    """
    hosts = fanatico_plan.nodes(pillar["plan"], "backup")
    found = [{"index": number, "host": host, "name": LOCAL} for number, host in enumerate(hosts, 1)]
    if hosts and pillar["backup"]["s3"]["bucket"]:
        found.append({"index": len(hosts) + 1, "host": hosts[0], "name": S3})
    return found


def own(pillar, me):
    """Return the repositories that a host keeps or talks to S3 for, ``{name: index}``. ``pillar``, ``me``: see ``sections``."""
    return {one["name"]: one["index"] for one in repositories(pillar) if one["host"] == me}


def sections(pillar, me):
    """
    Return the configuration of this host, ``{section: {key: value or list of values}}``, without the repository in S3.

    pillar
        With ``plan``, ``backup`` and ``postgresql``.
    me
        The id of the host: a node with the role backup or patroni.
    """
    plan = pillar["plan"]
    repository, database = (fanatico_plan.has_role(plan, me, role) for role in ("backup", "patroni"))
    found = {"global": {**_common(pillar["backup"]), **_server(plan, me)}}
    for one in repositories(pillar):
        if one["name"] != LOCAL:
            continue
        if one["host"] == me:
            found["global"] |= _repository(pillar, one["index"])
        elif database:
            found["global"] |= _peer(f"repo{one['index']}", plan, one["host"])
    found[STANZA] = _databases(pillar, me) if repository else _database(pillar, 1)
    if database:
        found["global"] |= {"archive-async": "y", "spool-path": SPOOL}
        # Before 2.59, an asynchronous archive-get can end a recovery too early where the timeline changes.
        found["global:archive-get"] = {"archive-async": "n"}
    return found


def s3_sections(pillar, me):
    """
    Return the configuration of the repository in S3 on the host that talks to it, ``{}`` on the others; as ``sections``.

    It is a file of its own: pgBackRest does not read it when it is given the path of the other one, so the local repository can
    be checked while S3 is away; with this one alone WAL is sent to S3 alone; and the server for the databases does not see it.
    """
    number, s3 = own(pillar, me).get(S3), pillar["backup"]["s3"]
    if number is None:
        return {}
    settings = {
        "type": "s3",
        "path": s3["path"],
        "s3-bucket": s3["bucket"],
        "s3-endpoint": s3["endpoint"],
        "s3-region": s3["region"],
        "s3-key": S3_KEY,
        "s3-key-secret": S3_KEY_SECRET,
        "s3-uri-style": s3["uri_style"],
        "storage-port": str(s3["port"]),
        "storage-verify-tls": "y" if s3["verify"] else "n",
        **({"storage-ca-file": S3_CA} if s3["ca"] else {}),
        **_kept(s3["keep"]),
    }
    return {"global": {f"repo{number}-{key}": value for key, value in settings.items()}}


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


def _repository(pillar, number):
    settings = {"path": pillar["backup"]["path"], **_kept(pillar["backup"]["keep"])}
    return {
        **{f"repo{number}-{key}": value for key, value in settings.items()},
        "start-fast": "y",
        "resume": "n",
        "backup-standby": "prefer",
    }


def _kept(keep):
    """Return what all repositories have in common."""
    return {
        "cipher-type": "aes-256-cbc",
        "cipher-pass": PASSPHRASE,
        "bundle": "y",
        "block": "y",
        "retention-full-type": "count",
        "retention-full": str(keep),
    }


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
