"""What the main command prints: a deploy fits a screen, says what changed and what failed, and hides nothing from programs."""

import json

import pytest

from tests.support import labs

SUMMARY = "Summary for orch.deploy"


def orchestrate(lab, *words, timeout=400):
    """Run `salt-run state.orchestrate` as a person does; its CompletedProcess."""
    return lab.salt_run("state.orchestrate", *words, timeout=timeout, check=False)


def summary(lines, name="orch.deploy"):
    """{word: what stands behind it} of the summary that the lines end in."""
    pairs = [line.partition(":") for line in lines[lines.index(f"Summary for {name}") :] if ":" in line]
    return {word.strip(): said.strip() for word, _, said in pairs}


@pytest.fixture(scope="module")
def unchanged(lab):
    """A deploy that has nothing to change, as a person sees it."""
    labs.wait_healthy(lab)
    return orchestrate(lab, "orch.deploy")


@pytest.fixture(scope="module")
def lines(unchanged):
    return unchanged.stdout.splitlines()


def test_a_deploy_without_changes_fits_a_screen(unchanged, lines):
    assert unchanged.returncode == 0, unchanged.stdout
    assert len(lines) <= 40, unchanged.stdout


def test_nothing_is_warned_of(unchanged):
    assert unchanged.stderr == ""


def test_it_shows_each_step_with_its_time(lines):
    steps = [line for line in lines[1 : lines.index(SUMMARY)] if line]
    assert steps[0].startswith("  Check the pillar ")
    assert [line for line in steps if not line.endswith(" s")] == []


def test_it_ends_in_a_summary(lab, lines):
    said = summary(lines)
    assert said["Machines"] == str(len(lab.plan["nodes"]))
    assert said["Changes"] == "0"
    assert float(said["Seconds"]) > 0
    assert said["Succeeded"].endswith("(changed=0)")
    assert said["Failed"] == "0"
    assert len(lines) - lines.index("Proof:") == 1 + 5 + 2, "five lines of the proof, then Salt's two"


def test_json_has_everything(lab):
    code, data, _ = labs.deploy(lab)
    assert code == data["retcode"] == 0
    steps = data["data"][f"{lab.master}_master"]
    prepared = next(step for tag, step in steps.items() if "Prepare every machine" in tag)
    assert prepared["return"].keys() == lab.plan["nodes"].keys(), (
        "the states of every machine, changed or not"
    )
    assert {tag: step["changes"] for tag, step in steps.items() if step["changes"]} == {}


def test_another_orchestration_looks_the_same(lab):
    labs.wait_healthy(lab)
    done = orchestrate(lab, "orch.rpc_upgrade")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    said = summary(done.stdout.splitlines(), "orch.rpc_upgrade")
    assert said["Machines"] == str(len(labs.nodes(lab, "rpc")))
    assert said["Succeeded"].endswith("(changed=0)")


@pytest.fixture
def broken(healthy):
    """HAProxy on haproxy1 does not start, and before that a deploy has something to write on rpc2. Yields what the unit says."""
    unit = "/etc/systemd/system/haproxy.service.d/zz.conf"
    said = "this host has no more file handles"
    text = f'[Service]\nExecStartPre=/bin/sh -c "echo {said} >&2; exit 3"\n'
    healthy.salt_run("fanatico.freeze", "a test breaks HAProxy", "15m")
    try:
        healthy.exec("rpc2", ["sed", "-i", "1i # by hand", "/etc/sysctl.d/60-fanatico.conf"])
        healthy.machine("haproxy1").exec(["sh", "-c", f"cat > {unit}"], text_input=text)
        healthy.exec("haproxy1", ["systemctl", "daemon-reload"])
        healthy.exec("haproxy1", ["systemctl", "stop", "haproxy"])
        yield said
    finally:
        healthy.exec("haproxy1", ["rm", "-f", unit])
        healthy.exec("haproxy1", ["systemctl", "daemon-reload"])
        healthy.exec("haproxy1", ["systemctl", "reset-failed", "haproxy"], check=False)
        healthy.exec("haproxy1", ["systemctl", "start", "haproxy"])
        healthy.salt_run("fanatico.unfreeze")


def test_what_changed_and_what_failed(healthy, broken):
    """The machine that changed, with how much; then where it failed, which state, what the unit said, and what to do."""
    done = orchestrate(healthy, "orch.deploy")
    assert done.returncode == 1, done.stdout
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) <= 80, done.stdout
    changed = [line for line in lines if "changed: " in line]
    assert [line.split()[:3] + line.split()[-3:-1] for line in changed] == [
        ["Prepare", "every", "machine", "changed:", "rpc2"]
    ]
    assert summary(lines)["Changes"] == changed[0].split()[-1]
    at = lines.index("FAILED: Bring up haproxy1 on haproxy1")
    assert lines[at + 1] == "  state: HAProxy runs (service.running)"
    assert broken in done.stdout
    assert any(line.startswith("Next: ") for line in lines)
    assert summary(lines)["Failed"] == "1"


def test_a_pillar_that_is_not_sound(lab):
    with labs.site(lab, {"plan": {"timing": {"patroni": {"ttl": 15}}}}):
        done = orchestrate(lab, "orch.deploy")
        as_json = lab.salt_run("--out=json", "state.orchestrate", "orch.deploy", check=False)
    assert (done.returncode, as_json.returncode) == (1, 1)
    assert "FAILED: Check the pillar" in done.stdout
    assert "plan:timing:patroni:ttl: 15 is too small" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (step,) = json.loads(as_json.stdout)["data"][f"{lab.master}_master"].values()
    assert "plan:timing:patroni:ttl" in step["comment"]
