"""Which chain nodes may take traffic, by what all of them say of themselves."""

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import program, wait_until

agent = program("salt/rpc/files/rpc_agent.py")
HEALTH = {"block_time": 2, "max_lag": 3, "max_jump": 1000, "min_peers": 0}
SETTINGS = agent.Settings(own="a", node=[], agents={}, drained="", **HEALTH)


def node(head, syncing=False, peers=None, still=1.0):
    return {"head": head, "syncing": syncing, "peers": peers, "still": still}


def ready(seen, **changes):
    """The names of those that may take traffic."""
    settings = agent.Settings(**{**vars(SETTINGS), **changes})
    return {name for name in seen if agent.verdict(name, seen, settings)[0]}


@pytest.mark.parametrize(
    ("seen", "fit"),
    [
        ({"a": node(100), "b": node(100), "c": node(100)}, "abc"),
        ({"a": node(100), "b": node(97), "c": node(96)}, "ab"),
        ({"a": node(100), "b": node(100, syncing=True), "c": None}, "a"),
        # The chain itself has halted, or all of them are catching up: the best serves.
        ({"a": node(7, syncing=True), "b": node(9, syncing=True), "c": node(9, syncing=True)}, "bc"),
        # One that has lost its mind, against two that agree.
        ({"a": node(9_000_000), "b": node(100), "c": node(101)}, "bc"),
        # Of two, the one behind is the likelier to be wrong.
        ({"a": node(9_000_000), "b": node(100), "c": None}, "a"),
        # Alone it serves.
        ({"a": node(5), "b": None, "c": None}, "a"),
        ({"a": None, "b": None, "c": None}, ""),
        # One that stands still is not waited for until it is max_lag behind; a block that came late is nothing.
        ({"a": node(100), "b": node(98, still=4.0), "c": node(98, still=3.9)}, "ac"),
        ({"a": node(100), "b": node(99, still=9.0)}, "ab"),
        # The chain has halted, with one of them further than the others: nobody is known to be worse.
        ({"a": node(100, still=60.0), "b": node(99, still=60.0), "c": node(99, still=60.0)}, "abc"),
        # Fresh from an empty disk.
        ({"a": node(0), "b": node(100), "c": node(100)}, "bc"),
    ],
)
def test_who_is_fit(seen, fit):
    assert ready(seen) == set(fit)


def test_one_without_peers_is_not():
    assert ready({"a": node(5, peers=0), "b": node(5, peers=2)}, min_peers=1) == {"b"}
    assert ready({"a": node(5, peers=0), "b": node(5, peers=0)}, min_peers=1) == {"a", "b"}


NODES = st.one_of(
    st.none(),
    st.builds(
        node, st.integers(0, 10**9), st.booleans(), st.one_of(st.none(), st.integers(0, 9)), st.floats(0, 60)
    ),
)


@given(
    st.dictionaries(st.sampled_from("abcde"), NODES, min_size=1),
    st.integers(1, 50),
    st.integers(0, 3),
)
def test_somebody_serves_as_long_as_anybody_answers_and_it_is_not_one_far_behind(seen, max_lag, min_peers):
    fit = ready(seen, max_lag=max_lag, min_peers=min_peers)
    answering = {name: one["head"] for name, one in seen.items() if one}
    assert bool(fit) == bool(answering)
    assert fit <= set(answering)
    if fit:
        confirmed = [
            min(two)
            for two in itertools.combinations(answering.values(), 2)
            if max(two) - min(two) <= max_lag
        ]
        best = max(confirmed, default=0) if len(answering) > 2 else 0
        assert all(best - answering[name] <= max_lag for name in fit)


@given(st.integers(0, 2**64), st.integers(0, 3), st.floats(0, 3.9), st.booleans())
def test_whatever_one_of_three_claims_the_two_others_stay_in(lie, apart, still, syncing):
    honest = {"a": node(10**6, still=still), "b": node(10**6 - apart, still=min(still, 3.9))}
    seen = {**honest, "c": node(lie, syncing=syncing)}
    assert {"a", "b"} <= ready(seen), (lie, apart)


@pytest.mark.parametrize(
    "answer",
    [
        '{"result":"0x' + "f" * 4000 + '"}',
        '[{"id":0,"result":"0x' + "f" * 17 + '"},{"id":1,"result":false}]',
        '[{"id":0,"result":"0x1_0"},{"id":1,"result":false}]',
        '[{"id":0,"result":"-0x1"},{"id":1,"result":false}]',
        '[{"id":0,"result":7},{"id":1,"result":false}]',
        '[{"id":[],"result":"0x1"}]',
        "[" * 100_000,
        "null",
        "[null]",
        '[{"id":0,"result":"0x1"},{"id":1,"result":false}]' + " " * 100_000,
    ],
)
def test_an_answer_that_is_none_is_no_answer_and_takes_nobody_else_out(chain_node, answer):
    server, said = chain_node
    said["raw"] = answer
    try:
        liar = agent.Node(*server.server_address, peers=False)
        liar.poll()
        assert liar.now() is None
    finally:
        del said["raw"]


