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
HAPROXY = "/etc/haproxy/haproxy.cfg"
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


def rendered(node, *sls):
    """Return {path: text} of the files that the SLS manage from templates."""
    return {
        chunk["name"]: node.render(chunk)
        for chunk in node.compile(*sls)
        if chunk["state"] == "file" and chunk.get("template")
    }


def put_beside(machine, minion):
    """Make the files on the machine that haproxy.cfg names, and return haproxy.cfg."""
    for chunk in minion.compile("haproxy.configured"):
        if chunk["state"] == "file" and str(chunk.get("source", "")).startswith("salt://haproxy/files/"):
            whole = not chunk.get("template")
            text = minion.functions["cp.get_file_str"](chunk["source"]) if whole else minion.render(chunk)
            machine.put(chunk["name"], text)
            if chunk["name"] == HAPROXY:
                found = text
    return found


@pytest.fixture
def with_site(tmp_path):
    """Return a node of the committed plan in an installation with other settings."""

    def make(node, site, **options):
        root = pillar.build(tmp_path / "pillar", site=site, **options)
        return Node(node, root, tmp_path / "scratch")

    return make
