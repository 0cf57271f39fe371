"""The rules of edge.cfg, as lines. The rendering and traffic layers test them in HAProxy."""

import copy
import json
import re
import shlex

import pytest

import fanatico_edge
from tests.support import REPO, pillar

FOLDER = REPO / "salt" / "edge" / "files"
TEMPLATES = "".join((FOLDER / name).read_text() for name in ("edge.cfg.jinja", "rpc.cfg.jinja"))
LIMITS = {"read": 2000, "heavy": 200, "write": 5}


@pytest.fixture
def settings(plan):
    """The pillar of a balancer; a test may change it."""
    shipped = {name: pillar.shipped(name) for name in ("rpc", "haproxy", "cloudflare")}
    shipped["rpc"]["chain"]["id"] = 1337
    return {"plan": copy.deepcopy(plan), **shipped}


def answered(rule):
    """Return the body of a rule as HAProxy parses it: one word, which is a log format."""
    words = shlex.split(rule.replace("!{", "! {"))  # HAProxy's single quotes are the shell's
    return json.loads(words[words.index("lf-string") + 1].replace("%%", "%"))


def test_each_part_is_used_in_the_template(settings):
    parts = fanatico_edge.policy(settings, "haproxy1")
    assert set(re.findall(r'rules\("(\w+)"\)', TEMPLATES)) == set(parts)


def test_each_entry_is_one_line(settings):
    lines = [line for part in fanatico_edge.policy(settings, "haproxy1").values() for line in part]
    assert [line for line in lines if line != line.strip() or "\n" in line or not line] == []


def test_tables_have_a_counter_for_each_class():
    number = len(fanatico_edge.CLASSES)
    assert TEMPLATES.count(f"store gpc({number}),gpc_rate({number},10s)") == 2


def test_a_missing_chain_id_is_an_error(settings):
    settings["rpc"]["chain"]["id"] = None
    with pytest.raises(ValueError, match="rpc:chain:id is empty in the pillar"):
        fanatico_edge.policy(settings, "haproxy1")


@pytest.mark.parametrize("message", ["plain", 'it\'s 5 % of "all"', "a\\b %[env(HOME)] 'x' $HOME # {}"])
def test_a_message_is_escaped_for_haproxy(message):
    rule = fanatico_edge.refuse(404, -32600, message, "!is_path")
    assert answered(rule) == {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": message}}
    assert rule.endswith(" if !is_path")
    assert not re.search(r"(?<!%)%(?!%)", rule)


def test_the_rule_of_a_refusal():
    assert fanatico_edge.refuse(
        429, -32005, "too many", "is_full", {"Retry-After": 10}, "%[var(txn.id)]"
    ) == (
        "http-request return status 429 content-type application/json hdr Cache-Control no-store hdr Retry-After 10 "
        """lf-string '{"jsonrpc":"2.0","id":%[var(txn.id)],"error":{"code":-32005,"message":"too many"}}' if is_full"""
    )


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("https://app.example.org:8443", "https://app.example.org:8443"),
        ("https://it's", r"'https://it'\''s'"),
        ('https://a"b', """'https://a"b'"""),
        ("https://a#b", "'https://a#b'"),
        ("https://a\\b", "'https://a\\b'"),
        ("", "''"),
    ],
)
def test_words(text, word):
    assert fanatico_edge.word(text) == word


@pytest.mark.parametrize(("limit", "step"), [(1, 1), (9, 1), (10, 1), (200, 20), (1000, 100), (100_000, 100)])
def test_the_other_balancer_is_updated_in_steps_of_a_tenth(limit, step):
    assert fanatico_edge.step(limit) == step


def test_counters_of_the_other_balancer_count():
    assert fanatico_edge.over(LIMITS) == [
        "acl over_read sc_gpc_rate(0,0) gt 2000",
        "acl over_read src,ipmask(32,64),table_gpc_rate(0,rpc_clients) gt 2000",
        "acl over_heavy sc_gpc_rate(1,0) gt 200",
        "acl over_heavy src,ipmask(32,64),table_gpc_rate(1,rpc_clients) gt 200",
        "acl over_write sc_gpc_rate(2,0) gt 5",
        "acl over_write src,ipmask(32,64),table_gpc_rate(2,rpc_clients) gt 5",
    ]


def test_a_plain_call_is_counted_before_it_is_allowed():
    edge = {"limits": LIMITS, "paths": ["/", "/rpc"]}
    lines = fanatico_edge.plain(edge)
    assert "acl is_path path / /rpc" in lines
    for place, name in enumerate(fanatico_edge.CLASSES):
        counted = lines.index(f"http-request sc-inc-gpc({place},0) if is_{name}")
        allowed = lines.index(f"http-request allow if is_{name} !over_{name} !is_due_{name}")
        told = lines.index(
            f"http-request sc-add-gpc({place},2) {fanatico_edge.step(LIMITS[name])} if is_{name} {{ sc_tracked(2) }}"
        )
        assert counted < allowed < told < lines.index(f"http-request allow if is_{name} !over_{name}")
    assert all("!over_" in line for line in lines if line.startswith("http-request allow"))


@pytest.mark.parametrize(
    ("calls", "number"),
    [("var(txn.{})", "%[var(txn.id)]"), ("req.hdr_val(X-Rpc-{})", "%[req.fhdr(X-Rpc-Id)]")],
)
def test_a_client_over_its_rate_limit_is_refused_by_class(calls, number):
    rules = fanatico_edge.over_limit(LIMITS, calls, number)
    for name, rule in zip(fanatico_edge.CLASSES, rules, strict=True):
        assert rule.endswith(f" if over_{name} {{ {calls.format(name)} -m int gt 0 }}")
        assert f'"id":{number},' in rule
        assert f"too many {name} calls: at most {LIMITS[name]} in 10 s" in rule


