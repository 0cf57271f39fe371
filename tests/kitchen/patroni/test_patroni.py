"""A Patroni cluster with one node: PostgreSQL according to the plan."""

import json

import pytest

from tests.kitchen.checks import get, test_converging_again_changes_nothing  # noqa: F401

ADDRESS = "10.0.2.210"


def sql(host, statement):
    """Query PostgreSQL over its local socket, as the user postgres."""
    return host.check_output(f'runuser -u postgres -- psql -XAtqc "{statement}"').strip()


def patroni(host, path):
    return get(host, f"https://{ADDRESS}:8008{path}", "/etc/patroni/pki", "service")


def test_it_runs_and_starts_at_boot(host):
    unit = host.service("patroni")
    assert unit.is_running
    assert unit.is_enabled


def test_debians_own_cluster_was_not_made(host):
    assert host.run("pg_lsclusters --no-header").stdout.strip() == ""


@pytest.mark.parametrize("port", [5432, 8008])
def test_it_listens_on_its_plan_address(host, port):
    assert host.socket(f"tcp://{ADDRESS}:{port}").is_listening


def test_it_is_the_leader(host):
    assert json.loads(patroni(host, "/primary"))["role"] in ("primary", "master")


def test_pages_have_checksums(host):
    assert sql(host, "show data_checksums") == "on"


def test_passwords_are_scram(host):
    assert sql(host, "show password_encryption") == "scram-sha-256"
    others = "select count(*) from pg_authid where rolpassword not like 'SCRAM-SHA-256%'"
    assert sql(host, others) == "0"


def test_the_network_needs_a_password(host):
    methods = "select distinct auth_method from pg_hba_file_rules where type like 'host%' order by 1"
    assert set(sql(host, methods).split()) <= {"scram-sha-256", "reject"}


def test_addresses_outside_the_plan_are_refused(host):
    wide = "select auth_method from pg_hba_file_rules where address in ('all', '0.0.0.0', '::')"
    assert set(sql(host, wide).split()) <= {"reject"}


def test_its_roles_are_there(host):
    roles = "select rolname from pg_roles where rolcanlogin order by 1"
    assert {"admin", "fanatico", "postgres", "replicator", "rewind"} <= set(sql(host, roles).split())


def test_its_database_is_there(host):
    assert sql(host, "select count(*) from pg_database where datname = 'fanatico'") == "1"


def test_passwords_in_its_configuration_are_not_for_everybody(host):
    assert host.file("/etc/patroni/patroni.yml").mode & 0o007 == 0
