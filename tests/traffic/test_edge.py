"""HAProxy with the tree's configuration, when a node does not answer, is slow or overloaded, and with settings that the
lab does not have. The nodes are fakes (files/edge.py), because a real node cannot be made silent on demand."""

import json
from collections import Counter

import pytest

from tests.rendering.conftest import SITE, put_beside
from tests.support import REPO

CLIENT, FRIEND = "192.0.2.7", "198.51.100.7"
LARGE = 20_000  # bytes: more than a buffer has


@pytest.fixture
def traffic(machine, with_site):
    """Return a function that sends requests to HAProxy with given settings of the edge; see files/edge.py."""

    def run(*requests, cloudflare=(), broken=False, longest=None, **edge):
        site = {**SITE, "rpc": {**SITE["rpc"], "edge": edge}}
        minion = with_site(
            "haproxy1", {**site, "cloudflare": {"ranges": list(cloudflare)}} if cloudflare else site
        )
        put_beside(machine, minion)
        if broken:
            guard = (REPO / "salt/edge/files/rpc_guard.lua").read_text()
            assert guard.count("= judge(") == 2
            machine.put(
                "/etc/haproxy/rpc_guard.lua", guard.replace("= judge(", "= error('broken') or judge(")
            )
        if longest:
            guard = (REPO / "salt/edge/files/rpc_guard.lua").read_text()
            assert guard.count("LONGEST = 30\n") == 1
            machine.put(
                "/etc/haproxy/rpc_guard.lua", guard.replace("LONGEST = 30\n", f"LONGEST = {longest}\n")
            )
        machine.put("/edge.py", (REPO / "tests/traffic/files/edge.py").read_text())
        plan, nodes = minion.pillar["plan"], minion.functions["fanatico_plan.addresses"]("rpc")
        own = minion.functions["fanatico_plan.address"]()
        task = {
            "addresses": [plan["virtual_ip"]["address"], own, *nodes.values(), CLIENT, FRIEND],
            "nodes": list(nodes.values()),
            "port": plan["ports"]["rpc_http"],
            "to": plan["virtual_ip"]["address"],
            "chain": SITE["rpc"]["chain"]["id"],
            "requests": [{"source": CLIENT, **request} for request in requests],
        }
        done = machine.run("python3", "/edge.py", text=json.dumps(task))
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout.splitlines()[-1])

    return run


