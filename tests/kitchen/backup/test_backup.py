"""A host with a database and its repository: WAL is archived, a backup is made."""

import json

import pytest

from tests.kitchen.checks import test_converging_again_changes_nothing  # noqa: F401

ADDRESS = "10.0.3.220"


def pgbackrest(host, words):
    return host.check_output(
        f"runuser -u postgres -- pgbackrest --stanza=main --log-level-console=off {words}"
    )


def test_its_server_runs_and_starts_at_boot(host):
    unit = host.service("pgbackrest")
    assert unit.is_running
    assert unit.is_enabled
    assert host.socket(f"tcp://{ADDRESS}:8432").is_listening


@pytest.mark.parametrize("name", ["full", "diff", "incr", "verify", "drill"])
def test_its_timers_are_set(host, name):
    unit = host.service(f"fanatico-backup-{name}.timer")
    assert unit.is_running
    assert unit.is_enabled


def test_wal_is_archived(host):
    pgbackrest(host, "check")


def test_the_first_backup_was_made(host):
    host.check_output(
        "timeout 60 sh -c 'until systemctl show -P ActiveState fanatico-backup@full | grep -q inactive; do sleep 1; done'"
    )
    (stanza,) = json.loads(pgbackrest(host, "info --output=json"))
    assert stanza["status"]["code"] == 0
    assert [backup["type"] for backup in stanza["backup"]] == ["full"]
    assert stanza["cipher"] == "aes-256-cbc"


def test_the_repository_is_its_own(host):
    repository = host.file("/var/lib/pgbackrest")
    assert (repository.user, repository.mode & 0o007) == ("postgres", 0)


def test_the_passphrase_is_not_for_everybody(host):
    configuration = host.file("/etc/pgbackrest/pgbackrest.conf")
    assert (configuration.user, configuration.mode & 0o007) == ("root", 0)
    assert host.run("ps axww -o args | grep -c 'cipher-pass[=]' || true").stdout.strip() == "0"
