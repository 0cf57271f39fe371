"""Deploy booted machines: the steps that an operator takes on real hosts, in the same order."""

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

BOOT_HIGHSTATE = (
    "fanatico-boot.timer"  # masked: after a deploy its highstate would change nothing and load all machines
)


def prepare_master(lab):
    """Apply the states `master` and `minion` masterless on the master's machine, and generate the secrets.

    :raises LabError: with the states that failed.
    """
    machine = lab.machine(lab.master)
    arguments = [f"--id={lab.master}", "--out=json", "--log-level=warning", "state.apply", "master,minion"]
    said = machine.exec([*MASTERLESS, *arguments], timeout=180, check=False)
    if said.returncode != 0:
        raise LabError(
            f"The states `master` and `minion` failed on {lab.master}: {failures(said.stdout) or said.stderr[-2000:]}"
        )
    lab.salt_run("fanatico.secrets_init")
    machine.exec([f"{TREE}/bootstrap-master", "--passphrase"])


def connect_minions(lab):
    """Configure and start the minion on every other machine."""
    with ThreadPoolExecutor() as pool:
        others = [machine for name, machine in lab.machines.items() if name != lab.master]
        list(pool.map(lambda machine: _connect(lab, machine), others))


def add(lab, name, address, roles):
    """Add a machine to a running lab, with a line in the plan and a minion whose key the master has accepted.

    :raises LabError: when a step fails; the machine is removed again.
    """
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
    """Replace a machine by a reinstalled one, with a configured minion.

    :param keep: paths below / that are restored: etc/salt/pki/minion, or etc/ssh where the host key proves the identity.
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
    """Restore a lab from a snapshot, boot it and, where it was deployed, wait until it is healthy.

    :param origin: a Snapshot.
    :param awaiting: called with a text that names what is awaited.
    """
    awaiting("disks and network")
    snapshot.lay(lab, origin)
    boot(lab, awaiting)


def boot(lab, awaiting=lambda what: None):
    """Boot all machines of a lab and, where it was deployed, wait until they are healthy."""
    lab.power_on_all(without=[BOOT_HIGHSTATE])
    lab.wait_booted(awaiting)
    if lab.state["deployed"]:
        health.wait(lab, awaiting=awaiting)


def orchestrate(lab, progress, timeout=600):
    """Run orch.deploy and show its progress.

    :param timeout: seconds.
    :raises LabError: with the steps that failed and the path of the log.
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
            f"orch.deploy failed.\n{failures(said.stdout) or said.stderr[-3000:]}\nFull log: {log}"
        )


def failures(text):
    """Return the failed steps of a highstate's or orchestration's JSON output, formatted as `salt-run` prints them."""
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
