"""From booted machines to a deployed infrastructure: what an operator does by hand on a real fleet, in the same order."""

import json
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

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
    """Return the failed states of a highstate's or orchestration's JSON output, one sentence each, deepest first."""
    try:
        data = json.loads(text[text.index("{") :])
    except ValueError:
        return ""
    found = []
    _collect(data, found)
    return "\n".join(dict.fromkeys(found))


def _collect(data, found):
    if isinstance(data, list):
        found.extend(str(line) for line in data if isinstance(line, str))
    if not isinstance(data, dict):
        return
    for value in data.values():
        _collect(value, found) if not isinstance(value, list) else None
    comment = data.get("comment")
    if data.get("result") is False and comment and "requisite" not in str(comment):
        name = data.get("__id__") or data.get("name") or "?"
        found.append(f"- {name}: {str(comment).strip()}")


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
