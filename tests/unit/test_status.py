"""The cluster as a whole: what reports of all nodes come to, and how it is shown."""

import copy
import re
import time

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_cluster
import fanatico_master
import fanatico_sweep
import fanatico_verdict
from _output import fanatico as table
from _runners import fanatico_minions, fanatico_status

NOW = time.time()
MEMBERS = [
    {"name": "db1", "role": "leader", "state": "running", "timeline": 3},
    {"name": "db2", "role": "replica", "state": "streaming", "timeline": 3, "lag": 0},
    {"name": "db3", "role": "replica", "state": "streaming", "timeline": 3, "lag": 0},
]


def report(facts):
    health = {"status": "ok", "roles": [], "checks": {"node.units": fanatico_verdict.ok()}, "took_ms": 40}
    return {"health": health, "facts": facts, "time": NOW}


@pytest.fixture
def reports(plan):
    """The reports of all nodes of a healthy cluster."""
    found = {"salt": report({}), "ops1": report({})}
    for number, name in enumerate(("etcd1", "etcd2", "etcd3"), 1):
        own = {"member_id": str(number), "leader_id": "2", "term": 4}
        found[name] = report({"etcd": {"health": {"healthy": True}, "status": {name: own}}})
    for name in ("db1", "db2", "db3"):
        patroni = {"patroni": {"timeline": 3}, "cluster": {"members": copy.deepcopy(MEMBERS)}}
        found[name] = report({"patroni": patroni, "postgres": {"in_recovery": name != "db1"}})
    for name in ("haproxy1", "haproxy2"):
        backends = {"postgres_primary": {"up": ["db1"]}, "postgres_replica": {"up": ["db2", "db3"]}}
        role = "master" if name == "haproxy1" else "backup"
        found[name] = report(
            {"haproxy": {"backends": backends}, "keepalived": {"role": role, "answers": True}}
        )
    for name in ("rpc1", "rpc2", "rpc3"):
        found[name] = report({"rpc": {"local": {"chain_id": 1337, "head": 9, "head_hash": "0x9"}}})
    assert found.keys() == plan["nodes"].keys()
    return found


@pytest.fixture
def judge(plan, reports):
    def judge(*names):
        checks = fanatico_cluster.judge(plan, reports, NOW - 60, time.time())
        bad = {name: check["status"] for name, check in checks.items() if check["status"] != "ok"}
        return (bad, *(checks[name] for name in names)) if names else bad

    return judge


def test_a_healthy_cluster(judge):
    assert judge() == {}


def test_a_silent_node_is_named(judge, reports):
    del reports["rpc2"]
    bad, nodes = judge("nodes")
    assert bad == {"nodes": "degraded", "chain": "degraded"}
    assert "no answer from rpc2" in nodes["detail"]


def test_a_node_that_is_not_ok_is_named(judge, reports):
    reports["etcd2"]["health"]["status"] = "critical"
    bad, nodes = judge("nodes")
    assert bad == {"nodes": "degraded"}
    assert nodes["hint"] == "salt -L etcd2 fanatico.health"


def test_two_writable_primaries_are_critical(judge, reports):
    reports["db3"]["facts"]["postgres"]["in_recovery"] = False
    bad, primary = judge("primary")
    assert bad["primary"] == "critical"
    assert primary["value"] == ["db1", "db3"]
    assert "SPLIT-BRAIN: db1 and db3" in primary["detail"]
    assert primary["hint"] == "salt -L db3 service.stop patroni"


def test_two_writable_primaries_of_which_patroni_leads_none(judge, reports):
    for name in ("db1", "db2", "db3"):
        reports[name]["facts"]["patroni"]["cluster"]["members"][0]["role"] = "replica"
    reports["db3"]["facts"]["postgres"]["in_recovery"] = False
    _, primary = judge("primary")
    assert "SPLIT-BRAIN: db1 and db3" in primary["detail"]
    assert "service.stop" not in primary["hint"], "which of them is left to the operator"


def test_no_primary_is_critical(judge, reports):
    reports["db1"]["facts"]["postgres"] = {"error": "refused"}
    assert judge()["primary"] == "critical"


def test_a_primary_on_a_silent_node_is_unknown(judge, reports):
    del reports["db1"]
    bad, primary = judge("primary")
    assert bad["primary"] == "unknown"
    assert primary["value"] == ["db1"]


def test_a_primary_that_patroni_does_not_know(judge, reports):
    for name in ("db1", "db2", "db3"):
        members = reports[name]["facts"]["patroni"]["cluster"]["members"]
        members[0]["role"], members[1]["role"] = "replica", "leader"
    assert judge()["primary"] == "degraded"


def test_a_primary_whose_commits_wait(judge, reports):
    reports["db1"]["health"]["checks"]["postgres.write"] = fanatico_verdict.critical(
        False, "every commit waits", "do"
    )
    bad, primary = judge("primary")
    assert bad == {"primary": "critical"}
    assert primary["detail"] == "db1: every commit waits"


