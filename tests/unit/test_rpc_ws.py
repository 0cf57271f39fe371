"""What may be asked through a WebSocket, where the node itself has no list: the filter proxy before it."""

import asyncio
import contextlib
import json
import threading

import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support import program

proxy = program("salt/rpc/files/rpc_ws.py")
SETTINGS = proxy.Settings(
    listen=[],
    node=[],
    allowed=["eth_", "net_", "evm_", "a"],
    forbidden=["admin_", "evm_"],
    heavy=["eth_getLogs"],
    write=["eth_send"],
    limits={"read": 20, "heavy": 3, "write": 3},
    batch_limit=3,
    body_limit=4096,
)


def text(method, number="1"):
    return f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":[]}}'


@pytest.mark.parametrize(
    "message",
    [
        text("eth_chainId"),
        text("eth_chainId").encode(),
        f"[{text('eth_chainId')},{text('eth_blockNumber', 2)}]",
        '{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"method":"evm_mine","a":1,"A":2}]}',
    ],
)
def test_what_may_be_asked_reaches_the_node_as_it_was_meant(message):
    forward, answer = proxy.judge(message, SETTINGS, proxy.Allowance(SETTINGS.limits))
    assert answer is None
    assert json.loads(forward) == json.loads(message)


@pytest.mark.parametrize(
    ("message", "errors"),
    [
        (text("evm_mine"), [(1, -32601)]),
        (text("evm_mine", '"x"'), [("x", -32601)]),
        (text("evm\\u005fmine"), [(1, -32601)]),
        (text("evm_mine").replace("method", "m\\u0065thod"), [(1, -32601)]),
        ('{"id":1,"method":"eth_chainId","METHOD":"evm_mine"}', [(1, -32600)]),
        ('{"id":1,"method":"evm_mine","method":"eth_chainId"}', [(1, -32600)]),
        ('{"id":{"a":1},"method":"evm_mine"}', [(None, -32601)]),
        ('{"id":1,"method":7}', [(1, -32600)]),
        ("7", [(None, -32600)]),
        ("[]", [(None, -32600)]),
        (f"[{text('a')},{text('evm_mine', 2)},7]", [(1, -32600), (2, -32601), (None, -32600)]),
        ("[" + ",".join([text("a")] * 4) + "]", [(None, -32600)]),
        ("nonsense", [(None, -32700)]),
        ("[" * 9_000, [(None, -32700)]),
        (b"\xff\xfe\x00", [(None, -32700)]),
        ('{"id":1,"method":"a","params":[NaN]}', [(None, -32700)]),
        ('{"id":1,"method":"a","params":[1e999]}', [(None, -32700)]),
    ],
)
def test_what_may_not_is_answered_here(message, errors):
    forward, answer = proxy.judge(message, SETTINGS, proxy.Allowance(SETTINGS.limits))
    assert forward is None
    answers = json.loads(answer)
    assert [
        (one["id"], one["error"]["code"]) for one in (answers if isinstance(answers, list) else [answers])
    ] == errors


def test_each_class_has_its_share_and_it_comes_back(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(proxy.time, "monotonic", lambda: now)
    share = proxy.Allowance(SETTINGS.limits)

    def asked(message):
        _, answer = proxy.judge(message, SETTINGS, share)
        return answer and json.loads(answer)

    batch = f"[{','.join([text('eth_getLogs')] * 2)}]"
    assert asked(batch) is None
    assert [one["error"]["code"] for one in asked(batch)] == [-32005] * 2
    assert asked(text("eth_getLogs")) is None, "a batch that was refused has taken nothing"
    assert "heavy calls: at most 3" in asked(text("eth_getLogs"))["error"]["message"]
    assert asked(text("eth_sendRawTransaction")) is None
    assert not share.is_full()
    now += proxy.WINDOW / 3 + 0.1
    assert asked(text("eth_getLogs")) is None
    assert asked(text("eth_getLogs")) is not None
    now += 2 * proxy.WINDOW
    assert share.is_full()


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("eth_call", "read"),
        ("eth_getLogs", "heavy"),
        ("eth_sendRawTransaction", "write"),
        ("eth_getLogsX", "write"),
    ],
)
def test_the_longest_beginning_says_the_class(method, kind):
    settings = proxy.Settings(**{**vars(SETTINGS), "write": ["eth_send", "eth_getLogsX"]})
    assert proxy.classified(method, settings) == kind


@pytest.fixture
def through():
    """(url, what the node was told, stop the node), with a node that says back what it hears."""
    loop, told = asyncio.new_event_loop(), []
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(5)

    async def node(connection):
        async for message in connection:
            told.append(message)
            await connection.send(message)

    async def begin(*arguments, **options):
        return await serve(*arguments, **options)

    def place(server):
        return list(next(iter(server.sockets)).getsockname()[:2])

    echo = run(begin(node, "127.0.0.1", 0))
    settings = proxy.Settings(**{**vars(SETTINGS), "node": place(echo)})
    keeper = proxy.Proxy(settings)
    front = run(
        begin(
            keeper.handle, "127.0.0.1", 0, process_response=keeper.connect_node, max_size=settings.body_limit
        )
    )

    yield "ws://{}:{}".format(*place(front)), told, lambda: loop.call_soon_threadsafe(echo.close)
    for server in (front, echo):
        loop.call_soon_threadsafe(server.close)
        run(server.wait_closed())
    loop.call_soon_threadsafe(loop.stop)


def test_messages_go_both_ways_and_forbidden_ones_no_further(through):
    url, told, _ = through
    with connect(url) as client:
        client.send(text("evm_mine"))
        assert json.loads(client.recv(5))["error"]["code"] == -32601
        client.send(text("eth_chainId"))
        assert json.loads(client.recv(5))["method"] == "eth_chainId"
    assert len(told) == 1


def test_a_client_has_one_share_in_all_its_connections_one_after_the_other_too(through):
    url, told, _ = through
    codes = []
    for client in ["2001:db8::"] * 4 + ["192.0.2.1"]:
        with connect(url, additional_headers={"X-Rpc-Client": client}) as connection:
            connection.send(text("eth_getLogs"))
            codes.append(json.loads(connection.recv(5)).get("error", {}).get("code"))
    assert codes == [None, None, None, -32005, None]
    assert len(told) == 4


def test_what_is_too_large_ends_the_connection(through):
    url, told, _ = through
    with connect(url) as client:
        client.send("x" * 5000)
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(5)
    assert caught.value.rcvd.code == 1009
    assert told == []


def test_the_node_is_gone_and_clients_are_told(through):
    url, _, stop = through
    with connect(url) as client:
        stop()
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(5)
    assert caught.value.rcvd.code == 1012
    with pytest.raises(InvalidStatus) as refused, contextlib.closing(connect(url)):
        pass
    assert refused.value.response.status_code == 503
