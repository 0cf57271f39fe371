"""Keys of minions: which are accepted, which are not, and what is said of them."""

import runpy
import sys
import types

import pytest
import salt.utils.crypt
from salt.exceptions import CommandExecutionError

import fanatico_master
from _runners import fanatico_keys
from tests.support import MODULES, REPO

PLAN = {
    "nodes": {
        "salt": {"address": "10.0.0.5", "roles": ["master"]},
        "rpc1": {"address": "10.0.1.10", "roles": ["rpc"]},
        "rpc2": {"address": "10.0.1.11", "roles": ["rpc"]},
    }
}


def key(text):
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"


class Keys:
    """The master's keys, as salt.key.Key returns them."""

    def __init__(self, held):
        self.held = held  # {id: {place: public key}}
        self.accepted = []

    def __call__(self, opts):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return False

    def list_keys(self):
        places = ("minions", "minions_pre", "minions_rejected", "minions_denied")
        return {place: [name for name, held in self.held.items() if place in held] for place in places}

    def key_str(self, match):
        return {place: {match: text} for place, text in self.held.get(match, {}).items()}

    @property
    def cache(self):
        """Where a denied key is one of several."""
        return self

    def store(self, bank, name, keys):
        assert bank == "denied_keys"
        self.held[name]["minions_denied"] = keys

    def accept(self, match_dict, include_denied=False):
        self.accepted += match_dict.get("minions_pre", [])
        for name in match_dict.get("minions_denied", []) if include_denied else []:
            self.accepted.append(name)
            self.held[name] = {"minions": self.held[name]["minions_denied"][0]}


class Hosts:
    """What salt-ssh brings back: {id: answer of a raw command}."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def __call__(self, mopts):
        return self

    def cmd(self, tgt, fun, arg, **kwargs):
        assert kwargs["raw_shell"]
        assert kwargs["tgt_type"] == "list"
        self.asked.append((tgt, [fun, *arg]))
        return {name: answer for name, answer in self.answers.items() if name in tgt}


@pytest.fixture
def configure_loader_modules(monkeypatch):
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: PLAN)
    opened = []
    runners = {
        "fanatico.admit": lambda: opened.append("admitted"),
        "fanatico.master_changed": lambda: opened.append("backed up"),
    }
    return {
        fanatico_keys: {
            "__opts__": {"cachedir": "/cache", "user": "root", "id": "salt_master"},
            "__context__": {},
            "__salt__": runners,
            "opened": opened,
        }
    }


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Everything is as it should be: each sent its own key, and the master's minion is accepted."""
    (tmp_path / "minion.pub").write_text(key("salt's"))
    monkeypatch.setattr(fanatico_keys, "_OWN_KEY", str(tmp_path / "minion.pub"))
    keys = Keys(
        {
            "salt": {"minions": key("salt's")},
            "rpc1": {"minions_pre": key("rpc1's")},
            "rpc2": {"minions_pre": key("rpc2's")},
        }
    )
    hosts = Hosts(
        {name: {"retcode": 0, "stdout": key(f"{name}'s"), "stderr": ""} for name in ("rpc1", "rpc2")}
    )
    monkeypatch.setattr(fanatico_keys.salt.key, "Key", keys)
    monkeypatch.setattr(fanatico_keys.salt.client.ssh.client, "SSHClient", hosts)
    dropped = []
    monkeypatch.setattr(fanatico_keys.salt.crypt, "dropfile", lambda *words: dropped.append(words))
    return types.SimpleNamespace(keys=keys, hosts=hosts, tmp_path=tmp_path, dropped=dropped)


def test_what_the_host_has_is_accepted(world):
    found = fanatico_keys.accept_keys()
    assert found == {"accepted": ["rpc1", "rpc2"], "refused": {}, "missing": {}}
    assert world.keys.accepted == ["rpc1", "rpc2"]
    assert fanatico_keys.opened == ["admitted", "backed up"]


def test_a_terminal_around_it_does_not_alter_a_key(world):
    world.hosts.answers["rpc1"]["stdout"] = "Welcome!\r\n" + key("rpc1's").replace("\n", "\r\n")
    assert "rpc1" in fanatico_keys.accept_keys()["accepted"]


def test_an_unknown_key_is_refused_with_both_fingerprints(world):
    world.keys.held["rpc1"] = {"minions_pre": key("unknown")}
    found = fanatico_keys.accept_keys()
    assert found["accepted"] == world.keys.accepted == ["rpc2"]
    assert fanatico_keys._finger(key("rpc1's")) in found["refused"]["rpc1"]
    assert fanatico_keys._finger(key("unknown")) in found["refused"]["rpc1"]
    assert found["retcode"] == 1


