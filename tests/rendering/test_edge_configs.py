"""The rendered configurations of the balancers and RPC nodes pass the checkers of their daemons."""

import json
import os
import re

import pytest
import yaml

from tests.rendering.conftest import EDGE, HAPROXY, PLANS, SITE, put_beside, rendered

KEEPALIVED = "/etc/keepalived/keepalived.conf"
WHOLE = (
    ["five_etcd"] if os.environ.get("FANATICO_TEST") == "fast" else list(PLANS)
)  # plans whose nodes are all tried


def with_role(role):
    """Return (plan, node) for the nodes with a role: all of WHOLE's plans, of others the first of each combination of roles."""
    found = [
        ((plan, node), (plan, frozenset(facts["roles"]), node if plan in WHOLE else ""))
        for plan, path in PLANS.items()
        for node, facts in yaml.safe_load(path.read_text())["plan"]["nodes"].items()
        if role in facts["roles"]
    ]
    return list({kind: key for key, kind in reversed(found)}.values())[::-1]


@pytest.mark.parametrize("path", [HAPROXY, EDGE])
@pytest.mark.parametrize(("plan", "node"), with_role("haproxy"))
def test_haproxy_accepts_its_configuration(make_node, machine, plan, node, path):
    text = put_beside(machine, make_node(plan, node))[path]
    checked = machine.run("haproxy", "-c", "-f", "/mnt/text", text=text)
    assert checked.returncode == 0, checked.stdout
    assert "WARNING" not in checked.stdout


@pytest.mark.parametrize("path", [HAPROXY, EDGE])
def test_haproxy_refuses_an_invalid_configuration(make_node, machine, path):
    text = put_beside(machine, make_node("default", "haproxy1"))[path]
    assert machine.run("haproxy", "-c", "-f", "/mnt/text", text=text + "\n    no-such-word\n").returncode != 0


@pytest.mark.parametrize(("plan", "node"), with_role("haproxy"))
@pytest.mark.parametrize("version", [3, 2])
def test_keepalived_accepts_its_configuration(with_site, tmp_path, machine, plan, node, version):
    site = SITE | {"keepalived": {"interface": "eth0", "vrrp_version": version}}
    minion = with_site(node, site, plan=PLANS[plan])
    for check in minion.compile("keepalived.configured"):
        if str(check.get("source", "")).endswith(".sh"):
            script = minion.functions["cp.get_file_str"](check["source"])
            machine.put(check["name"], script, mode=0o755)
    machine.put("/run/haproxy/down", "0")
    text = rendered(minion, "keepalived.configured")[KEEPALIVED]
    checked = machine.run("keepalived", "--config-test", "--use-file", "/mnt/text", text=text)
    assert checked.returncode == 0, checked.stdout
    assert "unknown" not in checked.stdout.lower()


def test_keepalived_signs_if_its_version_supports_it(with_site):
    minion = with_site("haproxy1", SITE)
    secret = minion.pillar["secrets"]["KEEPALIVED_AUTH_PASS"]

    def conf(version):
        minion.functions["pkg.version"] = lambda name: version
        return rendered(minion, "keepalived.configured")[KEEPALIVED]

    assert "auth_" not in conf("1:2.3.3-1")
    for version in ("1:2.4.3-1", "1:2.10.0-1", "3.0.0"):
        signed = conf(version)
        assert re.search(r"auth_hmac \{\s+key 1 hex:[0-9a-f]{64}\s+active_key 1\s+mode enforce\s+\}", signed)
        assert secret not in signed


def test_keepalived_sends_a_password_if_it_cannot_sign(with_site):
    site = SITE | {"keepalived": {"interface": "eth0", "vrrp_version": 2}}
    minion = with_site("haproxy1", site)
    minion.functions["pkg.version"] = lambda name: "1:2.3.3-1"
    text = rendered(minion, "keepalived.configured")[KEEPALIVED]
    assert f"auth_pass {minion.pillar['secrets']['KEEPALIVED_AUTH_PASS'][:8]}\n" in text
    assert "advert_int 1\n" in text


def test_balancers_differ_only_in_their_identity(make_node):
    """Each lists all its peers, and no two have the same priority: an election always ends."""
    nodes = [node for plan, node in with_role("haproxy") if plan == "five_etcd"]
    assert len(nodes) == 3
    priorities = set()
    for node in nodes:
        minion = make_node("five_etcd", node)
        text = rendered(minion, "keepalived.configured")[KEEPALIVED]
        peers = re.search(r"unicast_peer \{([^}]*)\}", text)[1].split()
        addresses = minion.functions["fanatico_plan.addresses"]("haproxy")
        assert peers == [address for name, address in addresses.items() if name != node]
        priorities.add(re.search(r"\n *priority (\d+)", text)[1])
    assert len(priorities) == 3


