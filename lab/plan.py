"""The topology, read from the same pillar file that Salt reads."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError
from lab.paths import REPO

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
PLAN = REPO / "pillar" / "plan.sls"


def load(path: Path | str = PLAN) -> dict[str, Any]:
    """Return the dictionary under `plan` of a plan file.

    :raises LabError: when the file cannot be read as a plan.
    """
    try:
        plan = yaml.safe_load(Path(path).read_text())["plan"]
        for node in plan["nodes"]:
            network_of(plan, node)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise LabError(
            f"{path} is not a usable plan: {error!r}. Compare it with pillar/plan.sls in git."
        ) from error
    return plan


def network_of(plan: Mapping[str, Any], node: str) -> tuple[str, Interface]:
    """Return (network name, ip_interface of the node) for a node of the plan."""
    return network_for(plan, plan["nodes"][node]["address"])


def network_for(plan: Mapping[str, Any], address: str) -> tuple[str, Interface]:
    """Return (network name, ip_interface) for any address inside the plan's networks."""
    for name, network in plan["networks"].items():
        cidr = ipaddress.ip_network(network["cidr"])
        if ipaddress.ip_address(address) in cidr:
            return name, ipaddress.ip_interface(f"{address}/{cidr.prefixlen}")
    raise LabError(f"The address {address} is in none of the plan's networks.")


def master(plan: Mapping[str, Any]) -> str:
    """Return the id of the node with the role `master`."""
    for node, settings in plan["nodes"].items():
        if "master" in settings["roles"]:
            return node
    raise LabError("The plan has no node with the role master; add one line to plan:nodes.")
