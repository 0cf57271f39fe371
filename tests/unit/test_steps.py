"""The output for an orchestration: of two recorded deploys, and of failures in them."""

import copy
import json

import pytest
import salt.config
import salt.loader
import salt.output

import fanatico_steps as steps
from tests.support import MODULES, REPO

FILES = REPO / "tests" / "unit" / "files"
RECORDED = json.loads((FILES / "deploy_again.json").read_text())
FIRST = json.loads((FILES / "deploy_first.json").read_text())
BALANCER = "step_|-Bring up haproxy1_|-Bring up haproxy1_|-state"
PREPARE = "step_|-Prepare every host_|-state.apply_|-function"
ETCD = "step_|-Bring up etcd_|-orch.etcd_|-orchestration"


@pytest.fixture
def data():
    """What `state.orchestrate` returned for a deploy that changed nothing."""
    return copy.deepcopy(RECORDED)


@pytest.fixture
def run(data):
    return data["data"]["salt_master"]


def result(number, title, result=True, comment="", **changes):
    return {
        "__id__": title,
        "__run_num__": number,
        "result": result,
        "comment": comment,
        "changes": changes,
        "name": title,
    }


def balancer_fails(run):
    """HAProxy refuses its configuration on haproxy1, as recorded; the deploy ends there."""
    states = {
        "file_|-a_|-/etc/x_|-managed": result(0, "HAProxy has its list", diff="New file"),
        "file_|-b_|-/etc/haproxy/haproxy.cfg_|-managed": result(
            1,
            "Configure HAProxy",
            False,
            "check_cmd execution failed\n[ALERT] (1) : config : parsing [/tmp/x:12] : unknown keyword \x1b[2Jmde",
        ),
        "service_|-c_|-haproxy_|-running": result(
            2, "Start HAProxy", False, "One or more requisite failed: haproxy.configured.Configure HAProxy"
        ),
    }
    step = run[BALANCER]
    step.update(
        result=False, comment="Run failed on minions: haproxy1", changes={"out": "highstate", "ret": {"haproxy1": states}}
    )  # fmt: skip
    for tag in [tag for tag, one in run.items() if one["__run_num__"] > step["__run_num__"]]:
        del run[tag]


def test_a_deploy_without_changes_fits_a_screen(run):
    shown = steps.lines(run)
    assert len(shown) <= 40
    assert shown[0] == "orch.deploy:"
    titles = [line.split("  ")[1] for line in shown if line.endswith(" s") and line.startswith("  ")]
    assert titles[0] == "Check the pillar"
    assert titles[-1] == "Unlock the cluster"
    assert "  Bring up etcd" in "\n".join(shown)
    assert "    Wait for the quorum of etcd" in "\n".join(shown), "the steps of an orchestration within it"


def test_it_ends_in_a_summary(run):
    shown = steps.lines(run)
    summary = shown[shown.index("Summary for orch.deploy") :]
    assert summary[2:4] == ["Machines:  12", "Changes:   0"]
    assert summary[4] == "Seconds:   44.3"
    assert [line.split(":")[0] for line in summary[6:11]] == [
        "  write on 5432",
        "  read on 5433",
        "  JSON-RPC on 8545",
        "  new heads on 8546",
        "  GET /health on 8545",
    ]
    assert summary[11:] == ["Succeeded: 14 (changed=0)", "Failed:    0"]


def test_a_first_deploy_shows_what_changed_where(plan):
    (run,) = FIRST["data"].values()
    shown = steps.lines(run)
    assert len(shown) <= 80
    prepared = "".join(shown).partition("Prepare every host")[2].partition("Bring up etcd")[0]
    assert "db1 20" in prepared
    assert sorted(part.split()[-2] for part in prepared.split(",")) == sorted(set(plan["nodes"]) - {"ops1"})
    (line,) = [line for line in shown if line.startswith("    Start Patroni on the other hosts ")]
    assert line.endswith(" s  changed: db2 2, db3 2")
    assert {"Machines:  12", "Changes:   312", "Succeeded: 14 (changed=6)"} <= set(shown)


