#!/usr/bin/env python3
"""test-kitchen's verifier: run the tests of a suite over ssh. Suite, user and host come from the environment."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PYTHON = REPO / ".venv/bin/python"
# As test-kitchen's transport: machines at one address are replaced, each with its own host keys.
SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
MISSING = """\
kitchen: {python} has no pytest with testinfra, so nothing can be verified. Next, in {repo}:
  /usr/bin/python3 -m venv .venv && .venv/bin/pip install --require-hashes -r requirements/test.txt"""


def command(environment):
    """Return pytest's command line from test-kitchen's environment variables."""
    host = f"ssh://{environment['KITCHEN_USERNAME']}@{environment['KITCHEN_HOSTNAME']}"
    tests = f"tests/kitchen/{environment['KITCHEN_SUITE']}"
    argv = [str(PYTHON), "-m", "pytest", tests, f"--hosts={host}", f"--ssh-extra-args={SSH}"]
    key = environment.get("KITCHEN_SSH_KEY")
    return [*argv, f"--ssh-identity-file={key}"] if key else argv


def ready(python=PYTHON):
    """Return whether an interpreter has the packages that the tests import."""
    if not python.exists():
        return False
    return (
        subprocess.run(
            [python, "-c", "import pytest, testinfra"], check=False, capture_output=True
        ).returncode
        == 0
    )


def main():
    """Replace this process by pytest; return 1 with a message if it is not installed."""
    if not ready():
        print(MISSING.format(python=PYTHON, repo=REPO), file=sys.stderr)
        return 1
    os.chdir(REPO)
    argv = command(os.environ)
    os.execv(argv[0], argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
