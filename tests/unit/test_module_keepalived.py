"""fanatico_keepalived: the virtual IP held here, elsewhere and nowhere."""

import copy
import os
import pathlib
import types

import psutil
import pytest
from salt.exceptions import CommandExecutionError

from _modules import fanatico_keepalived
from tests.support.peers import peers, tls


@pytest.fixture
def balancer():
    """HAProxy behind the virtual IP."""
    with peers("haproxy", secure=True) as started:
        started["haproxy"].answers["GET /live"] = (200, "ok")
        yield started["haproxy"]


@pytest.fixture
def held(monkeypatch):
    """The addresses of this machine."""
    found = {"lo": ["127.0.0.1"], "host0": ["10.0.0.10"]}

    def net_if_addrs():
        return {
            name: [types.SimpleNamespace(address=one) for one in addresses]
            for name, addresses in found.items()
        }

    monkeypatch.setattr(psutil, "net_if_addrs", net_if_addrs)
    return found


@pytest.fixture
def pid_file(tmp_path, monkeypatch):
    """The pid file of a process with the name of Keepalived."""
    path = tmp_path / "keepalived.pid"
    monkeypatch.setattr(fanatico_keepalived, "PID_FILE", str(path))
    path.write_text(f"{os.getpid()}\n")
    before = pathlib.Path("/proc/self/comm").read_text()
    pathlib.Path("/proc/self/comm").write_text("keepalived")
    yield path
    pathlib.Path("/proc/self/comm").write_text(before)


@pytest.fixture
def configure_loader_modules(plan, balancer, held, pid_file):
    plan = copy.deepcopy(plan)
    plan["virtual_ip"]["address"] = balancer.address
    plan["ports"]["haproxy_stats"] = balancer.port
    salt = {
        "fanatico.journal": lambda name: f"last line of {name}",
        "fanatico_pki.paths": lambda authority: tls(),
    }
    return {
        fanatico_keepalived: {
            "__pillar__": {"plan": plan},
            "__opts__": {"id": "haproxy1"},
            "__salt__": salt,
        }
    }


def check():
    return fanatico_keepalived.checks(timeout=0.3)["keepalived.address"]


def test_master_and_standby_are_ok(held, balancer):
    assert (check()["status"], check()["value"]) == ("ok", "backup")
    held["host0"].append(balancer.address)
    assert (check()["status"], check()["value"]) == ("ok", "master")
    assert fanatico_keepalived.holds_address() is True


def test_no_balancer_holds_the_virtual_ip(balancer):
    balancer.stop()
    assert check()["status"] == "critical"
    assert "not held here" in check()["detail"]


def test_virtual_ip_held_here_without_haproxy(balancer, held):
    held["host0"].append(balancer.address)
    balancer.hang("GET /live")
    assert check()["status"] == "critical"
    assert "HAProxy does not answer" in check()["detail"]


def test_a_dead_keepalived_whose_virtual_ip_is_still_here(balancer, held, pid_file):
    pid_file.unlink()
    assert "cannot take over" in check()["detail"]
    held["host0"].append(balancer.address)
    assert check()["status"] == "critical"
    assert "both balancers may hold it" in check()["detail"]


def test_state(balancer):
    assert fanatico_keepalived.state() == {
        "address": balancer.address,
        "role": "backup",
        "running": True,
        "answers": True,
    }


def test_the_interface_of_the_plan_address(held):
    assert fanatico_keepalived.interface() == "host0"
    held["host0"].clear()
    assert fanatico_keepalived.interface() is None


@pytest.mark.parametrize(
    ("version", "can"),
    [("1:2.3.3-1", False), ("1:2.4.0-1", True), ("1:2.10.0-1", True), ("3.0.0", True), ("", False)],
)
def test_can_sign(monkeypatch, version, can):
    monkeypatch.setitem(fanatico_keepalived.__salt__, "pkg.version", lambda name: version)
    assert fanatico_keepalived.can_sign() is can


def test_waiting_for_the_address(balancer):
    assert fanatico_keepalived.wait_address(timeout=1)["answers"] is True
    balancer.stop()
    with pytest.raises(CommandExecutionError, match=r"(?s)the virtual IP.*last line of keepalived"):
        fanatico_keepalived.wait_address(timeout=0.2)