def test_a_node_on_an_old_timeline(judge, reports):
    reports["db2"]["facts"]["patroni"]["patroni"]["timeline"] = 2
    bad, timeline = judge("timeline")
    assert bad == {"timeline": "degraded"}
    assert "db2 not on timeline 3" in timeline["detail"]


def test_a_replica_that_does_not_stream(judge, reports):
    for name in ("db1", "db2", "db3"):
        reports[name]["facts"]["patroni"]["cluster"]["members"][1]["state"] = "starting"
    for name in ("haproxy1", "haproxy2"):
        reports[name]["facts"]["haproxy"]["backends"]["postgres_replica"]["up"] = ["db3"]
    assert judge() == {"replicas": "degraded"}


def test_a_replica_on_a_silent_host_is_not_counted_as_streaming(judge, reports):
    """Patroni reports it as streaming until its key in etcd expires."""
    del reports["db2"]
    bad, replicas = judge("replicas")
    assert bad == {"nodes": "degraded", "replicas": "degraded"}
    assert replicas["value"] == ["db3"]
    assert "db2" in replicas["detail"]


def test_etcd_one_short_and_without_quorum(judge, reports):
    reports["etcd1"]["facts"]["etcd"]["health"]["healthy"] = False
    assert judge() == {"etcd": "degraded"}
    reports["etcd3"]["facts"]["etcd"] = {"status": {"etcd3": {"error": "refused"}}}
    assert judge() == {"etcd": "critical"}


def test_etcd_members_that_disagree(judge, reports):
    reports["etcd3"]["facts"]["etcd"]["status"]["etcd3"]["leader_id"] = "3"
    bad, etcd = judge("etcd")
    assert bad == {"etcd": "critical"}
    assert "2 leaders" in etcd["detail"]


def test_the_virtual_ip_held_twice_and_not_at_all(judge, reports):
    reports["haproxy2"]["facts"]["keepalived"]["role"] = "master"
    bad, address = judge("virtual_ip")
    assert bad == {"virtual_ip": "critical"}
    assert address["value"] == ["haproxy1", "haproxy2"]
    assert "10.0.0.100" in address["detail"]
    for name in ("haproxy1", "haproxy2"):
        reports[name]["facts"]["keepalived"] = {"role": "backup", "answers": False}
    assert judge() == {"virtual_ip": "critical"}


def test_the_virtual_ip_on_a_silent_balancer(judge, reports):
    del reports["haproxy1"]
    assert judge() == {"nodes": "degraded", "virtual_ip": "degraded"}


def test_the_virtual_ip_without_a_haproxy(judge, reports):
    for name in ("haproxy1", "haproxy2"):
        reports[name]["facts"]["keepalived"]["answers"] = False
    assert judge() == {"virtual_ip": "critical"}


def test_a_balancer_that_sees_another_primary(judge, reports):
    reports["haproxy2"]["facts"]["haproxy"]["backends"]["postgres_primary"]["up"] = ["db2"]
    bad, balancers = judge("balancers")
    assert bad == {"balancers": "degraded"}
    assert re.search("haproxy2 .* postgres_primary .* db2, .* db1", balancers["detail"])


def test_no_balancer_at_all(judge, reports):
    for name in ("haproxy1", "haproxy2"):
        reports[name]["facts"]["haproxy"] = {"error": "no socket"}
    assert judge()["balancers"] == "critical"


def test_chains_that_differ_and_chains_that_forked(judge, reports):
    reports["rpc2"]["facts"]["rpc"]["local"]["head_hash"] = "0xbad"
    bad, chain = judge("chain")
    assert bad == {"chain": "critical"}
    assert chain["value"] == 9
    assert "rpc1, rpc3 against rpc2" in chain["detail"]
    reports["rpc2"]["facts"]["rpc"]["local"]["chain_id"] = 1
    bad, chain = judge("chain")
    assert bad == {"chain": "critical"}
    assert chain["value"] == [1, 1337]


def test_a_clock_that_is_off(judge, reports):
    reports["db2"]["time"] = NOW - 90
    bad, clocks = judge("clocks")
    assert bad == {"clocks": "degraded"}
    assert clocks["value"] == {"db2": 30}


def test_roles_that_the_plan_lacks_are_not_judged(plan, reports):
    plan = {**plan, "nodes": {"etcd1": plan["nodes"]["etcd1"]}}
    checks = fanatico_cluster.judge(plan, {"etcd1": reports["etcd1"]}, NOW, NOW)
    assert checks.keys() == {"nodes", "etcd", "clocks"}


# --- the runner and its table


@pytest.fixture
def answers(reports):
    for one in reports.values():
        one["time"] = time.time()
    return reports


