"""A second repository in S3: a real S3 server over TLS, rclone, in the network of the lab."""

import json

import pytest

from tests.support import labs, s3, wait_until

pytestmark = pytest.mark.long
HOST = "ops1"
LOCAL = "/var/lib/pgbackrest"


@pytest.fixture(scope="module")
def server(lab, tmp_path_factory):
    """The server, with the repository in it, as an operator sets it up."""
    made = s3.Server(lab, tmp_path_factory.mktemp("s3"))
    try:
        made.start()
        s3.import_keys(lab)
        lab.site_write({"backup": {"s3": made.settings()}})
        apply(lab)
        yield made
    finally:
        made.destroy()


def apply(lab):
    """Apply the states of the backups: the backup host first, which the databases send to."""
    lab.salt("*", "saltutil.refresh_pillar", "wait=True")
    for target, sls in ((HOST, "roles.backup"), ("db*", "archive")):
        for node, states in lab.salt(target, "state.apply", sls, timeout=180).items():
            assert isinstance(states, dict), states
            failed = {key: one["comment"] for key, one in states.items() if one["result"] is False}
            assert failed == {}, node


def info(lab, repository):
    return lab.salt(HOST, "fanatico_backup.info", f"repository={repository}")[HOST]


def checks(lab):
    return lab.salt(HOST, "fanatico_backup.checks", "timeout=10")[HOST]


def archiver(lab):
    """What the primary says of archiving."""
    leader = labs.leader(lab)
    return lab.salt(leader, "fanatico_archive.probe")[leader]


def switch(lab, word):
    """Write a row and return the name of the segment of WAL with it, which is complete now."""
    leader = labs.leader(lab)
    lab.sql(leader, f"INSERT INTO kept VALUES ('{word}')", "fanatico")
    return lab.sql(leader, "SELECT pg_walfile_name(pg_switch_wal())").strip()


def absent(lab, segments, repository):
    """Those of the segments that a repository lacks."""
    found = lab.salt(HOST, "fanatico_backup.files", "archive/main", f"repository={repository}")[HOST]
    return [segment for segment in segments if not any(f"/{segment}-" in name for name in found)]


def test_validation_demands_the_keys(lab, tmp_path_factory):
    lab.site_write({"backup": {"s3": {"endpoint": "s3.example.org", "bucket": "backups"}}})
    try:
        done = lab.salt_run("fanatico.validate", check=False)
    finally:
        lab.site_write({})
    words = labs.said(done.stdout + done.stderr)
    assert done.returncode == 1
    assert {"secrets:BACKUP_S3_KEY:", "secrets:BACKUP_S3_KEY_SECRET:", "backup:s3:region:"} <= set(
        words.split()
    )


def test_wal_and_a_backup_arrive(lab, server):
    lab.sql(labs.leader(lab), "CREATE TABLE kept (word text)", "fanatico")
    assert lab.salt(HOST, "fanatico_backup.check", "repository=s3") == {HOST: ""}
    wait_until(lambda: info(lab, "s3")["backups"], 60, "the first backup in S3", interval=2)
    assert info(lab, "s3")["backups"][0]["type"] == "full"
    assert server.names("fanatico/backup/main")
    assert server.names("fanatico/archive/main")
    found = checks(lab)
    assert {
        found[name]["status"] for name in ("backup.repository", "backup.bucket", "backup.bucket_last")
    } == {"ok"}
    labs.wait_healthy(lab)


def test_the_keys_are_on_the_backup_host_alone(lab, server):
    through = "--repo2-host=10.0.4.10 --repo2-host-type=tls --repo2-host-port=8432"
    pki = "--repo2-host-ca-file={0}-ca.crt --repo2-host-cert-file={0}.crt --repo2-host-key-file={0}.key"
    asked = f"{through} {pki.format('/etc/pgbackrest/pki/backup')} --repo=2 repo-ls"
    done = lab.exec(
        "db1", ["sh", "-c", f"runuser -u postgres -- pgbackrest --stanza=main {asked}"], check=False
    )
    assert done.returncode != 0, "a database host does not reach S3 through the backup host"
    look = f"grep -rlF -e {s3.KEY} -e {s3.SECRET} /etc /var/lib/pgbackrest /var/log /run 2>/dev/null; true"
    assert lab.exec("db1", ["sh", "-c", look]).stdout == ""
    assert lab.exec(HOST, ["sh", "-c", look]).stdout == "/etc/pgbackrest/conf.d/s3.conf\n"
    assert (
        lab.exec(lab.master, ["sh", "-c", f"{look}; grep -rlF -e {s3.SECRET} /var/cache/salt; true"]).stdout
        == ""
    )


