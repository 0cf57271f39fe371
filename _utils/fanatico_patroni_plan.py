"""
Decide whether a Patroni node belongs to the cluster it finds and whether its data is usable; derive settings of Patroni and
PostgreSQL from the pillar. No I/O.
"""

import re

import fanatico_version


def judge(me, key, initialize, local, leader):
    """
    Return ``(verdict, why)`` for a node before it starts.

    me
        The id of this node.
    key
        The key in etcd with the cluster's system identifier.
    initialize
        Its value; None if the key does not exist. Empty while the first node bootstraps the cluster.
    local
        The system identifier of the data on this node; None without data.
    leader
        The id of the leader, or None.

    ``verdict`` is ``ok``, ``wait`` (retry later) or ``foreign``.
    """
    if local and initialize and local != initialize:
        if leader:
            # Never delete the keys of a running cluster.
            remedy = (
                f"compare with the leader {leader} (salt {leader} fanatico_patroni.status): if its system identifier is not "
                f"{initialize}, write its value into the key; else move the data directory on {me} away, so that {me} clones "
                "the leader"
            )
        else:
            remedy = (
                f"if the data on {me} is the one to keep and nothing else uses the key, delete the key "
                f"(etcdctl del --prefix {parent(key)}); else move the data directory away, so that {me} clones the leader"
            )
        return "foreign", (
            f"{me}: the data on this node and the key {key} in etcd belong to two different clusters (system identifiers "
            f"{local} and {initialize}), so Patroni would not start. Next: {remedy}"
        )
    if local is None and initialize is not None and leader is None:
        return "wait", (
            f"{me}: etcd has the key {key} ({initialize or 'still empty'}), so a cluster of this name exists, but it has no "
            f"leader and {me} has no data: Patroni would wait forever. Next: start the members that have the data; if there "
            f"are none and the key is stale, delete it (etcdctl del --prefix {parent(key)})"
        )
    return "ok", "this node belongs to the cluster"


def parent(key):
    """Return the prefix of a key, with the trailing slash."""
    return key.rpartition("/")[0] + "/"


def system_identifier(control_data):
    """Return the system identifier in the output of ``pg_controldata``, or None."""
    for line in control_data.splitlines():
        name, _, value = line.partition(":")
        if name == "Database system identifier":
            return value.strip()
    return None


def passwords(configuration):
    """Return the passwords of a parsed patroni.yml, ``{"superuser", "replication", "rewind"}``, as far as present."""
    roles = ((configuration or {}).get("postgresql") or {}).get("authentication") or {}
    return {name: (role or {}).get("password") for name, role in roles.items()}


def synchronous_mode(wanted, version):
    """
    Return ``synchronous_mode`` for a Patroni version: ``quorum`` is new in 4.0, older versions get ``True`` (on).

    wanted
        The value in the pillar.
    version
        The package's version; empty if it is not installed yet.
    """
    numbers = fanatico_version.numbers(version)
    return True if wanted == "quorum" and numbers and numbers < (4,) else wanted


def dynamic(pillar, timing, version):
    """
    Return Patroni's dynamic configuration, which all members share through etcd, a dict.

    pillar
        With ``patroni`` and ``postgresql``.
    timing
        The part ``patroni`` of ``fanatico_timing.resolved``.
    version
        See ``synchronous_mode``.
    """
    own = pillar["patroni"]["dynamic"]
    return {
        **own,
        **timing,
        "synchronous_mode": synchronous_mode(own["synchronous_mode"], version),
        "postgresql": {**own["postgresql"], "parameters": postgresql(pillar)["parameters"]},
    }


def postgresql(pillar):
    """
    Return the pillar's ``postgresql``, completed for its version: ``data_dir``, ``bin_dir``, and ``parameters`` without those
    that are null or that the version does not know.
    """
    own = pillar["postgresql"]
    given = {name: value for name, value in own["parameters"].items() if value is not None}
    if own["version"] < 16:
        given.pop("reserved_connections", None)  # new in 16
    return {
        **own,
        "data_dir": data_directory(own),
        "bin_dir": f"/usr/lib/postgresql/{own['version']}/bin",
        "parameters": given,
    }


def data_directory(own):
    """Return PostgreSQL's data directory; ``own`` is the pillar's ``postgresql``."""
    return own["data_dir"] or f"/var/lib/postgresql/{own['version']}/main"


def completed(pillar):
    """
    Return ``pillar`` with the effective data directory in its ``postgresql``.

    A pillar without PostgreSQL is returned unchanged.
    """
    own = pillar.get("postgresql")
    if not isinstance(own, dict) or not {"data_dir", "version"} <= own.keys():
        return pillar
    return {**pillar, "postgresql": {**own, "data_dir": data_directory(own)}}


# Log lines that prove that the data is unusable. A missing library, configuration file or tablespace directory is no damage, and
# neither are missing permissions or exhausted resources: so only the server's own files match. The last patterns mean that a
# replica is ahead of the leader, or needs WAL that no longer exists.
# Only lines of the server's own processes and of Patroni's sessions over the socket match. Lines of other sessions start with
# `[address user@database]` (log_line_prefix) and quote text of a client.
_SERVER = r"^\d{4}-\d\d-\d\d \S+ \S+ \[\d+\] "
_OR_PATRONI = r"(?:\[\[local\] postgres@postgres\] )?"
_OWN = (
    r"\"(?:base|global|PG_VERSION|backup_label"
    r"|pg_(?:wal|xact|multixact|subtrans|commit_ts|twophase|logical|replslot|dynshmem))\b"
)
_UNUSABLE = re.compile(
    rf"{_SERVER}{_OR_PATRONI}(?:(?:FATAL|PANIC): +(?:"
    rf"could not (?:open|access|stat) (?:file|directory) {_OWN}.*No such file or directory"
    rf"|could not read file {_OWN}.*(?:read \d+ of \d+|Input/output error)"
    r"|could not locate a valid checkpoint record|invalid (?:checkpoint|page)"
    r"|(?:control file|file \"global/pg_control\").* contains (?:invalid|incorrect|wrong) |incorrect checksum in control file"
    r"|(?:could not [\w ]+: ERROR: +)?requested starting point \S+ is ahead of the WAL flush position"
    r"|(?:could not [\w ]+: ERROR: +)?requested WAL segment \S+ has already been removed"
    r"|highest timeline \d+ of the primary is behind recovery timeline"
    r"|requested timeline \d+ is not a child of this server's history"
    r")|LOG: +new timeline \d+ forked off current database system timeline \d+ before current recovery point).*",
    re.MULTILINE,
)
_FATAL = re.compile(rf"{_SERVER}((?:FATAL|PANIC): .*)", re.MULTILINE)


def log_pattern():
    """Return the pattern for ``journalctl --grep`` that matches the lines for ``unusable`` and ``last_fatal``."""
    return rf"{_SERVER}{_OR_PATRONI}(?:LOG|FATAL|PANIC): "


def unusable(journal):
    """Return PostgreSQL's last log line that proves its data unusable, cut to 300 characters; else an empty string."""
    found = [match[0] for match in _UNUSABLE.finditer(journal)]
    return found[-1][-300:] if found else ""


def last_fatal(journal):
    """Return the last FATAL or PANIC of PostgreSQL's own processes, without the line prefix; else an empty string."""
    found = _FATAL.findall(journal)
    return found[-1][:300] if found else ""
