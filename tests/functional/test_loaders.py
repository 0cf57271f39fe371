"""All modules load in Salt under their names."""

import ast
import json
import subprocess
import sys

import pytest
import salt.loader
from salt.exceptions import CommandExecutionError

from tests.support import MODULES, REPO


def shipped(directory):
    """(file, virtual name, public functions) of every module in a directory."""
    for path in sorted((REPO / directory).glob("*.py")):
        tree = ast.parse(path.read_text())
        virtual, functions = path.stem, []
        for statement in tree.body:
            if (
                isinstance(statement, ast.Assign)
                and getattr(statement.targets[0], "id", "") == "__virtualname__"
            ):
                virtual = ast.literal_eval(statement.value)
            if isinstance(statement, ast.FunctionDef) and not statement.name.startswith("_"):
                functions.append(statement.name.rstrip("_"))
        yield pytest.param(path, virtual, functions, id=f"{directory}/{path.name}")


def missing(loader, virtual, functions):
    return [name for name in functions if f"{virtual}.{name}" not in loader]


@pytest.mark.parametrize(("path", "virtual", "functions"), shipped("_modules"))
def test_execution_module_loads(node, path, virtual, functions):
    assert missing(node("db1").functions, virtual, functions) == []


@pytest.mark.parametrize(("path", "virtual", "functions"), shipped("_states"))
def test_state_module_loads(node, path, virtual, functions):
    assert missing(node("db1").highstate.state.states, virtual, functions) == []


@pytest.mark.parametrize(("path", "virtual", "functions"), shipped("_grains"))
def test_grain_loads(node, path, virtual, functions):
    assert missing(salt.loader.grain_funcs(node("db1").opts), virtual, functions) == []


@pytest.mark.parametrize(("path", "virtual", "functions"), shipped("_beacons"))
def test_beacon_loads(node, path, virtual, functions):
    minion = node("db1")
    beacons = salt.loader.beacons(minion.opts, minion.functions)
    assert missing(beacons, virtual, functions) == []


@pytest.mark.parametrize(("path", "virtual", "functions"), shipped("_runners"))
def test_runner_loads(runners, path, virtual, functions):
    """Several files share the name `fanatico`: each one's functions must be there."""
    assert missing(runners, virtual, functions) == []


@pytest.mark.parametrize(("path", "virtual", "functions"), shipped("_runners"))
def test_a_runner_reports_unknown_arguments_in_one_sentence(runners, path, virtual, functions):
    """Salt itself would print the documentation and exit with 0."""
    for name in functions:
        with pytest.raises(
            CommandExecutionError, match=rf"^{virtual}\.{name}\(.*argument.*Next: salt-run -d"
        ):
            runners[f"{virtual}.{name}"](bogus=1)


@pytest.mark.parametrize(
    "path", [*REPO.glob("_modules/*.py"), *REPO.glob("_beacons/*.py")], ids=lambda path: path.name
)
def test_module_hides_its_helpers(path):
    """A public name in a module is a command: imported functions must not become commands."""
    tree = ast.parse(path.read_text())
    imported = [
        alias.asname or alias.name
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
        if (alias.asname or alias.name)[0].islower()
    ]
    assert [name for name in imported if not name.startswith("_")] == []


ALONE = """
import json, sys
import salt.config, salt.loader
opts = salt.config.{kind}_config(None)
opts.update(json.loads(sys.argv[1]), pillar={{}}, grains={{}})
utils = salt.loader.utils(opts)
functions = salt.loader.minion_mods(opts, utils=utils)
loaders = {{
    "modules": functions,
    "states": salt.loader.states(opts, functions, utils, None),
    "grains": salt.loader.grain_funcs(opts),
    "runners": salt.loader.runner(opts, utils=utils),
    "pillar": salt.loader.pillars({{**opts, "pillar_dirs": [sys.argv[2]]}}, functions)._dict,
}}
wrong = {{}}
for kind in sys.argv[3:]:
    loader = loaders[kind]
    for name in [name for name in loader.file_mapping if name.startswith("fanatico")]:
        if not loader._load_module(name):
            wrong[f"{{kind}}/{{name}}"] = str(loader.missing_modules.get(name))
json.dump({{"wrong": wrong, "path": sys.path}}, sys.stdout)
"""


@pytest.mark.parametrize(
    ("kind", "folders", "loaders"),
    [
        ("minion", MODULES[:1], ["modules", "states", "grains"]),
        ("master", MODULES, ["modules", "states", "runners", "pillar"]),
    ],
)
def test_salt_puts_the_imported_folders_on_the_path(kind, folders, loaders, tmp_path):
    """In a process of its own: pytest has these folders on its path, and has imported from them."""
    opts = {"module_dirs": folders, "cachedir": str(tmp_path), "extension_modules": str(tmp_path / "none")}
    argv = [sys.executable, "-c", ALONE.format(kind=kind), json.dumps(opts), str(REPO / "_pillar"), *loaders]
    told = json.loads(subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, timeout=120).stdout)
    assert told["wrong"] == {}
    assert [folder for folder in told["path"] if "_utils" in folder] == []