def test_a_host_that_was_reinstalled_is_distinguished_from_another_host(world):
    world.keys.held["rpc1"] = {"minions": key("old"), "minions_denied": [key("rpc1's")]}
    refused = fanatico_keys.accept_keys()["refused"]
    assert "salt-key -d rpc1" in refused["rpc1"]
    assert fanatico_keys._finger(key("old")) in refused["rpc1"]
    assert world.keys.accepted == ["rpc2"]


def test_a_key_denied_beside_the_accepted_key_is_nothing_to_do(world):
    world.keys.held["rpc1"] = {"minions": key("rpc1's"), "minions_denied": [key("unknown")]}
    assert fanatico_keys.accept_keys() == {"accepted": ["rpc2"], "refused": {}, "missing": {}}


class TestRenewKey:
    """A host that was reinstalled; its SSH host key proves its new minion key."""

    def test_its_new_key_takes_the_old_ones_place(self, world):
        world.keys.held["rpc1"] = {"minions": key("old"), "minions_denied": key("rpc1's")}
        told = fanatico_keys.renew_key("rpc1", timeout=5)
        assert (told["acted"], told["running"], told["detail"]) == (True, True, "")
        assert world.keys.accepted == ["rpc1"]
        assert world.dropped == [("/cache", "root", "salt_master")], "the old key's owner reads no more jobs"

    def test_whoever_sends_keys_in_its_name_is_not_in_the_way(self, world):
        """There is an accepted key at any time: otherwise the next key that is sent would become the pending one."""
        stranger = key("unknown")
        world.keys.held["rpc1"] = {
            "minions": key("old"),
            "minions_denied": [stranger, key("rpc1's"), stranger],
        }
        assert fanatico_keys.renew_key("rpc1", timeout=5)["running"] is True
        assert world.keys.held["rpc1"] == {"minions": key("rpc1's")}

    def test_one_that_ssh_does_not_vouch_for_is_left_to_a_person(self, world):
        world.keys.held["rpc1"] = {"minions": key("old"), "minions_denied": key("rpc1's")}
        world.hosts.answers["rpc1"] = {
            "retcode": 255,
            "stdout": "",
            "stderr": "Host key verification failed.",
        }
        told = fanatico_keys.renew_key("rpc1")
        assert (told["acted"], told["running"], told["code"]) == (False, False, "key-not-vouched")
        assert "Host key verification failed" in told["detail"], "what ssh said"
        assert world.keys.held["rpc1"]["minions"] == key("old")

    def test_an_impostor_changes_nothing(self, world):
        held = {"minions": key("rpc1's"), "minions_denied": [key("unknown"), key("another")]}
        world.keys.held["rpc1"] = dict(held)
        told = fanatico_keys.renew_key("rpc1")
        assert (told["acted"], told["running"]) == (False, True)
        assert told["code"] == "name-misused"
        assert world.keys.held["rpc1"] == held

    def test_a_third_key_is_not_the_hosts_and_not_accepted(self, world):
        world.keys.held["rpc1"] = {"minions": key("old"), "minions_denied": key("unknown")}
        told = fanatico_keys.renew_key("rpc1", timeout=0.1)
        assert (told["acted"], told["running"], told["code"]) == (False, False, "name-misused")
        assert world.keys.accepted == []
        assert world.keys.held["rpc1"]["minions"] == key("old")

    def test_of_one_without_an_accepted_key_nothing_is_deleted(self, world):
        told = fanatico_keys.renew_key("rpc1")
        assert (told["acted"], told["running"], told["code"]) == (False, True, "key-not-accepted")
        assert world.keys.held["rpc1"] == {"minions_pre": key("rpc1's")}


def test_a_rejected_key_stays_rejected(world):
    world.keys.held["rpc1"] = {"minions_rejected": key("rpc1's")}
    assert "salt-key -d rpc1" in fanatico_keys.accept_keys()["refused"]["rpc1"]
    assert world.keys.accepted == ["rpc2"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"retcode": 255, "stdout": "", "stderr": "Host key verification failed.\r\n"}, "Host key verification failed."),
        ({"retcode": 1, "stdout": "", "stderr": "cat: …/minion.pub: No such file\n"}, "No such file"),
        ({"retcode": 0, "stdout": "Welcome!\n", "stderr": ""}, "Welcome!"),
        ({"retcode": 0, "stdout": "", "stderr": ""}, "exit code 0"),
        ({"retcode": 0, "stdout": key(""), "stderr": ""}, "over SSH"),
        (None, "not in the roster"),
    ],
)  # fmt: skip
def test_a_host_that_cannot_be_asked_is_not_trusted(world, answer, words):
    world.hosts.answers["rpc1"] = answer
    refused = fanatico_keys.accept_keys()["refused"]
    assert words in refused["rpc1"]
    assert world.keys.accepted == ["rpc2"]


