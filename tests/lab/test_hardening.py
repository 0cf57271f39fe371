"""Limits of an attacker with access: as a user of etcd, as a minion, as one of the daemons."""

import json
import time

import pytest

import fanatico_pki
from tests.support import exposure, labs

pytestmark = pytest.mark.reads_only

UNITS = {
    "master": [
        *("salt-master", "salt-minion", "fanatico-firewall", "fanatico-boot"),
        "prometheus-node-exporter",
        "fanatico-master-backup",
    ],
    "etcd": ["etcd"],
    "patroni": ["patroni", "pgbackrest", "fanatico-heartbeat", "fanatico-restore"],
    "backup": [
        "pgbackrest",
        "fanatico-backup@full",
        "fanatico-backup-verify",
        "fanatico-backup-drill",
        "fanatico-clone",
    ],
    "haproxy": ["haproxy", "haproxy-edge", "keepalived"],
    "rpc": ["fanatico-rpc", "fanatico-rpc-agent", "fanatico-rpc-ws", "fanatico-rpc-follow"],
}
SERVICE_USERS = {
    "etcd": ["etcd"],
    "patroni": ["postgres"],
    "backup": ["postgres"],
    "haproxy": ["haproxy", "haproxy-edge", "keepalived_script"],
    "rpc": ["fanatico"],
    "master": ["prometheus"],
}


def as_user(lab, user, *words):
    """Return (exit code, output) of etcdctl on etcd1 as a user of etcd, or, with None, without a user."""
    if user is None:
        script = (
            ". /etc/profile.d/etcdctl.sh; export ETCDCTL_CERT=/etc/etcd/pki/etcd.crt ETCDCTL_KEY=/etc/etcd/pki/etcd.key; "
            'exec etcdctl "$@"'
        )
        text = ""
    else:
        script = (
            ". /etc/profile.d/etcdctl.sh; read -r ETCDCTL_PASSWORD; export ETCDCTL_PASSWORD; "
            f'exec etcdctl --user {user} "$@"'
        )
        text = labs.secret(lab, "etcd1", f"ETCD_{user.upper()}_PASSWORD") + "\n"
    done = lab.machine("etcd1").exec(["sh", "-c", script, "etcdctl", *words], text_input=text, check=False)
    return done.returncode, done.stdout + done.stderr


# --- etcd


def test_patroni_reads_and_writes_its_own_keys(healthy):
    scope = f"/service/{healthy.plan['name']}/"
    code, printed = as_user(healthy, "patroni", "get", scope + "leader", "--print-value-only")
    assert (code, printed.split()) == (0, [labs.leader(healthy)])
    assert as_user(healthy, "patroni", "put", scope + "test", "1")[0] == 0
    assert as_user(healthy, "patroni", "del", scope + "test")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ("put", "/service/other/leader", "me"),
        ("get", "/service/", "--prefix"),
        ("get", "/fanatico/lock", "--prefix"),
        ("put", "/fanatico/lock/restart-etcd", "me"),
        ("member", "remove", "1"),
        ("user", "list"),
        ("auth", "disable"),
    ],
)
def test_patroni_can_do_nothing_else(healthy, words):
    code, printed = as_user(healthy, "patroni", *words)
    assert code != 0
    assert "permission denied" in printed


@pytest.mark.parametrize("words", [("get", "/", "--prefix"), ("put", "/a", "1"), ("user", "list")])
def test_a_certificate_without_a_user_is_not_enough(healthy, words):
    code, printed = as_user(healthy, None, *words)
    assert code != 0
    assert "user name is empty" in printed or "permission denied" in printed


# --- Salt


@pytest.mark.parametrize("function", ["cmd.run", "cmd.script", "test.ping", "pillar.items", "state.apply"])
def test_no_minion_gives_orders_to_another(lab, function):
    said = lab.exec(
        "rpc1", ["salt-call", "--out=json", "publish.publish", "*", function, "id"], timeout=60
    ).stdout
    assert json.loads(said[said.index("{") :])["local"] in ({}, None, [])


SIGN = ["salt-call", "--out=json", "x509.create_certificate", "ca_server=salt"]