def test_connections_of_one_client():
    lines = fanatico_edge.clients(200, 1536)
    assert "tcp-request connection reject if { sc1_conn_cur gt 200 }" in lines
    assert "tcp-request connection reject if { fe_conn gt 1152 } { sc1_conn_cur gt 20 }" in lines
    assert (
        fanatico_edge.clients(3, 4)[3]
        == "# When the port is nearly full, the limit of a client drops to a tenth."
    )
    assert (
        fanatico_edge.clients(3, 4)[4]
        == "tcp-request connection reject if { fe_conn gt 3 } { sc1_conn_cur gt 1 }"
    )


def test_require_cloudflare(settings):
    settings["rpc"]["edge"]["unlimited"] = ["192.0.2.0/24"]
    assert "reject unless" not in str(fanatico_edge.policy(settings, "haproxy1")["clients"])
    settings["cloudflare"]["require_cloudflare"] = True
    parts = fanatico_edge.policy(settings, "haproxy1")
    assert parts["clients"][0] == (
        "tcp-request connection reject unless { src -f /etc/haproxy/cloudflare.lst } || "
        "{ src 10.0.0.0/24 10.0.1.0/24 10.0.2.0/24 10.0.3.0/24 10.0.4.0/24 192.0.2.0/24 }"
    )
    assert "timeout http-keep-alive 905s" in parts["keep_alive"]
    # Also with require_cloudflare.
    assert fanatico_edge.clients(1, 2, [])[0].startswith("tcp-request connection reject unless")


def test_the_client_header_counts_only_from_cloudflare():
    *_, dropped, believed = fanatico_edge.clients(200, 1536)
    assert dropped.endswith("-m found } !{ src -f /etc/haproxy/cloudflare.lst }")
    assert (
        believed == "http-request set-src req.hdr(CF-Connecting-IP) if { req.hdr(CF-Connecting-IP) -m found }"
    )


@pytest.mark.parametrize(
    ("origins", "condition"),
    [
        (["https://a.example.org", "*"], "-m found"),
        (["https://a.example.org", "http://b"], "-m str https://a.example.org http://b"),
    ],
)
def test_browsers(origins, condition):
    lines = fanatico_edge.browsers(origins)
    assert f"http-request set-var(txn.origin) req.hdr(Origin) if {{ req.hdr(Origin) {condition} }}" in lines
    assert len(fanatico_edge.preflight(origins)) == 1


def test_without_origins_no_page_may_call():
    assert fanatico_edge.browsers([])[1:] == ["http-after-response del-header Access-Control-Allow-Origin"]
    assert fanatico_edge.preflight([]) == []


def test_tls_for_the_public(plan):
    tls = {"certificate": "", "client_ca": ""}
    assert fanatico_edge.public(plan, tls, "rpc_https", "h2,http/1.1") == []
    plan = {**plan, "ports": {**plan["ports"], "rpc_https": 443}}
    with pytest.raises(
        ValueError, match="haproxy:public:certificate is empty in the pillar: plan:ports:rpc_https"
    ):
        fanatico_edge.public(plan, tls, "rpc_https", "h2,http/1.1")
    tls["certificate"] = "/etc/ssl/public.pem"
    bind = "bind 10.0.0.100:443 ssl crt /etc/ssl/public.pem alpn h2,http/1.1"
    assert fanatico_edge.public(plan, tls, "rpc_https", "h2,http/1.1") == [bind]
    tls["client_ca"] = "/etc/ssl/ca.pem"
    assert fanatico_edge.public(plan, tls, "rpc_https", "h2,http/1.1") == [
        f"{bind} ca-file /etc/ssl/ca.pem verify required"
    ]


def test_health_distinguishes_all_some_and_none():
    _, well, some, none = fanatico_edge.health(3)
    assert well.endswith(
        """{"status":"ok","ready":%[nbsrv(rpc_http)],"nodes":3}' if { path /health } { nbsrv(rpc_http) ge 3 }"""
    )
    assert some.endswith("if { path /health } { nbsrv(rpc_http) gt 0 }")
    assert " status 503 " in none
    assert none.endswith("if { path /health }")


def test_a_node_of_another_chain_is_out():
    assert fanatico_edge.chain(1337, 8545)[-1] == r'http-check expect rstring "\"result\":\s*\"0x539\""'


def test_a_balancer_is_its_own_peer_without_an_address(plan):
    assert fanatico_edge.balancers(plan, "haproxy1") == [
        "server haproxy1",
        "server haproxy2 10.0.0.11:8405 verifyhost haproxy2",
    ]


def test_reads_have_the_default_timeout():
    assert fanatico_edge.node_timeouts({"read": 15, "heavy": 60, "write": 30}) == [
        "http-request set-timeout server 60s if { var(txn.class) -m str heavy }",
        "http-request set-timeout server 30s if { var(txn.class) -m str write }",
    ]


def test_lua_waits_longer_than_haproxy():
    edge = {"batch_limit": 20, "body_limit": 120000, "timeouts": {"read": 15, "heavy": 60, "write": 30}}
    assert fanatico_edge.guard(edge) == ["lua-load-per-thread /etc/haproxy/rpc_guard.lua 20 120000 65"]


def test_client_identity_is_stripped():
    removed = re.compile(re.search(r"del-header (\S+) -m reg", fanatico_edge.anonymous()[-1])[1])
    names = ("authorization", "cookie", "x-forwarded-for", "x-rpc-client", "cf-connecting-ip", "via")
    assert all(map(removed.search, names))
    assert not any(map(removed.search, ("content-type", "x-request-id", "my-cookie", "host")))
