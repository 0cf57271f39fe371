"""Faults that lab tests inject, and the nodes they strike."""

from tests.support import labs


def active(lab, node, unit):
    return lab.exec(node, ["systemctl", "is-active", unit], check=False).stdout.strip() == "active"


def replica_of(lab):
    return next(node for node in labs.nodes(lab, "patroni") if node != labs.leader(lab))


def etcd_follower_of(lab):
    leader = lab.salt("etcd1", "fanatico_etcd.leader")["etcd1"]
    return next(node for node in labs.nodes(lab, "etcd") if node != leader)


def suspend(lab, node, unit):
    lab.exec(node, ["sh", "-ec", f"kill -STOP $(systemctl show -P MainPID {unit})"])


def change_address(lab, node, verb, address):
    """Give a node an address, or take it away, on the interface that it is in the plan with."""
    own = lab.plan["nodes"][node]["address"]
    script = f"ip address {verb} {address}/32 dev $(ip -o -4 address show to {own} | cut -d' ' -f2)"
    lab.exec(node, ["sh", "-ec", script])


def freeze_all(lab, node, unit):
    script = f'kill -STOP $(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup {unit})/cgroup.procs")'
    lab.exec(node, ["sh", "-ec", script])
