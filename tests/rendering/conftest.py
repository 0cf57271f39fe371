"""Every node of every plan: the committed one and those under tests/plans/."""

import pytest
import yaml

from tests.support import REPO, pillar
from tests.support.tree import Node

# The committed pillar leaves to an installation what only it knows, such as the RPC node: the lab's knows.
SITE = yaml.safe_load((REPO / "lab" / "site.sls").read_text()) | {"keepalived": {"interface": "eth0"}}

PLANS = {"default": REPO / "pillar" / "plan.sls"} | {
    path.stem: path for path in sorted((REPO / "tests" / "plans").glob("*.sls"))
}


ROLES = {
    (plan, node): frozenset(settings["roles"])
    for plan, path in PLANS.items()
    for node, settings in yaml.safe_load(path.read_text())["plan"]["nodes"].items()
}
NODES = list(ROLES)
# One node for each combination of roles that any plan has.
KINDS = list({roles: key for key, roles in reversed(ROLES.items())}.values())


@pytest.fixture(scope="session")
def pillars(tmp_path_factory):
    """One pillar root for each plan."""
    root = tmp_path_factory.mktemp("pillar")
    return {name: pillar.build(root / name, plan=path, site=SITE) for name, path in PLANS.items()}


@pytest.fixture(scope="session")
def make_node(pillars, tmp_path_factory):
    """Return the compiler of a node of a plan; the last one asked for is kept."""
    kept = {}

    def make(plan, node):
        if (plan, node) not in kept:
            kept.clear()
            kept[plan, node] = Node(node, pillars[plan], tmp_path_factory.mktemp(f"{plan}-{node}"))
        return kept[plan, node]

    return make
