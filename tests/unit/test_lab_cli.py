"""Which words of the command line are ours, and which another program's; and what is said of a deploy that failed."""

import json

import pytest

from lab import deploy
from lab.cli import split


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


def test_a_deploy_that_failed_is_told_as_salt_run_tells_it():
    result = {
        "__id__": "X is installed",
        "result": False,
        "changes": {},
        "comment": "E: no such package\nE: x",
    }
    states = {"pkg_|-a_|-x_|-installed": result}
    step = {
        **result,
        "__id__": "Prepare every machine",
        "changes": {"out": "highstate", "ret": {"db1": states}},
    }
    deployed = {"data": {"salt_master": {"step_|-a_|-state.apply_|-function": step}}, "retcode": 1}
    words = "  state: X is installed (pkg.installed)\n  E: no such package\n  E: x"
    log = "[ERROR   ] something\n"
    assert deploy.failures(log + json.dumps(deployed)) == f"FAILED: Prepare every machine on db1\n{words}"
    assert deploy.failures(json.dumps({"local": states})) == f"FAILED on local\n{words}"
    assert deploy.failures("no data at all") == ""
