"""Tests of every suite; each suite imports them, so that test-kitchen's verifier runs them too."""

import json

HIGHSTATE = (
    "env PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python salt-call --config-dir=/tmp/kitchen/etc/salt --local "
    "state.highstate --retcode-passthrough"
)

WARNINGS = "journalctl --boot --quiet --priority=warning --lines=40"

GET = """
import ssl, sys, urllib.request
url, ca, cert, key = sys.argv[1:]
trust = ssl.create_default_context(cafile=ca or None) if ca else None
if trust:
    trust.load_cert_chain(cert, key)
print(urllib.request.urlopen(url, timeout=5, context=trust).read().decode())
"""


def get(host, url, folder="", authority=""):
    """Return the answer to a GET request on the machine; over TLS with the certificate of *authority* in *folder*."""
    stem = f"{folder}/{authority}"
    files = (f"{stem}-ca.crt", f"{stem}.crt", f"{stem}.key") if folder else ("", "", "")
    return host.check_output("python3 -c %s %s %s %s %s", GET, url, *files)


def converge(host, suite_id):
    """Run the highstate and return {state: result}; AssertionError with the failed states and the machine's last warnings."""
    done = host.run(f"{HIGHSTATE} --out=json --log-level=error --id={suite_id}")
    start = done.stdout.find("{")
    assert start >= 0, done.stdout[-2000:] + done.stderr[-2000:]
    states = json.loads(done.stdout[start:])["local"]
    assert isinstance(states, dict), states
    failed = {state: result["comment"] for state, result in states.items() if result["result"] is False}
    assert not failed, json.dumps(failed, indent=2)[:4000] + host.run(WARNINGS).stdout
    assert done.rc == 0, done.stderr[-2000:]
    return states


def test_converging_again_changes_nothing(host, suite_id):
    states = converge(host, suite_id)
    assert {state: result["changes"] for state, result in states.items() if result["changes"]} == {}
