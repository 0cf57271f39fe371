"""The shape of the tree: what minions may read, what is documented, and what must never be committed."""

import ast
import functools
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
    places = ("_modules", "_states", "_beacons", "_utils", "_runners/_modules", "_runners/_states")
    assert [str(path) for path, text in texts(*places) if call.search(text)] == []


# Files of `_utils` and `_runners/_utils` that do more than think, and what.
DO_IO = {
    "fanatico_aside": "moves directories",
    "fanatico_attend": "sends pings, reads /proc",
    "fanatico_authority": "keeps keys on the disk",
    "fanatico_bootstrap": "restores a master",
    "fanatico_client": "writes and reads a database",
    "fanatico_etcd_gateway": "asks etcd",
    "fanatico_file": "replaces files",
    "fanatico_history": "writes and reads the log",
    "fanatico_http": "asks services",
    "fanatico_interrupt": "handles signals",
    "fanatico_jsonrpc": "asks chain nodes",
    "fanatico_lock": "holds a file",
    "fanatico_master": "reads the plan and compiles pillars",
    "fanatico_master_archive": "reads and writes the master's state, runs gpg",
    "fanatico_patroni_rest": "asks Patroni",
    "fanatico_pgbackrest_run": "starts pgBackRest",
    "fanatico_probe": "runs programs",
    "fanatico_record": "writes the log, speaks on the event bus",
    "fanatico_restore_files": "looks for files",
    "fanatico_restore_journal": "keeps a file",
    "fanatico_rpc_agent": "asks agents",
    "fanatico_sweep": "asks minions",
    "fanatico_wait": "waits, in threads too",
}
# What no pure file imports, and `open`, which none calls.
OUTSIDE = {
    *(
        "asyncio",
        "fcntl",
        "logging",
        "os",
        "psycopg",
        "queue",
        "requests",
        "salt",
        "shutil",
        "signal",
        "socket",
    ),
    *("subprocess", "tempfile", "threading", "time", "urllib", *DO_IO),
}
MINIONS = ("_beacons", "_grains", "_modules", "_states")  # and `_output`, which a master loads too
LOADED = (*MINIONS, "_cache", "_output", "_pillar", "_runners")


def imported(path):
    """Return the names that a file imports, wherever it does."""
    statements = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for one in statements if isinstance(one, ast.Import) for alias in one.names}
    return names | {one.module for one in statements if isinstance(one, ast.ImportFrom)}


def importers(folder, *folders):
    """Return ``{file of folder: [the files that import it]}``, of the folders named and of those files themselves."""
    known = {path.stem: path for path in tracked(f":(glob){folder}/*.py")}
    found = {name: [] for name in known}
    for path in tracked(*(f":(glob){one}/*.py" for one in (folder, *folders))):
        for name in imported(path) & set(known):
            found[name].append(path)
    return found


def test_nothing_reaches_into_salts_loader():
    """What `_utils` holds is imported by its name: tools see it, and threads and callbacks keep their dunders."""
    private = re.compile(
        r"""__utils__|\b_util\(|salt\.loader\.(context|lazy)|loader_ctxvar|parent_loader|["']func["']"""
    )
    found = [
        str(path)
        for path, text in texts(*LOADED, "_utils", "salt", "orch", "lab", "bench")
        if private.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "path", tracked(":(glob)_utils/*.py", ":(glob)_runners/_utils/*.py"), ids=lambda path: path.stem
)
def test_what_only_thinks_does_nothing_else(path):
    outside = {name for name in imported(path) if name.split(".")[0] in OUTSIDE}
    calls = {
        one.func.id
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)
    }
    acts = bool(outside or "open" in calls)
    assert acts is (path.stem in DO_IO), outside


def test_minions_are_given_nothing_that_only_the_master_uses():
    used = importers("_utils", *MINIONS)
    assert [name for name, files in used.items() if not files] == []


def test_minions_use_nothing_that_they_are_not_given():
    masters = {path.stem for path in tracked(":(glob)_runners/_utils/*.py")}
    files = tracked(*(f":(glob){folder}/*.py" for folder in (*MINIONS, "_utils")))
    assert {str(path): sorted(wrong) for path in files if (wrong := imported(path) & masters)} == {}


def test_no_name_is_in_both():
    """They are on one path."""
    both = [path.name for path in tracked(":(glob)_utils/*.py", ":(glob)_runners/_utils/*.py")]
    assert sorted(both) == sorted(set(both))


# Lines that a file may have, and a function without its docstring.
FILE, FUNCTION = 400, 50
# What is longer, `file` or `file:function`, and why it is not split.
TOO_LONG = {
    "_modules/fanatico_haproxy.py": "what the edge may hold and whom it lets in moves out of it, with the templates",
    "_utils/fanatico_edge.py": "the rules of one frontend, in the order in which HAProxy asks them",
    "lab/drill/faults.py": "a table, one entry for each fault",
    "lab/machines.py": "one class, which all of the lab goes through",
    "tests/traffic/files/databases.py:main": "runs by itself on a machine without the tree",
    "tests/lab/test_certificates.py": "one lab, in the order of a certificate's life",
    "tests/lab/test_edge.py": "one lab, under one load",
    "tests/unit/test_cure.py": "one fake node for all faults",
    "tests/unit/test_evict.py": "one fake master for all steps",
    "tests/unit/test_firewall.py": "a table, who reaches whom",
    "tests/unit/test_guard.py": "one fake cluster for all refusals",
    "tests/unit/test_module_etcd.py": "one fake cluster for the three files of fanatico_etcd",
    "tests/unit/test_secrets.py": "one life of a secret, from its making to its rotation",
    "tests/unit/test_state_etcd.py": "one fake node for the three files of states of etcd",
    "tests/unit/test_state_etcd.py:node": "a fake node",
    "tests/unit/test_state_patroni.py": "one fake cluster for all states of Patroni",
    "tests/unit/test_state_patroni.py:cluster": "a fake cluster",
    "tests/unit/test_state_postgres.py:server": "a fake server",
    "tests/unit/test_validate.py": "a table, one entry for each fault of a pillar",
}


@functools.cache
def lengths():
    """Return ``[(name, lines, lines allowed)]`` of every Python file and every function in it."""
    found = []
    for path in tracked("*.py"):
        name, text = str(path.relative_to(REPO)), path.read_text()
        found.append((name, len(text.splitlines()), FILE))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((f"{name}:{node.name}", without_docstring(node), FUNCTION))
    return found


def without_docstring(node):
    """Return how many lines of a function are not its docstring, which Salt shows to operators and may be long."""
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is None:
        return lines
    return lines - (node.body[0].end_lineno - node.body[0].lineno + 1)


def test_nothing_is_too_long_without_a_reason():
    assert {name: lines for name, lines, most in lengths() if lines > most and name not in TOO_LONG} == {}


def test_no_reason_is_kept_for_what_is_short_enough():
    assert TOO_LONG.keys() - {name for name, lines, most in lengths() if lines > most} == set()
