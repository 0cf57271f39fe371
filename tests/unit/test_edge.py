"""RPC nodes taken out of HAProxy's rotation and put back, and CloudFlare's networks: minions are made up."""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

import fanatico_master
import fanatico_sweep
import fanatico_wait
from _runners import fanatico_edge as edge


class Fleet:
    """RPC nodes and balancers that answer as they would."""

    def __init__(self):
        self.out, self.sockets, self.deaf, self.behind = set(), 0, set(), set()

    def fanout(self, opts, nodes, function, args=(), timeout=0):
        answers = {}
        for node in nodes:
            if function == "fanatico_rpc.drain":
                self.out.add(node)
            elif function == "fanatico_rpc.undrain":
                self.out.discard(node)
            answers[node] = {
                "fanatico_rpc.rotation": lambda node=node: {"ready": node not in self.out, "why": "block 7"},
                "fanatico_rpc.sockets": lambda: self.sockets,
                "fanatico_haproxy.backends": lambda node=node: {
                    "rpc_http": {
                        "up": [
                            one
                            for one in ("rpc1", "rpc2", "rpc3")
                            if one not in self.behind and (one not in self.out or node in self.deaf)
                        ]
                    }
                },
            }.get(function, dict)()
        return answers


@pytest.fixture
def fleet(plan, monkeypatch):
    made = Fleet()
    monkeypatch.setattr(edge, "__opts__", {}, raising=False)
    pillar = {"cloudflare": {"ranges": ["10.0.0.0/8"]}}
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_master, "compiled", lambda opts, node: (pillar, []))
    monkeypatch.setattr(fanatico_sweep, "fanout", made.fanout)
    monkeypatch.setattr(fanatico_wait, "until", lambda look, timeout, interval: look())
    return made


def test_drain_and_undrain(fleet):
    assert edge.drain("rpc2") == {"node": "rpc2", "out": True, "sockets": 0, "others": ["rpc1", "rpc3"]}
    assert fleet.out == {"rpc2"}
    assert edge.undrain("rpc2") == {"node": "rpc2", "out": False}


def test_the_last_node_in_rotation_is_not_drained(fleet):
    fleet.out = {"rpc1", "rpc3"}
    with pytest.raises(CommandExecutionError, match="fanatico_rpc.rotation"):
        edge.drain("rpc2")
    assert "rpc2" not in fleet.out
    assert edge.drain("rpc2", force=True)["out"]


def test_websockets_that_stay_open_are_counted(fleet):
    fleet.sockets = 3
    assert edge.drain("rpc2")["sockets"] == 3


def test_a_balancer_that_still_sends_is_named(fleet):
    fleet.deaf = {"haproxy2"}
    with pytest.raises(CommandExecutionError, match="haproxy2 still sends"):
        edge.drain("rpc2")


def test_a_balancer_whose_edge_does_not_answer_counts_as_sending(fleet, monkeypatch):
    silent = {"haproxy-edge": {"status": "no answer", "up": [], "down": {}, "sessions": 0}}
    answered = fleet.fanout

    def fanout(opts, nodes, function, *more, **settings):
        answers = answered(opts, nodes, function, *more, **settings)
        return answers | {"haproxy1": silent} if function == "fanatico_haproxy.backends" else answers

    monkeypatch.setattr(fanatico_sweep, "fanout", fanout)
    with pytest.raises(CommandExecutionError, match="haproxy1 still sends"):
        edge.drain("rpc2")


def test_a_node_that_is_not_in_sync_is_still_out(fleet):
    fleet.behind = {"rpc2"}
    with pytest.raises(CommandExecutionError, match="haproxy1 and haproxy2 .*: block 7"):
        edge.undrain("rpc2")


def test_only_rpc_nodes(fleet):
    with pytest.raises(CommandExecutionError, match="db1: no node of the plan with the role rpc"):
        edge.drain("db1")


def test_cloudflares_networks_are_compared(fleet, tmp_path):
    (tmp_path / "ips").write_text("192.0.2.0/24\n2001:db8::/32\n")
    told = edge.cloudflare_ranges(tmp_path / "ips")
    assert (told["added"], told["gone"]) == (["192.0.2.0/24", "2001:db8::/32"], ["10.0.0.0/8"])
    assert told["pillar"] == "  ranges:\n    - 192.0.2.0/24\n    - 2001:db8::/32\n"


@pytest.mark.parametrize("text", ["", "<html>"])
def test_what_is_no_list_of_networks_is_refused(fleet, tmp_path, text):
    (tmp_path / "ips").write_text(text)
    with pytest.raises(SaltInvocationError, match="ips: "):
        edge.cloudflare_ranges(tmp_path / "ips")


def test_the_same_networks_are_no_difference(fleet, tmp_path):
    (tmp_path / "ips").write_text("10.0.0.0/8\n")
    assert edge.cloudflare_ranges(tmp_path / "ips") == {"added": [], "gone": [], "pillar": ""}
