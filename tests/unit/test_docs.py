"""The documentation holds what the code refers to: an entry for each fault, health check and refusal, and no dead link."""

import ast
import json
import re

import pytest

import fanatico_components
import fanatico_faults
from tests.support import REPO

PAGES = [*sorted(REPO.glob("*.md")), *sorted(REPO.glob("docs/*.md")), REPO / "pillar/secrets/README.md"]
OPERATIONS = (REPO / "docs/operations.md").read_text()
ANCHORS = re.findall(r'<a id="([^"]+)"></a>', OPERATIONS)
SOURCES = [*REPO.glob("_modules/*.py"), *REPO.glob("_utils/*.py"), *REPO.glob("_runners/**/*.py")]
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
# What a check's name begins with: the module that judges, or the component that HAProxy's unit belongs to.
OWNERS = {"node", "master", "postgres", *(one.name for one in fanatico_components.COMPONENTS)}
NAME = re.compile(r"([a-z_]+)\.([a-z_]+)")
# Units, files and states have names of the same form.
NOT_CHECKS = {
    "settings",
    "service",
    "socket",
    "timer",
    "cfg",
    "conf",
    "json",
    "sls",
    "yml",
    "installed",
    "configured",
    "running",
    "certified",
}


def strings(tree):
    """The texts of a tree that are no docstrings."""
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def plain_checks():
    """Names of checks that stand in the source as they are."""
    found = set()
    for tree in TREES.values():
        for text in strings(tree):
            match = NAME.fullmatch(text)
            if match and match[1] in OWNERS and match[2] not in NOT_CHECKS:
                found.add(text)
    return found


