"""One balancer, without backends."""

import json

import pytest

from tests.kitchen.checks import test_converging_again_changes_nothing  # noqa: F401

VIRTUAL = "10.0.0.220"
FETCH = """
import ssl, sys, urllib.error, urllib.request
trust = None
if sys.argv[1].startswith("https:"):
    trust = ssl.create_default_context(cafile="/etc/haproxy/pki/edge-ca.crt")
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5, context=trust)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
"""


def fetch(host, url):
    """Return (status, body)."""
    status, body = host.check_output("python3 -c %s %s", FETCH, url).split("\n", 1)
    return int(status), body


@pytest.mark.parametrize("name", ["haproxy", "haproxy-edge", "keepalived"])
def test_it_runs_and_starts_at_boot(host, name):
    unit = host.service(name)
    assert unit.is_running
    assert unit.is_enabled


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("haproxy -c -q -f", "/etc/haproxy/haproxy.cfg"),
        ("haproxy -c -q -f", "/etc/haproxy/edge.cfg"),
        ("keepalived --config-test --use-file", "/etc/keepalived/keepalived.conf"),
    ],
)
def test_its_configuration_is_valid_and_not_for_everybody(host, command, path):
    assert host.run(f"{command} {path}").rc == 0
    assert host.file(path).mode & 0o007 == 0


@pytest.mark.parametrize("port", [5432, 5433, 8404, 8406, 8545, 8546])
def test_it_listens(host, port):
    sockets = (
        f"tcp://{VIRTUAL}:{port}",
        f"tcp://0.0.0.0:{port}",
        f"tcp://:::{port}",
        f"tcp://10.0.0.210:{port}",
    )
    assert any(host.socket(socket).is_listening for socket in sockets)


def test_alone_it_holds_the_virtual_address(host):
    assert VIRTUAL in host.check_output("ip -4 -o address show")


def test_health_says_in_json_that_no_rpc_node_is_there(host):
    status, body = fetch(host, f"http://{VIRTUAL}:8545/health")
    assert status == 503
    assert isinstance(json.loads(body), dict)


@pytest.mark.parametrize("port", [8404, 8406])
def test_statistics_ask_for_a_password(host, port):
    assert fetch(host, f"https://10.0.0.210:{port}/stats")[0] == 401


@pytest.mark.parametrize("port", [8404, 8406])
def test_it_has_metrics(host, port):
    status, body = fetch(host, f"https://10.0.0.210:{port}/metrics")
    assert status in (200, 401)
    assert status == 401 or "haproxy_process_uptime_seconds" in body


@pytest.mark.parametrize(("unit", "connections"), [("haproxy", 1024), ("haproxy-edge", 3072)])
def test_it_may_open_as_many_files_as_it_serves_connections(host, unit, connections):
    pid = host.check_output(f"systemctl show -P MainPID {unit}")
    limits = host.file(f"/proc/{pid}/limits").content_string
    soft = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(soft) > 2 * connections
