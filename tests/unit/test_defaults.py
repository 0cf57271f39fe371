"""Each default stands once, in the shipped pillar: what reads a setting has no value of its own for it."""

import ast
import operator
import re

import pytest
import yaml

import fanatico_plan
from tests.support import REPO

# Without the plan: that is each installation's own, and no default.
FILES = [path for path in sorted((REPO / "pillar").glob("*.sls")) if path.stem not in ("top", "plan")]
ROOMS = (
    "_beacons",
    "_cache",
    "_modules",
    "_pillar",
    "_runners",
    "_runners/_utils",
    "_states",
    "_utils",
    "salt/*/files",
)
PROGRAMS = sorted(path for room in ROOMS for path in REPO.glob(f"{room}/*.py"))
TEMPLATES = [
    path for top in ("salt", "orch") for kind in ("sls", "jinja") for path in (REPO / top).rglob(f"*.{kind}")
]
# Arguments of many functions, which mean something else there.
COMMON = {"days", "timeout", "units", "version", "window"}
MEANT = {
    # A host without a master keeps authorities of its own there; it has no pillar `master`.
    ("_states/fanatico_pki.py", "master:ca_dir"),
    # The lab's client runs by itself, without the tree.
    ("_utils/fanatico_client.py", "postgresql:database"),
    # PostgreSQL's own, where the pillar leaves a parameter to it.
    ("_utils/fanatico_postgres_limits.py", "postgresql:parameters:max_wal_senders"),
    ("_utils/fanatico_postgres_limits.py", "postgresql:parameters:max_replication_slots"),
}
VALIDATION = ("_utils/fanatico_validate.py", "_utils/fanatico_postgres_limits.py")
COUNTED = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow}


def leaves(data, path=""):
    """Yield ``(path, value)`` of every setting: dictionaries are gone into, unless they are empty."""
    for key, value in data.items():
        here = f"{path}:{key}" if path else str(key)
        yield from leaves(value, here) if isinstance(value, dict) and value else [(here, value)]


SHIPPED = {path: value for file in FILES for path, value in leaves(yaml.safe_load(file.read_text()))}


def literal(node):
    """Return what a piece of code stands for without being run, ``2 * 1024**3`` included; ``...`` where it is no literal."""
    if isinstance(node, ast.BinOp) and type(node.op) in COUNTED:
        left, right = literal(node.left), literal(node.right)
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        return COUNTED[type(node.op)](left, right) if numbers else ...
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...


