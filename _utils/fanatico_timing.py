"""
The timing presets: matching timeouts for failure detection in Patroni, etcd, HAProxy and VRRP. Pure.

A plan names a preset (``plan:timing:preset``) and may override single values. Costs and sources of the values: docs/failover.md.
"""

from collections.abc import Mapping

DEFAULT = "swift"

# patroni: seconds. etcd, haproxy: milliseconds, and numbers of checks. vrrp: seconds.
#
# rise 1: one check is enough, because only the holder of the leader lock answers as primary. fall: long enough, at fastinter,
# for a Patroni that crashed to be back (it takes under two seconds), because PostgreSQL keeps running meanwhile. If a host with
# both leaders is lost, election_ms counts 2.3 times: an election takes 1.3 times as long, and the new etcd leader extends every
# lease by another election_ms.
PRESETS: dict[str, dict[str, dict]] = {
    # One site, less than 1 ms between hosts.
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
    # Several rooms, or virtual machines with live migration.
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
    # Several regions, up to about 50 ms between hosts.
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
    Return the effective timing, ``{"patroni": {...}, "etcd": {...}, "haproxy": {...}, "vrrp": {...}}``.

    timing
        The value of ``plan:timing``: a preset's name, single values, both or neither (the default preset).

    Malformed values are kept as they are, so that the validation reports them.
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
    Return ``pillar`` with the effective timing in its plan, for the validation.

    pillar
        The pillar of a node, or of all nodes merged.
    """
    plan = pillar.get("plan")
    if not isinstance(plan, Mapping):
        return pillar
    timing = resolved(plan.get("timing"))
    named = plan.get("timing")
    if isinstance(timing, Mapping) and isinstance(named, Mapping) and "preset" in named:
        timing = {"preset": named["preset"], **timing}
    return {**pillar, "plan": {**plan, "timing": timing}}
