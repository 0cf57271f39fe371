"""The first hour with real hosts: docs/fleet.md command by command, with the shipped defaults and a user's site file.

Three hosts have all roles; the chain node serves WebSocket itself. Later a bare host is added at an address that the first plan
did not have. The commands are read from the page, so the page stays correct.
"""

import hashlib
import re
import sys

import pytest
import yaml

from lab.machines import Lab, obtain_image
from lab.progress import Progress
from tests.support import REPO, faults, labs, ssh, wait_until

pytestmark = pytest.mark.long  # deploys its own lab

NAME = "hour"
PAGE = (REPO / "docs" / "fleet.md").read_text()
PROGRAM = REPO / "tests" / "lab" / "files" / "chain_node.py"
EXAMPLE = "10.0.1.10 10.0.1.11 10.0.1.12"  # the addresses in the page's ssh-keyscan

PLAN = """
plan:
  name: first-hour
  version: 0.5.0.0
  networks:
    lan: {cidr: 10.30.0.0/24, gateway: 10.30.0.1}
  virtual_ip: {address: 10.30.0.100, router_id: 30}
  nodes:
    salt:  {address: 10.30.0.5, roles: [master]}
    node1: {address: 10.30.0.11, roles: [etcd, patroni, haproxy]}
    node2: {address: 10.30.0.12, roles: [etcd, patroni, haproxy]}
    node3: {address: 10.30.0.13, roles: [etcd, patroni, rpc]}
  ports: {rpc_http: 8545, rpc_ws: 8546, haproxy_stats: 8404, postgres_primary: 5000, postgres_replica: 5001,
          postgres: 5432, patroni_rest: 8008, etcd_client: 2379, etcd_peer: 2380, etcd_metrics: 2381}
"""
NEW, NEW_ADDRESS = "rpc4", "10.30.0.44"
# All required settings; everything else is as shipped. The hosts cannot reach a package index.
SITE = """\
#!yaml
rpc:
  chain: {{id: 4242}}
  artifact: {{kind: binary, source: salt://artifacts/fanatico-l1, sha256: {sha256}}}
  exec:
    args: [--address, "{{address}}", --http, "{{http_port}}", --ws, "{{ws_port}}", --chain-id, "{{chain_id}}",
           --period, "{{block_time}}"]
minion:
  install: {{wheels: /srv/packages/wheels}}
"""


def blocks(title):
    """The commands under a heading, or after a bold text, of docs/fleet.md: one list for each code block."""
    _, _, text = PAGE.partition(title)
    assert text, f"docs/fleet.md has no {title!r}"
    text = re.split(r"^## |^\*\*", text, maxsplit=1, flags=re.MULTILINE)[0]
    boxes = text.split("```")[1::2]
    return [box.strip().splitlines() for box in boxes if box.startswith("\n")]  # ```yaml is not a command


class Operator:
    """The operator who follows the page, as root on the master."""

    def __init__(self, lab):
        self.lab = lab

    def types(self, line, timeout=600):
        """Run one line of the page; AssertionError if it fails."""
        done = self.tries(line, timeout)
        assert done.returncode == 0, f"{line}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def tries(self, line, timeout=600):
        """Run one line and return its result."""
        return self.lab.exec(self.lab.master, ["bash", "-c", line], timeout=timeout, check=False)

    def trusts(self, names, keyscan, show, append):
        """Section 2 from ssh-keyscan on, for these hosts: compare the keys with those on the hosts' consoles, then trust them."""
        addresses = [self.lab.machines[name].address for name in names]
        collect, look = keyscan
        assert EXAMPLE in collect
        for address in addresses:
            wait_until(
                lambda address=address: self.tries(f"ssh-keyscan -t ed25519 {address}").stdout,
                90,
                f"sshd at {address}",
            )
        self.types(collect.replace(EXAMPLE, " ".join(addresses)))
        scanned = {line.split()[1] for line in self.types(look).splitlines()}
        assert scanned == {self.lab.exec(name, ["bash", "-c", show]).stdout.split()[1] for name in names}
        for line in append:
            self.types(line)


def boot_with_sshd(lab, name, address):
    """A host with sshd, not set up; Salt is already installed, because installing it takes a minute per host."""
    lab.boot_extra(name, address)
    ssh.start(lab, name)


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    """A master's machine with the tree, and three hosts that are not set up."""
    lab = Lab(NAME)
    with lab.locked():
        lab.destroy()
    try:
        plan = yaml.safe_load(PLAN)
        hosts = {name: node["address"] for name, node in plan["plan"]["nodes"].items() if name != "salt"}
        alone = {"plan": {**plan["plan"], "nodes": {"salt": plan["plan"]["nodes"]["salt"]}}}
        first = tmp_path_factory.mktemp("plan") / "plan.sls"
        first.write_text(yaml.safe_dump(alone))
        lab.create(obtain_image(Progress(stream=sys.stderr)), first)
        lab.power_on_all()
        lab.wait_booted()
        for name, address in hosts.items():
            boot_with_sshd(lab, name, address)
        yield Operator(lab)
    finally:
        lab.destroy()


