"""What public clients can and cannot do, through the real balancers, with the lab's chain."""

import contextlib
import itertools
import json
import random
import re
import socket
import ssl
import tempfile
import time

import pytest
import websocket
from eth_account import Account
from web3 import HTTPProvider, Web3
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support import labs, pki, wait_until
from tests.support.edge import outsider

pytestmark = pytest.mark.healthy_is_enough

RECEIVER = "0x" + "00" * 19 + "77"  # an account that the lab's chain does not use otherwise

FORBIDDEN = [
    "admin_addPeer", "debug_traceTransaction", "personal_listAccounts", "miner_start", "txpool_content",
    "engine_newPayloadV1", "anvil_setBalance", "evm_increaseTime",
]  # fmt: skip


@pytest.fixture(scope="module")
def public(lab):
    labs.wait_healthy(lab)
    with outsider(lab) as made:
        yield made


CLIENTS = [
    f"10.0.0.{n}" for n in range(240, 248)
]  # addresses outside the plan; each may send 200 requests a second


@pytest.fixture(scope="module")
def crowd(public):
    for address in CLIENTS:
        public.also(address)
    return public


def wrong(found):
    """Return the answers that a client counts as failures."""
    return [one for heads in found for one in heads if not isinstance(one, int)]


def asked(found):
    """Return the number of requests of all clients."""
    return sum(map(len, found))


def call(method, number=1, *params):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def text(method, number="1"):
    return f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":[]}}'


# --- accepted requests


