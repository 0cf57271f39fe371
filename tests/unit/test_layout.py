"""The shape of the tree: what minions may read, what is documented, and what must never be committed."""

import ast
import re
import subprocess

import pytest
import salt.config
import salt.fileserver

from tests.support import REPO

# Link under salt/ -> what it stands for in the repo.
LINKS = {
    name: name for name in ("_beacons", "_grains", "_modules", "_output", "_states", "_utils", "orch")
} | {
    "minion/files/requirements.txt": "requirements/salt.txt",
}
NEVER_SERVED = ("pillar", "_cache", "_runners", "tests", "lab", "bench", ".git")


def tracked(*patterns):
    """Files of the repo, new ones that git would not ignore included."""
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(argv, cwd=REPO, check=True, capture_output=True, text=True).stdout.splitlines()
    return [REPO / name for name in names if (REPO / name).is_file() and not (REPO / name).is_symlink()]


def texts(*patterns):
    for path in tracked(*patterns):
        try:
            yield path.relative_to(REPO), path.read_text()
        except UnicodeDecodeError:
            continue


@pytest.fixture(scope="module")
def fileserver(tmp_path_factory):
    opts = salt.config.master_config(None)
    opts["cachedir"] = str(tmp_path_factory.mktemp("cache"))
    opts["file_roots"] = {"base": [str(REPO / "salt")]}
    return salt.fileserver.Fileserver(opts)


def test_links_under_salt_are_the_allowed_ones():
    links = {str(path.relative_to(REPO / "salt")) for path in (REPO / "salt").rglob("*") if path.is_symlink()}
    assert links == set(LINKS)


@pytest.mark.parametrize(("name", "target"), LINKS.items())
def test_link_is_relative_and_stays_in_the_repo(name, target):
    link = REPO / "salt" / name
    assert not link.readlink().is_absolute()
    assert link.resolve() == REPO / target


def test_fileserver_lists_nothing_private(fileserver):
    served = fileserver.file_list({"saltenv": "base"})
    assert "top.sls" in served
    assert "_modules/fanatico.py" in served
    assert [path for path in served if path.split("/")[0] in NEVER_SERVED] == []


@pytest.mark.parametrize(
    "path",
    [
        "pillar/top.sls",
        "pillar/plan.sls",
        "../pillar/top.sls",
        "../pillar/plan.sls",
        "orch/../../pillar/plan.sls",
        "_runners/fanatico_validate.py",
        "../_runners/fanatico_validate.py",
    ],
)
def test_fileserver_serves_nothing_private(fileserver, path):
    assert fileserver.find_file(path, "base")["path"] == ""


def public_functions(directory):
    for path in tracked(f":(glob){directory}/*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield pytest.param(path, node, id=f"{directory}/{path.name}:{node.name}")


@pytest.mark.parametrize(
    ("path", "node"),
    [
        *public_functions("_modules"),
        *public_functions("_states"),
        *public_functions("_runners"),
        *public_functions("_runners/_modules"),
        *public_functions("_runners/_states"),
    ],
)
def test_public_function_says_how_to_call_it(path, node):
    doc = ast.get_docstring(node) or ""
    assert doc, "no docstring"
    assert not doc.splitlines()[0].endswith(":"), "the first line is not a sentence"
    if path.parent.name != "_states":
        assert "CLI Example" in doc


@pytest.mark.parametrize("path", tracked("_beacons/*.py"), ids=lambda path: path.name)
def test_beacon_validates_its_configuration(path):
    names = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert {"validate", "beacon"} <= names


def test_secrets_are_encrypted():
    """Also those that lie in a working copy: git ignores them, a backup or a tarball does not."""
    message = re.compile(r"-----BEGIN PGP MESSAGE-----.*?-----END PGP MESSAGE-----", re.DOTALL)
    for path in (REPO / "pillar" / "secrets").glob("*.sls"):
        text = path.read_text()
        assert text.startswith(("#!gpg|yaml\n", "#!yaml|gpg\n")), f"{path} is not decrypted by anything"
        assert message.search(text), f"{path} holds nothing encrypted"
        rest = [
            line for line in message.sub("", text).splitlines() if line.strip() and not line.startswith("#")
        ]
        # With gpg|yaml the message is the file; with yaml|gpg the rest is names, each with a message below.
        assert all(line.rstrip().endswith((":", ": |")) for line in rest), f"{path} holds something in clear"


def test_no_secret_is_committed():
    assert tracked("pillar/secrets/*.sls") == []
    marker = "BEGIN PGP " + "MESSAGE"
    holders = {str(path) for path, text in texts("pillar") if marker in text}
    assert holders == set()


def test_no_default_password():
    """A name that ends like a secret never stands before a literal: only before a template or a reference."""
    literal = re.compile(
        r"""(?ix) ["']? [\w-]* (?: password | passwd | auth_pass | cluster_token | secret_key ) ["']?
            [ \t]* [:=] [ \t]* ["']? (?P<value> [^\s"'{}\[\](),$<%#&*|\\`]++ ) (?! [\[(] )""",
    )
    harmless = re.compile(r"(?i)^(none|null|true|false|required)$")
    found = []
    for path, text in texts("pillar", "salt", "orch", "kitchen.yml", "*.yaml", "*.yml"):
        if path.parts[0] == "tests" or path.suffix in (".md", ".json"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            code = line.split("#")[0]
            match = literal.search(code)
            if match and not harmless.match(match["value"]):
                found.append(f"{path}:{number}: {line.strip()}")
    assert found == []


def test_no_weak_words():
    """Passwords that the field ships (facts every scanner knows) appear nowhere in what is deployed."""
    weak = re.compile(r"(?i)changeme|change_me|hunter2|passw0rd|etcd\.root|letmein")
    found = [str(path) for path, text in texts("pillar", "salt", "orch") if weak.search(text)]
    assert [path for path in found if not path.endswith("schema.json")] == []


def test_no_registry_is_named():
    """Packages come from wherever the machine that builds gets them."""
    hosts = ("debian", "pypi", "pythonhosted", "npmjs", "rubygems", "ubuntu")
    host = re.compile(rf"(?i)\b(?:[\w-]+\.)*(?:{'|'.join(hosts)})\.(?:org|com|io)\b")
    found = [f"{path}: {match[0]}" for path, text in texts() for match in host.finditer(text)]
    assert found == []


def test_no_module_reads_pillar_through_salt():
    """`pillar.get` answers asterisks there (tests/integration/test_masking.py)."""
    call = re.compile(r"""["']pillar\.(get|items|item|raw)["']""")
    places = ("_modules", "_states", "_beacons", "_utils")
    assert [str(path) for path, text in texts(*places) if call.search(text)] == []
