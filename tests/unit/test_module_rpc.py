"""fanatico_rpc against fake nodes; the WebSocket against a fake websocket-client."""

import contextlib
import copy
import json
import socketserver
import sys
import threading
import time
import types

import pytest
from salt.exceptions import CommandExecutionError

from _modules import fanatico_rpc
from tests.support import wait_until
from tests.support.peers import peers

NODES = ("rpc1", "rpc2", "rpc3")


class Chain:
    """The answers of a fake node; a test may change them."""

    def __init__(self):
        self.head, self.syncing, self.chain_id, self.age = 100, False, 1337, 1

    def answer(self, payload):
        """Answer a call or a batch of them."""
        if isinstance(payload, list):
            return 200, [self._one(call) for call in payload]
        return 200, self._one(payload)

    def _one(self, call):
        results = {
            "eth_chainId": hex(self.chain_id),
            "eth_syncing": self.syncing,
            "eth_blockNumber": hex(self.head),
            "eth_getBlockByNumber": {
                "number": hex(self.head),
                "hash": f"0x{self.head:064x}",
                "timestamp": hex(int(time.time()) - self.age),
            },
        }
        if call["method"] not in results:
            error = {"code": -32601, "message": "Method not found"}
            return {"jsonrpc": "2.0", "id": call["id"], "error": error}
        return {"jsonrpc": "2.0", "id": call["id"], "result": results[call["method"]]}


@pytest.fixture
def chains():
    return {name: Chain() for name in NODES}


@pytest.fixture
def nodes(chains):
    with peers(*NODES) as started:
        for name, peer in started.items():
            peer.answers["POST /"] = chains[name].answer
        yield started


@pytest.fixture(autouse=True)
def websocket(monkeypatch):
    """A fake websocket-client; a test sets `refused` and `messages`."""

    class Closed(Exception):
        """The exception of websocket-client."""

    fake = types.SimpleNamespace(refused=None, messages=[], WebSocketException=Closed, urls=[])

    class Connection:
        def send(self, text):
            fake.sent = json.loads(text)

        def recv(self):
            if not fake.messages:
                raise TimeoutError("timed out")
            return json.dumps(fake.messages.pop(0))

        def settimeout(self, seconds):
            """Accept anything."""

        def shutdown(self):
            """Accept."""

        def close(self, timeout):
            """Accept."""

    def create_connection(url, **options):
        fake.urls.append(url)
        if fake.refused:
            raise fake.refused
        return Connection()

    fake.create_connection = create_connection
    monkeypatch.setitem(sys.modules, "websocket", fake)
    return fake


@pytest.fixture
def agent(chains):
    """The agents of all nodes; `says` is the line of this node's agent; each reports its node's state."""
    told = types.SimpleNamespace(says="ready #block 100", silent=set(), own=None, dripping=set())
    by_address = {f"127.0.0.{number}": chains[name] for number, name in enumerate(NODES, 2)}

    class Lines(socketserver.BaseRequestHandler):
        def handle(self):
            own = self.request.getsockname()[0]
            head = None if own in told.silent else {"head": by_address[own].head}
            self.request.sendall(f"{told.says}\n{json.dumps(told.own or head)}\n".encode())
            while own in told.dripping:
                self.request.sendall(b" ")
                time.sleep(0.05)

    with contextlib.ExitStack() as stack:
        told.port = 0
        for address in by_address:
            server = stack.enter_context(socketserver.ThreadingTCPServer((address, told.port), Lines))
            told.port = server.server_address[1]
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
        yield told


