"""The phases of an outage, from the machines' journals: when each component reacted. No I/O."""

import re

# {phase: (unit, log line)}, in the order of a failover.
MARKS = {
    "stopped": ("patroni", r"database system is shut down|received (fast|immediate) shutdown request"),
    "released": ("patroni", r"[Dd]emot(ed|ing) self|released leader key|Releasing leader"),
    "lock_taken": ("patroni", r"promoted self to leader|acquired session lock as a leader"),
    "promoted": ("patroni", r"selected new timeline ID|database system is ready to accept connections"),
    "etcd_leader": ("etcd", r"became leader at term"),
    "haproxy_down": ("haproxy", r"Server postgres_primary/\S+ is DOWN"),
    "haproxy_up": ("haproxy", r"Server postgres_primary/\S+ is UP"),
    "virtual_ip": ("keepalived", r"Entering MASTER STATE"),
}

# Their names in a report.
NAMES = {
    "stopped": "database stopped",
    "released": "lock released",
    "lock_taken": "lock taken",
    "promoted": "promoted",
    "etcd_leader": "etcd leader",
    "haproxy_down": "HAProxy: down",
    "haproxy_up": "HAProxy: up",
    "virtual_ip": "virtual IP",
}


def marks(entries, struck, until):
    """
    Return ``{mark: {"after": seconds from the fault, "node": where}}``, the first of each after the fault.

    entries
        ``[(node, unit, monotonic seconds, message), ...]``.
    struck, until
        Seconds of the monotonic clock: the injection of the fault, and the last entry to consider.
    """
    found = {}
    for node, unit, when, message in sorted(entries, key=lambda entry: entry[2]):
        if not struck <= when <= until:
            continue
        for mark, (source, pattern) in MARKS.items():
            if mark not in found and unit == source and re.search(pattern, message):
                found[mark] = {"after": when - struck, "node": node}
    return found


def entry(node, line):
    """
    Return (node, unit, monotonic seconds, message) of a journal entry.

    line
        ``{"MESSAGE", "_SYSTEMD_UNIT", "__MONOTONIC_TIMESTAMP"}``, from ``journalctl -o json``.
    """
    message = line.get("MESSAGE")
    return (
        node,
        line.get("_SYSTEMD_UNIT", "").removesuffix(".service"),
        int(line["__MONOTONIC_TIMESTAMP"]) / 1e6,
        message if isinstance(message, str) else "",  # journalctl prints binary data as a list of bytes
    )
