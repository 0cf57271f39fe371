"""The state that loads the certificates on disk into HAProxy."""

from unittest.mock import Mock

import pytest
from salt.exceptions import CommandExecutionError

from _states import fanatico_haproxy as state

CRT, CA = "/etc/haproxy/pki/edge.crt", "/etc/haproxy/pki/service-ca.crt"


class HAProxy:
    """A HAProxy with loaded files, and its reaction to an update or a reload."""

    def __init__(self):
        self.disk, self.runs, self.up = {CRT: ["B"], CA: ["A"]}, {CRT: ["A"], CA: ["A"]}, True
        self.why, self.reloads, self.reload_works = {}, 0, True

    def certificates(self, unit):
        assert unit == "haproxy"
        return {path: {"runs": runs, "disk": self.disk.get(path)} for path, runs in self.runs.items()}

    def update_certificates(self, unit):
        assert unit == "haproxy"
        stale = [path for path, runs in self.runs.items() if runs != self.disk[path]]
        self.runs |= {path: self.disk[path] for path in stale if path not in self.why}
        return {path: self.why.get(path, "") for path in stale}

    def reload(self, name):
        assert name == "haproxy"
        self.reloads += 1
        if self.reload_works:
            self.runs = dict(self.disk)


@pytest.fixture
def haproxy():
    return HAProxy()


@pytest.fixture
def opts():
    return {"id": "haproxy1", "test": False}


@pytest.fixture
def configure_loader_modules(haproxy, opts):
    salt = {
        "service.status": lambda name: haproxy.up,
        "service.reload": haproxy.reload,
        "fanatico_haproxy.certificates": haproxy.certificates,
        "fanatico_haproxy.update_certificates": haproxy.update_certificates,
    }
    return {state: {"__opts__": opts, "__salt__": salt}}


def test_a_certificate_is_loaded_without_a_reload(haproxy):
    answer = state.certified("haproxy")
    assert (answer["result"], answer["changes"]) == (True, {CRT: {"old": "A", "new": "B"}})
    assert haproxy.reloads == 0
    assert state.certified("haproxy")["changes"] == {}


def test_a_dry_run_changes_nothing(haproxy, opts):
    opts["test"] = True
    answer = state.certified("haproxy")
    assert (answer["result"], list(answer["changes"])) == (None, [CRT])
    assert haproxy.runs[CRT] == ["A"]


def test_a_stopped_haproxy_reads_them_when_it_starts(haproxy):
    haproxy.up = False
    assert (state.certified("haproxy")["result"], haproxy.runs[CRT]) == (True, ["A"])


def test_a_reload_loads_the_rest_and_the_reason_is_reported(haproxy):
    haproxy.disk[CA], haproxy.why = ["N"], {CA: "only servers name it"}
    answer = state.certified("haproxy")
    assert (answer["result"], haproxy.reloads) == (True, 1)
    assert f"({CA}: only servers name it)" in answer["comment"]


def test_a_reload_without_effect_is_a_failure(haproxy):
    haproxy.why, haproxy.reload_works = {CRT: "inconsistencies between private key and certificate"}, False
    answer = state.certified("haproxy", timeout=0)
    assert answer["result"] is False
    for word in ("haproxy1", CRT, "inconsistencies", "journalctl -u haproxy"):
        assert word in answer["comment"]


def test_a_missing_file_is_a_failure_and_nothing_changes(haproxy):
    del haproxy.disk[CRT]
    answer = state.certified("haproxy")
    assert (answer["result"], haproxy.reloads) == (False, 0)
    assert CRT in answer["comment"]


def test_a_haproxy_that_does_not_answer_is_a_failure(monkeypatch):
    broken = Mock(side_effect=CommandExecutionError("haproxy1: no answer"))
    monkeypatch.setitem(state.__salt__, "fanatico_haproxy.certificates", broken)
    assert (state.certified("haproxy")["result"], state.certified("haproxy")["comment"]) == (
        False,
        "haproxy1: no answer",
    )
