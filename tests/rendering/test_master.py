"""The master's configuration, read by Salt itself; its state, compared with what the tree writes."""

import ast
import re

import salt.config
import yaml

import fanatico_master_state as states
import fanatico_plan
from tests.support import REPO


def test_an_orchestration_imports_the_modules_of_the_tree(make_node, tmp_path):
    """Without its own directory the master would first find the modules in the minion's cache, of an earlier tree."""
    node = make_node("default", "salt")
    (chunk,) = (
        one
        for one in node.compile("master.configured")
        if one.get("name") == "/etc/salt/master.d/fanatico.conf"
    )
    path = tmp_path / "master"
    path.write_text(node.render(chunk))
    # The options that salt.config.mminion_config makes for an orchestration, with its search path.
    folders = salt.config.minion_config(str(path), role="master")["utils_dirs"]
    assert folders == ["/var/cache/salt/master/extmods/utils"]


PATH = r"/(etc|root|srv|var|opt|home)/[\w./-]+"


def texts(value):
    """Yield every text in a structure of a YAML file."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


def literal_paths():
    """Yield ``(file, path)``: the absolute paths that the master's own code and units name."""
    for path in [*(REPO / "_runners").rglob("*.py"), REPO / "_modules/fanatico_node.py"]:
        tree = ast.parse(path.read_text())
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node)
        }
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in documented else None
            if isinstance(text, str) and re.fullmatch(PATH, text):
                yield path.name, text


def test_whatever_the_tree_writes_on_the_master_is_backed_up_or_made_again(make_node):
    """A directory that a state creates is filled by something else; a path in the code of the master is read or written."""
    node = make_node("default", "salt")
    master = node.pillar["master"]
    known = states.parts(master["tree"], master["ca_dir"])
    rebuilt = [*states.REBUILT, node.pillar["backup"]["master"]["path"]]
    components = [one.name for one in fanatico_plan.components(["master"])]
    chunks = [chunk for name in components for chunk in node.compile(name) if chunk["state"] == "file"]
    found = {chunk["name"] for chunk in chunks if chunk["fun"] in ("directory", "recurse")}
    assert {"/etc/salt/pki/master", master["ca_dir"], "/var/lib/fanatico"} <= found
    (configuration,) = (one for one in chunks if one["name"] == "/etc/salt/master.d/fanatico.conf")
    settings = yaml.safe_load(node.render(configuration))
    found |= {text for text in texts(settings) if re.fullmatch(PATH, text)}
    written = {path for name, path in literal_paths() if name != "fanatico_master_state.py"} | found
    assert len(written) > 12
    written -= {"/etc/fanatico"}  # the directory itself
    written = {path for path in written if not path.startswith(master["tree"])}  # a clone: see the next test
    missing = {
        path
        for path in written
        if not states.part_of(path, known) and not any(f"{path}/".startswith(f"{top}/") for top in rebuilt)
    }
    assert missing == set()


def test_the_secrets_and_the_settings_of_the_site_are_in_the_backup():
    """Files of the tree that git does not have: what it ignores below pillar/, and what an operator edits."""
    known = states.parts("/t", "/ca")
    for path in ("pillar/secrets/etcd.sls", "pillar/site/init.sls", "pillar/plan.sls"):
        assert states.part_of(f"/t/{path}", known)
        assert not states.is_skipped(f"/t/{path}")
    ignored = [line.strip("/") for line in (REPO / ".gitignore").read_text().splitlines() if "pillar" in line]
    assert ignored == ["pillar/secrets/*.sls"]
    for path in ("/etc/salt/pki/master/minions_pre/evil", "/etc/salt/pki/master/minions_denied/evil"):
        assert states.is_skipped(path), "a host that was not accepted would fill the backups"


def test_the_page_names_every_part():
    page = (REPO / "docs" / "disaster.md").read_text()
    named = [
        one
        for one in states.parts("/srv/fanatico", "/etc/fanatico/ca")
        if f"| `{one.path}` | {one.what} |" not in page
    ]
    assert named == []