@pytest.fixture
def chain_node():
    """A node that answers what a test puts into it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        said: dict = {"eth_blockNumber": "0x64", "eth_syncing": False, "net_peerCount": "0x2"}

        def do_POST(self):
            calls = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answers = [
                {"jsonrpc": "2.0", "id": one["id"], "result": self.said[one["method"]]} for one in calls
            ]
            body = (self.said.get("raw") or json.dumps(answers)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, Handler.said
    server.shutdown()
    server.server_close()


def test_a_node_is_asked_again_and_again_over_one_connection(chain_node):
    server, said = chain_node
    watched = agent.Node("127.0.0.1", server.server_port, peers=True)
    watched.poll()
    told = watched.now()
    assert told == node(100, peers=2, still=told["still"])
    said["eth_syncing"] = {"currentBlock": "0x1"}
    watched.poll()
    assert watched.now()["syncing"] is True
    said["eth_blockNumber"] = "what"
    watched.poll()
    assert watched.now() is None


def test_it_is_known_how_long_a_head_has_not_moved(chain_node, monkeypatch):
    server, said = chain_node
    clock = [1000.0]
    monkeypatch.setattr(agent.time, "monotonic", lambda: clock[0])
    watched, still = agent.Node("127.0.0.1", server.server_port, peers=False), []
    for head, seconds in (("0x64", 0), ("0x64", 2), ("0x64", 2), ("0x65", 2), ("0x65", 2)):
        clock[0] += seconds
        said["eth_blockNumber"] = head
        watched.poll()
        still.append(watched.now()["still"])
    assert still == [0, 2, 4, 0, 2]


def test_what_is_old_does_not_count(chain_node, monkeypatch):
    watched = agent.Node("127.0.0.1", chain_node[0].server_port, peers=False)
    watched.poll()
    monkeypatch.setattr(agent.time, "monotonic", lambda: watched.polled_at + agent.STALE)
    assert watched.now() is None


@contextlib.contextmanager
def running(tmp_path, node_port, agents=()):
    """Yield the address of an agent that runs as its unit starts it: listening before, and handed over."""
    settings = {
        "own": "a",
        "node": ["127.0.0.1", node_port],
        "agents": {name: list(place) for name, place in dict(agents).items()},
        "drained": str(tmp_path / "drained"),
        **HEALTH,
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    # A shell puts the socket where systemd does.
    argv = ["bash", "-c", f'exec {agent.PASSED_FD}<&"$1" "$2" "$3" "$4"', "bash"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [str(listener.fileno()), sys.executable, agent.__file__, str(tmp_path / "settings.json")]
        with subprocess.Popen([*argv, *words], pass_fds=[listener.fileno()]) as process:
            try:
                yield listener.getsockname()
            finally:
                process.kill()


def asked(place):
    with socket.create_connection(place, 5) as connection, connection.makefile() as lines:
        return lines.read().splitlines()


def test_an_agent_that_drips_keeps_nobody_waiting(monkeypatch):
    """Its host may be lost, and an agent asks the others once before it answers."""
    monkeypatch.setattr(agent, "TIMEOUT", 0.2)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while not over.wait(0.05):
                    connection.sendall(b"r")

        threading.Thread(target=drip, daemon=True).start()
        watched = agent.Agent(*listener.getsockname())
        asking = threading.Thread(target=watched.poll, daemon=True)
        asking.start()
        asking.join(10)
        ended = not asking.is_alive()
        over.set()
    assert ended
    assert watched.state is None


@pytest.mark.parametrize("drained", [False, True])
def test_haproxy_is_told_in_the_first_line_and_other_agents_in_the_second(chain_node, tmp_path, drained):
    if drained:
        (tmp_path / "drained").touch()
    with running(tmp_path, chain_node[0].server_port) as place:
        said = asked(place)
    first = "drain #drained by an operator (block 100)" if drained else "ready #block 100"
    assert said == [first, '{"head": 100, "syncing": false, "peers": null}']


def test_an_agent_is_asked_what_its_node_says(chain_node, tmp_path):
    with running(tmp_path, chain_node[0].server_port) as place:
        watched = agent.Agent(*place)
        told = wait_until(lambda: watched.poll() or watched.now(), 10, "the agent on a busy machine")
    assert told == node(100, still=told["still"])


def test_an_agent_whose_node_does_not_answer_says_so(tmp_path):
    with running(tmp_path, 1) as place:
        assert asked(place) == ["drain #does not answer", "null"]
        watched = agent.Agent(*place)
        watched.poll()
    assert watched.now() is None


@pytest.mark.parametrize(
    "second",
    [
        "",
        "null",
        "[]",
        "[" * 100_000,
        '{"head": 1, "syncing": false}',
        '{"head": -1, "syncing": false, "peers": null}',
        '{"head": true, "syncing": false, "peers": null}',
        '{"head": "0x1", "syncing": false, "peers": null}',
        '{"head": 1e400, "syncing": false, "peers": null}',
        '{"head": ' + "9" * 30 + ', "syncing": false, "peers": null}',
        '{"head": ' + "9" * 5000 + ', "syncing": false, "peers": null}',
        '{"head": 1, "syncing": 0, "peers": null}',
        '{"head": 1, "syncing": false, "peers": "many"}',
        '{"head": 1, "syncing": false, "peers": null}\nand more',
    ],
)
def test_an_agent_that_talks_nonsense_is_one_that_does_not_answer(second):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(f"ready #block 1\n{second}\n".encode())

        threading.Thread(target=answer, daemon=True).start()
        watched = agent.Agent(*listener.getsockname())
        watched.told = node(1)
        watched.poll()
    assert watched.state is None
