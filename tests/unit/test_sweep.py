"""One call to many minions: only answers of these minions count, and contradictory answers are dropped."""

import contextlib
import time
import types

import pytest
import salt.client

import fanatico_sweep


class Client:
    """A fake of Salt's client, with events set by a test."""

    def __init__(self, returns):
        self.event = self
        self._returns = iter(returns)

    def run_job(self, *_, **__):
        return {"jid": "1"}

    def get_event(self, **_):
        answer = next(self._returns, None)
        return answer and {"data": dict(zip(("id", "return"), answer, strict=False))}


@pytest.fixture
def ask(monkeypatch):
    def asked(*returns):
        client = contextlib.nullcontext(Client(returns))
        monkeypatch.setattr(fanatico_sweep.salt.client, "get_local_client", lambda **_: client)
        return fanatico_sweep.fanout({}, ["db1", "db2"], "test.ping", timeout=0.2)

    return asked


def test_all_answers(ask):
    assert ask(("db1", 1), ("db2", 2)) == {"db1": 1, "db2": 2}


def test_answers_of_other_minions_are_ignored(ask):
    assert ask(("rpc1", 1), ("invented", 1), ("db1", 1), ("db2", 2)) == {"db1": 1, "db2": 2}


def test_two_different_answers_of_a_minion_are_dropped(ask):
    assert ask(("db1", "forged"), ("db1", "true"), ("db2", 2)) == {"db2": 2}


def test_a_repeated_answer_counts_once(ask):
    assert ask(("db1", 1), ("db1", 1), ("db2", 2)) == {"db1": 1, "db2": 2}


@pytest.mark.parametrize("broken", [("db1",), ()])
def test_an_event_without_an_answer_is_ignored(ask, broken):
    assert ask(broken, ("db2", 2)) == {"db2": 2}


class FakeClient:
    """The part of LocalClient that a sweep uses: some minions answer, others never do."""

    def __init__(self, returns):
        self.returns, self.event = list(returns.items()), self

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return False

    def run_job(self, ids, function, arg, **options):
        self.asked = (ids, function, arg, options)
        return {"jid": "1", "minions": ids}

    def get_event(self, wait, tag, **options):
        assert tag == "salt/job/1/ret/"
        if not self.returns:
            time.sleep(wait)
            return None
        name, value = self.returns.pop(0)
        return {"tag": f"{tag}{name}", "data": {"id": name, "return": value}}


def test_a_sweep_ends_with_the_last_answer_or_the_timeout(monkeypatch):
    client = FakeClient({"a": 1, "b": 2})
    monkeypatch.setattr(salt.client, "get_local_client", lambda mopts: client)
    started = time.monotonic()
    assert fanatico_sweep.fanout({}, ["a", "b"], "test.ping", (), 5) == {"a": 1, "b": 2}
    assert time.monotonic() - started < 1
    client.returns = [("a", 1)]
    assert fanatico_sweep.fanout({}, ["a", "b"], "test.ping", (), 0.2) == {"a": 1}
    assert client.asked[3]["tgt_type"] == "list"


def test_a_sweep_over_no_minions_asks_none(monkeypatch):
    monkeypatch.setattr(salt.client, "get_local_client", lambda mopts: types.SimpleNamespace())
    assert fanatico_sweep.fanout({}, [], "test.ping") == {}