def test_a_file_beside_the_backups(lab, server):
    lab.exec(HOST, ["sh", "-c", "printf whole >/root/one; printf other >/root/two"])
    for source in ("/root/two", "/root/one"):
        put = lab.salt(HOST, "fanatico_backup.s3_put", source, "master/one.gpg")[HOST]
    assert put["object"] == "fanatico-files/master/one.gpg"
    got = lab.salt(HOST, "fanatico_backup.s3_get", "master/one.gpg", "/root/three")[HOST]
    assert (got["sha256"], got["bytes"]) == (put["sha256"], 5)
    assert lab.exec(HOST, ["cat", "/root/three"]).stdout == "whole"
    assert "is no name" in lab.salt(HOST, "fanatico_backup.s3_put", "/root/one", "../archive")[HOST]


def test_the_local_repository_is_gone(lab, server):
    """A clone comes from S3 by itself; the directory is not created again, and nothing is lost."""
    switch(lab, "both")
    lab.salt(HOST, "fanatico_backup.check", "repository=s3")
    lab.exec(HOST, ["mv", LOCAL, f"{LOCAL}.aside"])
    try:
        lab.exec(HOST, ["install", "-d", "-o", "postgres", "-g", "postgres", LOCAL])  # an empty mount point
        assert checks(lab)["backup.repository"]["status"] == "critical"
        (states,) = lab.salt(HOST, "state.apply", "backup", timeout=180).values()
        assert False in [one["result"] for one in states.values()]
        assert lab.exec(HOST, ["ls", LOCAL]).stdout == "", "nothing was created below the mount point"
        done = lab.salt_run("--out=json", "fanatico.clone", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        made = json.loads(done.stdout)
        assert made["repository"] == "s3"
        shown = lab.exec(HOST, ["sh", "-c", f"{made['command']} -XAtc 'SELECT word FROM kept'"])
        assert "both" in shown.stdout.split()
    finally:
        lab.salt_run("fanatico.clone_drop", check=False)
        lab.exec(HOST, ["sh", "-c", f"rmdir {LOCAL} && mv {LOCAL}.aside {LOCAL}"])
    wait_until(lambda: archiver(lab)["facts"]["waiting"] == 0, 60, "the WAL that waited", interval=2)
    labs.wait_healthy(lab)


def while_away(lab, server):
    """Write while S3 does not answer, and return the segments: the local repository gets them, and a backup."""
    before = len(info(lab, "local")["backups"])
    segments = [switch(lab, f"away{number}") for number in range(3)]
    wait_until(
        lambda: absent(lab, segments, "local") == [], 60, "the WAL in the local repository", interval=2
    )
    wait_until(
        lambda: archiver(lab)["facts"]["waiting"] == 0, 60, "nothing to wait on the primary", interval=2
    )
    assert lab.salt(HOST, "fanatico_backup.check") == {HOST: ""}
    found = checks(lab)
    assert (found["backup.bucket"]["status"], found["backup.repository"]["status"]) == ("degraded", "ok")
    lab.salt(HOST, "fanatico_backup.make", "incr")
    wait_until(lambda: len(info(lab, "local")["backups"]) > before, 90, "a local backup", interval=2)
    return segments


def caught_up(lab, segments):
    wait_until(lambda: absent(lab, segments, "s3") == [], 300, "the WAL in S3", interval=2)
    labs.wait_healthy(lab)


def test_s3_is_off_and_comes_back(lab, server):
    server.stop()
    try:
        segments = while_away(lab, server)
    finally:
        server.start()
    caught_up(lab, segments)


def test_s3_is_cut_off_and_comes_back(lab, server):
    """Packets are lost without a word: each attempt waits."""
    server.cut()
    try:
        segments = while_away(lab, server)
    finally:
        server.cut(False)
    caught_up(lab, segments)


def test_a_deploy_while_s3_is_away(lab, server):
    server.stop()
    try:
        done = lab.salt_run("--out=json", "state.orchestrate", "orch.deploy", check=False, timeout=400)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    finally:
        server.start()
    caught_up(lab, [])


def test_s3_is_switched_off(lab, server):
    lab.site_write({})
    apply(lab)
    assert lab.exec(HOST, ["sh", "-c", "ls /etc/pgbackrest/conf.d; true"]).stdout == ""
    assert lab.salt(HOST, "fanatico_backup.check") == {HOST: ""}
    assert "backup.bucket" not in checks(lab)
    assert server.names("fanatico/backup/main"), "what is in the bucket stays"
    labs.wait_healthy(lab)
