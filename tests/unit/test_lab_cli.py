"""The command line of ./fanatico, the message of a failed deploy, and the plan of an added machine."""

import json

import pytest

import fanatico_release
from lab import commands, deploy
from lab import plan as plans
from lab.cli import parser, split
from lab.errors import LabError


@pytest.mark.parametrize(
    ("words", "ours", "others"),
    [
        (["test", "unit", "--", "-k", "x"], ["test", "unit"], ["-k", "x"]),
        (["test", "--lab", "a"], ["test", "--lab", "a"], []),
        (["test", "--", "-x", "--", "y"], ["test"], ["-x", "--", "y"]),
        (["psql", "--replica", "--", "-c", "x"], ["psql", "--replica"], ["-c", "x"]),
        (["bench", "--only", "health"], ["bench"], ["--only", "health"]),
        (["exec", "db1", "--", "ls"], ["exec", "db1", "--", "ls"], []),
        ([], [], []),
    ],
)
def test_split(words, ours, others):
    assert split(words) == (ours, others)


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fanatico {fanatico_release.VERSION}\n"


def test_a_lab_that_is_named_after_the_machine_is_no_command(monkeypatch):
    """Otherwise it would run on the machine of that name in the lab `default`."""
    ran = []
    monkeypatch.setattr(commands.preflight, "check_root", lambda: None)
    monkeypatch.setattr(commands, "enter", lambda *words: ran.append(words))
    with pytest.raises(LabError, match="exec --name"):
        commands.execute(parser().parse_args(["exec", "db1", "--name", "new", "--", "true"]))
    assert ran == []


def test_the_message_of_a_failed_deploy_is_that_of_salt_run():
    result = {
        "__id__": "X is installed",
        "result": False,
        "changes": {},
        "comment": "E: no such package\nE: x",
    }
    states = {"pkg_|-a_|-x_|-installed": result}
    step = {
        **result,
        "__id__": "Prepare every host",
        "changes": {"out": "highstate", "ret": {"db1": states}},
    }
    deployed = {"data": {"salt_master": {"step_|-a_|-state.apply_|-function": step}}, "retcode": 1}
    words = "  state: X is installed (pkg.installed)\n  E: no such package\n  E: x"
    log = "[ERROR   ] something\n"
    assert deploy.failures(log + json.dumps(deployed)) == f"FAILED: Prepare every host on db1\n{words}"
    assert deploy.failures(json.dumps({"local": states})) == f"FAILED on local\n{words}"
    assert deploy.failures("no data at all") == ""


class TestPlan:
    """`./fanatico machine add`: the node's entry in the plan."""

    def test_one_more_node(self, plan):
        wider = plans.with_node(plan, "rpc4", "10.0.1.13", ["rpc"])
        assert wider["nodes"]["rpc4"] == {"address": "10.0.1.13", "roles": ["rpc"]}
        assert "rpc4" not in plan["nodes"]
        assert plans.without_node(wider, "rpc4") == plan

    @pytest.mark.parametrize(
        ("name", "address", "roles", "words"),
        [
            ("rpc1", "10.0.1.13", ["rpc"], "'rpc1'"),
            ("rpc4", "10.0.1.12", ["rpc"], "rpc3"),
            ("rpc4", "10.0.0.100", ["rpc"], "virtual IP"),
            ("rpc4", "192.0.2.1", ["rpc"], "192.0.2.1"),
            ("rpc4", "10.0.1.300", ["rpc"], "10.0.1.300"),
            ("rpc4", "10.0.1.13", [], "none given"),
            ("rpc4", "10.0.1.13", ["master"], "rpc4.*: master"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, plan, name, address, roles, words):
        with pytest.raises(LabError, match=words):
            plans.with_node(plan, name, address, roles)

    def test_the_next_free_address_of_a_role(self, plan):
        assert plans.free_address(plan, "rpc") == "10.0.1.13"
        assert plans.free_address(plan, "rpc", taken=["10.0.1.13"]) == "10.0.1.14"
        with pytest.raises(LabError, match="'archive'"):
            plans.free_address(plan, "archive")

    def test_the_last_of_a_role_stays(self, plan):
        with pytest.raises(LabError, match="salt.*master"):
            plans.without_node(plan, "salt")