@pytest.mark.parametrize(("plan", "node"), with_role("rpc"))
def test_systemd_accepts_the_units_of_the_rpc_node(make_node, machine, plan, node):
    files = rendered(make_node(plan, node), "rpc.configured")
    units = [path for path in files if path.startswith("/etc/systemd/system/")]
    assert (
        len(units) == 5
    )  # the node, its agent and the agent's port, its door, and what makes the anvils one chain
    for path, text in files.items():
        machine.put(path, text)
    for program in ("current/bin/anvil", "anvil_chain.py", "rpc_agent.py", "rpc_ws.py"):
        machine.put(f"/opt/fanatico/rpc/{program}", "", mode=0o755)
    checked = machine.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout == ""


def test_arguments_reach_the_rpc_node_unchanged(with_site):
    args = ["--host={address}", 'say "hi"', "100%", "$HOME", "a\\b", 7]
    site = SITE | {"rpc": SITE["rpc"] | {"exec": {"args": args}}}
    unit = rendered(with_site("rpc1", site), "rpc.configured")["/etc/systemd/system/fanatico-rpc.service"]
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert line.endswith(r'anvil "--host=10.0.1.10" "say \"hi\"" "100%%" "$$HOME" "a\\b" "7"')


def test_a_package_is_pinned_to_its_version(with_site):
    package = {
        "name": "fanatico-l1",
        "version": "0.5.0.0",
        "repo": "deb https://packages.example.org stable main",
    }
    artifact = {"kind": "package", "package": package, "bin": "/usr/bin/fanatico"}
    minion = with_site("rpc1", SITE | {"rpc": SITE["rpc"] | {"artifact": artifact}})
    chunks = minion.compile("rpc")
    installed = next(chunk for chunk in chunks if chunk["state"] == "pkg")
    assert (installed["name"], installed["version"]) == ("fanatico-l1", "0.5.0.0")
    assert any(chunk["state"] == "pkgrepo" and chunk["name"] == package["repo"] for chunk in chunks)
    unit = rendered(minion, "rpc.configured")["/etc/systemd/system/fanatico-rpc.service"]
    assert 'ExecStart=/usr/bin/fanatico "--host"' in unit


def test_the_agent_uses_the_health_settings_of_the_pillar(with_site):
    """The same keys that health checks and cures read (tests/unit/test_module_rpc.py, test_cure.py)."""
    minion = with_site("rpc1", SITE | {"rpc": SITE["rpc"] | {"health": {"max_lag": 7}}})
    agent = json.loads(rendered(minion, "rpc.configured")["/etc/fanatico/rpc-agent.json"])
    assert (agent["max_lag"], agent["max_jump"]) == (7, minion.pillar["rpc"]["health"]["max_jump"])


@pytest.mark.parametrize("lacking", ["kind", "source", "sha256", "bin"])
def test_an_artifact_that_is_not_pinned_does_not_render(with_site, lacking):
    artifact = {key: value for key, value in SITE["rpc"]["artifact"].items() if key != lacking}
    minion = with_site("rpc1", SITE | {"rpc": SITE["rpc"] | {"artifact": artifact}})
    with pytest.raises(AssertionError, match=f"rpc:artifact:{lacking} is empty in the pillar"):
        minion.compile("rpc.installed")


@pytest.mark.parametrize(
    ("node", "sls", "site", "secrets", "sentence"),
    [
        ("haproxy1", "edge.configured", {}, True, "rpc:chain:id is empty in the pillar"),
        ("haproxy1", "haproxy.configured", SITE, False, "HAPROXY_STATS_PASSWORD is missing: run"),
        ("haproxy1", "keepalived.configured", SITE, False, "KEEPALIVED_AUTH_PASS is missing: run"),
        (
            "haproxy1",
            "keepalived.configured",
            {"keepalived": {"interface": ""}},
            True,
            "no interface carries 10.0.0.10",
        ),
    ],
)
def test_a_missing_setting_is_named(with_site, node, sls, site, secrets, sentence):
    minion = with_site(node, site, with_secrets=secrets)
    with pytest.raises(Exception, match=sentence):
        rendered(minion, sls)