def signed(lab, node, policy, **asked):
    """Return (exit code, result) of a node's own request for a certificate."""
    lab.exec(node, ["sh", "-c", "umask 077; openssl ecparam -name prime256v1 -genkey -out /run/asked.key"])
    words = [f"{key}={value}" for key, value in asked.items()]
    try:
        done = lab.exec(
            node,
            [*SIGN, f"signing_policy={policy}", "private_key=/run/asked.key", *words],
            timeout=90,
            check=False,
        )
    finally:
        lab.exec(node, ["rm", "-f", "/run/asked.key"])
    return done.returncode, done.stdout + done.stderr


def test_no_node_gets_another_nodes_certificate(lab):
    code, printed = signed(lab, "rpc1", "db1.patroni.service")
    assert code != 0
    assert "not permitted" in printed
    assert "BEGIN CERTIFICATE" not in printed


def test_a_node_cannot_ask_for_more_than_its_own(lab):
    """Whatever a request asks for (another name, address, lifetime, an authority), the policy decides."""
    code, printed = signed(
        lab,
        "db1",
        "db1.patroni.service",
        CN="root",
        subjectAltName="DNS:db2",
        days_valid="9999",
        basicConstraints="CA:TRUE",
        copypath="/etc/salt",
    )
    assert code == 0, printed
    pem = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])["local"]
    found = fanatico_pki.facts(pem)
    assert (found["names"], found["is_ca"]) == (["db1"], False)
    assert found["addresses"] == ["10.0.0.100", "10.0.2.10"]
    assert fanatico_pki.days_left(found, time.time()) <= 90
    assert lab.exec(lab.master, ["sh", "-c", "ls /etc/salt/*.crt 2>/dev/null; true"]).stdout == ""


# --- the machine


@pytest.mark.parametrize("role", UNITS)
def test_units_stand_in_a_sandbox(lab, role):
    node = labs.nodes(lab, role)[0]
    for unit in UNITS[role]:
        most = exposure.most(f"{unit}.service")
        argv = ["systemd-analyze", "security", "--json=short", f"--threshold={round(most * 10)}", unit]
        done = lab.exec(node, argv, check=False)
        assert done.returncode == 0, f"{unit}: more exposed than {most}: {done.stderr}"


@pytest.mark.parametrize("role", UNITS)
def test_no_unit_of_ours_is_forgotten(lab, role):
    node = labs.nodes(lab, role)[0]
    script = "cd /etc/systemd/system; grep -ls 'Managed by Salt' *.service *.service.d/*.conf; true"
    said = lab.exec(node, ["sh", "-c", script]).stdout.split()
    ours = {name.partition(".service")[0] for name in said}
    assert "salt-minion" in ours
    assert ours <= {unit.replace("@full", "@") for units in UNITS.values() for unit in units}, node


@pytest.mark.parametrize("role", SERVICE_USERS)
def test_service_users_have_no_other_use(lab, role):
    node = labs.nodes(lab, role)[0]
    for user in SERVICE_USERS[role]:
        groups = lab.exec(node, ["id", "-Gn", user]).stdout.split()
        assert not {"sudo", "root", "adm", "wheel"} & set(groups), (user, groups)
        allowed = lab.exec(node, ["sh", "-c", f"grep -rs '{user}' /etc/sudoers /etc/sudoers.d; true"]).stdout
        assert allowed == ""


def test_no_key_is_for_everybody(lab):
    words = (
        "find /etc/etcd /etc/patroni /etc/haproxy /etc/fanatico /etc/salt /run/fanatico-etcd"
        " -type f ( -name '*.key' -o -name '*.pem' -o -name patroni.yml -o -name haproxy.cfg -o -name edge.cfg ) -perm /007"
    )
    for name in lab.plan["nodes"]:
        found = lab.exec(name, words.replace("'", "").split(), check=False).stdout.split()
        assert [path for path in found if not path.endswith(".pub")] == [], name


def test_upgrades_restart_nothing_by_surprise(lab):
    for name in labs.nodes(lab, "patroni") + labs.nodes(lab, "etcd"):
        settings = lab.exec(
            name,
            [
                "sh",
                "-c",
                "cat /etc/needrestart/conf.d/* /etc/apt/apt.conf.d/*fanatico* 2>/dev/null; true",
            ],
        ).stdout
        assert "patroni" in settings, name
        assert "etcd" in settings, name
