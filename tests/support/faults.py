"""Faults that lab tests inject, and the nodes that they affect."""

import contextlib
import json

from _beacons import fanatico as beacon
from tests.support import labs


def active(lab, node, unit):
    return lab.exec(node, ["systemctl", "is-active", unit], check=False).stdout.strip() == "active"


def replica_of(lab):
    return next(node for node in labs.nodes(lab, "patroni") if node != labs.leader(lab))


def etcd_leader(lab):
    """The node that leads etcd."""
    node = lab.nodes("etcd")[0]
    return lab.salt(node, "fanatico_etcd.leader")[node]


def etcd_follower_of(lab):
    leader = etcd_leader(lab)
    return next(node for node in labs.nodes(lab, "etcd") if node != leader)


def bring_leaders_together(lab):
    """Make one host the leader of both etcd and Patroni, as happens in one of three deploys, and return it."""
    host = etcd_leader(lab)
    leading = lab.salt(host, "fanatico_patroni.leader")[host]
    if leading != host:
        assert lab.salt(host, "fanatico_patroni.switchover", host) == {host: host}
    return host


@contextlib.contextmanager
def impatient(lab, node, **settings):
    """Change settings of a node's beacon, in seconds, for the block: the defaults are too slow for a test."""
    set_beacon(lab, node, settings)
    try:
        yield
    finally:
        labs.wait_answer(lab, node)
        set_beacon(lab, node, {name: beacon.DEFAULTS[name] for name in settings})


def set_beacon(lab, node, settings):
    """Change the settings of a node's beacon in the running minion."""
    items = json.dumps([{name: value} for name, value in settings.items()])
    answer = lab.salt(node, "beacons.modify", "fanatico", items)
    assert answer[node]["result"], answer


def suspend(lab, node, unit):
    lab.exec(node, ["sh", "-ec", f"kill -STOP $(systemctl show -P MainPID {unit})"])


def change_address(lab, node, verb, address):
    """Add an address to, or remove it from, the interface that has a node's plan address."""
    own = lab.plan["nodes"][node]["address"]
    script = f"ip address {verb} {address}/32 dev $(ip -o -4 address show to {own} | cut -d' ' -f2)"
    lab.exec(node, ["sh", "-ec", script])


def freeze_all(lab, node, unit):
    """Send SIGSTOP to every process of a unit. A short-lived check may have ended by then; the main process must exist."""
    script = f"""
        main=$(systemctl show -P MainPID {unit})
        kill -STOP $(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup {unit})/cgroup.procs") || true
        grep -q "^State:.*stopped" /proc/$main/status
    """
    lab.exec(node, ["sh", "-ec", script])


def send_key_as(lab, name, source):
    """Send the master a new key in another host's name, from a minion process on the host `source`."""
    config = f"{{id: {name}, master: {lab.plan['nodes'][lab.master]['address']}, root_dir: /tmp/impostor}}"
    script = f"mkdir -p /tmp/impostor && echo '{config}' > /tmp/impostor/minion"
    lab.exec(source, ["sh", "-c", script])
    call = ["timeout", "30", "salt-call", "--config-dir=/tmp/impostor", "test.ping"]
    lab.exec(source, call, check=False)
    lab.exec(source, ["rm", "-r", "/tmp/impostor"])
