"""Forwarding from this machine into a lab: services, ports and output."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import client, forward, report
from lab.errors import LabError

FILES = client.Files(
    Path("/lab/service-ca.crt"), Path("/lab/edge-ca.crt"), Path("/lab/pgpass"), Path("/lab/netrc")
)
PORTS = {
    "rpc_http": 18545,
    "rpc_ws": 18546,
    "postgres_primary": 15432,
    "postgres_replica": 15433,
    "haproxy_stats": 18404,
}


@pytest.fixture
def taken():
    """Return a function that occupies a port, by default any free port, for the duration of the test."""
    held = []

    def take(port=0):
        listener = socket.create_server(("127.0.0.1", port))
        held.append(listener)
        return listener.getsockname()[1]

    yield take
    for listener in held:
        listener.close()


def chosen(wanted, remembered=None, others=()):
    with forward.listen(wanted, remembered, others) as listener:
        address, port = listener.getsockname()
        assert address == "127.0.0.1"
        return port


def free():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def near(monkeypatch):
    """A service's port for which the first two ports to try are free."""
    first, second = free(), free()
    monkeypatch.setattr(forward, "STEPS", (first - 1000, second - 1000))
    return SimpleNamespace(own=1000, first=first, second=second)


def test_a_port_that_can_be_known_from_the_services_own(near):
    assert chosen(near.own) == near.first


def test_the_next_one_where_that_is_taken(near, taken):
    taken(near.first)
    assert chosen(near.own) == near.second


def test_any_where_all_are_taken(near, taken):
    both = {taken(near.first), taken(near.second)}
    assert chosen(near.own) not in both


def test_the_port_of_the_last_time_comes_first(near):
    last = free()
    assert chosen(near.own, last) == last


def test_the_port_of_another_lab_is_left_to_it_while_that_is_off(near):
    assert chosen(near.own, others={near.first}) == near.second


def test_not_on_a_port_in_use(near, taken):
    assert chosen(near.own, taken()) == near.first


def test_none_beyond_the_last_port_is_tried(monkeypatch):
    monkeypatch.setattr(forward, "STEPS", (10000,))
    assert chosen(60000) < 2**16


def test_no_port_at_all(monkeypatch):
    def refuse(self, address):
        raise OSError("in use")

    monkeypatch.setattr(forward.socket, "socket", type("Taken", (socket.socket,), {"bind": refuse}))
    with pytest.raises(LabError, match="127.0.0.1"):
        forward.listen(8545)


def test_targets_are_the_ports_of_the_virtual_ip(plan):
    found = {one.name: (one.address, one.port) for one in forward.targets("x", plan)}
    assert found == {name: ("10.0.0.100", plan["ports"][name]) for name in PORTS}


def test_each_is_asked_from_where_the_firewall_takes_it(plan):
    spaces = {one.name: one.namespace for one in forward.targets("x", plan)}
    assert spaces.pop("haproxy_stats") == "fanatico-x-salt"
    assert set(spaces.values()) == {"fanatico-x-switch"}


def test_a_plan_without_a_port_has_no_target_for_it(plan):
    ports = {name: port for name, port in plan["ports"].items() if name != "rpc_ws"}
    assert "rpc_ws" not in {one.name for one in forward.targets("x", plan | {"ports": ports})}


def test_the_password_files_own_signs_are_escaped():
    assert client.escaped(r"a:b\c") == r"a\:b\\c"


def lines(plan, ports=None, name="default"):
    lab = SimpleNamespace(plan=plan, name=name, option=lambda: "" if name == "default" else f" --name {name}")
    return report.reach(lab, PORTS if ports is None else ports, FILES, "fanatico")


def test_every_forwarded_port_is_printed(plan, monkeypatch):
    monkeypatch.setattr(report.shutil, "which", lambda name: f"/usr/bin/{name}")
    text = "\n".join(lines(plan))
    assert [port for port in PORTS.values() if str(port) not in text] == []


def test_a_line_for_psql_only_where_there_is_one(plan, monkeypatch):
    monkeypatch.setattr(report.shutil, "which", lambda name: None)
    assert not [line for line in lines(plan) if "sslmode" in line]
    assert [line for line in lines(plan) if "./fanatico psql" in line]


def test_another_lab_is_named_in_every_command_of_ours(plan):
    ours = [line for line in lines(plan, name="second") if "./fanatico" in line]
    assert ours
    assert all("--name second" in line for line in ours)


def test_what_is_not_forwarded_is_not_shown(plan):
    assert len(lines(plan, ports={})) == 1


def test_status_says_what_is_forwarded_and_what_starts_the_rest(plan):
    lab = SimpleNamespace(plan=plan, name="x", option=lambda: " --name x")
    assert "not " not in report.forwarded(lab, PORTS)
    some = {name: port for name, port in PORTS.items() if name != "rpc_ws"}
    said = report.forwarded(lab, some)
    assert "rpc_http on 127.0.0.1:18545" in said
    assert said.endswith("rpc_ws. Start: sudo ./fanatico forward --name x")