@pytest.fixture
def configure_loader_modules(plan, nodes, agent, tmp_path, monkeypatch):
    settings = tmp_path / "rpc-agent.json"
    settings.write_text(json.dumps({"drained": str(tmp_path / "rpc" / "drained")}))
    monkeypatch.setattr(fanatico_rpc, "AGENT", str(settings))
    plan = copy.deepcopy(plan)
    plan["ports"]["rpc_agent"] = agent.port
    for name, peer in nodes.items():
        plan["nodes"][name]["address"] = peer.address
    plan["ports"]["rpc_http"] = nodes["rpc1"].port
    return {
        fanatico_rpc: {
            "__pillar__": {
                "plan": plan,
                "rpc": {"chain": {"id": 1337, "block_time": 2}, "health": {"max_lag": 3}},
            },
            "__opts__": {"id": "rpc1"},
            "__context__": {},
        }
    }


def bad(checks):
    return {name: check["status"] for name, check in checks.items() if check["status"] != "ok"}


def test_a_healthy_node():
    found = fanatico_rpc.probe()
    assert bad(found["checks"]) == {}
    assert found["checks"].keys() == {"rpc.http", "rpc.websocket", "rpc.sync", "rpc.head", "rpc.rotation"}
    assert found["facts"]["local"]["head"] == 100
    assert found["facts"]["peers"] == {"rpc2": 100, "rpc3": 100}


def test_a_lagging_node_is_degraded(chains):
    chains["rpc1"].head = 90
    checks = fanatico_rpc.checks()
    assert bad(checks) == {"rpc.sync": "degraded"}
    assert checks["rpc.sync"]["value"] == 10


@pytest.mark.parametrize(("max_lag", "status"), [(9, "degraded"), (10, "ok")])
def test_the_allowed_lag_comes_from_the_pillar(chains, max_lag, status):
    chains["rpc1"].head = 90
    fanatico_rpc.__pillar__["rpc"]["health"]["max_lag"] = max_lag
    assert fanatico_rpc.checks()["rpc.sync"]["status"] == status


def test_a_syncing_node_is_critical(chains):
    chains["rpc1"].syncing = {"currentBlock": "0x1", "highestBlock": "0x64"}
    assert bad(fanatico_rpc.checks()) == {"rpc.sync": "critical"}


def test_the_wrong_chain_is_critical(chains):
    chains["rpc1"].chain_id = 999
    checks = fanatico_rpc.checks()
    assert bad(checks) == {"rpc.http": "critical"}
    assert "chain 999" in checks["rpc.http"]["detail"]


def test_a_chain_that_halts_is_degraded(chains):
    for chain in chains.values():
        chain.age = 600
    assert bad(fanatico_rpc.checks()) == {"rpc.head": "degraded"}


def test_a_request_stays_open_until_it_is_answered(nodes):
    over = threading.Event()
    nodes["rpc1"].answers["POST /"] = lambda _: over.wait(10) and (200, {})
    assert fanatico_rpc.unanswered_seconds() == 0.0
    first = fanatico_rpc.unanswered_seconds()
    assert 0 < first < fanatico_rpc.unanswered_seconds()
    assert len(nodes["rpc1"].seen) <= 1, "one question, however often it is looked for"
    over.set()
    wait_until(lambda: fanatico_rpc.unanswered_seconds() == 0.0, 5, "the answer", 0.01)
    assert fanatico_rpc.unanswered_seconds() == 0.0


def test_only_agents_of_other_nodes_are_asked(nodes):
    fanatico_rpc.probe()
    assert {name: bool(peer.seen) for name, peer in nodes.items()} == {
        "rpc1": True,
        "rpc2": False,
        "rpc3": False,
    }


@pytest.mark.parametrize("head", ["99999999999", True, -1, 2**64, 1.5, [], {}])
def test_an_invalid_head_is_none(agent, head):
    """A broken host may send anything: a text among numbers would end the cure that compares them."""
    agent.own = {"head": head}
    assert fanatico_rpc.agent_status("rpc2")["head"] is None


def test_an_agent_that_sends_too_slowly_does_not_answer(agent):
    agent.dripping = {"127.0.0.3"}
    asked = []

    def ask():
        with pytest.raises(CommandExecutionError, match="rpc2: the agent on port"):
            fanatico_rpc.agent_status("rpc2", timeout=0.3)
        asked.append("ended")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(10)
    agent.dripping.clear()
    assert asked == ["ended"]


