"""From booted machines to a deployed infrastructure: what an operator does by hand on a real fleet, in the same order."""

import json
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import fanatico_steps
from lab import health, snapshot
from lab.errors import LabError
from lab.machine import ENVIRONMENT
from lab.machines import TREE

MASTERLESS = [
    "salt-call",
    "--local",
    f"--file-root={TREE}/salt",
    f"--pillar-root={TREE}/pillar",
    "--retcode-passthrough",
]

BOOT_HIGHSTATE = "fanatico-boot.timer"  # would find, half a minute after the boot of all machines, what the deploy has left


def prepare_master(lab):
    """Make the master's machine a Salt master by the tree's own states, run masterless, and generate the secrets."""
    machine = lab.machine(lab.master)
    arguments = [f"--id={lab.master}", "--out=json", "--log-level=warning", "state.apply", "master,minion"]
    said = machine.exec([*MASTERLESS, *arguments], timeout=180, check=False)
    if said.returncode != 0:
        raise LabError(
            f"The states `master` and `minion` failed on {lab.master}: {failures(said.stdout) or said.stderr[-2000:]}"
        )
    lab.salt_run("fanatico.secrets_init")


def connect_minions(lab):
    """Give every other machine the minion's configuration and start it."""
    with ThreadPoolExecutor() as pool:
        others = [machine for name, machine in lab.machines.items() if name != lab.master]
        list(pool.map(lambda machine: _connect(lab, machine), others))


def add(lab, name, address, roles):
    """Add a machine to a running lab as `up` makes the others: with a line in the plan, and a minion that the master knows."""
    machine = lab.add(name, address, roles)
    try:
        lab.salt_run("fanatico.validate")
        lab.salt_run("fanatico.admit")
        _connect(lab, machine)
        lab.salt_run("fanatico.wait_minions", f"ids=[{name}]")
    except BaseException:
        lab.remove(name)
        raise


def reimage(lab, name, keep):
    """Replace a machine by a new one as a provisioner makes them: with a minion that knows its name and its master.

    :param keep: paths below / that the provisioner puts back: etc/salt/pki/minion, or etc/ssh for whom SSH is to vouch.
    """
    _connect(lab, lab.renew(name, keep=keep))


def _connect(lab, machine):
    source = lab.machine(lab.master).root
    unit = "etc/systemd/system/salt-minion.service"
    shutil.copytree(source / "etc/salt/minion.d", machine.root / "etc/salt/minion.d", dirs_exist_ok=True)
    (machine.root / "etc/salt/minion_id").write_text(machine.name)
    shutil.copyfile(source / unit, machine.root / unit)
    machine.exec(["systemctl", "enable", "--now", "--quiet", "--no-block", "salt-minion.service"])


def restore(lab, origin, awaiting=lambda what: None):
    """Make a lab what it was when a snapshot was saved, boot it and, where it was deployed, wait until it is healthy.

    :param origin: a Snapshot.
    :param awaiting: called with words about what is awaited.
    """
    awaiting("disks and network")
    snapshot.lay(lab, origin)
    boot(lab, awaiting)


def boot(lab, awaiting=lambda what: None):
    """Boot the machines of a lab whose disks hold what a deploy left, and wait until they are healthy."""
    lab.power_on_all(without=[BOOT_HIGHSTATE])
    lab.wait_booted(awaiting)
    if lab.state["deployed"]:
        health.wait(lab, awaiting=awaiting)


def orchestrate(lab, progress, timeout=600):
    """Run orch.deploy and show what it waits for.

    :raises LabError: with the steps that failed, and where the whole story is.
    """
    log = lab.folder / "deploy.log"
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(lab, progress, stop), daemon=True)
    watcher.start()
    try:
        said = lab.salt_run("--out=json", "state.orchestrate", "orch.deploy", timeout=timeout, check=False)
    finally:
        stop.set()
        watcher.join(timeout=5)
    log.write_text(said.stdout + said.stderr)
    if said.returncode != 0:
        raise LabError(
            f"orch.deploy failed.\n{failures(said.stdout) or said.stderr[-3000:]}\nAll of it is in {log}."
        )


def failures(text):
    """Return what failed in a highstate's or orchestration's JSON output, in the words of `salt-run state.orchestrate`."""
    try:
        data = json.loads(text[text.index("{") :])
    except ValueError:
        return ""
    return "\n".join(fanatico_steps.failure_lines(data.get("data", data))).strip()


def _watch(lab, progress, stop):
    """Feed the lines of `salt-run fanatico.watch` to the progress display until the deploy ends."""
    argv = lab.machine(lab.master).exec_argv(["salt-run", "fanatico.watch", "timeout=600"])
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as watch:
        killer = threading.Thread(target=lambda: (stop.wait(), watch.terminate()), daemon=True)
        killer.start()
        for line in watch.stdout:
            if line.strip():
                progress.awaiting(line.strip())
