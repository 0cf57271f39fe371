"""Every SLS and every template, found automatically, compiles for every node of several plans.

It is Salt's own compiler that is asked, with its strict handling of undefined names: Jinja, YAML, requisites
that lead nowhere, unknown state functions and unknown arguments all fail here.
"""

import configparser
import json
import re

import pytest
import salt.pillar
import yaml

import fanatico_plan
from lab.image import SYSTEM_PACKAGES
from tests.rendering.conftest import KINDS, NODES, PLANS, SITE
from tests.support import REPO
from tests.support.tree import sls_names

TEMPLATES = {
    f"salt://{path.relative_to(REPO / 'salt')}"
    for path in (REPO / "salt").rglob("files/**/*")
    if path.is_file() and "artifacts" not in path.parts
}


def own_sls(minion):
    """The SLS of a node: those of its top file, those that a deploy starts with, and the other files of their components."""
    used = {chunk["__sls__"] for chunk in minion.compile(*minion.top())} | {*minion.top(), "roles.prepared"}
    if minion.functions["fanatico_pki.wanted"]():
        used.add("roles.certified")
    components = {name.split(".")[0] for name in used} - {"roles"}
    return [name for name in sls_names() if name in used or name.split(".")[0] in components]


def sources(chunks):
    for chunk in chunks:
        source = chunk.get("source") or []
        yield from [source] if isinstance(source, str) else source
        if chunk["state"] == "cmd" and chunk["fun"] == "script":
            yield chunk["name"]


@pytest.mark.parametrize(("plan", "node"), NODES)
def test_highstate_compiles_and_its_templates_render(make_node, plan, node):
    minion = make_node(plan, node)
    names = minion.top()
    chunks = minion.compile(*names)
    used = {chunk["__sls__"].split(".")[0] for chunk in chunks}
    assert {one.name for one in fanatico_plan.components(minion.functions["fanatico_plan.roles"]())} == used
    for chunk in chunks:
        if chunk["state"] == "file" and chunk.get("template"):
            well_formed(chunk["name"], minion.render(chunk))


@pytest.mark.parametrize(("plan", "node"), KINDS)
def test_a_node_is_given_the_settings_and_secrets_of_its_components(make_node, plan, node):
    """pillar/top.sls is compiled before modules are available, so it lists the settings itself."""
    minion = make_node(plan, node)
    minion.highstate  # noqa: B018  Salt goes by the last one's options
    roles = yaml.safe_load(PLANS[plan].read_text())["plan"]["nodes"][node]["roles"]
    top, errors = salt.pillar.Pillar(minion.opts, minion.opts["grains"], node, "base").get_top()
    assert errors == []
    given = dict(top["base"])
    wanted = {name for one in fanatico_plan.components(roles) for name in one.settings}
    assert set(given.pop("*")) == wanted | {"site"}
    secrets = [f"secrets.{role}" for role in roles if role in fanatico_plan.SECRETS]
    assert [[name for name in one if isinstance(name, str)] for one in given.values()] == (
        [secrets] if secrets else []
    )


@pytest.mark.parametrize(("plan", "node"), KINDS)
def test_each_sls_compiles_by_itself(make_node, plan, node):
    """orch.deploy applies them one at a time: an SLS must include what it requires."""
    minion = make_node(plan, node)
    for name in own_sls(minion):
        minion.compile(name)


def test_every_sls_and_template_is_used(make_node):
    """An SLS or template that no node of any plan uses is dead, or missing from a role."""
    # salt-ssh reads the roster directly on the master (tests/lab/test_fleet.py); the others are included in other templates.
    parts = {"salt://edge/files/rpc.cfg.jinja", "salt://haproxy/files/parts.jinja"}
    parts.add("salt://archive/files/sandbox.jinja")
    # Only with backup:s3: tests/rendering/test_backup.py.
    of_s3 = ("s3.conf.jinja", "wal_to_s3.py", "wal_to_s3.service.jinja")
    others = {"salt://master/files/roster.py", *(f"salt://backup/files/{name}" for name in of_s3)}
    templates = TEMPLATES - parts - others
    assert len(templates) == len(TEMPLATES) - 7
    states = set(sls_names())
    for plan, node in sorted(KINDS, key=lambda kind: kind[0] != "default"):
        minion = make_node(plan, node)
        names = own_sls(minion)
        states.difference_update(names)
        templates.difference_update(sources(minion.compile(*names)))
        if not states and not templates:
            break  # the other nodes have the same roles in other combinations
    assert sorted(templates) == []
    assert sorted(states) == []


@pytest.mark.parametrize("node", ["etcd1", "db1", "haproxy1", "rpc1", "salt"])
def test_the_lab_has_the_packages_that_states_install(make_node, node):
    """Lab machines have no internet: only packages in lab/packages.txt or in the image can be installed."""
    offered = (REPO / "lab" / "packages.txt").read_text().splitlines()
    minion = make_node("default", node)
    wanted = set()
    for chunk in minion.compile("roles.prepared"):
        if chunk["state"] == "pkg":
            wanted.update(chunk.get("pkgs") or [chunk["name"]])
    assert sorted(wanted - set(offered) - set(SYSTEM_PACKAGES)) == []


@pytest.mark.parametrize(
    ("settings", "installed"),
    [({}, [["curl", "jq", "tcpdump"]]), ({"tools": ["strace"]}, [["strace"]]), ({"tools": []}, [])],
)
def test_operator_tools_come_from_the_pillar(with_site, settings, installed):
    chunks = with_site("rpc1", {**SITE, "base": settings}).compile("base.tools")
    assert [chunk["pkgs"] for chunk in chunks if chunk["state"] == "pkg"] == installed


@pytest.mark.parametrize(
    ("own", "place"), [({"version": 18}, "/var/lib/postgresql/18/main"), ({"data_dir": "/data"}, "/data")]
)
def test_templates_and_modules_use_the_same_data_directory(with_site, own, place):
    minion = with_site("db1", {**SITE, "postgresql": own})
    chunks = minion.compile("patroni.configured", "postgresql.installed")
    (configuration,) = [chunk for chunk in chunks if chunk["name"] == "/etc/patroni/patroni.yml"]
    written = yaml.safe_load(minion.render(configuration))["postgresql"]
    version = minion.pillar["postgresql"]["version"]
    assert (written["data_dir"], written["bin_dir"]) == (place, f"/usr/lib/postgresql/{version}/bin")
    assert {chunk["data_dir"] for chunk in chunks if "data_dir" in chunk} == {place}
    assert f"postgresql-{version}" in str([chunk.get("pkgs") for chunk in chunks])
    assert minion.functions["fanatico_identity.wanted"]("patroni")["postgresql:data_dir"] == place


def well_formed(name, text):
    """A rendered file contains no template syntax and no Python `None`, and parses as its format."""
    assert "{{" not in text, f"{name}: unrendered"
    assert "{%" not in text, f"{name}: unrendered"
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split("#")[0]
        assert not re.search(r"\bNone\b", code), f"{name}:{number}: {line}"
        assert "**********" not in code, f"{name}:{number}: masked pillar"
    if name.endswith((".yml", ".yaml")) or "/salt/" in name:
        yaml.safe_load(text)
    elif name.endswith(".json"):
        json.loads(text)
    elif name.endswith((".service", ".socket", ".timer", ".target")):
        unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
        unit.optionxform = str
        unit.read_string(text)
        assert unit.has_section("Unit")
