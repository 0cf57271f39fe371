"""
Compare wanted settings with present settings. No I/O.
"""

from typing import Any

# Keys of Patroni's dynamic configuration that we manage, and remove if they are no longer wanted. Operators set other keys on
# purpose: `pause`, permanent slots, a standby cluster.
_OWNED = {
    (): {
        "check_timeline",
        "failsafe_mode",
        "loop_wait",
        "max_timelines_history",
        "maximum_lag_on_failover",
        "maximum_lag_on_syncnode",
        "member_slots_ttl",
        "primary_start_timeout",
        "primary_stop_timeout",
        "retry_timeout",
        "synchronous_mode",
        "synchronous_mode_strict",
        "synchronous_node_count",
        "ttl",
    },
}
# Managed as a whole: commands that Patroni executes on every database host are set here too (callbacks,
# create_replica_methods, pre_promote, bin_name ...), and an intruder on one host could have left one.
_WHOLE = {("postgresql",), ("postgresql", "parameters")}

_WORDS = {"true": "on", "yes": "on", "false": "off", "no": "off"}


def patroni(wanted, present):
    """
    Return ``(changes, patch)`` that turn the present dynamic configuration into the wanted one.

    wanted, present
        Patroni's dynamic configuration, a dict or None.

    ``changes`` is ``{"postgresql.parameters.max_connections": {"old": 100, "new": 200}, ...}``; None means absent. ``patch`` is
    the body for ``PATCH /config``. Both are empty if nothing differs.
    """
    changes: dict[str, Any] = {}
    patch: dict[str, Any] = {}
    _compare(wanted or {}, present or {}, (), changes, patch)
    return changes, patch


def _compare(wanted, present, path, changes, patch):
    owned = set(present) if path in _WHOLE else _OWNED.get(path, set())
    for key in sorted({*wanted, *(owned & set(present))}):
        old, new = present.get(key), wanted.get(key)
        if isinstance(new, dict):
            deeper: dict[str, Any] = {}
            _compare(new, old if isinstance(old, dict) else {}, (*path, key), changes, deeper)
            if deeper:
                patch[key] = deeper
        elif not same(old, new):
            changes[".".join((*path, key))] = {"old": old, "new": new}
            patch[key] = new


def same(one, other):
    """Tell whether two values of a setting are equal: ``on`` equals true, ``100`` equals ``"100"``."""
    return _plain(one) == _plain(other)


def _plain(value):
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower(), value.strip())
    return value if value is None else str(value)
