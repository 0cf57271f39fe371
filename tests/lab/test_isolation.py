"""No packet for a plan address can leave the real machine, and none from a lab machine either.

The test sends nothing; it asks the kernel for its routing decision.
"""

import json
import subprocess

import pytest

from lab import network
from tests.support import labs

pytestmark = pytest.mark.reads_only


def ip(*words, namespace=None, check=True):
    argv = ["ip", *(["-netns", namespace] if namespace else []), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=check)


def links(namespace=None):
    return json.loads(ip("-json", "-details", "link", "show", namespace=namespace).stdout)


def peers(namespace):
    """{link: name of its peer's namespace} for every link with a peer."""
    # 0 is a valid nsid; only the name counts.
    names = {}
    for line in ip("netns", "list-id", namespace=namespace).stdout.splitlines():
        words = line.replace(")", " ").split()
        names[int(words[1])] = words[words.index("name:") + 1] if "name:" in words else f"(unnamed: {line})"
    return {
        link["ifname"]: names.get(link["link_netnsid"], "(this machine)")
        for link in links(namespace)
        if "link_netnsid" in link
    }


def test_every_cable_of_the_switch_ends_in_a_machine_of_this_lab(lab):
    switch = network.switch(lab.name)
    ends = peers(switch)
    assert ends == {name: network.namespace(lab.name, name) for name in lab.machines}


def test_the_switch_has_no_other_link(lab):
    kinds = {
        link["ifname"]: link.get("linkinfo", {}).get("info_kind", "loopback")
        for link in links(network.switch(lab.name))
    }
    bridges = {f"br-{name}" for name in lab.plan["networks"]}
    assert {name for name, kind in kinds.items() if kind == "bridge"} == bridges
    assert set(kinds) == {"lo", *bridges, *lab.machines}


def test_the_switch_routes_between_the_plans_networks_only(lab):
    routes = json.loads(ip("-json", "-4", "route", "show", namespace=network.switch(lab.name)).stdout)
    assert {route["dst"] for route in routes} == {one["cidr"] for one in lab.plan["networks"].values()}
    assert all("gateway" not in route for route in routes)


@pytest.mark.parametrize("outside", ["192.0.2.1", "2001:db8::1"])  # both reserved for documentation
def test_the_switch_knows_no_way_out(lab, outside):
    asked = ip("route", "get", outside, namespace=network.switch(lab.name), check=False)
    assert asked.returncode != 0
    assert "unreachable" in asked.stderr


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_machine_has_no_cable_but_the_one_into_the_switch(lab, family):
    for name in lab.machines:
        namespace = network.namespace(lab.name, name)
        assert {link["ifname"] for link in links(namespace)} == {"lo", "eth0"}, name
        default = json.loads(ip("-json", family, "route", "show", "default", namespace=namespace).stdout)
        assert {route["dev"] for route in default} <= {"eth0"}, name


def test_the_real_machine_has_no_link_into_the_lab(lab):
    ours = set(network.namespaces(lab.name))
    assert {name: end for name, end in peers(None).items() if end in ours} == {}


def test_no_plan_address_is_on_the_real_machine_or_routed_into_the_lab(lab):
    addresses = {
        address["local"]
        for link in json.loads(ip("-json", "address").stdout)
        for address in link["addr_info"]
    }
    plan = {node["address"] for node in lab.plan["nodes"].values()} | {lab.plan["virtual_ip"]["address"]}
    assert addresses & plan == set()
    routes = json.loads(ip("-json", "route", "show", "table", "all").stdout)
    cidrs = {network["cidr"] for network in lab.plan["networks"].values()}
    assert [route for route in routes if route.get("dst") in cidrs] == []


def test_machines_reach_each_other_all_the_same(lab):
    target = lab.plan["nodes"][labs.nodes(lab, "etcd")[0]]["address"]
    assert lab.exec(labs.nodes(lab, "patroni")[0], ["ping", "-c1", "-W2", target]).returncode == 0
