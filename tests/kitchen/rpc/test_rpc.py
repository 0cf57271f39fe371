"""An RPC node from the artifact in the pillar."""

import json

import pytest

from tests.kitchen.checks import test_converging_again_changes_nothing  # noqa: F401

ADDRESS = "10.0.1.210"
ASK = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=5).read().decode())
"""


def rpc(host, method):
    question = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": []})
    return json.loads(host.check_output("python3 -c %s %s %s", ASK, f"http://{ADDRESS}:8545", question))


def test_it_runs_and_starts_at_boot(host):
    unit = host.service("fanatico-rpc")
    assert unit.is_running
    assert unit.is_enabled


@pytest.mark.parametrize("port", [8545, 8546])
def test_it_listens_on_its_plan_address(host, port):
    sockets = (f"tcp://{ADDRESS}:{port}", f"tcp://0.0.0.0:{port}", f"tcp://:::{port}")
    assert any(host.socket(socket).is_listening for socket in sockets)


def test_it_answers(host):
    assert int(rpc(host, "eth_blockNumber")["result"], 16) >= 0


def test_its_unit_is_hardened(host):
    shown = host.check_output(
        "systemctl show fanatico-rpc -p NoNewPrivileges,ProtectSystem,ProtectHome,User,DynamicUser"
    )
    facts = dict(line.split("=", 1) for line in shown.splitlines())
    assert facts["NoNewPrivileges"] == "yes"
    assert facts["ProtectSystem"] == "strict"
    assert facts["ProtectHome"] in ("yes", "tmpfs")
    assert facts["User"] not in ("", "root") or facts["DynamicUser"] == "yes"
