"""Attacks by root on one compromised host; each succeeded on 0a8827a.

The absence of an effect is checked after a later real fault has been reported and healed.
"""

import json
import re

import pytest

from tests.support import REPO, faults, labs, wait_until

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("untouched_budget")]

LOST = "rpc1"  # the compromised host
MADE_UP = "20261129000000000000"  # the id of a job that was never started
SEND = (REPO / "bench" / "files" / "send_loads.py").read_text()
INJECTED = "x:\n  cmd.run:\n    - name: touch /root/owned\nCure y"


def send(lab, loads, source=LOST):
    """Send messages to the master as the minion of a compromised host; return how many it accepted."""
    machine = lab.machine(source)
    machine.exec(["sh", "-c", "cat > /run/send_loads.py"], text_input=SEND)
    argv = ["/opt/salt/bin/python", "/run/send_loads.py"]
    return json.loads(machine.exec(argv, text_input=json.dumps(loads), timeout=300).stdout)["taken"]


def fire(lab, *events, source=LOST):
    """Fire events as a list, each ``times`` times with its NUMBER: so the sender chooses the id in `data`. Return the count."""
    loads = [
        {
            "cmd": "_minion_event",
            "events": [
                json.loads(
                    json.dumps({"tag": one["tag"], "data": one["data"]}).replace("NUMBER", str(number))
                )
            ],
        }
        for one in events
        for number in range(one.get("times", 1))
    ]
    return send(lab, loads, source)


def event(host, what, why="x", **more):
    return {
        "tag": f"salt/beacon/{host}/fanatico/x",
        "data": {"id": host, "what": what, "why": why},
        **more,
    }


def heal_a_true_fault(lab, node="rpc2"):
    """Stop a unit and wait until it is healed: by then all earlier events have been handled."""
    news = labs.News(lab)
    lab.exec(node, ["systemctl", "stop", "fanatico-rpc-ws"])
    return news.wait("healed", node, "fanatico-rpc-ws.service")


def owned(lab):
    return lab.exec(lab.master, ["test", "-e", "/root/owned"], check=False).returncode == 0


# --- events


HOSTILE = {
    "what": event(LOST, INJECTED),
    "host": event(INJECTED, "etcd.service"),
    "why": event(LOST, "fanatico-rpc.service", INJECTED),
    "no text": event("db1", ["x"], {"y": INJECTED}),
    "denied": {"tag": "salt/auth", "data": {"id": INJECTED, "act": "denied"}},
    "start": {"tag": f"salt/minion/{LOST}/start", "data": {"id": INJECTED}},
}


@pytest.mark.parametrize(
    "ways", [list(HOSTILE), *(pytest.param([way], marks=pytest.mark.long) for way in HOSTILE)], ids=str
)
def test_an_event_writes_nothing_on_the_master(healthy, ways):
    assert fire(healthy, *(HOSTILE[way] for way in ways)) == len(ways)
    heal_a_true_fault(healthy)
    assert not owned(healthy)


def test_nor_does_an_answer(healthy):
    """The second way: a minion's answer when the master asks for its faults."""
    path = "/var/cache/salt/minion/extmods/modules/fanatico_cure.py"
    lie = f"\n\ndef found():\n    return {{{INJECTED!r}: 'why', 'etcd-full': 'x', 'fanatico-rpc.service': 'a\\n\\x1b[2Jb'}}\n"
    lie += "\n\nreported = found\n"
    healthy.machine(LOST).exec(["sh", "-c", f"cp {path} /run/kept; cat >> {path}"], text_input=lie)
    try:
        healthy.salt(LOST, "saltutil.refresh_modules")
        wait_until(
            lambda: INJECTED in healthy.salt(LOST, "fanatico_cure.found").get(LOST, ()),
            30,
            "the forged answer to be read",
        )
        # What is found twice in a row is cured.
        for command in ("fanatico.reconcile", f"fanatico.look {LOST}"):
            healthy.salt_run(*command.split(), check=False)
        seen = json.loads(healthy.salt_run("fanatico.reconcile", "--out=json").stdout)["found"]
        assert seen[LOST] == {"fanatico-rpc.service": "a  [2Jb"}
        assert not owned(healthy)
    finally:
        healthy.exec(LOST, ["sh", "-c", f"cat /run/kept > {path}"])
        healthy.salt(LOST, "saltutil.refresh_modules")
        wait_until(lambda: healthy.salt(LOST, "fanatico_cure.found") == {LOST: {}}, 30, "the correct answer")


def test_a_forged_fault_of_another_host_moves_no_address(healthy):
    (holder,) = labs.virtual_ip_holders(healthy)
    news = labs.News(healthy)
    fire(
        healthy,
        event(holder, "vip-duplicate"),
        event(holder, "keepalived-hung"),
        event("db2", "replica-not-streaming"),
    )
    heal_a_true_fault(healthy)
    assert {entry["host"] for entry in news.decided("healed")} == {"rpc2"}
    assert labs.virtual_ip_holders(healthy) == [holder]