def made_checks():
    """Names of checks that are put together: ``f"{begins}.files"`` of each HAProxy, and its backends."""
    tree = TREES[REPO / "_modules/fanatico_haproxy.py"]
    ends = [
        node.values[1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        and len(node.values) == 2
        and isinstance(node.values[0], ast.FormattedValue)
        and isinstance(node.values[1], ast.Constant)
        and re.fullmatch(r"\.[a-z_]+", node.values[1].value)
    ]
    assert ends
    units = [one for one in fanatico_components.COMPONENTS if one.backends]
    return {f"{one.name}{end}" for one in units for end in ends} | {
        f"{one.name}.{backend.name}" for one in units for backend in one.backends
    }


def probes():
    """The checks that stand for a module whose ``probe(timeout)`` failed."""
    return {
        f"{path.stem.removeprefix('fanatico_')}.probe"
        for path, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and node.name == "probe"
        and [one.arg for one in node.args.args] == ["timeout"]
    }


CHECKS = plain_checks() | made_checks() | probes()


def refusal_codes():
    """Codes of refusals and of failed cures, as the guard, healing and the acceptance of keys return them."""
    names = ("_utils/fanatico_guard.py", "_runners/fanatico_heal.py", "_runners/fanatico_keys.py")
    return {code for name in names for node in ast.walk(TREES[REPO / name]) for code in _codes(node)} - {""}


def _codes(node):
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return [one.value for key, one in pairs if _is(key, "code") and isinstance(one, ast.Constant)]
    if not isinstance(node, ast.Call):
        return []
    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    given = [one.value if isinstance(one, ast.Constant) else None for one in node.args]
    if called.endswith("Refusal") and len(given) == 2 and given[0]:
        return [given[0]]
    if called == "get" and given[:1] == ["code"] and len(given) == 2:
        return [given[1]]
    if (
        len(given) > 2 and isinstance(given[0], bool) and isinstance(given[1], bool)
    ):  # (acted, running, code, ...)
        return [given[2]]
    return []


def _is(node, value):
    return isinstance(node, ast.Constant) and node.value == value


def row_of(code):
    """Whether a row of the table of refusals, or the sentence below it, has the code."""
    section = OPERATIONS.partition("### Refusals")[2].partition("\n## ")[0]
    return f"`{code}`" in section


def test_checks_are_found():
    assert {
        "patroni.pause",
        "etcd.users",
        "haproxy.files",
        "edge.rpc_ws",
        "node.probe",
        "node.answer",
    } <= CHECKS


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_each_check_has_its_entry(name):
    assert name.replace(".", "-") in ANCHORS


@pytest.mark.parametrize("name", sorted(fanatico_faults.FAULTS))
def test_each_fault_has_its_entry(name):
    assert fanatico_faults.FAULTS[name].runbook == f"docs/operations.md#{name}"
    assert name in ANCHORS


def test_no_entry_is_about_nothing():
    known = {name.replace(".", "-") for name in CHECKS} | set(fanatico_faults.FAULTS) | {"salt-minion"}
    others = {one for one in ANCHORS if not one.startswith(("cluster-", "health-checks-"))}
    assert others - known == set()


def test_each_check_of_the_cluster_has_its_entry():
    tree = TREES[REPO / "_runners/_utils/fanatico_cluster.py"]
    judge = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "judge")
    names = {
        node.slice.value
        for node in ast.walk(judge)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    assert "primary" in names
    assert {f"cluster-{name}" for name in names} - set(ANCHORS) == set()


def test_no_anchor_stands_twice():
    assert len(ANCHORS) == len(set(ANCHORS))


@pytest.mark.parametrize("code", sorted(refusal_codes()))
def test_each_refusal_has_its_row(code):
    assert row_of(code)


def test_refusals_are_found():
    assert {"frozen", "no-majority", "gone", "no-answer", "key-not-vouched", "dry-run"} <= refusal_codes()


def targets(page):
    """The anchors of a page: its headings as GitHub names them, and those that are written out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
    return named | set(re.findall(r'<a id="([^"]+)"></a>', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in targets(target), link


def test_the_readme_is_short():
    assert len((REPO / "README.md").read_text().splitlines()) <= 120


def test_the_glossary_is_short():
    rows = re.findall(r"^\| (?!term|---)", (REPO / "docs/glossary.md").read_text(), re.MULTILINE)
    assert 20 <= len(rows) <= 40


def test_the_changelog_names_each_release_and_links_it():
    text = (REPO / "CHANGELOG.md").read_text()
    assert re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[0] == "Unreleased"
    for version in re.findall(r"^## \[(.+?)\]", text, re.MULTILINE):
        assert re.search(rf"^\[{re.escape(version)}\]: \S+$", text, re.MULTILINE), version
        assert version == "Unreleased" or re.search(
            rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE
        )


MENTION = re.compile(r"\b(fanatico(?:_[a-z]+)*)\.([a-z_]+)\b(?!/)")
NO_FUNCTIONS = {"py", "sls", "conf", "service", "timer", "json", "yml", "cfg"}


def functions():
    """``{(module, function)}`` of all that the tree defines; what is one module to Salt counts under each of its names."""
    found = set()
    for path, tree in TREES.items():
        virtual = [
            node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "__virtualname__"
            and isinstance(node.value, ast.Constant)
        ]
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        found |= {(module, name) for module in (path.stem, *virtual) for name in names}
    return found


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name
)
def test_every_function_that_is_named_exists(page):
    named = {match.groups() for match in MENTION.finditer(page.read_text()) if match[2] not in NO_FUNCTIONS}
    assert named - functions() == set()


def prose(page):
    """What a page says now: the changelog names what was, too."""
    return "" if page.name == "CHANGELOG.md" else page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_state_and_orchestration_that_is_named_exists(page):
    states = {
        one
        for found in re.findall(r"state\.apply ([a-z_.]+(?:,[a-z_.]+)*)", prose(page))
        for one in found.split(",")
    }
    paths = {one: one.replace(".", "/") for one in states}
    missing = {
        one
        for one, path in paths.items()
        if not any((REPO / "salt" / f"{path}{end}").exists() for end in (".sls", "/init.sls"))
    }
    orchestrations = set(re.findall(r"\borch\.([a-z_]+)", prose(page))) - {"sls"}
    missing |= {
        f"orch.{one}"
        for one in orchestrations
        if not any((REPO / "orch" / f"{one}{end}").exists() for end in (".sls", "/init.sls"))
    }
    assert missing == set()


SCHEMA = json.loads((REPO / "pillar/schema.json").read_text())


def known_setting(path):
    """Whether the schema has a setting; below an open dict, such as PostgreSQL's parameters, every name is allowed."""
    here = SCHEMA
    for name in path.split(":"):
        if "$ref" in here:
            here = SCHEMA["$defs"][here["$ref"].rpartition("/")[2]]
        if name not in here.get("properties", {}):
            return here.get("additionalProperties", True) is not False and "properties" not in here
        here = here["properties"][name]
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page):
    top = "|".join(SCHEMA["properties"])
    named = set(re.findall(rf"`((?:{top})(?::[a-z_]+)+)`", prose(page)))
    assert {path for path in named if not known_setting(path)} == set()


def test_an_unknown_setting_is_recognized():
    assert known_setting("heal:cooldown")
    assert known_setting("postgresql:parameters:max_connections")
    assert not known_setting("heal:calm")
    assert not known_setting("base:disk:tight")
