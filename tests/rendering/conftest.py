"""Every node of every plan: the committed plan and those under tests/plans/."""

import os
import re

import pytest
import yaml

from tests.checkers import machine  # noqa: F401  a fixture, here once: each module that imports it would make its own
from tests.support import REPO, pillar
from tests.support.tree import Node, reused

# The committed pillar has no settings that depend on an installation, such as the RPC node: the lab's site file has them.
SITE = yaml.safe_load((REPO / "lab" / "site.sls").read_text()) | {"keepalived": {"interface": "eth0"}}

PLANS = {"default": REPO / "pillar" / "plan.sls"} | {
    path.stem: path for path in sorted((REPO / "tests" / "plans").glob("*.sls"))
}


ROLES = {
    (plan, node): frozenset(settings["roles"])
    for plan, path in PLANS.items()
    for node, settings in yaml.safe_load(path.read_text())["plan"]["nodes"].items()
}
# One node for each combination of roles in a plan; also all nodes of the committed plan, except in fast runs; all in full runs.
WHOLE = {"fast": set(), "full": set(PLANS)}.get(os.environ.get("FANATICO_TEST") or "", {"default"})
COMBINED = set({(key[0], roles): key for key, roles in reversed(ROLES.items())}.values())
NODES = [key for key in ROLES if key in COMBINED or key[0] in WHOLE]
HAPROXY, EDGE = "/etc/haproxy/haproxy.cfg", "/etc/haproxy/edge.cfg"
# One node for each combination of roles in any plan.
KINDS = list({roles: key for key, roles in reversed(ROLES.items())}.values())


@pytest.fixture(scope="session")
def pillars(tmp_path_factory):
    """One pillar root for each plan."""
    root = tmp_path_factory.mktemp("pillar")
    return {name: pillar.build(root / name, plan=path, site=SITE) for name, path in PLANS.items()}


@pytest.fixture(scope="session")
def salt_cache(tmp_path_factory):
    """One file cache for all nodes: Salt's Jinja loader has a single file client in a process."""
    return tmp_path_factory.mktemp("salt-cache")


@pytest.fixture(scope="session")
def make_node(pillars, salt_cache):
    """Return a function that makes the compiler of a node of a plan; the last compiler is reused."""

    @reused
    def make(plan, node):
        return Node(node, pillars[plan], salt_cache)

    return make


def pytest_collection_modifyitems(items):
    """Run all tests of a node, or of a plan's orchestrations, on one worker: collecting its pillar and loaders takes the time."""
    for item in items:
        asked = getattr(item, "callspec", None) and item.callspec.params
        if asked and "plan" in asked and item.path.parent.name == "rendering":
            item.add_marker(pytest.mark.xdist_group(f"{asked['plan']}-{asked.get('node', 'master')}"))


def rendered(node, *sls):
    """Return {path: text} of the files that the SLS manage from templates."""
    return {
        chunk["name"]: node.render(chunk)
        for chunk in node.compile(*sls)
        if chunk["state"] == "file" and chunk.get("template")
    }


def put_beside(machine, minion):  # noqa: F811
    """Put the files that HAProxy reads on the machine; return ``{path: text}`` of them."""
    found = {}
    for chunk in minion.compile("edge.configured"):
        if chunk["state"] == "file" and re.match(
            "salt://(edge|haproxy)/files/", str(chunk.get("source", ""))
        ):
            whole = not chunk.get("template")
            text = minion.functions["cp.get_file_str"](chunk["source"]) if whole else minion.render(chunk)
            machine.put(chunk["name"], text)
            found[chunk["name"]] = text
    machine.put("/etc/haproxy/rpc-judged.key", "0123456789abcdef\n")
    return found


@pytest.fixture
def with_site(tmp_path, salt_cache):
    """Return a function that makes a node of the committed plan with other site settings."""

    def make(node, site, **options):
        root = pillar.build(tmp_path / "pillar", site=site, **options)
        return Node(node, root, salt_cache)

    return make
