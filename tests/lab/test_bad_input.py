"""Mistakes of an operator: reported at once, with the pillar path, and nothing is changed.

And obstacles of a deploy: reported in one paragraph with the host and the cause.
"""

import contextlib
import json

import pytest

from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough


def nodes(content):
    return content["plan"]["nodes"]


def duplicate_address(content):
    nodes(content)["rpc2"]["address"] = nodes(content)["rpc1"]["address"]


def outside_every_network(content):
    nodes(content)["db2"]["address"] = "10.9.9.9"


def virtual_ip_of_a_node(content):
    content["plan"]["virtual_ip"]["address"] = nodes(content)["haproxy2"]["address"]


def even_etcd(content):
    del nodes(content)["etcd3"]


def unknown_key(content):
    content["plan"]["virtual_ip"]["router"] = 51


def ttl_too_small(content):
    content["plan"]["timing"]["patroni"] = {"ttl": 15}


def loop_does_not_fit(content):
    content["plan"]["timing"]["patroni"] = {"retry_timeout": 12}


def ports_in_conflict(content):
    content["plan"]["ports"]["rpc_ws"] = content["plan"]["ports"]["rpc_http"]


# A mistake in the plan -> its path, and a word of the message. The unit tests of the validation have all of them; here
# each costs four seconds of processor time, so only `./fanatico test full` tries them one by one.
PLAN = [
    (unknown_key, "plan:virtual_ip:router", "did you mean router_id?"),
    (duplicate_address, "plan:nodes:rpc2:address", "rpc1"),
    (outside_every_network, "plan:nodes:db2:address", "outside all networks"),
    (virtual_ip_of_a_node, "plan:virtual_ip:address", "haproxy2"),
    (even_etcd, "plan:nodes", "etcd"),
    (ttl_too_small, "plan:timing:patroni:ttl", "20"),
    (loop_does_not_fit, "plan:timing:patroni:ttl", "loop_wait + 2 * retry_timeout"),
    (ports_in_conflict, "plan:ports:rpc_ws", "rpc_http"),
]

SECRET = "HAPROXY_STATS_PASSWORD"


def refused(lab):
    """Run validate, which must fail, and return its message."""
    done = lab.salt_run("fanatico.validate", check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    words = labs.said(done.stdout + done.stderr)
    assert "Traceback" not in words
    return words


def fingerprint(lab):
    """Everything that a deploy could change: our files and the running processes of our units, on every machine."""
    program = (
        "cat /etc/hosts /etc/etcd/* /etc/patroni/* /etc/haproxy/* /etc/keepalived/* /etc/systemd/system/*.service"
        " /etc/systemd/system/*/fanatico.conf 2>/dev/null | sha256sum;"
        " systemctl show -P MainPID etcd patroni haproxy keepalived fanatico-rpc"
    )
    return {name: lab.exec(name, ["sh", "-c", program]).stdout for name in lab.plan["nodes"]}


@pytest.mark.parametrize(
    ("change", "path", "word"),
    [pytest.param(*one, id=one[0].__name__, marks=pytest.mark.long) for one in PLAN],
)
def test_a_fault_in_the_plan_is_named(lab, change, path, word):
    with labs.plan(lab, change):
        words = refused(lab)
    assert f"{path}:" in words
    assert word in words


def test_an_unknown_setting_is_named_with_the_nearest_known_one(lab):
    with labs.site(lab, {"haproxy": {"maxcon": 100}}):
        words = refused(lab)
    assert "haproxy:maxcon:" in words
    assert "maxconn" in words


@contextlib.contextmanager
def secret(lab, role, text):
    """Replace the text of a role's secrets file, or remove it, for the duration of the block."""
    path = lab.folder / "secrets" / f"{role}.sls"
    before = path.read_text()
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)
        path.chmod(0o640)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        pytest.param(None, "salt-run fanatico.secrets_init", id="missing"),
        pytest.param("Zu7kQ", "use at least 16", id="short", marks=pytest.mark.long),
        pytest.param("changeme" * 4, "placeholder", id="placeholder", marks=pytest.mark.long),
    ],
)
def test_a_bad_secret_is_named_and_not_shown(lab, value, word):
    other = "KEEPALIVED_AUTH_PASS: Qm8vT2xLr5nPw9dK"
    text = None if value is None else f"#!yaml\nsecrets:\n  {SECRET}: {value}\n  {other}\n"
    with secret(lab, "haproxy", text):
        words = refused(lab)
    assert f"secrets:{SECRET}:" in words
    assert word in words
    assert value is None or value not in words


def test_all_faults_are_named_at_once_and_a_deploy_changes_nothing(healthy):
    def change(content):
        for fault in (duplicate_address, virtual_ip_of_a_node, even_etcd, ttl_too_small):
            fault(content)

    before = fingerprint(healthy)
    with labs.plan(healthy, change):
        words = refused(healthy)
        code, _, printed = labs.deploy(healthy, timeout=60)
    assert code != 0
    for path in (
        "plan:nodes:rpc2:address",
        "plan:virtual_ip:address",
        "plan:nodes",
        "plan:timing:patroni:ttl",
    ):
        assert f"{path}:" in words
        assert f"{path}:" in labs.said(printed).replace("\\n", " ")
    assert fingerprint(healthy) == before
    assert labs.ailing(labs.health(healthy)) == {}


