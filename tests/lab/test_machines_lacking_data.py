"""Deploys after a loss of data: each succeeds, or is refused with a reason."""

import pytest

from tests.support import labs

pytestmark = pytest.mark.healthy_is_enough


def frozen(lab):
    lab.salt_run("fanatico.freeze", "a test takes data away", "10m")


# A whole deploy. The parts: a highstate rejoins an etcd member (below), healing a replica (test_heal_patroni).
@pytest.mark.long
def test_nodes_without_their_data_are_taken_in_again(healthy):
    """An etcd member and a replica are wiped: the deploy rejoins the former and clones the latter."""
    frozen(healthy)
    replica = next(node for node in labs.nodes(healthy, "patroni") if node != labs.leader(healthy))
    try:
        for node, unit, data in (
            ("etcd3", "etcd", "/var/lib/etcd/*"),
            (replica, "patroni", "/var/lib/postgresql/*/main"),
        ):
            healthy.exec(node, ["systemctl", "stop", unit])
            healthy.exec(node, ["sh", "-c", f"rm -rf {data}"])
        code, _, printed = labs.deploy(healthy)
        assert code == 0, printed[-4000:]
    finally:
        healthy.salt_run("fanatico.unfreeze")
    labs.wait_healthy(healthy)
    members = healthy.salt("etcd1", "fanatico_etcd.members")["etcd1"]
    assert sorted(members) == labs.nodes(healthy, "etcd")


def test_a_wiped_node_is_not_mistaken_for_a_first_start(healthy):
    """A highstate alone, without the deploy's view of all nodes, does not bootstrap a second cluster."""
    frozen(healthy)
    before = healthy.salt("etcd1", "fanatico_etcd.members")["etcd1"]
    try:
        healthy.exec("etcd2", ["systemctl", "stop", "etcd"])
        healthy.exec("etcd2", ["sh", "-c", "rm -rf /var/lib/etcd/*"])
        answers = labs.highstate(healthy, "etcd2")
        assert labs.failures(answers) == {}
    finally:
        healthy.salt_run("fanatico.unfreeze")
    labs.wait_healthy(healthy)
    after = healthy.salt("etcd1", "fanatico_etcd.members")["etcd1"]
    assert len(after) == len(before)


@pytest.mark.long
def test_a_node_alone_and_without_data_waits_or_refuses(healthy):
    """No peer answers: it is unknown whether there was a cluster, so none is bootstrapped."""
    frozen(healthy)
    others = ["etcd1", "etcd2"]
    try:
        for name in others:
            healthy.unplug(name)
        healthy.exec("etcd3", ["systemctl", "stop", "etcd"])
        healthy.exec("etcd3", ["sh", "-c", "mv /var/lib/etcd /var/lib/etcd.kept"])
        answers = labs.highstate(healthy, "etcd3")
        failed = labs.failures(answers)["etcd3"]
        assert any("etcd" in state for state in failed), failed
        assert healthy.exec("etcd3", ["sh", "-c", "ls /var/lib/etcd/member 2>/dev/null || true"]).stdout == ""
    finally:
        for name in others:
            healthy.plug(name)
        healthy.exec("etcd3", ["systemctl", "stop", "etcd"], check=False)
        healthy.exec("etcd3", ["sh", "-c", "rm -rf /var/lib/etcd && mv /var/lib/etcd.kept /var/lib/etcd"])
        healthy.exec("etcd3", ["systemctl", "start", "--no-block", "etcd"])
        healthy.salt_run("fanatico.unfreeze")
    labs.wait_healthy(healthy)
