"""pgBackRest's files with and without a repository in S3."""

import pytest

from tests.rendering.conftest import SITE, rendered
from tests.support import pillar
from tests.support.tree import Node

CONF, S3_CONF = "/etc/pgbackrest/pgbackrest.conf", "/etc/pgbackrest/conf.d/s3.conf"
UNITS = "/etc/systemd/system"
SETTINGS = {
    "endpoint": "s3.example.org",
    "region": "eu-central-1",
    "bucket": "backups",
    "ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}
KEYS = {"BACKUP_S3_KEY": "k9Wq3xZb7TnRv2Lm", "BACKUP_S3_KEY_SECRET": "x7Lw2Kx9Rn4Tz1Hb3Mf6Jp5Gs8Dc0Wa"}


def with_s3(**settings):
    return {**SITE, "backup": {"s3": {**SETTINGS, **settings}}}


def of(text, *beginnings):
    return [line for line in text.splitlines() if line.startswith(beginnings)]


def units(files):
    return {path.removeprefix(f"{UNITS}/"): text for path, text in files.items() if path.startswith(UNITS)}


@pytest.fixture
def ops1(with_site):
    """Return a function: the files of the backup host with some settings, and its states."""

    def make(site):
        node = with_site("ops1", site)
        node.pillar["secrets"] |= KEYS
        return rendered(node, "roles.backup"), node.compile("roles.backup")

    return make


def test_without_s3_nothing_is_different(ops1):
    files, chunks = ops1(SITE)
    passphrase = of(files[CONF], "repo1-cipher-pass=")
    assert of(files[CONF], "repo") == [
        "repo1-path=/var/lib/pgbackrest",
        "repo1-cipher-type=aes-256-cbc",
        *passphrase,
        "repo1-bundle=y",
        "repo1-block=y",
        "repo1-retention-full-type=count",
        "repo1-retention-full=2",
    ]
    assert S3_CONF not in files
    found = units(files)
    (line,) = of(found["fanatico-backup@.service"], "ExecStart=")
    assert (
        line
        == "ExecStart=/usr/bin/pgbackrest --stanza=main --type=%i --log-level-console=info $EXPIRE backup"
    )
    (line,) = of(found["fanatico-backup-verify.service"], "ExecStart=")
    assert line == "ExecStart=/usr/bin/pgbackrest --stanza=main --log-level-console=info verify"
    assert "--repositories" not in found["fanatico-backup-drill.service"]
    assert [name for name in found if "s3" in name] == []
    (absent,) = [chunk for chunk in chunks if chunk["name"] == S3_CONF]
    assert absent["fun"] == "absent", "the keys do not stay after S3 was switched off"


def test_a_database_sends_to_one_repository_without_s3(with_site):
    files = rendered(with_site("db1", SITE), "archive")
    assert of(files[CONF], "repo", "archive-")[0] == "repo1-host=10.0.4.10"
    assert "repo2" not in files[CONF]


def test_the_backup_host_alone_has_the_keys(ops1, with_site, tmp_path):
    files, _ = ops1(with_s3())
    assert "repo2" not in files[CONF]
    assert {
        "repo2-type=s3",
        "repo2-path=/fanatico",
        "repo2-s3-endpoint=s3.example.org",
        "repo2-s3-bucket=backups",
        f"repo2-s3-key={KEYS['BACKUP_S3_KEY']}",
        f"repo2-s3-key-secret={KEYS['BACKUP_S3_KEY_SECRET']}",
        "repo2-storage-ca-file=/etc/pgbackrest/s3-ca.crt",
        "repo2-storage-verify-tls=y",
        "repo2-retention-full=2",
    } <= set(files[S3_CONF].splitlines())
    (ours,) = of(files[CONF], "repo1-cipher-pass=")
    (theirs,) = of(files[S3_CONF], "repo2-cipher-pass=")
    assert ours.partition("=")[2] == theirs.partition("=")[2] != ""
    assert "@" not in files[S3_CONF]


def test_a_database_host_does_not_know_of_s3(with_site, tmp_path_factory):
    before = rendered(with_site("db1", SITE), "archive")
    other = pillar.build(tmp_path_factory.mktemp("pillar") / "root", site=with_s3())
    after = rendered(Node("db1", other, tmp_path_factory.mktemp("cache")), "archive")
    different = {path for path in after if after[path] != before.get(path)}
    assert {path for path in different if "cipher" not in path} == set()
    assert "for repository in 1 ; do" in next(text for path, text in after.items() if path.endswith("-gap"))


def test_each_repository_has_its_timers(ops1):
    files, _ = ops1(with_s3())
    found = units(files)
    assert {f"fanatico-backup-s3-{name}.timer" for name in ("full", "diff", "incr", "verify")} <= set(found)
    assert "Unit=fanatico-backup-s3@incr.service" in found["fanatico-backup-s3-incr.timer"]
    assert "Unit=fanatico-backup-s3-verify.service" in found["fanatico-backup-s3-verify.timer"]
    assert "Unit=fanatico-backup@incr.service" in found["fanatico-backup-incr.timer"]
    assert "--repo=1 " in found["fanatico-backup@.service"]
    assert "--repo=2 " in found["fanatico-backup-s3@.service"]
    assert "--repo=2 " in found["fanatico-backup-s3-verify.service"]
    wal = found["fanatico-backup-s3-wal.service"]
    assert "--local 1 " in wal
    assert "--remote 2 " in wal
    assert "--repositories 1 2\n" in found["fanatico-backup-drill.service"]
