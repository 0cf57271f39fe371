"""The Salt master, its configuration and its private files."""

import pytest

from tests.kitchen.checks import test_converging_again_changes_nothing  # noqa: F401


def test_the_master_runs_and_starts_at_boot(host):
    unit = host.service("salt-master")
    assert unit.is_running
    assert unit.is_enabled


@pytest.mark.parametrize("port", [4505, 4506])
def test_it_listens_on_the_plans_address_and_on_no_other(host, port):
    assert host.socket(f"tcp://10.0.0.205:{port}").is_listening
    assert not host.socket(f"tcp://127.0.0.1:{port}").is_listening


def test_it_serves_states_and_nothing_else(host):
    config = host.run("salt-run --out=json config.get file_roots 2>/dev/null").stdout
    assert "/srv/fanatico/salt" in config or "/srv/fanatico/salt" in all_configuration(host)
    assert "/srv/fanatico\n" not in config


def all_configuration(host):
    return host.run("cat /etc/salt/master.d/*.conf").stdout


def test_the_key_ring_of_the_secrets_is_private(host):
    ring = host.file("/etc/salt/gpgkeys")
    assert ring.is_directory
    assert ring.mode == 0o700


@pytest.mark.parametrize("path", ["/var/lib/fanatico", "/var/log/fanatico"])
def test_it_has_where_to_remember(host, path):
    assert host.file(path).is_directory
