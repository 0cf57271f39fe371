"""Debian's package scripts do not start, stop or restart our services."""

import subprocess

import pytest

import fanatico_plan


@pytest.fixture
def policy(make_node, tmp_path):
    """Return a function that runs the rendered policy-rc.d for a service and returns its exit code."""
    node = make_node("default", "db1")
    (chunk,) = (one for one in node.compile("base.installed") if one.get("name") == "/usr/sbin/policy-rc.d")
    path = tmp_path / "policy-rc.d"
    path.write_text(node.render(chunk))
    return lambda service: subprocess.run(["sh", path, service, "restart"], check=False).returncode


@pytest.mark.parametrize(
    "service", ["patroni", "patroni.service", "haproxy", "fanatico-rpc", "prometheus-node-exporter"]
)
def test_our_services_are_refused(policy, service):
    assert policy(service) == 101


def test_all_reserved_services_are_refused(policy):
    services = [name.replace("*", "x") for name in fanatico_plan.reserved()["services"]]
    assert services
    assert {policy(name) for name in services} == {101}


def test_other_services_are_allowed(policy):
    assert policy("cron") == policy("ssh.service") == 0
