"""Requests to a lab, and helpers for its answers."""

import contextlib
import functools
import json
import os
import re
import subprocess

import yaml

from lab import health as lab_health
from lab import network, preflight
from lab import plan as plans
from lab.machine import Machine
from lab.machines import Lab, obtain_image
from lab.progress import Progress
from tests.support import REPO, spent, wait_until

HEALTHY_WITHIN = 90  # seconds to wait for a healthy lab
ONE_OF_EACH = ("salt", "haproxy1", "rpc1", "db1", "etcd1")  # of the committed plan, a node of each role


@contextlib.contextmanager
def network_only(name, plan=plans.PLAN):
    """Yield a lab with a plan's networks and no machines, for `boot_extra`; it is destroyed afterwards."""
    preflight.check()
    made = Lab(name)
    made.destroy()
    built = obtain_image(Progress())
    try:
        made.create(built, plan, nodes=False)
        yield made
    finally:
        made.destroy()


def nodes(lab, role=None):
    """Ids of the plan's nodes; with a role, only of the nodes that have it."""
    return lab.nodes(role)


def some_nodes(lab):
    """Every node in `./fanatico test full`, otherwise one of each role: for checks that take seconds per node."""
    return nodes(lab) if os.environ.get("FANATICO_TEST") == "full" else list(ONE_OF_EACH)


def health(lab, *names):
    """{minion: fanatico.health} of the named minions, or of all; silent ones are missing."""
    answers = lab_health.ask(lab, *names)
    if answers.keys() == set(nodes(lab)) and not ailing(answers):
        _known.update(healthy=lab.name, touched=set())
    return answers


def ailing(answers):
    """{minion: {check: status and detail}} of every check that is not ok."""
    return lab_health.ailing(answers)


# healthy: the lab that was last found healthy. touched: its machines on which something has run since.
# reading: the present commands change nothing.
_known = {"healthy": None, "touched": set(), "reading": False}
# Runners that act on no other machine than the master; what any other command there may have touched is not known.
_OWN_BUSINESS = {f"fanatico.{name}" for name in ("freeze", "unfreeze", "history", "status", "validate")}


@spent.counted("waiting")
def wait_healthy(lab, timeout=HEALTHY_WITHIN, names=None):
    """Wait until every node, or each of these, answers and is ok; return the answers."""
    answers = lab_health.wait(lab, timeout, names=names)
    _known.update(healthy=lab.name, touched=set())
    return answers


def wait_answer(lab, node, timeout=60):
    """Wait until the minion of a node answers."""
    wait_until(
        lambda: lab.salt(node, "test.ping", patience=2) == {node: True},
        timeout,
        f"the minion of {node} to answer",
    )


def touched(lab):
    """The nodes on which something has run since the lab was healthy, and their peers; all if it is not known to have been."""
    if _known["healthy"] != lab.name:
        return set(nodes(lab))
    roles = {
        role
        for name, node in lab.plan["nodes"].items()
        if name in _known["touched"]
        for role in node["roles"]
    }
    return {name for role in roles for name in nodes(lab, role)}


def forget_health():
    """Count every node as touched, unless nothing has run on any."""
    if _known["touched"]:
        _known["healthy"] = None


@contextlib.contextmanager
def reading():
    """Declare that commands in this block change nothing, so a healthy lab stays healthy."""
    before, _known["reading"] = _known["reading"], True
    try:
        yield
    finally:
        _known["reading"] = before


def watch_what_is_done():
    """From now on, record the machines on which a command runs, or of which power or cable are changed."""
    for owner, name, touching in (
        (Machine, "exec_argv", _by_command),
        (Machine, "power_on", _by_power),
        (Machine, "power_off", _by_power),
        (network, "set_cable", lambda lab, machine, *_, **__: (lab, {machine})),
        (Lab, "site_write", lambda lab, *_: (lab.name, None)),
    ):
        setattr(owner, name, _recorded(getattr(owner, name), touching))


def _by_power(machine, *_, **__):
    return machine.lab, {machine.name}


def _by_command(machine, argv):
    program, *arguments = map(str, argv)
    ours = program not in ("salt", "salt-run") or _OWN_BUSINESS & set(arguments)
    return machine.lab, {machine.name} if ours else None


def _recorded(function, touching):
    """Return *function*, which records what it touches: `touching` returns the lab's name and machines, None for all."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        if not _known["reading"]:
            lab, machines = touching(*args, **kwargs)
            if machines is None:
                _known["healthy"] = None
            elif lab == _known["healthy"]:
                _known["touched"] |= machines
        return function(*args, **kwargs)

    return wrapper


@spent.counted("deploying")
def highstate(lab, target="*", *arguments, timeout=240):
    """Run a highstate and return {minion: {state: result}}; AssertionError if one does not compile."""
    # Twelve highstates at once keep two cores busy: a minion may answer Salt's poll late.
    answers = lab.salt(target, "state.highstate", *arguments, patience=60, timeout=timeout)
    broken = {name: answer for name, answer in answers.items() if not isinstance(answer, dict)}
    assert not broken, broken
    assert answers, f"no minion that is {target} answered"
    return answers


def changes(answers):
    """{minion: {state: changes}} of a highstate's answers; empty where nothing changed."""
    found = {
        name: {state: result["changes"] for state, result in states.items() if result["changes"]}
        for name, states in answers.items()
    }
    return {name: changed for name, changed in found.items() if changed}


def failures(answers):
    """{minion: {state: comment}} of the failed states."""
    found = {
        name: {state: result["comment"] for state, result in states.items() if result["result"] is False}
        for name, states in answers.items()
    }
    return {name: failed for name, failed in found.items() if failed}