def test_what_changed_is_counted_per_machine(run):
    moved = {
        f"file_|-{number}_|-{number}_|-managed": result(number, str(number), diff="x") for number in range(3)
    }
    states = {"db10": moved, "db2": dict(list(moved.items())[:1])}
    run[PREPARE]["changes"] = {"out": "highstate", "ret": states}
    for machine in states:
        run[PREPARE]["return"].pop(machine, None)
    shown = steps.lines(run)
    (line,) = [line for line in shown if line.startswith("  Prepare every host")]
    assert line.endswith(" s  changed: db2 1, db10 3")
    assert "Changes:   4" in shown
    assert "Succeeded: 14 (changed=1)" in shown


def test_many_machines_are_folded(run):
    moved = {"file_|-a_|-a_|-managed": result(0, "a", diff="x")}
    run[PREPARE]["changes"] = {"out": "highstate", "ret": {f"rpc{number}": moved for number in range(40)}}
    shown = steps.lines(run)
    assert max(map(len, shown)) <= 120
    assert "rpc39 1" in "\n".join(shown)


def test_what_an_orchestration_within_it_changed(run):
    (inner,) = run[ETCD]["return"].values()
    moved = {"etcd1": {"file_|-a_|-a_|-managed": result(0, "a", diff="x")}}
    next(one for tag, one in inner.items() if tag.endswith("state"))["changes"] = {
        "out": "highstate",
        "ret": moved,
    }
    run[ETCD].update(changes={"out": "highstate", "ret": run[ETCD]["return"]}, **{"return": {}})
    shown = steps.lines(run)
    assert [line.split("  ")[-1] for line in shown if "changed: " in line] == ["changed: etcd1 1"]
    assert {"Changes:   1", "Succeeded: 14 (changed=1)"} <= set(shown)


def test_a_runner_that_changed_something(run):
    tag = next(tag for tag in run if tag.startswith("step_|-Check the pillar"))
    run[tag]["changes"] = {"rotated": ["A", "B"]}
    shown = steps.lines(run)
    assert shown[1].endswith(" s  changed")
    assert {"Changes:   1", "Succeeded: 14 (changed=1)"} <= set(shown)


def test_a_failure_is_shown_whole(run):
    balancer_fails(run)
    shown = steps.lines(run)
    (line,) = [line for line in shown if line.startswith("  Bring up haproxy1")]
    assert line.endswith(" s  FAILED; changed: haproxy1 1")
    at = shown.index("FAILED: Bring up haproxy1 on haproxy1")
    assert shown[at + 1 : at + 8] == [
        "  state: Configure HAProxy (file.managed)",
        "  check_cmd execution failed",
        "  [ALERT] (1) : config : parsing [/tmp/x:12] : unknown keyword ?[2Jmde",
        "  1 state that requires it did not run.",
        "",
        "Next: remove the cause (`salt haproxy1 fanatico.health --out=yaml` shows more), then run orch.deploy again. "
        "Steps that are complete change nothing.",
        "",
    ]
    assert shown[-1] == "Failed:    1"


def test_a_failure_in_an_orchestration_within_it_is_shown_once(run):
    (inner,) = run[ETCD]["return"].values()
    quorum = next(one for tag, one in inner.items() if tag.endswith("function"))
    quorum.update(result=False, comment="etcd1: waited 60 s for a quorum\nMay 1 etcd[1]: panic")
    run[ETCD].update(
        result=False, comment="orch.etcd failed.", changes={"out": "highstate", "ret": run[ETCD]["return"]}
    )
    shown = steps.lines(run)
    assert [line for line in shown if line.startswith("FAILED")] == ["FAILED: Wait for the quorum of etcd"]
    assert "  May 1 etcd[1]: panic" in shown


def test_a_runner_that_fails(run):
    tag = next(tag for tag in run if tag.startswith("step_|-Check the pillar"))
    run[tag].update(
        result=False, comment="The pillar is not sound, nothing was changed:\n  - plan:nodes: empty"
    )
    shown = steps.lines({tag: run[tag]})
    at = shown.index("FAILED: Check the pillar")
    assert shown[at + 1 : at + 3] == [
        "  The pillar is not sound, nothing was changed:",
        "    - plan:nodes: empty",
    ]
    assert "Nothing was changed. Next: remove the cause, then run orch.deploy again." in shown


