"""Exit codes of commands on a real master and a real minion."""

import json

import pytest
import yaml


@pytest.fixture
def site(pillar_root):
    """Write site overrides for one test."""
    path = pillar_root / "site" / "init.sls"
    before = path.read_text()
    yield lambda settings: path.write_text(yaml.safe_dump({**yaml.safe_load(before), **settings}))
    path.write_text(before)


def test_a_sound_pillar(salt_run):
    ret = salt_run.run("fanatico.validate")
    assert ret.returncode == 0, ret
    assert ret.data["nodes"] == 12  # without the backup host
    assert ret.data["secrets"] == 14


def test_an_override_that_every_node_is_given(salt_run, site):
    """Only database nodes get these settings; the other nodes have only the override."""
    site({"postgresql": {"parameters": {"shared_buffers": "64MB"}}, "etcd": {"quota_backend_bytes": 2**30}})
    ret = salt_run.run("fanatico.validate")
    assert ret.returncode == 0, ret


def test_an_unsound_pillar(salt_run, site):
    site(
        {
            "plan": {"timing": {"patroni": {"ttl": 15}}},
            "haproxy": {"maxcon": 1},
            "postgresql": {"version": "x"},
        }
    )
    ret = salt_run.run("fanatico.validate")
    said = ret.stdout + ret.stderr
    assert ret.returncode == 1
    assert "plan:timing:patroni:ttl: 15" in said
    assert "did you mean maxconn?" in said
    assert "postgresql:version" in said
    assert "Traceback" not in said


def test_an_orchestration_over_an_unsound_pillar(salt_run, minion, site, home):
    site({"plan": {"timing": {"patroni": {"ttl": 15}}}})
    ret = salt_run.run("state.orchestrate", "orch.deploy")
    assert ret.returncode != 0
    assert "plan:timing:patroni:ttl" in ret.stdout + ret.stderr
    newest = json.loads((home / "history.jsonl").read_text().splitlines()[-1])
    assert (newest["kind"], newest["decision"]) == ("deploy", "failed")
    assert "plan:timing:patroni:ttl" in newest["reason"]


def test_a_minion_that_does_not_do_its_part(salt_cli, minion):
    """This minion has the role etcd, but etcd does not run."""
    ret = salt_cli.run("fanatico.health", minion_tgt=minion.id)
    assert ret.returncode != 0
    assert ret.data["status"] == "critical"
    assert all({"status", "value", "detail", "hint"} <= set(check) for check in ret.data["checks"].values())
    assert ret.data["checks"]["etcd.serving"]["runbook"] == "docs/operations.md#etcd-serving"


def test_nodes_that_are_not_there(salt_run, minion):
    ret = salt_run.run("fanatico.status", "timeout=2")
    assert ret.returncode != 0


def test_a_step_that_asks_for_their_status_fails(salt_run, master, minion):
    ret = salt_run.run("state.orchestrate", "asks_for_status")
    assert ret.returncode != 0
    (step,) = ret.data["data"][master.id].values()
    assert step["result"] is False, step