def test_peers_without_an_answer_do_not_affect_this_node(agent):
    agent.silent = {"127.0.0.3"}
    assert fanatico_rpc.probe()["facts"]["peers"] == {"rpc3": 100}
    fanatico_rpc.__pillar__["plan"]["nodes"]["rpc3"]["address"] = "127.0.0.9"
    started = time.monotonic()
    assert bad(fanatico_rpc.checks(timeout=0.3)) == {}
    assert time.monotonic() - started < 1


def test_down(nodes, websocket):
    nodes["rpc1"].stop()
    websocket.refused = ConnectionRefusedError(111, "Connection refused")
    checks = fanatico_rpc.checks()
    assert bad(checks) == {"rpc.http": "critical", "rpc.websocket": "critical"}
    assert "refused" in checks["rpc.websocket"]["detail"]
    assert "journalctl -u fanatico-rpc" in checks["rpc.http"]["hint"]


def test_calls():
    assert fanatico_rpc.call("eth_chainId") == "0x539"
    assert fanatico_rpc.head("rpc2") == 100
    assert fanatico_rpc.syncing() is False
    assert fanatico_rpc.head("127.0.0.3") == 100


def test_an_error_of_the_node_is_raised_with_its_message():
    with pytest.raises(CommandExecutionError, match="Method not found"):
        fanatico_rpc.call("eth_nonsense")
    with pytest.raises(CommandExecutionError, match="db1 is not an RPC node"):
        fanatico_rpc.call("eth_chainId", node="db1")


def head(number):
    block = {"number": hex(number), "hash": "0xabc"}
    return {"method": "eth_subscription", "params": {"subscription": "0x1", "result": block}}


def test_new_heads(websocket):
    websocket.messages = [{"id": 1, "result": "0x1"}, head(7), head(8)]
    heads = fanatico_rpc.subscribe(2, timeout=1, node="rpc3")
    assert [one["number"] for one in heads] == [7, 8]
    assert websocket.sent["params"] == ["newHeads"]
    assert websocket.urls[0].startswith("ws://127.0.0.4:")


def test_missing_new_heads(websocket):
    websocket.messages = [{"id": 1, "result": "0x1"}, head(7)]
    with pytest.raises(CommandExecutionError, match="1 of 2 new heads within 1 s"):
        fanatico_rpc.subscribe(2, timeout=1)


def test_no_websocket_and_no_subscription(websocket):
    websocket.messages = [{"id": 1, "error": {"code": -32601, "message": "notifications not supported"}}]
    with pytest.raises(CommandExecutionError, match="notifications not supported"):
        fanatico_rpc.subscribe()
    websocket.refused = ConnectionRefusedError(111, "Connection refused")
    with pytest.raises(CommandExecutionError, match="cannot open a WebSocket"):
        fanatico_rpc.subscribe()


def test_drain_and_undrain(agent):
    agent.says = "drain #taken out by a person (block 100)"
    assert fanatico_rpc.drain("new disk") == {
        "ready": False,
        "why": "taken out by a person (block 100)",
        "drained": True,
    }
    check = fanatico_rpc.checks()["rpc.rotation"]
    assert (check["status"], check["hint"]) == ("degraded", "salt-run fanatico.undrain rpc1")
    agent.says = "ready #block 100"
    assert fanatico_rpc.undrain() == {"ready": True, "why": "block 100", "drained": False}
    assert bad(fanatico_rpc.checks()) == {}


def test_a_node_behind_is_out_of_rotation(agent):
    agent.says = "drain #block 90 is 10 behind"
    assert "10 behind" in fanatico_rpc.checks()["rpc.rotation"]["detail"]


def test_an_agent_that_does_not_answer_is_reported():
    fanatico_rpc.__pillar__["plan"]["ports"]["rpc_agent"] = 1
    assert "the agent on port 1 does not answer" in fanatico_rpc.checks()["rpc.rotation"]["detail"]