def test_an_interrupted_step_is_not_searched_for_a_cause(run):
    run[BALANCER].update(result=False, comment="interrupted by the operator", code="interrupted")
    shown = steps.lines(run)
    assert "Next: run orch.deploy again. Steps that are complete change nothing." in shown


def test_a_machine_whose_states_did_not_compile(run):
    errors = ["Rendering SLS 'base:haproxy.configured' failed: Jinja variable x is undefined"]
    run[BALANCER].update(result=False, changes={"out": "highstate", "ret": {"haproxy1": errors}})
    shown = steps.lines(run)
    assert shown[shown.index("FAILED: Bring up haproxy1 on haproxy1") + 1] == f"  {errors[0]}"


def test_a_highstate_in_the_same_words():
    """What `./fanatico up` shows of a machine that it prepares without a master."""
    states = {"pkg_|-a_|-x_|-installed": result(0, "X is installed", False, "E: Unable to locate package x")}
    assert steps.failure_lines({"salt": states}) == [
        "",
        "FAILED on salt",
        "  state: X is installed (pkg.installed)",
        "  E: Unable to locate package x",
    ]


def test_seconds_over_midnight_and_of_parallel_steps():
    run = {
        f"step_|-{title}_|-x_|-state": {**result(number, title), "start_time": begin, "duration": took * 1000}
        for number, (title, begin, took) in enumerate(
            [("a", "23:59:50.000000", 8), ("b", "23:59:58.500000", 30), ("c", "23:59:58.600000", 60)]
        )
    }
    assert "Seconds:   68.6" in steps.lines(run)


@pytest.fixture
def printed(tmp_path):
    """printed(data, **options): what `salt-run` prints, by the loader of a master that has our tree."""

    def printed(data, fun="state.orchestrate", **options):
        opts = salt.config.master_config(None)
        opts.update(
            module_dirs=MODULES,
            root_dir=str(tmp_path),
            cachedir=str(tmp_path),
            color=False,
            fun=fun,
            **options,
        )
        return salt.output.out_format(copy.deepcopy(data), "highstate", opts)

    return printed


def test_salt_run_shows_it(data, run, printed):
    assert printed(data).splitlines() == steps.lines(run)


def test_on_a_terminal_it_has_colors(data, run, printed):
    balancer_fails(run)
    lines = printed(data, force_color=True).splitlines()
    assert any("\x1b[" in line and "FAILED: Bring up haproxy1" in line for line in lines)
    assert "\x1b[" not in lines[1]


def test_json_has_everything(data, printed):
    assert json.loads(printed(data, output="json")) == data


def test_salts_own_summary_counts_no_change(data, printed):
    shown = printed(data, output="highstate")
    assert "Summary for salt_master" in shown
    assert "Succeeded: 14\n" in shown
    assert "changed=" not in shown


@pytest.mark.parametrize(
    ("tag", "fun"),
    [
        ("file_|-a_|-/etc/x_|-managed", "state.apply"),
        ("salt_|-a_|-test.ping_|-function", "state.orchestrate"),
    ],
)
def test_other_runs_of_states_are_shown_by_salt(printed, tag, fun):
    """A highstate, and an orchestration that is not ours."""
    shown = printed({"db1": {tag: {**result(0, "a"), "start_time": "10:00:00.0", "duration": 1}}}, fun=fun)
    assert "Summary for db1" in shown
    assert "Total states run:     1" in shown


def test_an_orchestration_that_does_not_compile(printed):
    said = ["Pillar failed to render with the following messages:", "Rendering SLS 'site' failed."]
    shown = printed({"data": {"salt_master": said}, "outputter": "highstate", "retcode": 1})
    assert shown.splitlines() == [
        "FAILED: not started, nothing was changed",
        *[f"  {line}" for line in said],
        "",
        "Next: salt-run fanatico.validate, which names the file, the line and the error.",
    ]
