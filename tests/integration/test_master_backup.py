"""A backup of the master travels to a host through Salt: in several jobs, whole and verified, or not at all."""

import hashlib
import json
import os
import pathlib

import pytest
import yaml

import fanatico_master_copies as copies
from _runners import fanatico_master_backup as runner
from tests.integration.conftest import MINION

NAME = "master-20261130T030000Z.tar.gpg"


@pytest.fixture
def folder(pillar_root):
    """Where the master and, on the same machine, the minion have the backups."""
    site = yaml.safe_load((pillar_root / "site/init.sls").read_text())
    return pathlib.Path(site["backup"]["master"]["path"])


@pytest.fixture
def sending(master, minion, monkeypatch):
    """The runner in this process, with the options of the real master."""
    monkeypatch.setattr(runner, "__opts__", dict(master.config), raising=False)
    return runner


@pytest.fixture
def path(tmp_path):
    """A file that takes three jobs."""
    made = tmp_path / NAME
    made.write_bytes(os.urandom(2 * copies.CHUNK + 17))
    return made


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_of_several_chunks_arrives(sending, path, folder, call):
    sending._send(MINION, path, sha256(path))
    assert (folder / NAME).read_bytes() == path.read_bytes()
    assert [one["name"] for one in call("fanatico_master_copy.listing")][-1] == NAME
    assert call("fanatico_master_copy.confirm", NAME, sha256(path)) is True
    assert json.loads((folder / copies.CONFIRMED).read_text())["file"] == NAME


def test_what_is_damaged_on_its_way_does_not_count(sending, path, folder):
    name = NAME.replace("0300", "0400")
    path = path.rename(path.with_name(name))
    with pytest.raises(sending._CopyError):
        sending._send(MINION, path, "0" * 64)
    assert not (folder / name).exists()
    assert list(folder.glob(f"*{copies.PART}")) == []


def test_the_runner_makes_a_file(run, folder):
    """On a plan without a backup host: the file stays on the master."""
    found = run("fanatico.master_backup")
    assert found["copies"] == {}
    assert sha256(folder / pathlib.Path(found["file"]).name) == found["sha256"]
    assert pathlib.Path(found["file"]).name in run("fanatico.master_backups")
