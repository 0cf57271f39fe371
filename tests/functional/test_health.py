"""Health through Salt's own loader: dunders in threads and callbacks, which plain imports cannot test."""

import pytest
import salt.loader
import yaml
from salt.exceptions import CommandExecutionError

import fanatico_http
from tests.support import REPO
from tests.support.peers import peers
from tests.support.pillar import shipped


@pytest.fixture(autouse=True)
def systemctl(tmp_path_factory, monkeypatch):
    """A systemctl that knows of no unit."""
    directory = tmp_path_factory.mktemp("bin")
    script = '#!/bin/sh\nfor unit; do case $unit in show|--*) ;; *) printf "ActiveState=inactive\\n\\n";; esac; done\n'
    (directory / "systemctl").write_text(script)
    (directory / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return directory / "systemctl"


@pytest.fixture
def functions(node):
    """Return the execution modules of a node that is, like all its peers, on the loopback, where nothing answers."""
    plan = yaml.safe_load((REPO / "pillar" / "plan.sls").read_text())["plan"]
    with peers("nobody") as started:
        port = started["nobody"].port
    for number, one in enumerate(plan["nodes"].values(), 2):
        one["address"] = f"127.0.1.{number}"
    plan["virtual_ip"]["address"] = "127.0.1.1"
    plan["ports"] = dict.fromkeys(plan["ports"], port)

    settings = [path.stem for path in (REPO / "pillar").glob("*.sls") if path.stem not in ("plan", "top")]
    pillar = {"plan": plan, **{name: shipped(name) for name in settings}}

    def make(name):
        opts = {**node(name).opts, "pillar": pillar}
        return salt.loader.minion_mods(opts, utils=salt.loader.utils(opts), context={})

    return make


@pytest.mark.parametrize("name", ["etcd1", "db1", "rpc1", "haproxy1", "salt"])
def test_health_of_every_role_has_no_internal_error(functions, name):
    loaded = functions(name)
    seen = loaded["fanatico.health"](timeout=0.5)
    assert seen["status"] == "critical" if name != "salt" else seen["status"] in ("critical", "degraded")
    assert seen["roles"] == loaded["fanatico.roles"]()
    text = str(seen)
    for sign in ("LazyLoader", "Traceback", "Error:", ".probe"):
        assert sign not in text


def test_a_check_that_is_not_ok_names_its_runbook_entry(functions):
    checks = functions("etcd1")["fanatico.health"](timeout=0.5)["checks"]
    assert checks["etcd.serving"]["runbook"] == "docs/operations.md#etcd-serving"
    assert {name for name, check in checks.items() if "runbook" in check} == {
        name for name, check in checks.items() if check["status"] != "ok"
    }


def test_critical_sets_the_exit_code(functions):
    loaded = functions("etcd1")
    loaded["fanatico.health"](timeout=0.5)
    assert loaded.pack["__context__"]["retcode"] == 1


def test_a_node_that_is_not_in_the_plan_is_unknown(functions):
    loaded = functions("etcd1")
    loaded.opts["id"] = loaded.pack["__opts__"]["id"] = "unknown"
    seen = loaded["fanatico.health"]()
    assert (seen["status"], seen["roles"]) == ("unknown", [])
    assert "retcode" not in loaded.pack["__context__"]


def test_probes_of_different_modules_share_answers(functions, systemctl, monkeypatch):
    """They share one `__context__` only through Salt's loader; without it the beacon would query each service more than once."""
    asked, loaded = [], functions("db1")

    def call(method, url, *_, **__):
        asked.append(url.rpartition("/")[2])
        return 200, {"state": "running", "role": "primary"}

    monkeypatch.setattr(fanatico_http, "call", call)
    systemctl.write_text(systemctl.read_text().replace("inactive", "active"))
    for looks in (1, 2):
        assert "patroni-hung" not in loaded["fanatico_cure.symptoms"]()
        assert asked.count("patroni") == looks
    assert loaded["fanatico_patroni_cure.paused"]() == ""
    assert asked.count("patroni") == 3, "alone it asks by itself"


def test_a_timeout_shows_the_real_reason(functions):
    """A callback without its dunders would look like "not yet" until the timeout."""
    with pytest.raises(CommandExecutionError, match="no certificates yet"):
        functions("db1")["fanatico_patroni.wait_leader"](timeout=0.1)


def test_a_wait_keeps_the_callers_dunders(node, tmp_path):
    (tmp_path / "caller.py").write_text(
        "import fanatico_wait\n"
        "def wait():\n"
        "    def look():\n"
        '        return True, (__opts__["id"], __salt__["caller.name"](), "plan" in __pillar__)\n'
        "    return fanatico_wait.until(look, 1)\n"
        "def name():\n"
        '    return "called"\n'
    )
    opts = {**node("db1").opts, "pillar": {"plan": {}}}
    opts["module_dirs"] = [*opts["module_dirs"], str(tmp_path)]
    (tmp_path / "_modules").mkdir()
    (tmp_path / "caller.py").rename(tmp_path / "_modules" / "caller.py")
    loaded = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts), context={})
    assert loaded["caller.wait"]() == (True, ("db1", "called", True))