def test_calls_and_batches_are_answered(public):
    answer = public.call("eth_chainId", number=7)
    assert (answer.status, answer.json["id"], answer.json["result"]) == (200, 7, "0x539")
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])
    batch = public.post([call("eth_chainId", n) for n in range(20)])
    assert sorted(one["id"] for one in batch.json) == list(range(20))


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 7_000, 8_000, 30_000, 59_000])
def test_a_large_body_gets_through(public, size, chunked):
    asked = call("eth_estimateGas", "7", {"to": "0x" + "11" * 20, "data": "0x" + "00" * size})
    answer = public.post(asked, chunked=chunked)
    assert (answer.status, answer.json["id"]) == (200, "7")
    assert int(answer.json["result"], 16) > 21_000 - 1
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])
    batch = public.post([call("eth_chainId", n, "x" * (size // 10)) for n in range(20)], chunked=chunked)
    assert sorted(one["id"] for one in batch.json) == list(range(20))


def test_health_is_public(public):
    answer = public.run(_health, public)
    assert answer == (200, {"status": "ok", "ready": 3, "nodes": 3})


def _health(public):
    import urllib.request

    with urllib.request.urlopen(
        f"http://{public.virtual_ip}:{public.ports['rpc_http']}/health", timeout=5
    ) as answer:
        return answer.status, json.load(answer)


def test_heads_come_by_websocket(public):
    def heads():
        url = f"ws://{public.virtual_ip}:{public.ports['rpc_ws']}"
        with contextlib.closing(websocket.create_connection(url, timeout=15)) as connection:
            connection.send(json.dumps(call("eth_subscribe", 1, "newHeads")))
            connection.recv()
            return [json.loads(connection.recv())["params"]["result"]["number"] for _ in range(2)]

    first, second = (int(one, 16) for one in public.run(heads))
    assert second == first + 1


def test_a_transaction_is_sent_and_read_by_web3(public):
    """A client library without knowledge of balancers signs, sends, waits, and finds its transaction."""

    def pay():
        web3 = Web3(HTTPProvider(public.url()))
        Account.enable_unaudited_hdwallet_features()
        # The accounts that every anvil has, and no real chain.
        payer = Account.from_mnemonic("test test test test test test test test test test test junk")
        before = web3.eth.get_balance(RECEIVER)
        signed = payer.sign_transaction(
            {
                "to": RECEIVER,
                "value": 7,
                "gas": 21_000,
                "nonce": web3.eth.get_transaction_count(payer.address),
                "maxFeePerGas": web3.to_wei(9, "gwei"),
                "maxPriorityFeePerGas": 1,
                "chainId": web3.eth.chain_id,
            }
        )
        receipt = web3.eth.wait_for_transaction_receipt(
            web3.eth.send_raw_transaction(signed.raw_transaction), timeout=30
        )
        return receipt["status"], web3.eth.get_balance(RECEIVER) - before

    assert public.run(pay) == (1, 7)


# --- refused requests


@pytest.mark.parametrize("method", FORBIDDEN)
@pytest.mark.parametrize("number", [7, "7", "a-b", None])
def test_forbidden_methods_are_refused_with_the_calls_id(public, method, number):
    answer = public.call(method, number=number)
    assert answer.error == (403, number, -32601)
    assert method in answer.json["error"]["message"]


def test_a_batch_with_a_forbidden_method_is_refused_as_a_whole(public):
    answer = public.post([call("eth_chainId", 1), call("evm_mine", "x"), call("eth_blockNumber", 3)])
    assert answer.status == 403
    assert [(one["id"], one["error"]["code"]) for one in answer.json] == [
        (1, -32600),
        ("x", -32601),
        (3, -32600),
    ]


SNEAKY = [
    text("evm_mine").replace(":", "\n:\t"),
    text("evm_mine").replace('"method"', '"m\\u0065thod"'),
    text("evm_mine").replace("evm_mine", "evm\\u005fmine"),
    '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"evm_mine","params":[]}',
    '{"jsonrpc":"2.0","id":1,"method":"evm_mine","method":"eth_chainId","params":[]}',
    '{"jsonrpc":"2.0","id":1,"METHOD":"evm_mine","method":"eth_chainId","params":[]}',
    '{"jsonrpc":"2.0","id":1,"params":[{"method":"eth_chainId"}],"method":"evm_mine"}',
    '{"x":{"method":"eth_chainId"},"jsonrpc":"2.0","id":1,"method":"evm_mine","params":[]}',
    f"[{text('eth_chainId')},{text('evm_mine')}]",
    f"  \n[{text('evm_mine')}]",
    f"\ufeff{text('evm_mine')}",
    f"[[{text('evm_mine')}]]",
    text("evm_mine") + text("eth_chainId"),
    text("EVM_MINE"),
    text(" evm_mine"),
    text("evm_mine\\u0000"),
    '{"jsonrpc":"2.0","id":1,"method":"eth_chainId"\0,"method":"evm_mine","params":[]}',
    "\0" + text("evm_mine"),
    text("evm_mine") + "\0",
]


@pytest.mark.parametrize("body", SNEAKY)
def test_no_spelling_gets_a_forbidden_method_through(public, body):
    """An additional block would be visible: the lab's chain makes one every two seconds."""
    for content_type in ("application/json", "application/json; charset=utf-16"):
        answer = public.post(body.encode(), Content_Type=content_type)
        assert answer.status in (400, 403, 415), f"a node's answer: {answer}"
        assert b'"result"' not in answer.body, answer


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("header", [0, 11_000])
@pytest.mark.parametrize("pad", [0, 3_000, 14_000, 16_000, 17_000, 40_000, 110_000])
def test_nothing_hides_behind_what_fits_into_a_buffer(public, pad, header, chunked):
    """A buffer has 16 KiB for the headers and the first part of the body; the method may be in a later part."""
    begun = text("eth_chainId")[:-1] + " " * pad
    for ending in (',"method":"evm_mine"}', "}" + text("evm_mine")):
        answer = public.post(begun + ending, chunked=chunked, X_Pad="x" * header)
        assert answer.error in ((400, 1, -32600), (400, None, -32700))
    hidden = public.post(
        '{"jsonrpc":"2.0","id":1,"params":[],' + " " * pad + '"method":"evm_mine"}',
        chunked=chunked,
        X_Pad="x" * header,
    )
    assert hidden.error == (403, 1, -32601)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, -32700),
        ("{", 400, -32700),
        ("nonsense", 400, -32700),
        ("[]", 400, -32600),
        ("{}", 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":["\xff\xfe"]}', 400, -32700),
        ("[" * 30_000, 400, -32700),
        ('{"a":' * 20_000, 400, -32700),
        (json.dumps([call("eth_chainId", n) for n in range(21)]), 413, -32600),
        ("x" * 130_000, 413, -32600),
        ("x" * 3_000_000, 413, -32600),
    ],
)
def test_what_is_no_call_is_refused(public, body, status, code, chunked):
    answer = public.post(body, chunked=chunked)
    assert answer.error == (status, None, code)


def test_a_call_without_a_method_is_refused_with_its_id(public):
    assert public.post('{"jsonrpc":"2.0","id":1}').error == (400, 1, -32600)


def test_other_ways_to_ask_are_refused(public):
    assert public.post("", method="GET").error == (405, None, -32600)
    assert public.post(text("eth_chainId"), Content_Type="text/plain").error == (415, None, -32600)
    assert public.post(text("eth_chainId"), Content_Encoding="gzip").error == (415, None, -32600)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    assert (
        public.post("", method="GET", **upgrade, Sec_WebSocket_Key="ZmFuYXRpY28taGVhbHRoeQ==").error[0] == 426
    )
    assert public.post(text("eth_chainId"), port="rpc_ws").error[0] == 426


KEY = {"Sec_WebSocket_Key": "ZmFuYXRpY28taGVhbHRoeQ=="}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upgrade": "websocket"}, 426),
        ({"Upgrade": "websocket", "Connection": "keep-alive", **KEY}, 426),
        ({"Upgrade": "websocket", "Connection": "Upgrade"}, 400),
        ({"Upgrade": "websocket", "Connection": "Upgrade", **KEY}, 426),
    ],
    ids=["upgrade alone", "no connection", "no key", "a body"],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_half_a_handshake_is_no_way_to_a_node(public, method, headers, status):
    """HAProxy would forward it as an ordinary request, which some nodes answer on that port too."""
    answer = public.post(text("evm_mine"), port="rpc_ws", method=method, **headers)
    assert answer.status == status
    assert b"jsonrpc" not in answer.body or answer.error == (426, None, -32600)


def test_a_websocket_lets_nothing_through_that_http_does_not(public):
    """HAProxy cannot read WebSocket frames: the filter proxy in front of the node refuses."""

    def ask(*messages):
        with connect(public.url("rpc_ws", "ws"), proxy=None) as client:
            for message in messages:
                client.send(message)
                yield json.loads(client.recv(5))

    said = public.run(lambda: list(ask(text("evm_mine"), text("admin_peers", '"x"'), text("eth_chainId"))))
    assert [(one["id"], one.get("error", {}).get("code")) for one in said] == [
        (1, -32601),
        ("x", -32601),
        (1, None),
    ]
    for body in SNEAKY:
        for answer in public.run(lambda body=body: list(ask(body))):
            assert all("result" not in one for one in (answer if isinstance(answer, list) else [answer])), (
                body
            )


def test_nodes_are_reachable_only_through_the_balancers(public, lab):
    for node in labs.nodes(lab, "rpc"):
        for port in ("rpc_http", "rpc_ws"):
            with pytest.raises((TimeoutError, ConnectionRefusedError, ConnectionResetError)):
                public.call("eth_chainId", to=lab.plan["nodes"][node]["address"], port=port, patience=1)


def test_two_lengths_are_refused(public):
    """Request smuggling: data that one parser takes for a body and the next for another request."""
    head = b"POST / HTTP/1.1\r\nHost: rpc\r\nContent-Type: application/json\r\n"
    for lengths in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ):
        said = public.raw(head + lengths + b"\r\n0\r\n\r\nPOST / HTTP/1.1\r\nHost: rpc\r\n\r\n", timeout=3)
        assert said.count(b"HTTP/1.1 ") == said.count(b"HTTP/1.1 400"), said