def named(tree):
    """Yield ``(name, code)`` of all that is given a value by name: constants, fields, arguments, keys of dictionaries."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.arguments) and node.defaults:
            yield from zip((one.arg for one in node.args[-len(node.defaults) :]), node.defaults, strict=False)
        elif isinstance(node, ast.Dict):
            keys = (key.value if isinstance(key, ast.Constant) else None for key in node.keys)
            yield from (
                (key, code) for key, code in zip(keys, node.values, strict=True) if isinstance(key, str)
            )


def telling(value):
    """Tell whether a value stands for one setting wherever it is found: a place, a large number, a list."""
    if isinstance(value, str):
        return value.startswith("/") and value.count("/") > 1
    return (isinstance(value, int) and value > 2**20) or (isinstance(value, list) and len(value) > 2)


def repeated(text):
    """Yield ``(line, setting)`` of each shipped default that a program has once more."""
    tree = ast.parse(text)
    for name, code in named(tree):
        short, value = name.lower().strip("_"), literal(code)
        if short not in COMMON and value not in (..., None, True, False, "", [], {}):
            yield from (
                (code.lineno, path)
                for path in SHIPPED
                if path.endswith(f":{short}") and SHIPPED[path] == value
            )
    for node in ast.walk(tree):
        value = literal(node) if isinstance(node, ast.expr) else ...
        if telling(value):
            yield from ((node.lineno, path) for path in SHIPPED if SHIPPED[path] == value)


def replaced(text):
    """Yield ``(line, setting)`` of each setting that a program asks for together with a value to take instead."""
    for node in ast.walk(ast.parse(text)):
        for path, instead in (
            zip(node.args, node.args[1:], strict=False) if isinstance(node, ast.Call) else ()
        ):
            setting = literal(path)
            if isinstance(setting, str) and setting in SHIPPED and literal(instead) is not ...:
                yield node.lineno, setting


def replaced_in_template(text):
    """The same for a template; ``{% set rpc = pillar.rpc %}`` and the like are followed."""
    text = text.replace("pillar.", "")
    short = dict(re.findall(r"\bset (\w+) = ([\w.]+) ", text))
    asked = [
        *(f"{place}.{key}" for place, key in re.findall(r"([\w.]+)\.get\(\"(\w+)\", ", text)),
        *re.findall(r"get\"\]\(\"([\w:]+)\", ", text),
        *re.findall(r"([\w.]+) *\| *default\(", text),
    ]
    for place in asked:
        for _ in range(3):  # names of names
            first, dot, rest = place.partition(".")
            place = f"{short.get(first, first)}{dot}{rest}"
        if place.replace(".", ":") in SHIPPED:
            yield place.replace(".", ":")


def test_a_component_has_one_file_of_settings_and_that_is_in_the_pillar():
    left = [path for pattern in ("defaults.yaml", "map.jinja") for path in (REPO / "salt").rglob(pattern)]
    assert left == []
    assert {path.stem: list(yaml.safe_load(path.read_text())) for path in FILES} == {
        path.stem: [path.stem] for path in FILES
    }


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(REPO)))
def test_no_program_has_a_default_of_its_own(path):
    text, name = path.read_text(), str(path.relative_to(REPO))
    # Validation is given pillars in which anything may be missing.
    found = [*repeated(text), *(() if name in VALIDATION else replaced(text))]
    assert [one for one in found if (name, one[1]) not in MEANT] == []


def test_no_template_has_a_default_of_its_own():
    found = {str(path.relative_to(REPO)): list(replaced_in_template(path.read_text())) for path in TEMPLATES}
    assert {name: settings for name, settings in found.items() if settings} == {}


def test_the_ports_that_a_plan_need_not_name_are_not_named_by_the_shipped_one(plan):
    assert set(fanatico_plan.PORTS) & set(plan["ports"]) == set()


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("MAX_LAG = 3", "rpc:health:max_lag"),
        ("_RENEW_DAYS = 30", "pki:renew_days"),
        ("QUOTA_BYTES = 2 * 1024**3", "etcd:quota_backend_bytes"),
        ("class Settings:\n    max_jump: int = 1000", "rpc:health:max_jump"),
        ('DISK = {"warning": {"percent": 10}}', "base:disk:warning:percent"),
        ("def start(unit, samples=3): pass", "heal:samples"),
        ('return_of(Path("/var/lib/etcd"))', "etcd:data_dir"),
    ],
)
def test_a_repeated_default_is_found(text, setting):
    assert setting in {path for _, path in repeated(text)}


def test_a_value_to_take_instead_is_found():
    assert list(replaced('_get("pki:renew_days", 30)')) == [(1, "pki:renew_days")]
    assert list(replaced('fanatico_plan.get(pillar, "etcd:users", [])')) == [(1, "etcd:users")]
    assert list(replaced('_get("pki:renew_days"), _get("secrets:NAME", "")')) == []


@pytest.mark.parametrize(
    "text",
    [
        '{%- set c = pillar.rpc.chain %}\n{{ c.get("block_time", 2) }}',
        "{%- set rpc = pillar.rpc %}\n{%- set chain = rpc.chain %}\n{{ chain.block_time | default(2) }}",
        '{{ salt["pillar.get"]("rpc:chain:block_time", 2) }}',
    ],
)
def test_a_value_to_take_instead_is_found_in_a_template(text):
    assert list(replaced_in_template(text)) == ["rpc:chain:block_time"]