def body(method, how="", size=0):
    """A call as text, with a minimum size in bytes."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": [how]}).ljust(size)


def statuses(answers):
    """Count the answers by status."""
    return Counter(one["status"] for one in answers)


@pytest.mark.parametrize("size", [0, LARGE])
def test_a_read_that_is_not_answered_is_asked_again_and_a_transaction_never(traffic, size):
    methods = ["eth_call", "eth_getLogs", "eth_sendRawTransaction"]
    batch = [json.loads(body("eth_sendRawTransaction", "drop")), json.loads(body("eth_call"))]
    seen = traffic(
        *({"body": body(method, "drop", size)} for method in methods), {"body": json.dumps(batch).ljust(size)}
    )
    for [answer] in seen["answers"]:
        assert answer["status"] == 502
        assert json.loads(answer["body"])["error"]["code"] == -32603
    asked = Counter(method for _, method, _ in seen["asked"])
    assert asked["eth_call"] > 1
    assert asked["eth_getLogs"] > 1
    assert asked["eth_sendRawTransaction"] == 2  # once as a single call, once in the batch


@pytest.mark.parametrize("size", [0, LARGE])
def test_each_class_has_its_own_time(traffic, size):
    methods = ["eth_getBalance", "eth_getLogs", "eth_sendRawTransaction"]
    seen = traffic(
        *({"body": body(method, "slow", size)} for method in methods),
        timeouts={"read": 1, "heavy": 3, "write": 3},
    )
    [read], [heavy], [write] = seen["answers"]
    assert (read["status"], heavy["status"], write["status"]) == (504, 200, 200)
    assert json.loads(read["body"])["error"]["code"] == -32000


def test_a_node_works_on_so_many_at_once_and_as_many_wait(traffic):
    seen = traffic(
        {"body": body("eth_getLogs", "slow"), "times": 12, "at_once": 12}, max_concurrent_per_node=1
    )
    [answers] = seen["answers"]
    assert seen["most"] == 1
    # A client stays with its node: one call runs, one waits, and the others are refused at once.
    assert statuses(answers) == {200: 2, 503: 10}
    assert all(json.loads(one["body"])["error"]["code"] == -32000 for one in answers if one["status"] == 503)


def test_pages_of_the_plans_origins_may_ask_and_no_others(traffic):
    ours, theirs = "https://app.example.org", "https://evil.example.org"
    preflight = {"method": "OPTIONS", "body": "", "headers": {"Access-Control-Request-Method": "POST"}}

    def of(origin, request):
        return {**request, "headers": {**request.get("headers", {}), "Origin": origin}}

    call = {"body": body("eth_call")}
    seen = traffic(
        *(of(origin, request) for origin in (ours, theirs) for request in (preflight, call)),
        of(ours, {"body": body("debug_x")}),
        of(ours, {"body": body("eth_call", size=LARGE)}),
        origins=[ours],
    )
    asked, called, refused, foreign, forbidden, large = (one for [one] in seen["answers"])
    assert asked["status"] == 204
    assert asked["headers"]["access-control-allow-methods"] == "POST"
    assert (refused["status"], foreign["status"], forbidden["status"]) == (405, 200, 403)
    for answer in (asked, called, forbidden, large):
        assert answer["headers"]["access-control-allow-origin"] == ours
        assert answer["headers"]["vary"] == "Origin"
    for answer in (refused, foreign):  # the fake sends `*`, as anvil does
        assert "access-control-allow-origin" not in answer["headers"]


@pytest.mark.parametrize("size", [0, LARGE])
def test_the_operators_own_networks_have_no_limits(traffic, size):
    many = {"body": body("eth_getLogs", size=size), "times": 30}
    seen = traffic({**many, "source": FRIEND}, many, unlimited=["198.51.100.0/24"], limits={"heavy": 20})
    friends, others = seen["answers"]
    assert statuses(friends) == {200: 30}
    assert statuses(others) == {200: 20, 429: 10}


def test_of_a_class_each_client_has_its_own_share(traffic):
    """For plain calls, batches and large bodies."""
    plain, large = body("eth_getLogs"), body("eth_getLogs", size=LARGE)
    batch = json.dumps([json.loads(plain)] * 5)
    requests = [{"body": one, "times": 8} for one in (plain, batch, large)]
    requests += [{"body": body("eth_call"), "times": 1}, {"body": plain, "source": FRIEND}]
    seen = traffic(*requests, limits={"heavy": 20})
    plains, batches, larges, [read], [other] = seen["answers"]
    assert statuses(plains) == {200: 8}
    # 8 plain calls, reported to the other balancer in twos, so the third five exceed the limit.
    assert [one["status"] for one in batches] == [200] * 2 + [429] * 6
    assert statuses(larges) == {429: 8}
    assert (read["status"], other["status"]) == (200, 200)


NUL = body("eth_chainId").replace('1, "method"', '"\0", "method"')
HIDDEN = '{"jsonrpc":"2.0","id":1,"method":"eth_chainId"\0,"method":"debug_x","params":[]}'


def test_nothing_but_what_is_allowed_gets_to_a_node(traffic):
    """By name, by spelling, by path, behind a NUL: no unknown method reaches a node."""
    refused = {
        body("debug_x"): 403,
        body("DEBUG_X"): 403,
        body("Eth_call"): 403,
        body("eth_sendTransaction"): 403,
        body("eth_signTypedData_v4"): 403,
        body("trace_block"): 403,
        body(""): 400,
        body(" debug_x"): 400,
        json.dumps([json.loads(body("eth_call")), json.loads(body("trace_block"))]): 403,
        NUL: 400,
        HIDDEN: 400,
        body("eth_call") + "\0": 400,
        "\0" + body("eth_call"): 400,
        body("debug_x", size=LARGE): 403,
        body("trace_block", size=LARGE): 403,
    }
    elsewhere = [{"body": body("eth_call"), "path": path} for path in ("/x", "/debug", "//", "/%2e")]
    seen = traffic(*({"body": one} for one in refused), *elsewhere)
    assert [answer["status"] for [answer] in seen["answers"]] == [*refused.values(), *[404] * len(elsewhere)]
    assert seen["asked"] == []


ELEMENTS = '{"x":[' + "0," * 7000 + '0],"id":1,"method":"eth_call"}'


def test_who_is_refused_again_and_again_is_read_no_more(traffic):
    """Refusals are most expensive, because Lua reads every element. Other clients are not affected."""
    refused = {"body": body("debug_x"), "times": 15}
    rightly = {"body": body("eth_call"), "times": 15, "source": FRIEND}
    seen = traffic(refused, {"body": body("eth_call")}, rightly, refused=10)
    first, [then], others = seen["answers"]
    assert [one["status"] for one in first] == [403] * 11 + [429] * 4
    assert "too many refused" in first[-1]["body"]
    assert then["status"] == 429
    assert statuses(others) == {200: 15}


def test_a_body_has_so_many_elements(traffic):
    """A batch in a buffer is read completely; of a large one only a limited part."""
    seen = traffic({"body": ELEMENTS}, {"body": ELEMENTS.replace("0,", "0,0,0,")})
    [small], [large] = seen["answers"]
    assert small["status"] == 200
    assert large["status"] == 413


def test_a_node_sees_nothing_of_what_a_client_says_of_itself(traffic):
    said = {"X-Forwarded-For": "10.0.0.1", "Authorization": "Basic x", "Cookie": "a", "X-Rpc-Client": "::1"}
    seen = traffic(
        {"body": body("eth_call"), "path": "/?x=1", "headers": {**said, "Host": "somebody.example"}}
    )
    [[answer]] = seen["answers"]
    assert answer["status"] == 200
    (head,) = seen["heads"]
    assert "?" not in head.splitlines()[0]
    assert "host: rpc" in head.lower()
    for name in said:
        assert f"{name.lower()}:" not in head.lower()


def test_who_is_on_a_balancer_and_has_no_key_asks_nothing(traffic):
    """The socket of rpc_guard.lua is open to every process of the host."""
    seen = traffic(
        {
            "body": body("debug_x"),
            "abstract": "rpc-edge-judged",
            "headers": {"X-Rpc-Class": "read", "X-Rpc-Key": "guess"},
        }
    )
    [[answer]] = seen["answers"]
    assert answer["status"] == 403
    assert seen["asked"] == []


def test_what_the_plan_allows_gets_to_a_node(traffic):
    seen = traffic(
        {"body": body("trace_block"), "path": "/rpc"},
        {"body": body("eth_call"), "path": "/"},
        {"body": body("debug_x"), "path": "/"},
        allowed=["eth_", "trace_", "debug_"],
        paths=["/", "/rpc"],
    )
    assert [answer["status"] for [answer] in seen["answers"]] == [200, 200, 403], "`forbidden` wins"


def test_clients_with_a_64_of_ipv6_have_one_share(traffic):
    """Behind CloudFlare, which names the client: a home has a /64 and can use a new address for each request."""
    cloud = [
        {
            "body": body("eth_getLogs"),
            "headers": {"CF-Connecting-IP": f"2001:db8:1:2::{n:x}"},
            "source": FRIEND,
        }
        for n in range(1, 31)
    ]
    other = {
        "body": body("eth_getLogs"),
        "headers": {"CF-Connecting-IP": "2001:db8:1:3::1"},
        "source": FRIEND,
    }
    seen = traffic(*cloud, other, limits={"heavy": 20}, cloudflare=["198.51.100.0/24"])
    answers = [answer for [answer] in seen["answers"]]
    assert statuses(answers[:30]) == {200: 20, 429: 10}
    assert answers[30]["status"] == 200


@pytest.mark.parametrize("size", [0, LARGE])
def test_a_guard_that_fails_lets_nothing_through(traffic, size):
    """HAProxy continues when an action fails, for example without memory."""
    batch = json.dumps([json.loads(body("debug_x"))]).ljust(size)
    seen = traffic({"body": batch}, {"body": body("eth_call")}, broken=True)
    [refused], [plain] = seen["answers"]
    assert refused["status"] in (500, 502, 503)
    assert plain["status"] == 200, "which needs no guard"
    assert [method for _, method, _ in seen["asked"]] == ["eth_call"]


@pytest.mark.parametrize("size", [500, LARGE])
def test_a_body_has_so_long_and_no_longer_however_it_comes(traffic, size):
    """Byte by byte: a slow client cannot keep its slot for ever."""
    call = body("eth_call", size=size)
    seen = traffic({"body": call, "drip": 0.01}, {"body": call, "drip": 0.25}, longest=5)
    [quick], [slow] = seen["answers"]
    assert quick["status"] == 200
    assert slow["status"] in (400, 408, 500)
    assert slow["took"] < 15  # of the twenty-five seconds for the whole body
    assert len([one for one in seen["asked"] if one[1] == "eth_call"]) == 1