def test_a_host_that_calls_itself_bare_and_is_silent_holds_no_lock(healthy):
    healthy.exec(LOST, ["systemctl", "stop", "salt-minion"])
    try:
        # From another compromised host: the first one is not able to fire events now.
        fire(
            healthy,
            event(LOST, "unprovisioned"),
            {"tag": f"salt/minion/{LOST}/start", "data": {"id": LOST}},
            source="rpc3",
        )
        heal_a_true_fault(healthy)
    finally:
        healthy.exec(LOST, ["systemctl", "start", "salt-minion"])
        labs.wait_answer(healthy, LOST)


def test_in_a_flood_of_events_a_true_fault_is_healed(healthy):
    """In its own name, in all other names, in unknown names."""
    names = [event(node, "patroni.service", times=40) for node in healthy.plan["nodes"]]
    before = memory(healthy)
    flood = [event("hostNUMBER", "x", times=300), *names, event(LOST, INJECTED, "y" * 100_000, times=20)]
    assert fire(healthy, *flood) == 320 + 40 * len(names)
    heal_a_true_fault(healthy)
    assert not owned(healthy)
    assert memory(healthy) < 1.5 * before
    assert (
        "Traceback"
        not in healthy.exec(healthy.master, ["journalctl", "-q", "-u", "salt-master", "-n", "500"]).stdout
    )


def test_a_minion_cannot_answer_for_another(healthy):
    """
    Each of three ways was accepted: the job's result was the forged one. And in its own name the host could store an answer
    of any length, without a request, for a job that was never started.
    """
    since = healthy.exec(healthy.master, ["date", "+@%s"]).stdout.strip()
    # Long enough that the forged answers come first on a slow machine, too.
    said = healthy.exec(healthy.master, ["salt", "--async", "db1", "test.sleep", "15"]).stdout
    jid = re.search(r"[0-9]{20}", said)[0]
    answer = {
        "jid": jid,
        "return": "forged",
        "fun": "test.sleep",
        "fun_args": [],
        "retcode": 0,
        "success": True,
    }
    own = {**answer, "id": LOST, "return": {"db1": "forged"}}
    ways = [
        {"cmd": "_return", "resource_id": "db1", **answer},
        {"cmd": "_syndic_return", "load": [own], "jid": jid, "return": {}},
        {
            "cmd": "_minion_event",
            "events": [{"tag": f"salt/job/{jid}/ret/db1", "data": {**answer, "id": "db1"}}],
        },
        {"cmd": "_return", **answer},
        {"cmd": "_return", **answer, "jid": MADE_UP},
        {"cmd": "_return", **answer, "jid": "req", "return": "x" * 17 * 1024**2},
    ]
    assert send(healthy, ways) == len(ways)
    running = healthy.root("db1") / f"var/cache/salt/minion/proc/{jid}"
    wait_until(lambda: not running.exists(), 60, "the job to end")
    wait_until(
        lambda: json.loads(healthy.salt_run("jobs.lookup_jid", jid, "--out=json").stdout) == {"db1": True},
        60,
        "the true answer to be the only one",
    )
    said = healthy.exec(healthy.master, ["journalctl", "-q", "-u", "salt-master", f"--since={since}"]).stdout
    assert said.count(f"Refused from {LOST}: ") == len(ways)
    assert MADE_UP not in healthy.salt_run("jobs.list_jobs", "--out=json").stdout


def memory(lab):
    """Memory of the Salt master's processes, in bytes."""
    script = "cat /sys/fs/cgroup$(systemctl show -P ControlGroup salt-master)/cgroup.procs"
    pids = lab.exec(lab.master, ["sh", "-c", script]).stdout.split()
    shown = lab.exec(
        lab.master, ["bash", "-c", f"grep -h ^RssAnon /proc/{{{','.join(pids)}}}/status 2>/dev/null; true"]
    )
    return sum(int(line.split()[1]) * 1024 for line in shown.stdout.splitlines())


# --- jobs for other minions


@pytest.mark.reads_only
def test_a_minion_executes_only_the_masters_jobs(healthy):
    """A job encrypted with the key that all minions share, but not signed by the master."""
    program = (
        "import types, salt.config, salt.channel.client as client, salt.exceptions\n"
        "opts = salt.config.minion_config('/etc/salt/minion')\n"
        "try:\n"
        "    client.AsyncPubChannel._verify_master_signature(types.SimpleNamespace(opts=opts), {'enc': 'aes', 'load': b'x'})\n"
        "except salt.crypt.AuthenticationError as error: print('refused:', error)\n"
    )
    for node in labs.some_nodes(healthy):
        assert healthy.exec(node, ["/opt/salt/bin/python", "-c", program]).stdout.startswith("refused:"), node


