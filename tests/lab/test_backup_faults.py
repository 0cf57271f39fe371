"""Faults of a repository, each a real one: health names it with the next step, and no WAL is lost."""

import contextlib

import pytest

from tests.support import labs, wait_until

pytestmark = [pytest.mark.ends_healthy, pytest.mark.long]
HOST, PATH = "ops1", "/var/lib/pgbackrest"
CONF = "/etc/pgbackrest/pgbackrest.conf"
PROGRAM = "/usr/bin/pgbackrest"


@pytest.fixture(autouse=True)
def healthy_afterwards(lab):
    """Every fault is mended at the end of its test."""
    yield
    labs.wait_healthy(lab)


def shell(lab, node, script, check=True):
    return lab.exec(node, ["sh", "-ec", script], check=check).stdout


def probe(lab):
    """What the primary says of archiving."""
    leader = labs.leader(lab)
    return lab.salt(leader, "fanatico_archive.probe")[leader]


def repository(lab):
    return lab.salt(HOST, "fanatico_backup.checks", "timeout=10")[HOST]["backup.repository"]


def segments_of(lab, count=2):
    """Write, and return the names of the segments of WAL that are complete now."""
    leader = labs.leader(lab)
    write = "SELECT pg_walfile_name(pg_switch_wal()) FROM pg_logical_emit_message(false, 'test', 'fault')"
    return [lab.sql(leader, write).strip() for _ in range(count)]


def why(lab):
    return probe(lab)["facts"]["reason"]


@contextlib.contextmanager
def fault(lab, break_it, mend_it, words):
    """Break the repository; WAL waits, and health says why; mend it: every segment arrives."""
    node = HOST
    shell(lab, node, break_it)
    try:
        written = segments_of(lab)
        wait_until(
            lambda: any(word in why(lab) for word in words), 100, f"one of {words} as the reason", interval=2
        )
        assert probe(lab)["facts"]["waiting"] >= len(written)
        yield
    finally:
        shell(lab, node, mend_it)
    wait_until(lambda: probe(lab)["facts"]["waiting"] == 0, 150, "the WAL that waited", interval=2)
    found = lab.salt(HOST, "fanatico_backup.files", "archive/main")[HOST]
    assert [one for one in written if not any(f"/{one}-" in name for name in found)] == []
    assert why(lab) == ""


def degraded(lab):
    """Wait until the check of archiving is degraded: an attempt may fail for as long as WAL may wait."""
    wait_until(
        lambda: probe(lab)["checks"]["archive.push"]["status"] == "degraded", 120, "archive.push", interval=5
    )
    return probe(lab)["checks"]


SMALL = f"""
    systemctl stop pgbackrest
    size=$(( $(du -sm {PATH} | cut -f1) + 40 ))
    mkdir -p /mnt/small && mount -t tmpfs -o size=${{size}}m,mode=0750,uid=postgres,gid=postgres small /mnt/small
    cp -a {PATH}/. /mnt/small/ && mount --bind /mnt/small {PATH}
    systemctl start pgbackrest
"""
FILL = f"head -c 1G /dev/zero >{PATH}/filling 2>/dev/null || true"
WHOLE = f"""
    systemctl stop pgbackrest
    umount {PATH} && cp -a /mnt/small/archive /mnt/small/backup {PATH}/ && umount /mnt/small
    systemctl start pgbackrest
"""


def test_it_is_full(healthy):
    shell(healthy, HOST, SMALL)
    try:
        with fault(healthy, FILL, f"rm {PATH}/filling", ["No space left on device"]):
            disk = healthy.salt(HOST, "fanatico.health")[HOST]["checks"]["node.disk"]
            assert disk["status"] != "ok"
    finally:
        shell(healthy, HOST, WHOLE)
    assert healthy.salt(HOST, "fanatico_backup.check") == {HOST: ""}


def test_it_is_not_mounted(healthy):
    """A state does not create it once more below its mount point."""
    break_it = f"mv {PATH} {PATH}.aside; install -d -o postgres -g postgres -m 750 {PATH}"
    mend_it = f"rmdir {PATH}; mv {PATH}.aside {PATH}"
    with fault(healthy, break_it, mend_it, ["archive.info"]):
        found = repository(healthy)
        assert (found["status"], "fanatico_backup.forget_repository" in found["detail"]) == ("critical", True)
        (states,) = healthy.salt(HOST, "state.apply", "backup", timeout=180).values()
        assert False in [one["result"] for one in states.values()]
        assert "is its file system mounted" in healthy.salt(HOST, "fanatico_backup.create_stanza")[HOST]
        assert shell(healthy, HOST, f"ls {PATH}") == ""


def test_the_passphrase_is_another(healthy):
    break_it = f"sed -i.aside 's/^repo1-cipher-pass=.*/repo1-cipher-pass=other/' {CONF}"
    with fault(healthy, break_it, f"mv {CONF}.aside {CONF}", ["repo encrypted", "FormatError"]):
        found = repository(healthy)
        assert (found["status"], "#the-passphrase" in found["hint"]) == ("critical", True)


def test_it_is_read_only(healthy):
    break_it = (
        f"mount --bind {PATH} {PATH} && mount -o remount,ro,bind {PATH} && systemctl restart pgbackrest"
    )
    with fault(
        healthy, break_it, f"umount {PATH} && systemctl restart pgbackrest", ["Read-only file system", "[30]"]
    ):
        assert repository(healthy)["status"] == "critical"


