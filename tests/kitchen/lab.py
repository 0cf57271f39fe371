"""kitchen.yml without Ruby: the suites' machines are lab machines, reached by `exec` instead of ssh.

They boot in a lab that has a network and no machine of a plan, so nothing needs to be deployed for them.
"""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import yaml
from testinfra.backend.base import BaseBackend
from testinfra.host import Host

from tests.kitchen import upload
from tests.support import REPO


class ExecBackend(BaseBackend):
    """testinfra's backend for a lab machine."""

    NAME = "lab"

    def __init__(self, lab, machine):
        super().__init__(machine)
        self._lab, self._machine = lab, machine

    def run(self, command, *args, **kwargs):
        done = self._lab.exec(
            self._machine, ["sh", "-c", self.get_command(command, *args)], timeout=300, check=False
        )
        return self.result(done.returncode, command, done.stdout.encode(), done.stderr.encode())


def settings(suite):
    """Return the provisioner's settings of a suite."""
    return upload.suites()[suite]["provisioner"]


def node(provisioner):
    """Return address and roles of a suite's machine, from its plan."""
    plan = yaml.safe_load((REPO / provisioner["pillars_from_files"]["plan.sls"]).read_text())["plan"]
    return plan["nodes"][provisioner["salt_minion_id"]]


def boot(lab, suite):
    """Boot a new machine for a suite, upload the tree and return testinfra's host."""
    provisioner = settings(suite)
    name, itself = provisioner["salt_minion_id"], node(provisioner)
    lab.boot_extra(name, itself["address"])
    with tempfile.TemporaryDirectory(prefix="fanatico-kitchen-") as scratch:
        sandbox = Path(scratch) / "kitchen"
        upload.lay_out(provisioner, sandbox)
        if "rpc" in itself["roles"]:
            # By docs/kitchen.md it is in salt/artifacts/; a lab keeps it beside its image.
            archives = Path(lab.state["image"]) / "artifacts"
            shutil.copytree(archives, sandbox / "srv/salt/artifacts", dirs_exist_ok=True)
        _send(lab.machine(name), sandbox)
    return Host(ExecBackend(lab, name))


def _send(machine, sandbox):
    """Copy a sandbox to `upload.ROOT` on a machine, following links as scp does."""
    archive = sandbox.with_suffix(".tar")
    with tarfile.open(archive, "w", dereference=True) as tar:
        tar.add(sandbox, Path(upload.ROOT).name)
    with open(archive, "rb") as tar:
        argv = machine.exec_argv(["tar", "-xf", "-", "-C", Path(upload.ROOT).parent])
        subprocess.run(argv, stdin=tar, check=True, timeout=60)
