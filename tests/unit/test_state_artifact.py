"""A release is installed completely or not at all, and only with the requested hash."""

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from _states import fanatico_artifact

PROGRAM = "bin/node"


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def run_all(command, python_shell, umask):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"retcode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture
def configure_loader_modules():
    return {
        fanatico_artifact: {
            "__opts__": {"test": False, "id": "rpc1"},
            "__salt__": {
                "cp.cache_file": lambda source: source if os.path.exists(source) else False,
                "file.get_hash": lambda path, form: sha256(path),
                "cmd.run_all": run_all,
            },
        }
    }


@pytest.fixture
def archive(tmp_path):
    """Return a maker of archives that hold {name: (text, mode)}."""

    def make(name="node.tgz", **members):
        members = members or {
            "package/bin/node": ("#!/bin/sh\n", 0o755),
            "package/README": ("read me", 0o644),
        }
        path = tmp_path / name
        with tarfile.open(path, "w:gz") as tar:
            for member, (text, mode) in members.items():
                about = tarfile.TarInfo(member)
                about.size, about.mode, about.uid, about.uname = len(text), mode, 4711, "somebody"
                tar.addfile(about, io.BytesIO(text.encode()))
        return str(path)

    return make


@pytest.fixture
def install(tmp_path):
    def call(source, **options):
        options = {
            "program": PROGRAM,
            "strip": 1,
            "sha256": options.get("sha256") or sha256(source),
        } | options
        return fanatico_artifact.installed(str(tmp_path / "rpc"), source, **options)

    return call


@pytest.fixture
def home(tmp_path):
    return tmp_path / "rpc"


def releases(home):
    return sorted(path.name for path in (home / "releases").iterdir())


def test_an_archive_becomes_the_current_release(archive, install, home):
    source = archive()
    done = install(source)
    assert done["result"] is True
    assert done["changes"] == {"release": {"old": None, "new": sha256(source)[:16]}}
    assert (home / "current" / PROGRAM).read_text() == "#!/bin/sh\n"
    assert os.access(home / "current" / PROGRAM, os.X_OK)
    assert (home / "current" / "README").exists()


def test_a_second_run_changes_and_fetches_nothing(archive, install, home, monkeypatch):
    source = archive()
    install(source)
    monkeypatch.setitem(fanatico_artifact.__salt__, "cp.cache_file", lambda source: pytest.fail("fetched"))
    done = install(source)
    assert (done["result"], done["changes"]) == (True, {})


def test_a_single_program(tmp_path, install, home):
    source = tmp_path / "node-1.0"
    source.write_text("#!/bin/sh\n")
    assert install(str(source), program="node-1.0", archive=False)["result"] is True
    assert os.access(home / "current" / "node-1.0", os.X_OK)


def test_a_different_hash_is_refused_and_the_old_release_stays(archive, install, home):
    old = archive("old.tgz")
    install(old)
    source = archive("new.tgz", **{"package/bin/node": ("other", 0o755)})
    before = os.readlink(home / "current")
    done = install(source, sha256="0" * 64)
    assert (done["result"], done["changes"]) == (False, {})
    assert done["comment"].startswith(f"rpc1: {source} is refused: its SHA-256 is {sha256(source)}, ")
    assert done["comment"].endswith(f"{sha256(old)[:16]} stays in use")
    assert os.readlink(home / "current") == before
    assert releases(home) == [sha256(old)[:16]]


def test_the_content_of_an_archive_without_the_program_is_named(archive, install, home):
    done = install(archive(), program="bin/geth")
    assert done["result"] is False
    assert "no program bin/geth" in done["comment"]
    assert "bin/node" in done["comment"]
    assert not (home / "current").exists()
    assert releases(home) == []


def test_a_source_that_cannot_be_fetched_is_named(install, tmp_path):
    done = install(str(tmp_path / "nothing"), sha256="0" * 64)
    assert done["result"] is False
    assert f"{tmp_path}/nothing" in done["comment"]


def test_an_invalid_archive_is_refused(tmp_path, install, home):
    source = tmp_path / "broken.tgz"
    source.write_text("no archive")
    done = install(str(source))
    assert done["result"] is False
    assert "tar: " in done["comment"]
    assert not (home / "current").exists()


def test_no_archive_member_leaves_the_release(archive, install, tmp_path):
    source = archive(**{"package/bin/node": ("", 0o755), "package/../../../escaped": ("", 0o644)})
    assert install(source)["result"] is False
    assert not list(tmp_path.rglob("escaped"))


def test_only_the_previous_release_is_kept(archive, install, home):
    sources = [archive(f"{n}.tgz", **{"package/bin/node": (str(n), 0o755)}) for n in range(3)]
    for source in sources:
        assert install(source)["result"] is True
    assert releases(home) == sorted(sha256(source)[:16] for source in sources[1:])
    assert (home / "current" / PROGRAM).read_text() == "2"
    assert install(sources[1])["changes"]["release"]["new"] == sha256(sources[1])[:16]
    assert (home / "current" / PROGRAM).read_text() == "1"


def test_an_interrupted_installation_is_completed(archive, install, home):
    source = archive()
    (home / "releases" / f".{sha256(source)[:16]}.part" / "bin").mkdir(parents=True)
    assert install(source)["result"] is True
    assert releases(home) == [sha256(source)[:16]]


def test_a_dry_run_changes_nothing(archive, install, home, monkeypatch):
    monkeypatch.setitem(fanatico_artifact.__opts__, "test", True)
    source = archive()
    done = install(source)
    assert done["result"] is None
    assert done["changes"] == {"release": {"old": None, "new": sha256(source)[:16]}}
    assert not home.exists()


def test_a_link_that_was_not_switched_is_a_failure(install, archive, monkeypatch, tmp_path):
    first = archive()
    assert install(first)["result"] is True
    other = archive("other.tgz", **{"package/bin/node": ("#!/bin/sh\nexit 1\n", 0o755)})
    monkeypatch.setattr(fanatico_artifact, "_switch", lambda current, release: None)
    answer = install(other)
    assert (answer["result"], answer["changes"]) == (False, {})
    assert sha256(first)[:16] in answer["comment"]
