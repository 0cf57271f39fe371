"""
Whether a Patroni node and the cluster it finds belong together, and whether its data are of use, decided from what is seen; and
what follows from the pillar's settings of Patroni and PostgreSQL. No I/O.
"""

import re

import fanatico_version


def judge(me, key, initialize, local, leader):
    """
    Return ``(verdict, why)`` for a node that is about to start.

    me
        The id of this node.
    key
        The key in etcd that holds the cluster's system identifier.
    initialize
        Its value; None where there is no such key. Empty while a first node is founding the cluster.
    local
        The system identifier of the data on this node, or None where it has none.
    leader
        The id of the node that leads, or None.

    ``verdict`` is ``ok``, ``wait`` (it may get better) or ``foreign``.
    """
    if local and initialize and local != initialize:
        if leader:
            # Never delete keys under a cluster that is serving.
            remedy = (
                f"{leader} leads: where its own system identifier (salt {leader} fanatico_patroni.status) is not "
                f"{initialize}, put that into the key; where it is, move the data directory here away, and this node copies "
                "the cluster's"
            )
        else:
            remedy = (
                "where the data is the one to keep and nothing else uses that key, remove it "
                f"(etcdctl del --prefix {parent(key)}); where it is not, move the data directory away, and this node copies "
                "the cluster's"
            )
        return "foreign", (
            f"{me}: the data on this node and the key {key} in etcd are of two different clusters (system identifiers "
            f"{local} and {initialize}): one of them is foreign, and Patroni would not start. Next: {remedy}"
        )
    if local is None and initialize is not None and leader is None:
        return "wait", (
            f"{me}: etcd holds the key {key} ({initialize or 'still empty'}), so a cluster of this name has been founded, "
            f"but none of its members leads and {me} has no data of it: Patroni would wait here for ever. Next: start the "
            "members that have the data; or, where there are none and the key is left over or foreign, remove it "
            f"(etcdctl del --prefix {parent(key)})"
        )
    return "ok", "this node and the cluster belong together"


def parent(key):
    """Return the prefix a key stands under, with its slash at the end."""
    return key.rpartition("/")[0] + "/"


def system_identifier(control_data):
    """Return the system identifier in what ``pg_controldata`` prints, or None."""
    for line in control_data.splitlines():
        name, _, value = line.partition(":")
        if name == "Database system identifier":
            return value.strip()
    return None


def passwords(configuration):
    """Return ``{"superuser": ..., "replication": ..., "rewind": ...}`` of a patroni.yml as far as they are there."""
    roles = ((configuration or {}).get("postgresql") or {}).get("authentication") or {}
    return {name: (one or {}).get("password") for name, one in roles.items()}


def synchronous_mode(wanted, version):
    """
    Return the setting ``synchronous_mode`` that a Patroni understands: ``quorum`` is new in 4.0, before it ``True`` (on).

    wanted
        What the pillar says.
    version
        The package's version; empty where it is not installed yet.
    """
    numbers = fanatico_version.numbers(version)
    return True if wanted == "quorum" and numbers and numbers < (4,) else wanted


def dynamic(pillar, timing, version):
    """
    Return what all members share and etcd keeps: what a new cluster starts with, and a running one is kept to.

    pillar
        With ``patroni`` and ``postgresql``.
    timing
        Patroni's, of ``fanatico_timing.resolved``.
    version
        As for ``synchronous_mode``.
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
    Return the pillar's ``postgresql`` with what follows from its version: ``data_dir``, ``bin_dir``, and in ``parameters`` only
    what that version is to be given.
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
    """Return where PostgreSQL's data are, by the pillar's ``postgresql``."""
    return own["data_dir"] or f"/var/lib/postgresql/{own['version']}/main"


def completed(pillar):
    """
    Return ``pillar`` with the data directory in its ``postgresql`` that is in force.

    A node without PostgreSQL has nothing there, or what site/ overrides.
    """
    own = pillar.get("postgresql")
    if not isinstance(own, dict) or not {"data_dir", "version"} <= own.keys():
        return pillar
    return {**pillar, "postgresql": {**own, "data_dir": data_directory(own)}}


# What proves that data are of no use. A library, a configuration file, a tablespace's directory that is not there is no damage,
# nor is what somebody has forbidden or used up: so the server's own files are named, the rest is not taken for one.
# The last ones say that a replica has what nobody else has, or needs what is gone.
# Only in lines of the server's own processes, and of Patroni's sessions over the socket: those of other sessions have
# `[address user@database]` first (log_line_prefix), and quote what a client has sent, its name included.
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
    """Return what ``journalctl --grep`` takes to show the lines that ``unusable`` and ``complaint`` look at."""
    return rf"{_SERVER}{_OR_PATRONI}(?:LOG|FATAL|PANIC): "


def unusable(journal):
    """Return the last line in which PostgreSQL says that it cannot use its data, or follow with them; else an empty string."""
    found = [one[0] for one in _UNUSABLE.finditer(journal)]
    return found[-1][-300:] if found else ""


def last_fatal(journal):
    """Return the last FATAL or PANIC of PostgreSQL's own processes, without its prefix; else an empty string."""
    found = _FATAL.findall(journal)
    return found[-1][:300] if found else ""
