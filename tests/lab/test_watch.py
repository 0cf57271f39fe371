"""`salt-run fanatico.watch`: what a deploy is doing, while it does it."""

import subprocess

from lab.machine import ENVIRONMENT
from tests.support import labs


def test_it_tells_the_steps_of_a_deploy(healthy):
    argv = healthy.machine(healthy.master).exec_argv(["salt-run", "fanatico.watch", "timeout=120"])
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    ) as watch:
        code, _, printed = labs.deploy(healthy)
        assert code == 0, printed[-3000:]
        try:
            seen, _ = watch.communicate(timeout=30)  # it ends by itself when the deploy has
        except subprocess.TimeoutExpired:
            watch.kill()
            seen, _ = watch.communicate()
    assert len([line for line in seen.splitlines() if line.strip()]) > 5, seen
    assert "etcd" in seen
    assert "Prove" in seen