@pytest.fixture
def configure_loader_modules(plan, answers, tmp_path, monkeypatch):
    def fanout(opts, ids, function, args, timeout):
        return {name: answers[name] for name in ids if name in answers}

    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_sweep, "fanout", fanout)
    opts = {"pki_dir": str(tmp_path), "color": False}
    return {
        fanatico_status: {"__opts__": opts, "__context__": {}},
        fanatico_minions: {"__opts__": opts},
        table: {"__opts__": opts},
    }


def test_status_of_a_healthy_cluster():
    seen = fanatico_status.status()
    assert seen["status"] == "ok"
    assert "retcode" not in seen
    assert fanatico_status.__context__ == {}
    assert len(seen["nodes"]) == 13


def test_critical_ends_with_one_and_fails_a_step(answers):
    answers["db3"]["facts"]["postgres"]["in_recovery"] = False
    seen = fanatico_status.status()
    assert (seen["status"], seen["retcode"]) == ("critical", 1)
    assert fanatico_status.__context__ == {"retcode": 1}
    assert seen["checks"]["primary"]["runbook"] == "docs/operations.md#cluster-primary"
    assert "runbook" not in seen["checks"]["etcd"]


def test_nodes_that_are_silent_or_failed_are_unknown(answers):
    del answers["rpc1"]
    answers["rpc2"] = "The minion function caused an exception: Traceback ...\nKeyError: 'plan'"
    nodes = fanatico_status.status()["nodes"]
    assert nodes["rpc1"]["status"] == nodes["rpc2"]["status"] == "unknown"
    assert nodes["rpc1"]["checks"]["node.answer"]["detail"] == "no answer"
    assert nodes["rpc2"]["checks"]["node.answer"]["detail"] == "KeyError: 'plan'"


def test_the_table_of_a_status(answers):
    del answers["rpc1"]
    answers["db1"]["health"].update(
        status="degraded", checks={"patroni.pause": fanatico_verdict.degraded(1, "paused", "resume")}
    )
    text = table.output(fanatico_status.status())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "virtual_ip ok haproxy1 holds 10.0.0.100" in lines
    assert "no answer from rpc1" in text
    assert "patroni.pause degraded paused" in lines
    assert "-> resume" in text
    assert text.splitlines()[-1].startswith("degraded: 12 of 13 nodes answered in ")
    assert max(map(len, text.splitlines())) <= 160


def test_the_table_of_health():
    health = {
        "status": "ok",
        "roles": ["etcd"],
        "checks": {"etcd.quorum": fanatico_verdict.ok("3/3")},
        "took_ms": 41,
    }
    assert table.output({"etcd1": health}) == "  etcd1        ok        etcd         1 of 1 checks ok, 41 ms"


def test_the_table_in_colour(monkeypatch):
    monkeypatch.setitem(table.__opts__, "color", True)
    health = {
        "status": "critical",
        "roles": ["etcd"],
        "checks": {"a": fanatico_verdict.critical(0, "down", "up")},
        "took_ms": 1,
    }
    assert "\x1b[" in table.output({"etcd1": health})


def test_anything_else_is_shown_as_salt_would(monkeypatch):
    monkeypatch.setattr(table.salt.output, "out_format", lambda data, out, opts, **kwargs: f"{out} {data}")
    assert table.output({"etcd1": "an exception"}) == "nested {'etcd1': 'an exception'}"


# --- waiting for minions


@pytest.fixture
def keys(plan, tmp_path):
    for folder in ("minions", "minions_pre"):
        (tmp_path / folder).mkdir()
    for name in plan["nodes"]:
        (tmp_path / "minions" / name).touch()
    return tmp_path


def test_every_minion_answers(keys, answers, plan):
    answers.update(dict.fromkeys(plan["nodes"], True))
    assert fanatico_minions.wait_minions(1) == list(plan["nodes"])
    assert fanatico_minions.wait_minions(1, ["db1"]) == ["db1"]


def test_missing_minions_are_named_with_what_is_known_of_them(keys, answers, plan):
    answers.update(dict.fromkeys(plan["nodes"], True))
    for name in ("db1", "db2", "db3"):
        del answers[name]
    (keys / "minions" / "db2").rename(keys / "minions_pre" / "db2")
    (keys / "minions" / "db3").unlink()
    with pytest.raises(CommandExecutionError) as caught:
        fanatico_minions.wait_minions(0.1)
    text = str(caught.value)
    assert "3 of 13" in text
    assert "db1: its key is accepted" in text
    assert "db2: its key is not accepted yet. Next: salt-run fanatico.accept_keys" in text
    assert "db3: it has not sent a key" in text


def test_a_minion_whose_key_was_rejected_is_named(keys, answers, plan):
    answers.update(dict.fromkeys(plan["nodes"], True))
    del answers["db3"]
    (keys / "minions_rejected").mkdir(exist_ok=True)
    (keys / "minions" / "db3").rename(keys / "minions_rejected" / "db3")
    with pytest.raises(CommandExecutionError, match="db3: .* rejected .*salt-key -d db3"):
        fanatico_minions.wait_minions(0.1)
