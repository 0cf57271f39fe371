"""fanatico_node_exporter: an exporter that answers, one that does not, and a host without a certificate."""

import copy

import pytest

from _modules import fanatico_node_exporter as module
from tests.support.peers import peers, tls


@pytest.fixture
def exporter():
    with peers("node_exporter", secure=True) as started:
        started["node_exporter"].answers["GET /"] = (200, "Node Exporter")
        yield started["node_exporter"]


@pytest.fixture
def files():
    return dict(tls())


@pytest.fixture
def configure_loader_modules(plan, exporter, files):
    plan = copy.deepcopy(plan)
    plan["nodes"]["rpc1"]["address"] = exporter.address
    plan["ports"]["node_exporter"] = exporter.port
    salt = {"fanatico_pki.paths": {"monitor": files}.get}
    return {module: {"__opts__": {"id": "rpc1"}, "__pillar__": {"plan": plan}, "__salt__": salt}}


def up():
    return module.checks(timeout=1)["node_exporter.up"]


def test_an_exporter_that_answers():
    assert (up()["status"], up()["value"]) == ("ok", 200)
    assert module.probe()["facts"] == {"status": 200}


def test_a_host_whose_exporter_does_not_answer_still_serves(exporter):
    exporter.answers["GET /"] = (503, "")
    assert (up()["status"], up()["value"]) == ("degraded", 503)
    exporter.stop()
    assert up()["status"] == "degraded"
    assert "journalctl -u prometheus-node-exporter" in up()["hint"]


def test_before_it_has_a_certificate(files):
    files["cert"] = "/nonexistent/monitor.crt"
    assert up()["status"] == "degraded"
    assert "roles.certified" in up()["detail"]


def test_the_default_port():
    del module.__pillar__["plan"]["ports"]["node_exporter"]
    assert ":9100/" in up()["detail"]