def test_a_highstate_refuses_such_a_plan_too(healthy):
    """A highstate runs at every boot, perhaps while the plan is being edited."""
    before = fingerprint(healthy)
    with labs.plan(healthy, virtual_ip_of_a_node):
        answers = labs.highstate(healthy, "haproxy*")
    for name in labs.nodes(healthy, "haproxy"):
        (said,) = labs.failures(answers)[name].values()
        assert said.startswith(
            f"{name}: the pillar is not sound, nothing was changed: plan:virtual_ip:address: "
        )
        assert "fanatico.validate" in said
    assert labs.changes(answers) == {}
    assert fingerprint(healthy) == before


def test_a_sound_pillar_is_sound_again(lab):
    assert lab.salt_run("fanatico.validate").returncode == 0


# --- obstacles of a deploy

# The states of the affected host, and the whole deploy, which takes ten times as long.
BOTH_WAYS = pytest.mark.parametrize("how", ["states", pytest.param("deploy", marks=pytest.mark.long)])


def failing(lab, how, node, sls):
    """Apply a role's states to the node, or run a deploy; it must fail. Return its output."""
    if how == "deploy":
        code, _, printed = labs.deploy(lab)
        assert code != 0
        return printed
    answers = lab.salt(node, "state.apply", sls, patience=60)
    failed = labs.failures(answers)
    assert failed, answers
    return json.dumps(failed)


def paragraph(printed, *words):
    """Return the message of a failed deploy that contains all the words; there must be no traceback."""
    text = labs.said(printed.encode().decode("unicode_escape", errors="ignore"))
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in: {text[-3000:]}"
    assert "Traceback (most recent call last)" not in text
    return text


def test_a_dead_host(healthy):
    healthy.power_off("rpc3")
    try:
        before = fingerprint_of_the_living(healthy)
        with labs.site(healthy, {"master": {"answer_within": 5}}):
            code, _, printed = labs.deploy(healthy, timeout=180)
        assert code != 0
        paragraph(printed, "rpc3", "answer")
        assert fingerprint_of_the_living(healthy) == before
    finally:
        healthy.power_on("rpc3")
        healthy.machine("rpc3").wait_booted()


def fingerprint_of_the_living(lab):
    program = "cat /etc/hosts /etc/systemd/system/*.service | sha256sum"
    return {name: lab.exec(name, ["sh", "-c", program]).stdout for name in lab.running()}


@BOTH_WAYS
def test_a_wrong_password_already_in_the_cluster(healthy, how):
    """The password was changed by hand: the deploy must neither replace it silently nor continue."""
    leader = labs.leader(healthy)
    before = healthy.sql(leader, "select rolpassword from pg_authid where rolname = 'fanatico'").strip()
    healthy.sql(leader, "alter role fanatico password 'by-hand-9f2K8s7Qw3'")
    try:
        paragraph(failing(healthy, how, leader, "roles.patroni"), leader, "fanatico", "password")
    finally:
        healthy.sql(leader, f"alter role fanatico password '{before}'")


def etcdctl(lab, *words):
    """Run etcdctl as root; the password is passed in the environment of one process."""
    script = (
        ". /etc/profile.d/etcdctl.sh; read -r ETCDCTL_PASSWORD; export ETCDCTL_PASSWORD; "
        'exec etcdctl --user root "$@"'
    )
    password = labs.secret(lab, "etcd1", "ETCD_ROOT_PASSWORD")
    return (
        lab.machine("etcd1").exec(["sh", "-c", script, "etcdctl", *words], text_input=password + "\n").stdout
    )


@pytest.mark.long
@pytest.mark.parametrize("how", ["states", "deploy"])
def test_a_foreign_cluster_in_etcd(healthy, how):
    """etcd has another cluster's identifier under our name: that of a neighbor, or of a restored backup."""
    key = f"/service/{healthy.plan['name']}/initialize"
    before = etcdctl(healthy, "get", key, "--print-value-only").strip()
    assert before.isdigit(), before
    replica = next(node for node in labs.nodes(healthy, "patroni") if node != labs.leader(healthy))
    healthy.salt_run("fanatico.freeze", "a test stops Patroni", "5m")
    healthy.exec(replica, ["systemctl", "stop", "patroni"])
    etcdctl(healthy, "put", key, "7000000000000000001")
    try:
        paragraph(failing(healthy, how, replica, "roles.patroni"), replica, key)
    finally:
        etcdctl(healthy, "put", key, before)
        healthy.exec(replica, ["systemctl", "start", "patroni"])
        healthy.salt_run("fanatico.unfreeze")


@BOTH_WAYS
def test_a_full_disk(healthy, how):
    """Mount a small, full file system over the folder of a file that the deploy has to write."""
    node, place = "haproxy2", "/etc/haproxy"
    healthy.exec(
        node, ["sh", "-c", f"mount -t tmpfs -o size=4k none {place} && head -c 4096 /dev/zero > {place}/full"]
    )
    try:
        paragraph(failing(healthy, how, node, "roles.haproxy"), node, "No space left on device")
    finally:
        healthy.exec(node, ["umount", place])


def test_every_host_is_well_again(lab):
    labs.wait_healthy(lab)


@pytest.mark.long
def test_everything_is_as_before(lab):
    code, data, printed = labs.deploy(lab)
    assert code == 0, printed[-3000:]
    assert labs.deployed_changes(data) == [], json.dumps(labs.deployed_changes(data))[:2000]
    wait_until(lambda: labs.ailing(labs.health(lab)) == {}, 30, "health", interval=1)
