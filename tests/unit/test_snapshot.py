"""Snapshots without a lab: what the key covers, which are refused, which are kept."""

import json

import pytest

from lab import snapshot
from lab.errors import LabError

TREE = {
    "salt/top.sls": "a",
    "_modules/fanatico.py": "b",
    "orch/deploy.sls": "c",
    "pillar/rpc.sls": "d",
    "lab/site.sls": "e",
}


@pytest.fixture
def repo(tmp_path):
    for name, text in {**TREE, "plan.sls": "plan"}.items():
        path = tmp_path / "repo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "repo"


def key(repo):
    return snapshot.tree_key(repo / "plan.sls", repo)


@pytest.mark.parametrize("name", [*TREE, "plan.sls", "salt/new.sls"])
def test_what_a_deploy_depends_on_is_in_the_key(repo, name):
    before = key(repo)
    (repo / name).write_text("changed")
    assert key(repo) != before


@pytest.mark.parametrize(
    "name",
    [
        "docs/operations.md",
        "tests/lab/test_up.py",
        "pillar/secrets/etcd.sls",
        "pillar/site/init.sls",
        "lab/report.py",
    ],
)
def test_what_it_does_not_depend_on_is_not(repo, name):
    before = key(repo)
    (repo / name).parent.mkdir(parents=True, exist_ok=True)
    (repo / name).write_text("changed")
    assert key(repo) == before


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a function that creates a snapshot with its facts only."""
    monkeypatch.setattr(snapshot, "SNAPSHOTS", tmp_path / "snapshots")
    monkeypatch.setattr(snapshot, "STATE", tmp_path)
    monkeypatch.setattr(snapshot, "LABS", tmp_path / "labs")
    monkeypatch.setattr(snapshot.image, "key", lambda: "image-now")
    monkeypatch.setattr(snapshot, "tree_key", lambda *_: "tree-now")

    def make(name, created=0, image="image-now", tree="tree-now", layers=()):
        folder = tmp_path / "snapshots" / name
        folder.mkdir(parents=True)
        facts = {
            "name": name,
            "created": created,
            "image": image,
            "tree": tree,
            "layers": {"db1": [str(one) for one in layers]},
            "state": {"image": f"/cache/{image}"},
        }
        (folder / "snapshot.json").write_text(json.dumps(facts))
        return snapshot.Snapshot(name)

    return make


def stand_on(tmp_path, found, lab="mine"):
    """A lab whose machine db1 uses a snapshot."""
    folder = tmp_path / "labs" / lab / "machines" / "db1"
    folder.mkdir(parents=True)
    (folder / "layers").write_text(f"{found.folder}/machines/db1\n/cache/root\n")


@pytest.mark.parametrize("what", ["image", "tree"])
def test_a_snapshot_of_another_image_or_tree_is_refused(store, what):
    store("old", **{what: "another"})
    with pytest.raises(LabError) as refused:
        snapshot.find("old")
    assert all(word in str(refused.value) for word in (what, "another", f"{what}-now", "snapshot drop old"))


def test_deployed_is_the_one_of_the_present_tree_and_image(store):
    with pytest.raises(LabError):
        snapshot.find("deployed")
    kept = store("deployed-image-now-tree-now")
    assert snapshot.find("deployed").name == kept.name == snapshot.automatic().name


def test_layers_are_its_own_over_what_it_stood_on(store):
    found = store("mine", layers=["/cache/root"])
    assert [str(layer) for layer in found.layers("db1")] == [f"{found.folder}/machines/db1", "/cache/root"]


@pytest.mark.parametrize("name", ["../etc", "a b", "", "x" * 61, "a/b"])
def test_a_name_that_would_not_do(store, name):
    with pytest.raises(LabError):
        snapshot.find(name)


def test_one_that_something_stands_on_is_not_dropped(store, tmp_path):
    below = store("below")
    store("above", layers=[f"{below.folder}/machines/db1"])
    with pytest.raises(LabError, match="above"):
        snapshot.drop("below")
    snapshot.drop("above")
    stand_on(tmp_path, below)
    with pytest.raises(LabError, match="mine"):
        snapshot.drop("below")
    assert below.facts


def test_old_automatic_ones_go_unless_they_are_used(store, tmp_path):
    used = store("deployed-0", created=0)
    stand_on(tmp_path, used)
    for age in (1, 2, 3):
        store(f"deployed-{age}", created=age)
    store("mine", created=0)
    snapshot.prune(store("deployed-4", created=4))
    assert [one.name for one in snapshot.everything()] == ["deployed-0", "mine", "deployed-3", "deployed-4"]


def test_images_under_snapshots_are_known(store):
    store("mine", image="older")
    assert snapshot.images() == {"/cache/older"}
