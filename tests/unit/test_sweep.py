"""One question to many minions: an answer counts from whom was asked, and only if nobody gave another one in its name."""

import contextlib

import pytest

from _utils import fanatico_sweep


class Client:
    """Salt's client, whose bus carries what a test puts on it."""

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
        return fanatico_sweep.ask({}, ["db1", "db2"], "test.ping", timeout=0.2)

    return asked


def test_all_answers(ask):
    assert ask(("db1", 1), ("db2", 2)) == {"db1": 1, "db2": 2}


def test_who_was_not_asked_says_nothing_and_ends_nothing(ask):
    assert ask(("rpc1", 1), ("invented", 1), ("db1", 1), ("db2", 2)) == {"db1": 1, "db2": 2}


def test_two_different_answers_of_one_are_none(ask):
    assert ask(("db1", "forged"), ("db1", "true"), ("db2", 2)) == {"db2": 2}


def test_the_same_answer_twice_is_one(ask):
    assert ask(("db1", 1), ("db1", 1), ("db2", 2)) == {"db1": 1, "db2": 2}


@pytest.mark.parametrize("broken", [("db1",), ()])
def test_an_event_without_an_answer_is_none(ask, broken):
    assert ask(broken, ("db2", 2)) == {"db2": 2}
