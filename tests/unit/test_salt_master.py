"""What the Salt master takes from a minion: what it says in its own name."""

import importlib
import importlib.util
import os
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.returners import local_cache

import salt.master
from tests.support import REPO

SPEC = importlib.util.spec_from_file_location("salt_master", REPO / "salt/master/files/salt_master.py")
module = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(module)


def event(tag, **data):
    return {"id": "rpc1", "events": [{"tag": tag, "data": data}]}


@pytest.mark.parametrize(
    ("call", "load"),
    [
        ("_return", {"id": "rpc1", "jid": "1", "return": True}),
        ("_pillar", {"id": "rpc1"}),
        ("minion_pub", {"id": "rpc1"}),
        ("_minion_event", event("salt/beacon/rpc1/fanatico/x", id="rpc1", what="x")),
        ("_minion_event", event("salt/beacon/rpc1/fanatico/x", what="x")),
        ("_minion_event", {"id": "rpc1", "tag": "salt/minion/rpc1/start", "data": "started"}),
        ("_minion_event", {"id": "rpc1", "tag": "minion_start", "data": "started"}),
    ],
)
def test_what_is_its_own_is_taken(call, load):
    assert module.objection(call, load) == ""


@pytest.mark.parametrize(
    ("call", "load"),
    [
        ("_return", {"id": "rpc1", "resource_id": "db1", "jid": "1", "return": "forged"}),
        ("_syndic_return", {"id": "rpc1", "load": [{"id": "rpc1", "jid": "1", "return": {"db1": "forged"}}]}),
        ("_register_resources", {"id": "rpc1", "resources": {"ssh": ["db1"]}}),
        ("minion_runner", {"id": "rpc1", "fun": "test.arg"}),
        ("revoke_auth", {"id": "rpc1"}),
        ("_minion_event", event("salt/job/1/ret/db1", id="db1")),
        ("_minion_event", event("salt/job/1/ret/rpc1", id="rpc1")),
        ("_minion_event", event("salt/run/1/ret")),
        ("_minion_event", event("salt/auth", id="rpc1", act="denied")),
        ("_minion_event", event("salt/beacon/db1/fanatico/x", id="db1")),
        ("_minion_event", event("salt/beacon/rpc1/fanatico/x", id="db1")),
        ("_minion_event", event("salt/beacon/rpc1/fanatico/x") | {"pretag": "salt/job"}),
        ("_minion_event", {"id": "rpc1", "tag": "salt/job/1/ret/rpc1", "data": {}}),
        ("_minion_event", {"id": "rpc1", "events": "salt/auth"}),
        ("_minion_event", {"id": "rpc1", "events": [{"tag": ["salt/auth"]}]}),
        ("_minion_event", {"id": "rpc1", "events": [None]}),
        ("_minion_event", {"id": "rpc1"}),
    ],
)
def test_what_is_not_its_own_is_refused(call, load):
    assert module.objection(call, load)


TEXT = st.text() | st.sampled_from(["salt/job/1/ret/db1", "salt/beacon/rpc1/", "db1", "minion_start"])
ANY = st.recursive(TEXT | st.none() | st.integers(), lambda x: st.lists(x) | st.dictionaries(TEXT, x))


@given(events=ANY, tag=ANY, data=ANY, pretag=st.none() | TEXT)
def test_whatever_is_fired_is_judged_and_only_what_is_its_own_passes(events, tag, data, pretag):
    for load in ({"events": events}, {"events": [{"tag": tag, "data": data}]}, {"tag": tag, "data": data}):
        if not module.objection("_minion_event", {"id": "rpc1", "pretag": pretag, **load}):
            for one in load.get("events", [load]):
                assert one["tag"].startswith(("minion_start", "salt/beacon/rpc1/", "salt/minion/rpc1/"))
                assert not isinstance(one.get("data"), dict) or one["data"].get("id", "rpc1") == "rpc1"


def test_the_very_class_of_salt_is_guarded(tmp_path):
    """That of the version in the lock: where it has become another one, the master does not start."""
    taken = []

    class Handlers(salt.master.AESFuncs):
        def __init__(self):
            self.opts = {"cachedir": str(tmp_path), "hash_type": "sha256"}

        def run_func(self, func, load):
            taken.append(func)
            return True, {"fun": "send"}

    module.guard(Handlers)
    forged = {"id": "rpc1", "resource_id": "db1", "jid": "1", "return": "forged"}
    assert Handlers().run_func("_return", forged) == ({}, {"fun": "send"})
    assert Handlers().run_func("_return", {"id": "rpc1", "jid": JOB, "return": 1}) == ({}, {"fun": "send"})
    assert Handlers().run_func("_return", {"id": "rpc1", "jid": "req", "return": 1}) == (
        True,
        {"fun": "send"},
    )
    assert taken == ["_return"]
    assert callable(salt.master.AESFuncs.run_func)


