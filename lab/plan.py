"""The topology, read from the pillar file that Salt reads, too."""

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError
from lab.paths import REPO

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
PLAN = REPO / "pillar" / "plan.sls"


def load(path: Path | str = PLAN) -> dict[str, Any]:
    """Return the dictionary `plan` of a plan file.

    :raises LabError: when the file cannot be read as a plan.
    """
    try:
        plan = yaml.safe_load(Path(path).read_text())["plan"]
        for node in plan["nodes"]:
            network_of(plan, node)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise LabError(
            f"{path} is not a valid plan: {error!r}. Compare it with the committed one: git show HEAD:pillar/plan.sls"
        ) from error
    return plan


def network_of(plan: Mapping[str, Any], node: str) -> tuple[str, Interface]:
    """Return (network name, ip_interface of the node) of a node of the plan."""
    return network_for(plan, plan["nodes"][node]["address"])


def network_for(plan: Mapping[str, Any], address: str) -> tuple[str, Interface]:
    """Return (network name, ip_interface) of an address.

    :raises LabError: when it is not an IP address, or in none of the plan's networks.
    """
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError as error:
        raise LabError(f"{address} is not an IP address: {error}. Example: 10.0.1.13") from error
    for name, network in plan["networks"].items():
        cidr = ipaddress.ip_network(network["cidr"])
        if wanted in cidr:
            return name, ipaddress.ip_interface(f"{address}/{cidr.prefixlen}")
    raise LabError(f"The address {address} is in none of the plan's networks.")


def free_address(plan: Mapping[str, Any], role: str, taken: Iterable[str] = ()) -> str:
    """Return the first free address after those of a role's nodes, in their network.

    :param taken: additional addresses in use.
    :raises LabError: when no node has the role, or the network is full.
    """
    own = [ipaddress.ip_address(node["address"]) for node in plan["nodes"].values() if role in node["roles"]]
    if not own:
        raise LabError(
            f"No node of the plan has the role {role!r}, so its network is unknown. Pass an address: --address ADDRESS"
        )
    used = {*taken, plan["virtual_ip"]["address"], *(node["address"] for node in plan["nodes"].values())}
    used |= {network["gateway"] for network in plan["networks"].values()}
    name, _ = network_for(plan, str(max(own)))
    for address in ipaddress.ip_network(plan["networks"][name]["cidr"]).hosts():
        if int(address) > int(max(own)) and str(address) not in used:
            return str(address)
    raise LabError(
        f"The network {name} has no free address after {max(own)}. Pass an address: --address ADDRESS"
    )


def with_node(plan: Mapping[str, Any], name: str, address: str, roles: Iterable[str]) -> dict[str, Any]:
    """Return the plan with one more node.

    :raises LabError: when the name or the address is in use, the address is in no network, or a role is unknown or `master`.
    """
    known = sorted({role for node in plan["nodes"].values() for role in node["roles"]} - {"master"})
    if name in plan["nodes"]:
        raise LabError(f"The plan already has a node {name!r}. Choose another name.")
    if not roles or not set(roles) <= set(known):
        raise LabError(
            f"The roles of {name} are not valid: {', '.join(roles) or 'none given'}. Known roles: {', '.join(known)}"
        )
    owner = next((node for node, settings in plan["nodes"].items() if settings["address"] == address), None)
    if owner or address == plan["virtual_ip"]["address"]:
        raise LabError(
            f"The address {address} is in use by {owner or 'the virtual IP'}. Choose another address."
        )
    network_for(plan, address)
    return {**plan, "nodes": {**plan["nodes"], name: {"address": address, "roles": list(roles)}}}


def without_node(plan: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the plan without a node.

    :raises LabError: when it is the master, or the last node of one of its roles.
    """
    nodes = {node: settings for node, settings in plan["nodes"].items() if node != name}
    left = {role for settings in nodes.values() for role in settings["roles"]}
    last = [role for role in plan["nodes"][name]["roles"] if role not in left]
    if last:
        raise LabError(
            f"{name} is the last node with the role {last[0]} and cannot be removed: the plan needs that role."
        )
    return {**plan, "nodes": nodes}


def master(plan: Mapping[str, Any]) -> str:
    """Return the id of the node with the role `master`.

    :raises LabError: when no node has it.
    """
    for node, settings in plan["nodes"].items():
        if "master" in settings["roles"]:
            return node
    raise LabError("No node of the plan has the role master. Add one to plan:nodes in pillar/plan.sls")
