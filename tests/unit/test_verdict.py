"""Verdicts, looking side by side, waiting, and what is said of a request that failed."""

import contextvars
import threading
import time

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_verdict
import fanatico_wait
from tests.support.peers import peers


@pytest.mark.parametrize("status", fanatico_verdict.STATUSES)
def test_each_word_makes_a_check_of_its_status(status):
    check = getattr(fanatico_verdict, status)("db2", "because", "do this")
    assert check == {"status": status, "value": "db2", "detail": "because", "hint": "do this"}


def test_a_status_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="fine"):
        fanatico_verdict.check("fine")


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (["ok", "ok"], "ok"),
        (["ok", "unknown"], "unknown"),
        (["unknown", "degraded"], "degraded"),
        (["degraded", "critical", "ok"], "critical"),
        ([], "unknown"),
    ],
)
def test_the_worst_one_counts(statuses, worst):
    assert fanatico_verdict.worst(statuses) == worst
    checks = {str(number): fanatico_verdict.check(status) for number, status in enumerate(statuses)}
    assert fanatico_verdict.overall(checks) == worst


def test_probes_run_side_by_side_and_a_hung_one_costs_one_timeout():
    over = threading.Event()
    probes = {
        "quick": lambda: 1,
        "broken": lambda: 1 / 0,
        "hung": lambda: over.wait(10),
        "hung too": lambda: over.wait(10),
    }
    started = time.monotonic()
    answers = fanatico_wait.gather(probes, 0.3)
    took = time.monotonic() - started
    over.set()
    assert took < 1
    assert list(answers) == list(probes)
    assert answers["quick"] == (1, None)
    assert isinstance(answers["broken"][1], ZeroDivisionError)
    assert isinstance(answers["hung"][1], TimeoutError)
    assert "0.3 s" in str(answers["hung too"][1])


def test_probes_see_the_callers_context():
    """Salt keeps what a dunder means in a context variable."""
    variable = contextvars.ContextVar("variable", default="lost")
    variable.set("there")
    answers = fanatico_wait.gather({str(n): variable.get for n in range(8)}, 5)
    assert {value for value, _ in answers.values()} == {"there"}


def test_waiting_ends_as_soon_as_it_is_so():
    seen = iter([(False, "one"), (False, "two"), (True, "three")])
    assert fanatico_wait.until(lambda: next(seen), 5, 0.001) == (True, "three")


def test_waiting_is_bounded_and_tells_what_was_last_seen():
    started = time.monotonic()
    assert fanatico_wait.until(lambda: (False, "nothing"), 0.05, 0.01) == (False, "nothing")
    assert fanatico_wait.until(lambda: 1 / 0, 0.05, 0.01) == (False, "division by zero")
    assert time.monotonic() - started < 2


def test_a_wait_of_no_time_still_looks_once():
    assert fanatico_wait.until(lambda: (True, 1), 0) == (True, 1)


def test_the_message_of_a_wait_that_ran_out():
    message = fanatico_wait.timeout_message(
        "db1", "a leader", 90, "db1 replica starting", "patroni", "line 1\nline 2"
    )
    assert "db1: waited 90 s for a leader" in message
    assert "db1 replica starting" in message
    assert message.endswith("line 1\nline 2")


@pytest.fixture
def peer():
    with peers("one") as started:
        yield started["one"]


def test_json_is_parsed_and_text_is_not(peer):
    peer.answers = {"GET /json": (200, {"a": 1}), "GET /text": (503, "down")}
    url = f"http://{peer.address}:{peer.port}"
    assert fanatico_http.get(f"{url}/json") == (200, {"a": 1})
    assert fanatico_http.get(f"{url}/text") == (503, "down")


def test_payload_and_password_are_sent(peer):
    peer.answers["PATCH /config"] = (200, {})
    fanatico_http.call(
        "PATCH", f"http://{peer.address}:{peer.port}/config", {"ttl": 20}, ("patroni", "secret word")
    )
    [(method, _, payload, headers)] = peer.seen
    assert (method, payload) == ("PATCH", {"ttl": 20})
    assert headers["Authorization"].startswith("Basic ")


def test_proxies_of_the_environment_are_left_out(peer, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    peer.answers["GET /"] = (200, "ok")
    assert fanatico_http.get(f"http://{peer.address}:{peer.port}/") == (200, "ok")


def test_a_refused_connection_is_said_in_words(peer):
    peer.stop()
    with pytest.raises(CommandExecutionError, match=rf"{peer.port}/health: connection refused$") as raised:
        fanatico_http.get(f"http://{peer.address}:{peer.port}/health")
    assert not fanatico_http.timed_out(raised.value)


def test_a_hung_peer_costs_the_timeout(peer):
    peer.hang("GET /")
    started = time.monotonic()
    with pytest.raises(fanatico_http.NoAnswer) as raised:
        fanatico_http.get(f"http://{peer.address}:{peer.port}/", timeout=0.2)
    assert fanatico_http.timed_out(raised.value)
    assert time.monotonic() - started < 1


def test_fetch_raises_the_peers_own_words(peer):
    peer.answers = {"GET /a": (500, {"message": "etcdserver: no leader"}), "GET /b": (503, "not now")}
    url = f"http://{peer.address}:{peer.port}"
    with pytest.raises(CommandExecutionError, match="HTTP 500 etcdserver: no leader"):
        fanatico_http.fetch("GET", f"{url}/a")
    with pytest.raises(CommandExecutionError, match="HTTP 503 not now"):
        fanatico_http.fetch("GET", f"{url}/b")