def test_a_key_that_was_not_sent_is_missing(world):
    del world.keys.held["rpc1"]
    found = fanatico_keys.accept_keys(timeout=0)
    assert list(found["missing"]) == ["rpc1"]
    assert "salt-ssh rpc1 state.apply minion" in found["missing"]["rpc1"]
    assert found["accepted"] == ["rpc2"]
    assert found["retcode"] == 1


def test_the_masters_firewall_is_opened_before_keys_are_awaited(world):
    world.keys.list_keys = lambda: pytest.fail("keys were listed first") if not fanatico_keys.opened else {}
    assert "firewall" in fanatico_keys.accept_keys(timeout=0)["missing"]["rpc1"]


def test_a_host_that_is_not_in_the_plan_is_refused(world):
    for refused in (lambda: fanatico_keys.accept_keys(ids=["rpc9"]), lambda: fanatico_keys.renew_key("rpc9")):
        with pytest.raises(CommandExecutionError, match="rpc9: .* salt, rpc1, rpc2"):
            refused()


def test_a_key_that_comes_late_is_waited_for(world, monkeypatch):
    late = world.keys.held.pop("rpc1")
    monkeypatch.setattr(fanatico_keys.time, "sleep", lambda seconds: world.keys.held.update(rpc1=late))
    assert fanatico_keys.accept_keys()["accepted"] == ["rpc1", "rpc2"]


def test_no_host_is_asked_where_no_key_is_pending(world):
    world.keys.held = {name: {"minions": key(f"{name}'s")} for name in world.keys.held}
    assert fanatico_keys.accept_keys() == {"accepted": [], "refused": {}, "missing": {}}
    assert world.hosts.asked == []


def test_only_the_named_hosts_are_checked(world):
    assert fanatico_keys.accept_keys(ids=["rpc2"])["accepted"] == ["rpc2"]
    assert [names for names, _ in world.hosts.asked] == [["rpc2"]]


def test_the_masters_own_minion_is_asked_without_ssh(world):
    world.keys.held["salt"] = {"minions_pre": key("salt's")}
    assert fanatico_keys.accept_keys()["accepted"] == ["salt", "rpc1", "rpc2"]
    assert [names for names, _ in world.hosts.asked] == [["rpc1", "rpc2"]]


def test_a_user_who_is_not_root_reads_with_sudo(world):
    fanatico_keys.__opts__["roster_defaults"] = {"user": "admin", "sudo": True}
    fanatico_keys.accept_keys()
    assert [argv[:3] for _, argv in world.hosts.asked] == [["sudo", "-n", "cat"]]


def test_fingerprints_are_the_minions_own(tmp_path):
    """As `salt-call --local key.finger` prints them on the host."""
    path = tmp_path / "minion.pub"
    path.write_text(key("MIIB\nIjAN"))
    assert fanatico_keys._finger(path.read_text()) == salt.utils.crypt.pem_finger(str(path))


class TestRoster:
    """`salt/master/files/roster.py`, as Salt's renderer `py` would run it."""

    @pytest.fixture
    def roster(self, tmp_path, monkeypatch):
        monkeypatch.undo()  # the plan is the committed one
        monkeypatch.setattr(sys, "path", [*sys.path])
        (tmp_path / "master.pub").write_text(key("master"))
        opts = {
            "pillar_roots": {"base": [str(REPO / "pillar")]},
            "pki_dir": str(tmp_path),
            "module_dirs": MODULES,
        }
        run = runpy.run_path(str(REPO / "salt/master/files/roster.py"))["run"]
        run.__globals__.update(__opts__=opts)
        return run()

    def test_it_holds_every_host_but_the_master(self, roster, plan):
        assert {name: host["host"] for name, host in roster.items()} == {
            name: node["address"] for name, node in plan["nodes"].items() if "master" not in node["roles"]
        }

    def test_it_names_the_master_to_trust(self, roster):
        expected = fanatico_keys._finger(key("master"))
        assert {host["minion_opts"]["master_finger"] for host in roster.values()} == {expected}
