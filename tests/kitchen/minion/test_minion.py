"""A node without a role is a minion, and nothing more."""

from tests.kitchen.checks import test_converging_again_changes_nothing  # noqa: F401


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


def test_nothing_of_the_components_is_there(host):
    for package in ("etcd-server", "patroni", "haproxy", "keepalived"):
        assert not host.package(package).is_installed
