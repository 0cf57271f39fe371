"""Wrong or untimely commands are refused with one sentence, without a traceback."""

import subprocess

import pytest

from tests.support import labs

pytestmark = pytest.mark.healthy_is_enough

REFUSED = {
    "fanatico.accept_keys ids='[nosuch]'": "nosuch: not in the plan",
    "fanatico.renew_key nosuch": "nosuch: not in the plan",
    "fanatico.wait_minions ids='[nosuch]'": "nosuch: not in the plan",
    "fanatico.drift nodes='[nosuch]'": "nosuch: not in the plan",
    "fanatico.drain nosuch": "nosuch: no node of the plan with the role rpc",
    "fanatico.drain": "missing a required argument: 'node'",
    "fanatico.undrain rpc3 patience=3": "unexpected keyword argument 'patience'",
    "fanatico.history limit=abc": "limit has to be a number, not 'abc'",
    "fanatico.freeze work 10parsecs": "10parsecs",
    "fanatico.cloudflare_ranges /nonexistent": "/nonexistent: No such file",
    "fanatico.secrets_import /nonexistent": "/nonexistent cannot be read",
    "fanatico.secrets_rotate '[NOSUCH]'": "There is no secret NOSUCH",
    "fanatico.ca_import service /nonexistent /nonexistent": "cannot be read",
    "fanatico.ca_trust nosuch": "nosuch is no authority",
    "fanatico.drill explode": "there is no drill 'explode'",
}


def refused(lab, command):
    """Return the sentence that a refused salt-run prints."""
    done = lab.exec(lab.master, ["bash", "-c", f"salt-run {command}"], check=False)
    said = labs.said(done.stdout)
    assert done.returncode == 1, f"{said} {done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    assert len(said) < 400
    return said


FEW = ("fanatico.accept_keys ids='[nosuch]'", "fanatico.drain", "fanatico.secrets_import /nonexistent")


@pytest.mark.parametrize(
    "command", [one if one in FEW else pytest.param(one, marks=pytest.mark.long) for one in REFUSED]
)
def test_a_refusal_is_one_sentence(lab, command):
    assert REFUSED[command] in refused(lab, command)


@pytest.mark.parametrize(
    "command",
    ["fanatico.lock drill wait=0", pytest.param("fanatico.drill switchover", marks=pytest.mark.long)],
)
def test_a_held_lock_is_reported_in_one_sentence(lab, command):
    program = (
        "import sys; sys.path.insert(0, '/srv/fanatico/_runners/_utils'); import fanatico_lock; "
        "fanatico_lock.acquire('/var/lib/fanatico', 'deploy'); print('held', flush=True); sys.stdin.read()"
    )
    argv = lab.machine(lab.master).exec_argv(["python3", "-B", "-c", program])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert "deploy (pid " in refused(lab, command)
        holder.stdin.close()


@pytest.mark.parametrize(
    "command",
    [
        "fanatico.validate",
        *(
            pytest.param(one, marks=pytest.mark.long)
            for one in ("fanatico.status", "fanatico.reconcile", "fanatico.drain rpc3")
        ),
    ],
)
def test_an_invalid_plan_is_reported_in_one_sentence(lab, command):
    with labs.plan(lab, lambda content: content["plan"]["nodes"].update(db1={"address": "10.0.2.10"})):
        said = refused(lab, command)
    assert "plan:nodes:db1" in said
