"""What every suite holds; imported by each of them, so that test-kitchen's own verifier runs it too."""

import json

HIGHSTATE = "salt-call --config-dir=/tmp/kitchen/etc/salt --local state.highstate --retcode-passthrough"


def converge(host, suite_id):
    """Run the highstate; return {state: result} and raise AssertionError with what failed."""
    done = host.run(f"{HIGHSTATE} --out=json --log-level=error --id={suite_id}")
    start = done.stdout.find("{")
    assert start >= 0, done.stdout[-2000:] + done.stderr[-2000:]
    states = json.loads(done.stdout[start:])["local"]
    assert isinstance(states, dict), states
    failed = {state: result["comment"] for state, result in states.items() if result["result"] is False}
    assert not failed, json.dumps(failed, indent=2)[:4000]
    assert done.rc == 0, done.stderr[-2000:]
    return states


def test_converging_again_changes_nothing(host, suite_id):
    states = converge(host, suite_id)
    assert {state: result["changes"] for state, result in states.items() if result["changes"]} == {}
