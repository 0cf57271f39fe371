"""kitchen.yml without Ruby: the suites' machines are lab machines, reached by `exec` instead of ssh.

What kitchen-salt does for `local_salt_root: .` is done the same way: salt/ and pillar/ go to the machine with
symlinks followed, the suite's pillar files over them, and `salt-call --local state.highstate` runs there.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml
from testinfra.backend.base import BaseBackend
from testinfra.host import Host

from tests.support import REPO

MINION = """\
state_top: top.sls
file_client: local
file_roots: {base: [/tmp/kitchen/srv/salt]}
pillar_roots: {base: [/tmp/kitchen/srv/pillar]}
"""


class ExecBackend(BaseBackend):
    """testinfra's way onto a lab machine."""

    NAME = "lab"

    def __init__(self, lab, machine):
        super().__init__(machine)
        self._lab, self._machine = lab, machine

    def run(self, command, *args, **kwargs):
        done = self._lab.exec(
            self._machine, ["sh", "-c", self.get_command(command, *args)], timeout=300, check=False
        )
        return self.result(done.returncode, command, done.stdout.encode(), done.stderr.encode())


def suites(path=REPO / "kitchen.yml"):
    """Return {suite: provisioner settings} of kitchen.yml, its ERB filled in."""
    text = re.sub(
        r'<%= secret\.call\("(\w+)"\) %>',
        lambda match: hashlib.sha256(f"{REPO}{match[1]}".encode()).hexdigest()[:32],
        path.read_text(),
    )
    kitchen = yaml.safe_load(text)
    common = kitchen["provisioner"]
    return {suite["name"]: {**common, **suite["provisioner"]} for suite in kitchen["suites"]}


def boot(lab, suite):
    """Boot a fresh machine for a suite, put the tree on it and return testinfra's host."""
    settings = suites()[suite]
    name = settings["salt_minion_id"]
    pillar_files = settings["pillars_from_files"]
    plan = yaml.safe_load((REPO / pillar_files["plan.sls"]).read_text())["plan"]
    lab.remove_extra(name)
    lab.boot_extra(name, plan["nodes"][name]["address"])
    lay_out(lab, name, settings)
    return Host(ExecBackend(lab, name))


def lay_out(lab, name, settings):
    """Put /tmp/kitchen on the machine, as kitchen-salt would."""
    ignore = shutil.ignore_patterns(*settings["salt_copy_filter"])
    with tempfile.TemporaryDirectory(prefix="fanatico-kitchen-") as scratch:
        target = Path(scratch) / "kitchen"
        states, pillar = target / "srv" / "salt", target / "srv" / "pillar"
        shutil.copytree(REPO / "salt", states, ignore=ignore)
        shutil.copytree(REPO / "pillar", pillar, ignore=ignore)
        # The RPC node's archive stands on the lab's master only; a real kitchen has it in salt/artifacts/.
        shutil.copytree(Path(lab.state["image"]) / "artifacts", states / "artifacts", dirs_exist_ok=True)
        for path, source in settings["pillars_from_files"].items():
            shutil.copyfile(REPO / source, pillar / path)
        for path, content in settings.get("pillars", {}).items():
            (pillar / path).parent.mkdir(exist_ok=True)
            (pillar / path).write_text(yaml.safe_dump(content))
        (target / "etc" / "salt").mkdir(parents=True)
        (target / "etc" / "salt" / "minion").write_text(MINION)
        archive = shutil.make_archive(str(Path(scratch) / "kitchen"), "tar", scratch, "kitchen")
        with open(archive, "rb") as tar:
            argv = lab.machine(name).exec_argv(["tar", "-xf", "-", "-C", "/tmp"])
            subprocess.run(argv, stdin=tar, check=True, timeout=60)
