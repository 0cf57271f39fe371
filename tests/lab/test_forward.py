"""A lab's services on 127.0.0.1: every printed command works, no other access is opened, and nothing is left behind."""

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from lab import cgroup, client, forward, image, network
from lab.machines import Lab
from lab.paths import STATE
from tests.lab.test_lab_cli import command, traces
from tests.support import REPO, labs, wait_until

pytestmark = pytest.mark.healthy_is_enough

SPARE = "spare-forward"  # a lab with a network and disks, but without a running machine
SECRETS = [("db1", "POSTGRES_FANATICO_PASSWORD"), ("haproxy1", "HAPROXY_STATS_PASSWORD")]
WHO = "SELECT current_user, pg_is_in_recovery();\n"
# Part of a printed line -> its input, a part of its output. The first match counts.
LINES = {
    "/health": ("", '"status":"ok"'),
    "eth_blockNumber": ("", '"result":"0x'),
    "fanatico psql": (WHO, "fanatico     | f"),
    "psql primary": (WHO, "fanatico     | f"),
    "psql replica": (WHO, "fanatico     | t"),
    "/stats": ("", "Statistics Report for HAProxy"),
}
WEBSOCKET = "wsdump"


@pytest.fixture
def ports(lab):
    """{service: port on 127.0.0.1} of the lab's forwarded services."""
    return forward.start(lab)


def printed(lab):
    """The commands that `forward` prints, as root types them."""
    done = command("forward", "--name", lab.name)
    assert done.returncode == 0, done.stderr
    return [line.strip().removeprefix("sudo ") for line in done.stdout.splitlines() if line.startswith("  ")]


def kind(line, ports):
    """Return the key of LINES for a printed line."""
    for name, shown in (("postgres_primary", "psql primary"), ("postgres_replica", "psql replica")):
        if f"port={ports[name]} " in line:
            return shown
    return next(part for part in (*LINES, WEBSOCKET) if part in line)


def pasted(line, text=""):
    return subprocess.run(
        ["bash", "-c", line], cwd=REPO, input=text, capture_output=True, text=True, timeout=60, check=False
    )


def test_every_printed_line_works(lab, ports):
    lines = {kind(line, ports): line for line in printed(lab)}
    expected = {*LINES, WEBSOCKET}
    if not any("sslmode" in line for line in lines.values()):  # a machine without psql
        expected -= {"psql primary", "psql replica"}
    assert set(lines) == expected
    for name, (text, said) in LINES.items():
        if name in lines:
            done = pasted(lines[name], text)
            assert said in done.stdout, (lines[name], done.stdout[-500:], done.stderr[-2000:])
            assert done.returncode == 0, done.stderr


def test_the_printed_websocket_line_shows_blocks(lab, ports):
    (line,) = [line for line in printed(lab) if WEBSOCKET in line]
    argv = ["timeout", "60", *shlex.split(line)]
    with subprocess.Popen(
        argv, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            said = [json.loads(process.stdout.readline()) for _ in range(3)]
        finally:
            process.terminate()
    assert said[0]["result"]
    assert [one["method"] for one in said[1:]] == ["eth_subscription"] * 2


def test_a_replica_is_asked_on_demand(lab, ports):
    done = command("psql", "--replica", "--name", lab.name, "--", "-Atc", WHO)
    assert done.stdout == "fanatico|t\n", done.stderr


def test_up_ends_with_the_same_lines(lab, ports):
    log = (STATE / f"up-{lab.name}.log").read_text()
    assert [line for line in printed(lab) if line not in log] == []


# --- passwords


def test_no_password_is_printed(lab, ports):
    done = command("forward", "--name", lab.name)
    log = (STATE / f"up-{lab.name}.log").read_text()
    for node, name in SECRETS:
        value = labs.secret(lab, node, name)
        assert value not in done.stdout + done.stderr + log, name


def test_only_root_reads_the_files_with_passwords(lab):
    printed(lab)
    files = client.files(lab)
    found = {
        path.name: (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode))
        for path in (files.passfile, files.netrc)
    }
    assert found == {"pgpass": (0, 0o600), "netrc": (0, 0o600)}


def test_no_password_is_in_the_arguments_of_psql(lab):
    argv = ["./fanatico", "psql", "--name", lab.name, "--", "-At"]
    value = labs.secret(lab, *SECRETS[0])
    with subprocess.Popen(
        argv, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write("SELECT 'connected';\n")
        process.stdin.flush()
        assert process.stdout.readline() == "connected\n"
        lines = [arguments(path) for path in Path("/proc").glob("[0-9]*")]
        process.stdin.close()
    assert any("sslmode=verify-full" in line for line in lines), "psql itself was not among them"
    assert not any(value in line for line in lines)


def arguments(process):
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


# --- no other access


def listening(process="self"):
    """{inode: address in hexadecimal} of the TCP sockets that listen in a process's network."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                found[words[9]] = words[1].partition(":")[0]
    return found


def sockets(pid):
    """The inodes of a process's sockets."""
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def test_it_listens_on_the_loopback_alone(lab, ports):
    here = listening()
    for name in ports:
        (pid,) = forward.processes(lab.name, name)
        assert {here[inode] for inode in sockets(pid) if inode in here} == {"0100007F"}, name
        assert listening(pid).keys() & sockets(pid) == set(), f"{name} listens inside the lab too"


def test_no_other_address_of_this_machine_answers(ports):
    said = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, text=True, check=True).stdout
    addresses = {one["local"] for link in json.loads(said) for one in link["addr_info"]} - {"127.0.0.1"}
    for address in [*sorted(addresses), "127.0.0.2"]:
        for name, port in ports.items():
            with pytest.raises(OSError, match="refused|timed out|unreachable"):
                socket.create_connection((address, port), timeout=2)
            assert name