def test_it_is_cut_off(healthy):
    """Packets are dropped without a word."""
    rule = "table inet cut { chain input { type filter hook input priority -10; tcp dport 8432 drop; }; }"
    with fault(
        healthy, f"nft '{rule}'", "nft delete table inet cut", ["HostConnectError", "timeout", "time"]
    ):
        checks = degraded(healthy)
        assert checks["archive.repository"]["value"] == [HOST]


def test_its_certificate_is_of_another_authority(healthy):
    pki = "/etc/pgbackrest/pki"
    break_it = f"""
        cp -a {pki} {pki}.aside
        openssl req -x509 -newkey rsa:2048 -nodes -subj /CN={HOST} -days 1 \\
            -keyout {pki}/backup.key -out {pki}/backup.crt 2>/dev/null
        systemctl restart pgbackrest
    """
    mend_it = f"cp -a {pki}.aside/. {pki}/; rm -r {pki}.aside; systemctl restart pgbackrest"
    with fault(healthy, break_it, mend_it, ["certificate", "CryptoError", "tls"]):
        checks = degraded(healthy)
        assert checks["archive.repository"]["value"] == [HOST]


def test_its_clock_is_wrong(healthy):
    """One process has another time (libfaketime): certificates are not valid there. The lab's clock cannot be set."""
    unit = "/run/systemd/system/pgbackrest.service.d"
    break_it = f"""
        mkdir -p {unit}
        library=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1
        printf "[Service]\\nEnvironment=LD_PRELOAD=$library FAKETIME=+400d\\n" >{unit}/clock.conf
        systemctl daemon-reload && systemctl restart pgbackrest
    """
    mend_it = f"rm -r {unit}; systemctl daemon-reload; systemctl restart pgbackrest"
    shell(healthy, HOST, "apt-get -qq install -y libfaketime >/dev/null 2>&1")
    with fault(healthy, break_it, mend_it, ["certificate", "expired", "tls", "socket"]):
        degraded(healthy)


def test_the_versions_differ(healthy):
    """Mock: Debian has one version. A copy of the program on the backup host, changed in one byte, says another."""
    break_it = f"""
        cp -a {PROGRAM} {PROGRAM}.aside
        sed 's/2\\.55\\.1/2.55.9/g' {PROGRAM}.aside >{PROGRAM}.new && chmod 755 {PROGRAM}.new && mv {PROGRAM}.new {PROGRAM}
        systemctl restart pgbackrest
    """
    mend_it = f"mv {PROGRAM}.aside {PROGRAM}; systemctl restart pgbackrest"
    with fault(healthy, break_it, mend_it, ["version"]):
        degraded(healthy)


def test_the_disk_of_the_primary_fills_up(healthy):
    """Archiving is stopped for so long that PostgreSQL has no space for WAL: no acknowledged row is lost, no WAL is missing."""
    former = labs.leader(healthy)
    node = next(one for one in labs.nodes(healthy, "patroni") if one != former)
    wal = "/var/lib/postgresql/17/main/pg_wal"
    small = f"""
        systemctl stop patroni
        mkdir -p /mnt/wal && mount -t tmpfs -o size=400m,mode=0700,uid=postgres,gid=postgres wal /mnt/wal
        cp -a {wal}/. /mnt/wal/ && mount --bind /mnt/wal {wal}
        systemctl start patroni
    """
    shell(healthy, node, small)
    healthy.salt(former, "fanatico_patroni.wait_streaming")
    healthy.salt(former, "fanatico_patroni.switchover", node)
    healthy.sql(node, "CREATE TABLE acknowledged (n bigint)", "fanatico")
    healthy.unplug(HOST)
    acknowledged, early = 0, None
    try:
        for n in range(1, 200):
            write = f"INSERT INTO acknowledged VALUES ({n}); SELECT pg_walfile_name(pg_switch_wal())"
            done = psql(healthy, node, write)
            if done.returncode:
                break
            acknowledged = n
            if early is None:
                found = healthy.salt(node, "fanatico_archive.checks")[node].get("archive.space", {})
                early = found if found.get("status") in ("degraded", "critical") else None
        assert acknowledged < 199, "the disk did not fill"
        wait_until(lambda: labs.leader(healthy) not in (node, None), 120, "another primary", interval=2)
    finally:
        healthy.plug(HOST)
        shell(
            healthy,
            node,
            f"systemctl stop patroni; umount {wal}; cp -a /mnt/wal/. {wal}/; umount /mnt/wal; systemctl start patroni",
        )
    wait_until(lambda: probe(healthy)["facts"]["waiting"] == 0, 300, "the WAL that waited", interval=2)
    labs.wait_healthy(healthy)
    leader = labs.leader(healthy)
    assert healthy.sql(leader, "SELECT count(*) FROM acknowledged", "fanatico").strip() >= str(acknowledged)
    assert healthy.salt(HOST, "fanatico_backup.check") == {HOST: ""}


def psql(lab, node, statement):
    command = f'runuser -u postgres -- psql -XAtq fanatico -c "{statement}"'
    return lab.exec(node, ["sh", "-c", command], check=False, timeout=60)
