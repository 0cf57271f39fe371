"""The component records, compared with the files that must be readable without our modules."""

import json
import re

import pytest
import yaml

import fanatico_pki
import fanatico_plan
from fanatico_components import COMPONENTS, EVERY
from tests.support import REPO, pillar

NAMES = [one.name for one in COMPONENTS]
SCHEMA = json.loads((REPO / "pillar" / "schema.json").read_text())
SECTIONS = SCHEMA["properties"]
PORTS = SECTIONS["plan"]["properties"]["ports"]
WORDS = {"anybody", "clients", "monitoring", "following"}


def test_each_component_has_one_record_and_one_folder():
    assert len(set(NAMES)) == len(NAMES)
    folders = {path.parent.name for path in (REPO / "salt").glob("*/init.sls")}
    assert folders == set(NAMES)


def test_a_role_has_a_component_of_its_name_that_no_other_node_has():
    named = {one.name: one.roles for one in COMPONENTS if one.name in fanatico_plan.ROLES}
    assert named == {role: (role,) for role in fanatico_plan.ROLES}


def test_the_schema_knows_the_roles():
    roles = list(fanatico_plan.ROLES)
    assert SCHEMA["$defs"]["node"]["properties"]["roles"]["items"]["enum"] == roles
    allow = SECTIONS["firewall"]["properties"]["allow"]["items"]["properties"]["roles"]
    assert allow["items"]["enum"] == roles
    assert SECTIONS["heal"]["properties"]["units"]["propertyNames"]["enum"] == [*roles, EVERY]


def test_the_schema_knows_the_ports():
    ports = {port.name: port for one in COMPONENTS for port in one.ports if port.number is None}
    assert set(PORTS["properties"]) == set(ports)
    assert [name for name in PORTS["required"] if ports[name].default] == []


def test_the_schema_knows_the_secrets():
    secrets = {name for one in COMPONENTS for name in (*one.secrets, *one.imported)}
    assert set(SECTIONS["secrets"]["properties"]) == secrets


def test_the_settings_are_those_of_the_pillar_and_the_schema():
    settings = {name for one in COMPONENTS for name in one.settings}
    assert settings == {path.stem for path in (REPO / "pillar").glob("*.sls")} - {"top"}
    assert settings <= set(SECTIONS)


@pytest.mark.parametrize("one", COMPONENTS, ids=NAMES)
def test_everything_that_a_record_names_exists(one, plan):
    assert [
        name for name in one.health_modules if not (REPO / "_modules" / f"fanatico_{name}.py").is_file()
    ] == []
    used = [*one.pki.certificates, *one.pki.trusts] if one.pki else []
    assert set(used) <= set(fanatico_pki.AUTHORITIES)
    known = {*NAMES, *fanatico_plan.ROLES, EVERY, *WORDS}
    assert {sender for port in one.ports for sender in port.senders} <= known
    assert {backend.of for backend in one.backends} <= set(fanatico_plan.ROLES)
    for path in (path for path in (*one.data, *one.immutable) if not path.startswith("/")):
        section = path.partition(":")[0]
        held = {section: plan if section == "plan" else pillar.shipped(section)}
        assert fanatico_plan.get(held, path, ...) is not ..., path
    for path in (*one.private, *(unit.when[0] for unit in one.units if unit.when)):
        assert path.partition(":")[0] in one.settings
    if one.pki:
        assert (REPO / "salt" / one.name / "certified.sls").is_file()


@pytest.mark.parametrize("role", fanatico_plan.ROLES)
def test_a_role_includes_its_components(role):
    included = yaml.safe_load((REPO / "salt" / "roles" / f"{role}.sls").read_text())["include"]
    assert {sls.partition(".")[0] for sls in included} == {
        one.name for one in COMPONENTS if role in one.roles
    }


def test_every_node_has_the_components_of_every_node():
    every = [one.name for one in fanatico_plan.components([])]
    assert every[:3] == ["base", "firewall", "minion"]
    assert fanatico_plan.includes(["etcd"], "every") == every
    assert [one.name for one in fanatico_plan.components(["rpc", "etcd"])] == [*every, "rpc", "etcd"]


def test_nodes_of_a_component(plan):
    nodes = fanatico_plan.nodes
    assert nodes(plan, "edge") == nodes(plan, "keepalived") == nodes(plan, "haproxy")
    assert nodes(plan, "postgresql") == ["db1", "db2", "db3"]
    assert nodes(plan, "minion") == nodes(plan, EVERY) == nodes(plan) == list(plan["nodes"])
    assert nodes(plan, "stranger") == []
    assert fanatico_plan.peers(plan, "edge", "haproxy1") == ["haproxy2"]


def test_what_a_deploy_prepares():
    prepared = fanatico_plan.includes(["haproxy"], "prepared")
    assert prepared[:3] == ["base", "firewall", "minion"]
    assert prepared[-2:] == ["haproxy.certified", "keepalived.installed"]
    assert fanatico_plan.includes(["master"], "prepared")[-1] == "roles.master"
    assert fanatico_plan.includes(["etcd", "patroni"], "certified")[-3:] == [
        "etcd.certified",
        "patroni.certified",
        "archive.certified",
    ]
    with pytest.raises(ValueError, match="every, prepared, certified"):
        fanatico_plan.includes([], "other")


def test_reserved_packages_and_services():
    reserved = fanatico_plan.reserved()
    assert {"etcd-", "patroni$", "postgresql-", "haproxy$", "keepalived$"} <= set(reserved["packages"])
    names = [name.rstrip("*") for name in reserved["services"]]
    for one in COMPONENTS:
        for unit in one.units:
            assert any(unit.name.startswith(name) for name in names), unit.name


def test_no_other_file_has_a_table_of_roles():
    """A dictionary or a set of roles is a second record."""
    table = re.compile(rf'["\']({"|".join(fanatico_plan.ROLES)})["\']: ?[\[({{"]')
    places = ("_modules", "_utils", "_pillar", "_states", "_beacons", "_runners", "_runners/_utils")
    found = {
        f"{place}/{path.name}"
        for place in places
        for path in (REPO / place).glob("*.py")
        if len(set(table.findall(path.read_text()))) > 2
    }
    assert found - MEANT == set()


# Not about components: preset values by section, faults, redundancy requirements.
MEANT = {"_utils/fanatico_timing.py", "_utils/fanatico_guard.py"}