@pytest.fixture(scope="module")
def fleet(operator):
    """Follow the page from its first section to the deploy; returns (the operator, output of each command of section 4)."""
    lab = operator.lab
    # Section 1. The image has the packages, and the lab mounts the tree at /srv/fanatico on the master.
    get, install = blocks("## 1. The master")
    assert [line.split()[0] for line in get] == ["apt-get", "apt-get", "git"]
    lab.write_plan(yaml.safe_load(PLAN)["plan"])
    write_program(lab)
    (lab.folder / "site" / "init.sls").write_text(
        SITE.format(sha256=hashlib.sha256(PROGRAM.read_bytes()).hexdigest())
    )
    for line in install:
        operator.types(line)
    # Section 2.
    make, keyscan, (show,), append = blocks("## 2. SSH")
    hosts = [name for name in lab.plan["nodes"] if name != lab.master]
    printed = [operator.types(line) for line in make]
    for name in hosts:
        ssh.authorise(lab, name, printed[-1])
    operator.trusts(hosts, keyscan, show.partition("#")[0], append)
    # Sections 3 and 4.
    for title in ("## 3. The minions", "## 4. The deploy"):
        *first, last = blocks(title)
        for line in [line for box in first for line in box]:
            operator.types(line)
        printed = {line: operator.types(line) for line in last}
    return operator, printed


def write_program(lab):
    """Copy the chain program to the path in the site file."""
    machine = lab.machine(lab.master)
    machine.exec(["mkdir", "-p", "/root/artifacts"])
    machine.exec(["sh", "-c", "cat > /root/artifacts/fanatico-l1"], text_input=PROGRAM.read_text())
    machine.exec(["mount", "--bind", "/root/artifacts", "/srv/fanatico/salt/artifacts"])


@pytest.fixture(scope="module")
def wider(fleet):
    """'Add a node', for a host at an address outside the plan; returns (the operator, observations)."""
    operator, _ = fleet
    lab, seen, news = operator.lab, {}, labs.News(operator.lab)
    lab.add_bare(NEW, NEW_ADDRESS)
    check, install = blocks("**Add a node**")
    nodes = {**lab.plan["nodes"], NEW: {"address": NEW_ADDRESS, "roles": ["rpc"]}}
    lab.write_plan({**lab.plan, "nodes": nodes})
    seen["before"] = reaches_master(lab)
    for line in check:
        operator.types(line)
    seen["after"] = reaches_master(lab)
    _, keyscan, (show,), append = blocks("## 2. SSH")
    ssh.authorise(lab, NEW, operator.types("cat /etc/salt/pki/master/ssh/salt-ssh.rsa.pub"))
    operator.trusts([NEW], keyscan, show.partition("#")[0], append)
    *lines, deploy = install
    for line in lines:
        operator.types(line)
    # Its minion starts, and healing checks it before the operator types the next line.
    seen["healing"] = news.wait("refused", NEW, "unprovisioned", 120)
    operator.types(deploy)
    seen["healed"] = [one for one in news.decided("healed") if one["host"] == NEW]
    return operator, seen


def reaches_master(lab):
    """Whether the new host can connect to the master's port for keys."""
    program = "import socket, sys; socket.create_connection((sys.argv[1], 4506), 3)"
    address = lab.plan["nodes"][lab.master]["address"]
    return lab.exec(NEW, ["python3", "-c", program, address], check=False).returncode == 0


def test_the_page_leads_to_a_fleet_that_is_well(fleet):
    operator, _ = fleet
    well = labs.wait_healthy(operator.lab)
    assert set(well) == set(operator.lab.plan["nodes"])


def test_a_node_without_proxy_and_follower_promises_neither(fleet):
    operator, _ = fleet
    units = operator.lab.salt("node3", "fanatico_unit.expected")["node3"]
    assert [unit for unit in units if "rpc" in unit] == [
        "fanatico-rpc.service",
        "fanatico-rpc-agent.socket",
        "fanatico-rpc-agent.service",
    ]


def test_the_drill_of_the_page_lost_nothing(fleet):
    _, printed = fleet
    (drill,) = (text for line, text in printed.items() if "fanatico.drill" in line)
    assert "0 lost" in labs.said(drill)


def test_native_websocket_is_reached_through_the_virtual_ip(fleet):
    operator, _ = fleet
    seen = operator.lab.salt("node1", "fanatico.proof")["node1"]
    assert seen["new heads on 8546"].startswith("block ")


def test_the_leaders_are_separated(fleet):
    operator, _ = fleet
    host = faults.bring_leaders_together(operator.lab)
    wait_until(lambda: faults.etcd_leader(operator.lab) != host, 60, "the two leaders to part by themselves")
    labs.wait_healthy(operator.lab)


def test_a_password_is_read_as_the_page_says(fleet):
    operator, _ = fleet
    (line,) = re.findall(r"^    (gpg .*)$", (REPO / "docs" / "operations.md").read_text(), flags=re.MULTILINE)
    assert operator.types(line).strip() == labs.secret(operator.lab, "node1", "POSTGRES_FANATICO_PASSWORD")


def test_a_new_host_does_not_reach_the_master_until_it_is_admitted(wider):
    _, seen = wider
    assert (seen["before"], seen["after"]) == (False, True)


def test_healing_leaves_a_new_host_to_the_deploy(wider):
    _, seen = wider
    assert seen["healing"]["code"] == "never-deployed"
    assert seen["healed"] == []


def test_the_new_node_is_well_and_in_rotation(wider):
    operator, _ = wider
    assert NEW in labs.wait_healthy(operator.lab)
    up = operator.lab.salt("node1", "fanatico_haproxy.backends")["node1"]
    assert {NEW, "node3"} <= set(up["rpc_http"]["up"])
    assert {NEW, "node3"} <= set(up["rpc_ws"]["up"])