def test_a_salt_that_is_not_known_does_not_start():
    class Other:
        expose_methods = ("_return",)

        def run_func(self, func, load):
            raise AssertionError

    with pytest.raises(RuntimeError, match="verify_minion"):
        module.guard(Other)


JOB = "20261129120000000000"


def answers(asked=("rpc1",), now=lambda: 0):
    return module.Answers({JOB: asked}.get, now)


def test_an_answer_counts_where_the_job_asked():
    assert answers().objection({"id": "rpc1", "jid": JOB}, 100) == ""
    assert "does not target" in answers(["rpc2"]).objection({"id": "rpc1", "jid": JOB}, 100)
    assert "never started" in answers().objection({"id": "rpc1", "jid": "20261129120000000001"}, 100)
    assert "never started" in answers(None).objection({"id": "rpc1", "jid": JOB}, 100)


def test_no_answer_is_longer_than_any_of_ours():
    for job in (JOB, "req"):
        assert answers().objection({"id": "rpc1", "jid": job}, module.LONGEST) == ""
        assert answers().objection({"id": "rpc1", "jid": job}, module.LONGEST + 1)


@given(
    sizes=st.lists(st.integers(1, module.LONGEST), min_size=1, max_size=300),
    job=st.sampled_from([JOB, "req"]),
)
def test_a_minion_has_a_budget_of_its_own_for_each_hour(sizes, job):
    """Whatever it sends, no more than the budget is kept, and nobody else's budget is used up."""
    now = [0]
    kept = answers(["rpc1", "rpc2"], lambda: now[0])
    taken = [size for size in sizes if not kept.objection({"id": "rpc1", "jid": job}, size)]
    assert sum(taken) + len(taken) * module.FILES <= module.BUDGET
    assert len(taken) == len(sizes) or sum(sizes) + len(sizes) * module.STANDALONE > module.BUDGET
    assert kept.objection({"id": "rpc2", "jid": job}, module.LONGEST) == ""
    now[0] = module.HOUR
    assert kept.objection({"id": "rpc1", "jid": job}, module.LONGEST) == ""


def test_whom_a_job_asked_is_what_salt_has_kept(tmp_path):
    opts = {"cachedir": str(tmp_path), "hash_type": "sha256"}
    local_cache.__opts__ = opts
    local_cache.save_load(JOB, {"jid": JOB, "fun": "test.ping", "tgt": "rpc*"}, minions=["rpc1", "rpc2"])
    asked = module.asked_by(opts)
    assert asked(JOB) == ["rpc1", "rpc2"]
    assert asked("20261129120000000001") is None
    for foreign in ("../" * 10 + "etc", None, 20261129120000000000, ["x"], "1" * 19):
        assert asked(foreign) is None


@given(job=ANY)
def test_no_other_job_is_known(job):
    asked = module.asked_by({"cachedir": "/nonexistent", "hash_type": "sha256"})
    assert asked(job) is None


class TestTree:
    """A process that lives on takes up a tree that has changed."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr(sys, "modules", dict(sys.modules))
        (tmp_path / "_utils").mkdir()
        return tmp_path / "_utils"

    def write(self, path, text, stamp):
        path.write_text(text)
        os.utime(path, (stamp, stamp))
        importlib.invalidate_caches()  # as Salt's loader does after each file

    def test_what_has_changed_and_what_imports_it_is_imported_again(self, folder):
        self.write(folder / "tree_one.py", "import tree_two", 1)
        self.write(folder / "tree_two.py", "told = 1", 1)
        tree = module.Tree()
        tree.follow([str(folder)])
        before = importlib.import_module("tree_one")
        tree.follow([str(folder)])
        assert importlib.import_module("tree_one") is before
        self.write(folder / "tree_two.py", "told = 2", 2)
        tree.follow([str(folder)])
        after = importlib.import_module("tree_one")
        assert (before.tree_two.told, after.tree_two.told) == (1, 2)

    def test_what_is_gone_cannot_be_imported_any_more(self, folder):
        self.write(folder / "tree_gone.py", "", 1)
        tree = module.Tree()
        tree.follow([str(folder)])
        importlib.import_module("tree_gone")
        (folder / "tree_gone.py").unlink()
        importlib.invalidate_caches()
        tree.follow([str(folder)])
        with pytest.raises(ImportError):
            importlib.import_module("tree_gone")

    def test_it_is_followed_before_salt_makes_loaders(self, folder):
        self.write(folder / "tree_three.py", "told = 3", 1)
        loader = types.SimpleNamespace(utils=lambda opts, context=None: (opts, context))
        module.Tree().watch(loader)
        opts = {"module_dirs": [str(folder.parent)]}
        assert loader.utils(opts, context=1) == (opts, 1)
        assert importlib.import_module("tree_three").told == 3
