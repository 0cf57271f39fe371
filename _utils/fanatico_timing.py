"""
The timing presets: how fast Patroni, etcd, HAProxy and VRRP notice a fault, set together. Pure.

A plan names a preset (``plan:timing:preset``) and may set any single value over it. What each costs and where the values
come from: docs/failover.md.
"""

from collections.abc import Mapping

DEFAULT = "swift"

# patroni: seconds. etcd, haproxy: milliseconds, and numbers of checks. vrrp: seconds.
#
# rise 1: Patroni's answer is not a matter of chance, whoever says it is primary has the lock. fall: long enough, at
# fastinter, for a Patroni that died to be back (it takes under two seconds), since PostgreSQL goes on meanwhile.
# election_ms counts twice and a third where a host is lost that has both leaders: an election takes 1.3 of it, and the
# new leader of etcd adds one more to what every lease has left.
PRESETS: dict[str, dict[str, dict]] = {
    # One site, less than a millisecond between hosts.
    "swift": {
        "patroni": {
            "ttl": 20,
            "loop_wait": 2,
            "retry_timeout": 7,
            "primary_start_timeout": 0,
            "primary_stop_timeout": 5,
        },
        "etcd": {"heartbeat_ms": 70, "election_ms": 700},
        "haproxy": {"inter_ms": 1000, "fastinter_ms": 500, "downinter_ms": 300, "rise": 1, "fall": 8},
        "vrrp": {"advert": 0.3},
    },
    # Several rooms, or virtual machines that are moved while they run.
    "norm": {
        "patroni": {
            "ttl": 30,
            "loop_wait": 5,
            "retry_timeout": 10,
            "primary_start_timeout": 10,
            "primary_stop_timeout": 10,
        },
        "etcd": {"heartbeat_ms": 100, "election_ms": 1000},
        "haproxy": {"inter_ms": 2000, "fastinter_ms": 500, "downinter_ms": 1000, "rise": 1, "fall": 8},
        "vrrp": {"advert": 0.5},
    },
    # Several regions, up to some 50 ms between hosts.
    "wide": {
        "patroni": {
            "ttl": 60,
            "loop_wait": 10,
            "retry_timeout": 20,
            "primary_start_timeout": 30,
            "primary_stop_timeout": 20,
        },
        "etcd": {"heartbeat_ms": 300, "election_ms": 3000},
        "haproxy": {"inter_ms": 3000, "fastinter_ms": 1000, "downinter_ms": 2000, "rise": 1, "fall": 4},
        "vrrp": {"advert": 0.8},
    },
}


def resolved(timing):
    """
    Return the timing in force, ``{"patroni": {...}, "etcd": {...}, "haproxy": {...}, "vrrp": {...}}``.

    timing
        What stands under ``plan:timing``: a preset's name, values of its own, both or neither (the default preset).

    Where something is not what it should be it stays as it is, for the validation to name.
    """
    if timing is None:
        timing = {}
    if not isinstance(timing, Mapping):
        return timing
    name = timing.get("preset", DEFAULT)
    preset = PRESETS.get(name if isinstance(name, str) else DEFAULT, PRESETS[DEFAULT])
    own = {key: value for key, value in timing.items() if key != "preset" and value is not None}
    return {
        **own,
        **{
            section: {**values, **own.get(section, {})}
            if isinstance(own.get(section, {}), Mapping)
            else own[section]
            for section, values in preset.items()
        },
    }


def completed(pillar):
    """
    Return ``pillar`` with the whole timing in force in its plan, for the validation.

    pillar
        A node's, or all of them merged.
    """
    plan = pillar.get("plan")
    if not isinstance(plan, Mapping):
        return pillar
    timing = resolved(plan.get("timing"))
    named = plan.get("timing")
    if isinstance(timing, Mapping) and isinstance(named, Mapping) and "preset" in named:
        timing = {"preset": named["preset"], **timing}
    return {**pillar, "plan": {**plan, "timing": timing}}