def test_nothing_in_the_lab_can_use_it(lab, ports):
    """The switch has only the gateways' addresses in the lab; nothing listens there."""
    gateways = [one["gateway"] for one in lab.plan["networks"].values()]
    for gateway in gateways:
        for port in ports.values():
            done = lab.exec(
                "rpc1", ["timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{gateway}/{port}"], check=False
            )
            assert done.returncode != 0, (gateway, port)


def test_it_has_no_rights_of_root(lab, ports):
    for name in ports:
        (pid,) = forward.processes(lab.name, name)
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert set(status["Uid"].split()) == {str(os.stat(f"/proc/{pid}").st_uid)} != {"0"}
        assert int(status["CapEff"], 16) == 0
        assert f"/fanatico-lab/{lab.name}/" in Path(f"/proc/{pid}/cgroup").read_text()


# --- changes of the lab


def test_a_killed_forward_is_restarted_on_its_port(lab, ports):
    (pid,) = forward.processes(lab.name, "rpc_http")
    others = {name: forward.processes(lab.name, name) for name in ports if name != "rpc_http"}
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not forward.processes(lab.name, "rpc_http"), 10, "the process to end")
    assert "rpc_http on " not in command("status", "--name", lab.name).stdout
    (line,) = [line for line in printed(lab) if "/health" in line]
    assert f":{ports['rpc_http']}/" in line
    assert '"status":"ok"' in pasted(line).stdout
    assert {name: forward.processes(lab.name, name) for name in others} == others


def test_it_can_be_ended_and_begun_by_hand(lab, ports):
    assert command("forward", "--stop", "--name", lab.name).returncode == 0
    try:
        assert forward.running(lab) == {}
        assert not cgroup.path(lab.name, forward.GROUP).exists()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", ports["rpc_http"]), timeout=2)
    finally:
        assert forward.start(lab) == ports


def test_failover_is_followed(healthy, ports):
    """The proxy is an ordinary client: it connects to the holder of the virtual IP."""
    (holder,) = labs.virtual_ip_holders(healthy)
    (line,) = [line for line in printed(healthy) if "/health" in line]
    healthy.unplug(holder)
    try:
        answered = lambda: '"status":"ok"' in pasted(f"{line} -s -m 2").stdout  # noqa: E731
        wait_until(answered, 30, "the other balancer to answer")
    finally:
        healthy.plug(holder)
    labs.wait_healthy(healthy)


def test_no_lab_of_that_name():
    done = command("forward", "--name", "nowhere")
    assert done.returncode != 0
    assert "'nowhere'" in " ".join(done.stderr.split())
    assert not Lab("nowhere").folder.exists()


@pytest.fixture
def spare(lab):
    """A second lab, with only what forwarding needs."""
    command("down", "--name", SPARE)
    second = Lab(SPARE)
    second.create(image.cached())
    yield second
    command("down", "--name", SPARE)
    assert traces(SPARE) == []


def test_two_labs_at_once(lab, spare):
    first, second = forward.start(lab), forward.start(spare)
    assert set(first) == set(second)
    assert not set(first.values()) & set(second.values())
    for name in second:
        (pid,) = forward.processes(SPARE, name)
        assert not network_of(pid) & {
            os.stat(f"/run/netns/{space}").st_ino for space in network.namespaces(lab.name)
        }


def network_of(pid):
    return {os.stat(f"/proc/{pid}/ns/net").st_ino}


def test_ports_stay_the_same_when_the_machine_starts_again(spare):
    before = forward.start(spare)
    forward.stop(spare)
    network.destroy(SPARE)
    assert forward.running(spare) == {}
    done = command("forward", "--name", SPARE)
    assert done.returncode != 0
    assert "no network" in " ".join(done.stderr.split())
    build_network(spare)
    assert forward.start(spare) == before


def test_another_network_of_the_same_lab_is_noticed(spare):
    """For example after a restore: a process in the former network reaches nothing."""
    before = forward.start(spare)
    network.destroy(SPARE)
    build_network(spare)
    assert forward.running(spare) == {}
    assert forward.start(spare) == before
    assert forward.running(spare) == before


def build_network(lab):
    network.create_switch(lab.name, lab.plan)
    for name, machine in lab.machines.items():
        network.attach(lab.name, lab.plan, name, machine.address)


def test_a_port_in_use_is_not_taken(spare):
    before = forward.start(spare)["rpc_http"]
    forward.stop(spare)
    with socket.create_server(("127.0.0.1", before)):
        assert forward.start(spare)["rpc_http"] != before


def test_down_leaves_nothing(spare):
    ports = forward.start(spare)
    pids = [pid for name in ports for pid in forward.processes(SPARE, name)]
    assert len(pids) == len(ports)
    assert command("down", "--name", SPARE).returncode == 0
    assert traces(SPARE) == []
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