def test_slow_clients_are_disconnected(public):
    def dawdle(first):
        with socket.create_connection((public.virtual_ip, public.ports["rpc_http"]), 20) as connection:
            connection.sendall(first)
            begun = time.monotonic()
            return connection.recv(4096), time.monotonic() - begun

    head = b"POST / HTTP/1.1\r\nHost: rpc\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
    large = head.replace(b"100", b"100000") + b"\r\n" + b" " * 50_000
    begun = {
        public.start(dawdle, first): status
        for first, status in [(head, b" 408 "), (head + b"\r\n{", b" 408 "), (large, b" 400 ")]
    }
    for one, status in begun.items():
        said, took = one.result()
        assert status in said.splitlines()[0]
        assert took < 12


# --- limits


def spend(public, method, count, **options):
    """Call ``times`` times, over one connection per thread; return the answers' statuses and the first refusal."""
    body = [call(method, n) for n in range(20)]
    answers = [public.post(body, **options) for _ in range(count // 20)]
    return [one.status for one in answers], next((one for one in answers if one.status == 429), None)


def newcomer(public):
    """Add a new client address that no earlier test has used, and return it."""
    address = f"198.18.{random.randrange(256)}.{random.randrange(1, 255)}"
    public.also(address)
    return address


def test_each_client_has_a_share_of_each_class(public, lab):
    client = newcomer(public)
    statuses, refusal = spend(public, "eth_getLogs", 260, source=client)
    assert statuses[0] == 200
    assert refusal is not None
    assert refusal.headers["retry-after"] == "10"
    assert refusal.error == (429, None, -32005)
    assert public.call("eth_getLogs", number="mine", source=client).error == (429, "mine", -32005)
    assert public.call("eth_chainId", source=client).status == 200
    # The other balancer has the counter, too.
    spare = next(node for node in labs.nodes(lab, "haproxy") if node not in labs.virtual_ip_holders(lab))
    address = lab.plan["nodes"][spare]["address"]
    wait_until(
        lambda: public.call("eth_getLogs", to=address, source=client).status == 429,
        3,
        f"{spare} to have heard of it",
    )
    # Another client is not affected.
    assert public.call("eth_getLogs", source=newcomer(public)).status == 200


def test_single_calls_are_counted_and_the_other_balancer_knows(public, lab):
    """Plain calls are reported in groups: a tenth of the limit, at most a hundred."""
    client = newcomer(public)
    answers = [public.call("eth_getLogs", number=n, source=client) for n in range(240)]
    assert [one.status for one in answers] == [200] * 200 + [429] * 40
    assert answers[200].error == (429, 200, -32005)
    assert public.call("eth_chainId", source=client).status == 200
    large = call("eth_getLogs", "mine", "x" * 20_000)
    assert public.post(large, source=client).error == (429, "mine", -32005)
    spare = next(node for node in labs.nodes(lab, "haproxy") if node not in labs.virtual_ip_holders(lab))
    address = lab.plan["nodes"][spare]["address"]
    answer = public.call("eth_getLogs", to=address, source=client)
    assert answer.error == (429, 1, -32005), f"{spare} does not have the counter"


def test_large_requests_of_a_client_are_limited(public):
    """The limit is Lua's capacity, and each client gets a part of it."""
    others = [f"10.0.0.{n}" for n in range(200, 215)]
    for address in (*others, "10.0.0.249"):
        public.also(address)
    large = call("eth_chainId", 1, "x" * 20_000)

    def answered(status, source):
        """Wait for an answer with a status: connections that have just begun or ended are counted with a delay."""

        def ask():
            answer = public.post(large, source=source)
            assert answer.status == status, f"{answer.status} {answer.body}"
            return answer

        return wait_until(ask, 3, f"{source} to be answered with {status}")

    with public.holding(HALF, others[:1], 25) as still:
        refusal = answered(429, others[0])
        wait_until(lambda: still() == 20, 3, "the twenty that it may have to be left")
        assert refusal.error == (429, None, -32005)
        assert refusal.headers["retry-after"] == "1"
        assert public.call("eth_chainId", source=others[0]).status == 200
        assert public.post(large, source="10.0.0.249").status == 200
        with public.holding(HALF, others[1:], 20):
            assert answered(503, "10.0.0.249").error == (503, None, -32000)
            assert public.call("eth_chainId", source="10.0.0.249").status == 200
    answered(200, others[0])


def test_websockets_of_a_client_are_limited(public):
    public.also("10.0.0.251")

    def open_all():
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                stack.enter_context(
                    connect(public.url("rpc_ws", "ws"), source_address=("10.0.0.251", 0), proxy=None)
                )
            with (
                pytest.raises(InvalidStatus) as refused,
                connect(public.url("rpc_ws", "ws"), source_address=("10.0.0.251", 0), proxy=None),
            ):
                pass
            return refused.value.response

    response = public.run(open_all)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "10")
    assert json.loads(response.body)["error"]["code"] == -32005


# --- CloudFlare


def test_only_cloudflare_may_name_the_client(public):
    """Each request claims to be from another client: if that were trusted, no limit would apply."""
    public.also("10.0.0.252")
    statuses = [
        public.post(
            [call("eth_getLogs", n) for n in range(20)], source="10.0.0.252", CF_Connecting_IP=f"192.0.2.{n}"
        ).status
        for n in range(13)
    ]
    assert statuses[-1] == 429


def test_cloudflare_is_believed(public):
    public.also("173.245.48.9")
    statuses = [
        public.post(
            [call("eth_getLogs", n) for n in range(20)],
            source="173.245.48.9",
            CF_Connecting_IP=f"192.0.2.{n}",
        ).status
        for n in range(13)
    ]
    assert set(statuses) == {200}
    again = [
        public.post(
            [call("eth_getLogs", n) for n in range(20)], source="173.245.48.9", CF_Connecting_IP="192.0.2.99"
        ).status
        for n in range(13)
    ]
    assert again[-1] == 429


def applied(lab, sls):
    """Apply states on the balancers; return their answers. A highstate takes three times as long."""
    return lab.salt("haproxy*", "state.apply", sls, patience=60)


@pytest.fixture(scope="class")
def only_cloudflare(public, lab):
    """TLS on public ports, only with CloudFlare's certificate and from its networks; yields a factory of TLS contexts."""
    pulls, balancers = pki.Authority("origin pulls"), labs.nodes(lab, "haproxy")
    certificate, key = pki.Authority("public").issue(
        name="rpc.example.org", addresses=[public.virtual_ip], uses=("serverAuth",)
    )
    for node in balancers:
        for name, content in (("public.pem", certificate + key), ("origin-pulls.pem", pulls.certificate)):
            lab.machine(node).exec(["sh", "-c", f"umask 077; cat > /etc/haproxy/{name}"], text_input=content)
    tls = {"certificate": "/etc/haproxy/public.pem", "client_ca": "/etc/haproxy/origin-pulls.pem"}

    def apply():
        # The other nodes keep the plan that they have in memory, and the rules that belong to it.
        lab.salt("haproxy*", "saltutil.refresh_pillar", "wait=True")
        assert labs.failures(applied(lab, "firewall,edge")) == {}

    def context(authority=pulls):
        made = ssl.create_default_context(cadata=certificate)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        if authority:
            with tempfile.TemporaryDirectory() as folder:
                paths = pki.write(folder, authority, name="cloudflare", uses=("clientAuth",))
                made.load_cert_chain(paths["cert"], paths["key"])
        return made

    for address in (CLOUDFLARE, STRANGER):
        public.also(address)
    settings = {"haproxy": {"public": tls}, "cloudflare": {"require_cloudflare": True}}
    try:
        with (
            labs.site(lab, settings),
            labs.plan(lab, lambda one: one["plan"]["ports"].update(rpc_https=443, rpc_wss=8443)),
        ):
            apply()
            yield context
    finally:
        apply()
        labs.wait_healthy(lab)


CLOUDFLARE, STRANGER = "173.245.48.10", "203.0.113.9"
ENDED = (ssl.SSLError, ConnectionError)


class TestOnlyCloudflare:
    """The public ports accept CloudFlare only."""

    def test_cloudflare_comes_by_tls_and_shows_its_certificate(self, public, only_cloudflare):
        answer = public.post(text("eth_chainId"), port=443, source=CLOUDFLARE, tls=only_cloudflare())
        assert answer.json["result"] == "0x539"
        for authority in (None, pki.Authority("foreign")):
            with pytest.raises(ENDED):
                public.post(text("eth_chainId"), port=443, source=CLOUDFLARE, tls=only_cloudflare(authority))

    def test_cloudflare_brings_websockets_by_tls(self, public, only_cloudflare):
        def ask():
            url, context = f"wss://{public.virtual_ip}:8443", only_cloudflare()
            with connect(url, ssl=context, source_address=(CLOUDFLARE, 0), proxy=None) as client:
                client.send(text("eth_chainId"))
                return json.loads(client.recv(5))["result"]

        assert public.run(ask) == "0x539"

    def test_other_clients_cannot_bypass_cloudflare(self, public, only_cloudflare):
        for port, tls in ((443, only_cloudflare()), ("rpc_http", None), ("rpc_ws", None)):
            with pytest.raises(ENDED):
                public.post(text("eth_chainId"), port=port, source=STRANGER, tls=tls)
            with pytest.raises(ENDED):
                public.post(
                    text("eth_chainId"), port=port, source=STRANGER, tls=tls, CF_Connecting_IP=public.address
                )
        assert public.call("eth_chainId").status == 200  # from the plan's own network
        assert public.call("eth_chainId", source=CLOUDFLARE).status == 200


# --- attacks


def memory(lab, node):
    """Memory of the edge's processes, in MiB."""
    asked = ["sh", "-c", "cat $(pgrep -x haproxy-edge | sed 's|.*|/proc/&/status|') | grep VmRSS"]
    return sum(int(line.split()[1]) for line in lab.exec(node, asked).stdout.splitlines()) / 1024


HALF = (
    b"POST / HTTP/1.1\r\nHost: rpc\r\nContent-Type: application/json\r\nContent-Length: 110000\r\n\r\n"
    + b" " * 100_000
)


SMALL = HALF[:300].replace(b"110000", b"10000")


def test_a_client_with_many_connections_does_not_affect_others(public, lab):
    public.also("10.0.0.239")
    with public.holding(b"POST / HTTP/1.1\r\n", ["10.0.0.239"], 400) as still:
        assert public.call("eth_chainId").status == 200
        wait_until(lambda: still() <= 200, 3, "all but 200 connections to be refused")
        assert still() > 0
    labs.wait_healthy(lab)


@pytest.mark.parametrize("data", [HALF, SMALL], ids=["large", "small"])
def test_many_slow_clients_do_not_affect_others(crowd, lab, data):
    """The maximum number of connections, each with a body that never ends."""
    holder = labs.virtual_ip_holders(lab)[0]
    # From the pillar: the chain's connections with two buffers each, and Lua's memory.
    room = 1536 * 2 * 16 / 1024 + 64
    before = memory(lab, holder)
    for _ in range(2):
        with crowd.holding(data, CLIENTS, 200):
            assert memory(lab, holder) < before + room + 64
            with labs.writing(lab, "db1") as written:  # a session with PostgreSQL still works
                time.sleep(1)
            assert written["error"] is None
            assert written["written"] > 0
    assert labs.virtual_ip_holders(lab) == [holder]
    wait_until(lambda: crowd.call("eth_chainId").status == 200, 15, "the chain to be reached again")
    labs.wait_healthy(lab)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_is_answered_or_ended(public, seed):
    """Calls with random corruption: HAProxy keeps running, and no forbidden call reaches a node."""
    chance = random.Random(seed)
    source = f"10.0.0.{230 + seed}"  # a separate address: a client with many refusals is blocked for a while
    public.also(source)
    pieces = [
        text("eth_chainId"),
        text("evm_mine"),
        "[",
        "]",
        "{",
        "}",
        '"',
        "\\u0000",
        "\\",
        ",",
        ":",
        "null",
        "1e999",
    ]
    for _ in range(50):
        body = bytearray("".join(chance.choices(pieces, k=chance.randrange(1, 8))).encode())
        for _ in range(chance.randrange(4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        answer = public.post(bytes(body), source=source)
        assert answer.status in (200, 400, 403, 413, 429), (body, answer)
        assert isinstance(answer.json, (dict, list)), (body, answer)
        if b"evm_mine" in body and b"eth_chainId" not in body:
            assert b'"result"' not in answer.body, (body, answer)
    assert public.call("eth_chainId").status == 200


# --- nodes that start and stop


def up(lab):
    """{balancer: RPC nodes in rotation}."""
    answers = lab.salt("haproxy*", "fanatico_haproxy.backends")
    return {node: set(answer["rpc_http"]["up"]) for node, answer in answers.items()}


def test_a_frozen_head_is_out_of_rotation_and_comes_back(crowd, lab):
    for address in CLIENTS:  # a client with too many refusals is blocked for up to twenty seconds
        wait_until(
            lambda address=address: crowd.call("eth_chainId", source=address).status == 200,
            30,
            f"{address} to be heard again",
        )
    follow = ["systemctl", "kill", "fanatico-rpc-follow", "--signal"]
    with crowd.asking(50, CLIENTS) as found:
        lab.exec("rpc3", [*follow, "STOP"])
        try:
            wait_until(
                lambda: all("rpc3" not in one for one in up(lab).values()), 30, "rpc3 to be out of rotation"
            )
            time.sleep(4)
        finally:
            lab.exec("rpc3", [*follow, "CONT"])
        wait_until(lambda: all("rpc3" in one for one in up(lab).values()), 30, "rpc3 to be back")
        time.sleep(4)
    assert wrong(found) == []
    assert len({heads[-1] for heads in found}) <= 2
    for heads in found:  # the heads that one client saw
        assert max(before - after for before, after in itertools.pairwise(heads)) <= 3


def test_drained_by_hand_it_stays_out_until_it_is_put_back(crowd, lab):
    """Its existing WebSockets stay open."""
    with crowd.listening(12, CLIENTS) as sockets:
        drained = json.loads(
            lab.salt_run("fanatico.drain", "rpc2", "a test", "timeout=5", "--out=json").stdout
        )
        assert drained["out"] is True
        assert drained["sockets"] > 0
        assert all("rpc2" not in one for one in up(lab).values())
        assert crowd.call("eth_chainId").status == 200
        lab.salt_run("fanatico.undrain", "rpc2")
    assert sockets["cut"] == []
    assert all(len(heads) > 1 for heads in sockets["heads"])
    assert all("rpc2" in one for one in up(lab).values())
    labs.wait_healthy(lab)


def test_killed_nodes_cost_no_read_and_heads_go_on(crowd, healthy):
    lab = healthy
    with crowd.asking(200, CLIENTS) as found, crowd.asking(20, CLIENTS, size=40_000) as large:
        time.sleep(1)
        for node in ("rpc1", "rpc2"):
            lab.exec(node, ["systemctl", "kill", "--signal=KILL", "fanatico-rpc"])
            time.sleep(4)
    assert asked(found) > 1000
    assert asked(large) > 100
    assert wrong(found) == wrong(large) == []
    labs.wait_healthy(lab)


def test_a_reload_fails_no_request_and_cuts_no_websocket(crowd, healthy):
    """A setting is changed under 500 requests a second and 200 WebSockets, and changed back."""
    lab = healthy
    pids = ["pgrep", "--count", "--exact", "haproxy-edge"]
    with crowd.listening(200, CLIENTS) as sockets, crowd.asking(500, CLIENTS) as found:
        for settings in ({"rpc": {"edge": {"heavy": ["eth_getLogs", "trace_"]}}}, {}):
            with labs.site(lab, settings) if settings else contextlib.nullcontext():
                lab.salt("haproxy*", "saltutil.refresh_pillar", "wait=True")
                answers = applied(lab, "edge")
            assert labs.failures(answers) == {}
            assert "rpc-classes.map" in str(labs.changes(answers))
            time.sleep(2)
        holder = labs.virtual_ip_holders(lab)[0]
        assert int(lab.exec(holder, pids).stdout) > 2, "no old process is left to its WebSockets"
    assert asked(found) > 5000
    assert wrong(found) == []
    assert sockets["cut"] == []
    for heads in sockets["heads"]:
        assert heads == list(range(heads[0], heads[0] + len(heads)))
        assert len(heads) > 5


@pytest.mark.long
def test_nodes_are_upgraded_one_after_the_other_without_a_failed_read(crowd, lab):
    labs.wait_healthy(lab)
    pid = ["systemctl", "show", "-P", "MainPID", "fanatico-rpc"]
    before = {node: lab.exec(node, pid).stdout for node in labs.nodes(lab, "rpc")}
    with labs.site(lab, {"rpc": {"exec": {"env": {"RENEWED": "yes"}}}}), crowd.asking(100, CLIENTS) as found:
        lab.salt("rpc*", "saltutil.refresh_pillar", "wait=True")
        lab.salt_run("state.orchestrate", "orch.rpc_upgrade", timeout=400)
    assert wrong(found) == []
    after = {node: lab.exec(node, pid).stdout for node in before}
    assert all(before[node] != after[node] for node in before)
    lab.salt("rpc*", "saltutil.refresh_pillar", "wait=True")
    assert labs.failures(labs.highstate(lab, "rpc*")) == {}
    labs.wait_healthy(lab)
