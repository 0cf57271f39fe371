"""One etcd member, alone in its cluster."""

import json

import pytest

from tests.kitchen.checks import get, test_converging_again_changes_nothing  # noqa: F401

ADDRESS = "10.0.3.210"


def test_it_runs_and_starts_at_boot(host):
    unit = host.service("etcd")
    assert unit.is_running
    assert unit.is_enabled


@pytest.mark.parametrize("port", [2379, 2380, 2381])
def test_it_listens_on_its_plan_address(host, port):
    assert host.socket(f"tcp://{ADDRESS}:{port}").is_listening


def test_no_client_port_is_open_to_the_world(host):
    assert not host.socket("tcp://0.0.0.0:2379").is_listening


def test_it_answers(host):
    assert (
        json.loads(get(host, f"https://{ADDRESS}:2379/health", "/etc/etcd/pki", "etcd"))["health"] == "true"
    )


def test_it_has_metrics(host):
    assert "etcd_server_has_leader 1" in get(host, f"http://{ADDRESS}:2381/metrics")


def test_its_data_is_its_own(host):
    data = host.file("/var/lib/etcd")
    assert data.user == "etcd"
    assert data.mode == 0o700


def test_the_cluster_token_is_not_left_lying_about(host):
    """It is used only for the bootstrap, and reaches etcd in a file for that start."""
    assert not host.file("/etc/etcd/etcd.conf.yml").contains("initial-cluster-token")
    assert host.run("find /run/fanatico-etcd -type f -perm /007").stdout == ""
