"""A node without a role: only the minion."""

import pytest

from tests.kitchen.checks import get, test_converging_again_changes_nothing  # noqa: F401

METRICS = "https://10.0.1.220:9100/metrics"


def test_the_minion_runs_and_starts_at_boot(host):
    unit = host.service("salt-minion")
    assert unit.is_running
    assert unit.is_enabled


def test_it_highstates_at_boot(host):
    assert host.service("fanatico-boot.timer").is_enabled


def test_it_knows_every_node_by_name(host):
    names = host.file("/etc/hosts").content_string.split()
    assert {"kitchen-etcd", "kitchen-rpc", "kitchen-patroni"} <= set(names)


def test_its_configuration_is_for_root_alone(host):
    assert host.file("/etc/salt/pki/minion").mode == 0o700


def test_its_metrics_are_for_who_has_a_certificate(host):
    assert host.service("prometheus-node-exporter").is_enabled
    assert "node_load1 " in get(host, METRICS, "/etc/prometheus-node-exporter/pki", "monitor")
    assert host.run(f"curl --silent --insecure --max-time 5 {METRICS}").rc != 0


@pytest.mark.parametrize("place", ["127.0.0.1", "0.0.0.0"])
def test_its_metrics_are_at_its_plan_address_alone(host, place):
    assert not host.socket(f"tcp://{place}:9100").is_listening


def test_nothing_of_the_roles_is_there(host):
    for package in ("etcd-server", "patroni", "haproxy", "keepalived"):
        assert not host.package(package).is_installed