@spent.counted("deploying")
def deploy(lab, timeout=300):
    """Run orch.deploy; return (exit code, its data, its output)."""
    done = lab.salt_run("--out=json", "state.orchestrate", "orch.deploy", timeout=timeout, check=False)
    printed = done.stdout + done.stderr
    try:
        data = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        data = {}
    return done.returncode, data, printed


def deployed_changes(data):
    """[(state, changes)] of every state on every minion in an orchestration's data."""
    found = []

    def walk(value):
        if not isinstance(value, dict):
            return
        for key, below in value.items():
            if (
                isinstance(below, dict)
                and {"result", "changes"} <= below.keys()
                and not key.startswith("step_|-")
            ):
                if below["changes"]:
                    found.append((key, below["changes"]))
            else:
                walk(below)

    walk(data)
    return found


class News:
    """The entries that the history gets from now on; read from its file, without load on the machines."""

    def __init__(self, lab):
        self._path = lab.root(lab.master) / "var/log/fanatico/history.jsonl"
        self._seen = len(self._lines())

    def _lines(self):
        return self._path.read_text().splitlines() if self._path.exists() else []

    def decided(self, decision):
        """The entries with a decision."""
        return [
            entry for entry in map(json.loads, self._lines()[self._seen :]) if entry["decision"] == decision
        ]

    def wait(self, decision, node, what, timeout=60):
        """Wait for a decision about a unit or another fault, ``None`` for any, and return its entry."""

        def decided():
            entries = map(json.loads, self._lines()[self._seen :])
            ours = [
                entry
                for entry in entries
                if what in (None, entry.get("what")) and node in (None, entry["host"])
            ]
            found = next((entry for entry in ours if entry["decision"] == decision), None)
            if not found:  # pytest then shows the entries
                raise LookupError(f"not among {ours}")
            return found

        return wait_until(decided, timeout, f"{what} on {node} to be {decision}")


def history(lab, limit=50):
    """The newest decisions, newest first, as data."""
    done = lab.salt_run("fanatico.history", f"limit={limit}", "--out=json")
    return json.loads(done.stdout)


def virtual_ip_holders(lab):
    """The balancers that have the virtual IP on an interface."""
    with reading():
        return lab.virtual_ip_holders()


def leader(lab):
    """Patroni's leader, from any database node that answers."""
    for answer in lab.salt("db*", "fanatico_patroni.leader").values():
        if isinstance(answer, str) and answer in nodes(lab, "patroni"):
            return answer
    return None


@contextlib.contextmanager
def site(lab, settings):
    """Pillar overrides for the duration of the block."""
    lab.site_write(settings)
    try:
        yield
    finally:
        lab.site_write({})


@contextlib.contextmanager
def plan(lab, change):
    """Another plan for the duration of the block: *change* gets the pillar of plan.sls and alters it."""
    path = lab.folder / "plan.sls"
    before = path.read_text()
    content = yaml.safe_load(before)
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))  # in place: the file is bound into the master
    _known["healthy"] = None
    try:
        yield
    finally:
        path.write_text(before)


def said(text):
    """A command's output on one line, so that a wrapped message can be found."""
    return re.sub(r"\s+", " ", text)


def secret(lab, node, name):
    """The value of a secret in a node's pillar."""
    return lab.pillars(node)[node]["secrets"][name]


def assert_not_cut(lab, session):
    """Check that a session of `writing` lasted to its end; AssertionError with the log lines around its failure."""
    if session["error"]:
        said = [
            journals(lab, role, session["ended"], *units)
            for role, units in {
                "etcd": ["etcd"],
                "patroni": ["patroni"],
                "haproxy": ["haproxy", "keepalived"],
            }.items()
        ]
        raise AssertionError("\n".join([*said, session["error"]]))


def journals(lab, role, moment, *units):
    """Return log lines of units on the nodes of a role around a time, in seconds since 1970."""
    argv = ["journalctl", "-q", "--no-pager", "-o", "short-precise"]
    argv += [f"--since=@{moment - 15:.0f}", f"--until=@{moment + 5:.0f}"]
    argv += [word for unit in units for word in ("-u", unit)]
    return "\n".join(lab.exec(node, argv).stdout for node in nodes(lab, role))


@contextlib.contextmanager
def writing(lab, node, folder="/run/fanatico-test-writer"):
    """Write in one session from a database node through the virtual IP; yields a dict that gets the result afterwards.

    ``{"written": n, "longest": seconds of one write, "error": text or None, "ended": seconds since 1970}``
    """
    result, program = {}, (REPO / "tests" / "lab" / "files" / "write.py").read_text()
    machine, address = lab.machine(node), lab.plan["virtual_ip"]["address"]
    machine.exec(
        ["sh", "-c", f"rm -rf {folder}; mkdir -p {folder}; cat > {folder}/write.py"], text_input=program
    )
    # The present CA certificate, as a client would have stored it.
    machine.exec(["cp", "/etc/patroni/pki/service-ca.crt", f"{folder}/ca.crt"])
    argv = ["/opt/salt/bin/python", f"{folder}/write.py", address, f"{folder}/ca.crt", f"{folder}/stop"]
    writer = subprocess.Popen(
        machine.exec_argv(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        writer.stdin.write(secret(lab, node, "POSTGRES_FANATICO_PASSWORD") + "\n")
        writer.stdin.flush()
        # Limited: after thirty seconds without a session it prints the error.
        first = writer.stdout.readline()
        assert first == "writing\n", first
        yield result
    finally:
        machine.exec(["touch", f"{folder}/stop"])
        said, complaint = writer.communicate(timeout=60)
        machine.exec(["rm", "-rf", folder])
    assert writer.returncode == 0, complaint
    result.update(json.loads(said.splitlines()[-1]))