@pytest.mark.parametrize(
    "target", ["*", "L@salt,db1", *(pytest.param(one, marks=pytest.mark.long) for one in ("db1", "etcd*"))]
)
def test_a_signature_is_asked_of_the_master_alone(healthy, target):
    kind = "compound" if "@" in target else "glob"
    argv = ["salt-call", "--out=json", "publish.publish", target, "x509.sign_remote_certificate", "[x, {}]"]
    said = healthy.exec(LOST, [*argv, f"tgt_type={kind}"], timeout=60).stdout
    assert json.loads(said[said.index("{") :])["local"] in ({}, None, [])


def test_of_the_master_it_is(healthy):
    argv = [
        "salt-call",
        "--out=json",
        "publish.publish",
        healthy.master,
        "x509.sign_remote_certificate",
        "[x, {}]",
    ]
    said = healthy.exec(LOST, argv, timeout=60).stdout
    assert list(json.loads(said[said.index("{") :])["local"]) == [healthy.master]


# --- a compromised database host


def test_what_one_leaves_in_patronis_store_runs_nowhere_and_is_taken_away(healthy):
    touch = "/usr/bin/touch /var/lib/postgresql/owned"
    edit = [
        f"postgresql.{key}={touch}"
        for key in ("callbacks.on_reload", "callbacks.on_restart", "pre_promote", "before_stop")
    ]
    options = [word for one in edit for word in ("-s", one)]
    config, scope = ["patronictl", "-c", "/etc/patroni/patroni.yml"], healthy.plan["name"]
    healthy.exec("db2", [*config, "edit-config", "--force", "-q", *options])
    leader = labs.leader(healthy)
    try:
        healthy.exec("db2", [*config, "reload", scope, "--force"])
        answers = healthy.salt(leader, "state.apply", "patroni.settings", "test=True")
        seen = [key for state in labs.changes(answers)[leader].values() for key in state]
        assert {"postgresql.callbacks", "postgresql.pre_promote", "postgresql.before_stop"} <= set(seen)
        # A marker after the reload, on every host.
        shown = healthy.exec("db2", [*config, "show-config"]).stdout
        assert "on_reload" in shown, "the attack is there"
        wait_until(lambda: labs.ailing(labs.health(healthy)) == {}, 60, "health")
    finally:
        healthy.salt(leader, "state.apply", "patroni.settings")
    assert "on_reload" not in healthy.exec("db2", [*config, "show-config"]).stdout
    for node in labs.nodes(healthy, "patroni"):
        assert healthy.exec(node, ["test", "-e", "/var/lib/postgresql/owned"], check=False).returncode == 1, (
            node
        )


# --- the guard


def test_a_damaged_memory_switches_healing_off_and_says_so(healthy):
    healthy.exec(healthy.master, ["sh", "-c", "printf '{\"frozen\"' > /var/lib/fanatico/guard.json"])
    news = labs.News(healthy)
    try:
        healthy.exec("rpc2", ["systemctl", "stop", "fanatico-rpc-ws"])
        entry = news.wait("refused", "rpc2", "fanatico-rpc-ws.service")
        assert entry["code"] == "memory-damaged"
        assert not faults.active(healthy, "rpc2", "fanatico-rpc-ws")
    finally:
        healthy.salt_run("fanatico.unfreeze")
        healthy.exec("rpc2", ["systemctl", "start", "fanatico-rpc-ws"])
    wait_until(lambda: labs.ailing(labs.health(healthy, "rpc2")) == {}, 60, "rpc2 to be well")


def test_the_chain_program_controls_neither_agent_nor_proxy(healthy):
    """Foreign code in the chain program cannot stop the agent, take its port, or put a drained node back into rotation."""
    node = labs.nodes(healthy, "rpc")[0]
    pids = {}
    for unit in ("fanatico-rpc-agent", "fanatico-rpc-ws"):
        pids[unit] = healthy.exec(node, ["systemctl", "show", "-P", "MainPID", unit]).stdout.strip()
        killed = healthy.exec(
            node, ["runuser", "-u", "fanatico", "--", "kill", "-9", pids[unit]], check=False
        )
        assert killed.returncode != 0, unit
    address = healthy.plan["nodes"][node]["address"]
    bind = f"import socket; socket.create_server(({address!r}, 8547))"
    healthy.exec(node, ["systemctl", "kill", "-s", "KILL", "fanatico-rpc-agent"])
    taken = healthy.exec(node, ["runuser", "-u", "fanatico", "--", "python3", "-c", bind], check=False)
    assert "Address already in use" in taken.stderr
    agent = ["rm", "-f", "/var/lib/fanatico-rpc-agent/drained"]
    healthy.exec(node, ["touch", agent[-1]])
    try:
        assert healthy.exec(node, ["runuser", "-u", "fanatico", "--", *agent], check=False).returncode != 0
    finally:
        healthy.exec(node, agent)
    labs.wait_healthy(healthy)
