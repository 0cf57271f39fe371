"""Limits of exposure by ``systemd-analyze security`` for each unit: from 0 (safe) to 10 (no sandbox)."""

LIMIT = 3.0
# Stricter than the limit, so that no existing protection gets lost.
BETTER = {
    "etcd.service": 1.9,
    "patroni.service": 2.9,
    "keepalived.service": 2.9,
    "fanatico-rpc.service": 1.9,
    "fanatico-rpc-agent.service": 1.5,
    "fanatico-rpc-ws.service": 1.5,
    "fanatico-rpc-follow.service": 1.5,
    "fanatico-firewall.service": 2.5,
    "prometheus-node-exporter.service": 2.5,
}
# Exceptions above the limit with the reason, as in docs/security.md.
ABOVE = {
    "salt-master.service": 3.5,  # root, and salt-ssh needs terminals, users and the network
    "salt-minion.service": 9.7,  # it changes the host: packages, users, firewall, kernel settings, units
    "fanatico-boot.service": 9.7,  # the same, once after each boot
}


def most(unit):
    """Return the highest exposure that a unit may have."""
    return ABOVE.get(unit) or BETTER.get(unit) or LIMIT
