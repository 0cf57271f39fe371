"""A lab: the plan's machines, their network, and the operations that tests and drills need."""

import fcntl
import json
import re
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import yaml

import fanatico_plan
from lab import cgroup, image, keys, network, salt_client, snapshot
from lab import plan as plans
from lab.errors import LabError
from lab.machine import Machine
from lab.paths import CACHE, LABS, REPO
from lab.shell import delete, run

TREE = "/srv/fanatico"
NAME = "[a-z][a-z0-9-]{0,14}"  # of a machine; also the name of its network interface, at most 15 characters
INOTIFY_INSTANCES = 2048  # for several labs at once


class Lab:
    """One lab by its name. All its resources have that name, so labs do not interfere with each other."""

    def __init__(self, name="default"):
        if not (
            name.isascii() and name.replace("-", "").isalnum() and name == name.lower() and len(name) <= 20
        ):
            raise LabError(
                f"The lab name {name!r} is not valid: use at most 20 lowercase letters, digits and hyphens."
            )
        self.name = name
        self.folder = LABS / name
        self.state_file = self.folder / "lab.json"

    # --- what is there ------------------------------------------------------------------------------------------

    @property
    def state(self):
        """The recorded state: repo, plan, image, deployed, phases, ...; {} without a lab."""
        try:
            return json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return {}

    def require_deployed(self):
        """Check that the lab is deployed.

        :raises LabError: when it is not.
        """
        if not self.state.get("deployed"):
            raise LabError(
                f"The lab {self.name!r} is not deployed. Deploy it: sudo ./fanatico up{self.option()}"
            )

    def require_created(self):
        """Check that the lab's machines exist.

        :raises LabError: when they do not.
        """
        if not self.state.get("created"):
            raise LabError(f"There is no lab {self.name!r}. Create it: sudo ./fanatico up{self.option()}")

    def note(self, **facts):
        """Record facts in the lab's state."""
        content = json.dumps({**self.state, **facts}, indent=2)
        part = self.state_file.with_suffix(".part")
        part.write_text(content)
        part.rename(self.state_file)

    @property
    def plan(self):
        """The plan this lab was built from."""
        if "plan" not in self.state:
            raise LabError(f"There is no lab {self.name!r}. Create it: sudo ./fanatico up{self.option()}")
        return self.state["plan"]

    @property
    def master(self):
        """The id of the Salt master's machine."""
        return plans.master(self.plan)

    @property
    def machines(self):
        """Return {id: Machine} for every machine of the lab, extra ones last."""
        addresses = {name: node["address"] for name, node in self.plan["nodes"].items()}
        addresses.update(self.state.get("extra", {}))
        return {name: self.machine(name, address) for name, address in addresses.items()}

    def machine(self, name, address=None):
        """Return one machine by name.

        :raises LabError: when the lab has no such machine.
        """
        if address is None:
            if name not in self.machines:
                raise LabError(
                    f"The lab {self.name!r} has no machine {name!r}; it has {', '.join(self.machines)}."
                )
            return self.machines[name]
        binds = [f"--bind-ro={self._image().packages}:/srv/packages"]
        if name in self.nodes("master"):
            binds += [
                f"--bind-ro={self.state['repo']}:{TREE}",
                f"--bind-ro={self._image().artifacts}:{TREE}/salt/artifacts",
                f"--bind={self.folder}/secrets:{TREE}/pillar/secrets",
                f"--bind={self.folder}/site:{TREE}/pillar/site",
                f"--bind-ro={self.folder}/plan.sls:{TREE}/pillar/plan.sls",
            ]
        return Machine(self.name, name, self.folder / "machines" / name, address, binds)

    def _image(self):
        return image.Image(self.state["image"])

    def running(self):
        """Return the names of the machines that are on."""
        return [name for name, machine in self.machines.items() if machine.leader()] if self.state else []

    def option(self):
        """Return the command-line option that selects this lab: empty for `default`, else ` --name NAME`."""
        return "" if self.name == "default" else f" --name {self.name}"

    # --- life ---------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self):
        """Hold the lab's lock: one command at a time may change it.

        :raises LabError: when another command holds the lock.
        """
        LABS.mkdir(parents=True, exist_ok=True)
        with open(LABS / f".{self.name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise LabError(
                    f"Another command is working on the lab {self.name!r}. Wait until it has ended, then retry."
                ) from error
            yield

    def create(self, built, plan_path=plans.PLAN, nodes=True):
        """Create folders, network and the machines' disks; nothing is started.

        :param built: the Image.
        :param nodes: False leaves out the plan's machines; boot_extra adds machines later.
        """
        plan = plans.load(plan_path)
        if not nodes:
            plan["nodes"] = {}
        self.folder.mkdir(parents=True)
        for part in ("secrets", "site", "machines"):
            (self.folder / part).mkdir()
        shutil.copyfile(plan_path, self.folder / "plan.sls")
        self.note(
            repo=str(REPO), plan=plan, image=str(built.folder), deployed=False, extra={}, since=time.time()
        )
        self.site_write({})
        network.create_switch(self.name, plan)
        for name, machine in self.machines.items():
            network.attach(self.name, plan, name, machine.address)
            self._prepare(machine)

    def lay_machines(self, layers):
        """Create the network and the machines' disks on top of saved layers; nothing is started.

        :param layers: a function that returns the read-only layers of a machine by its name.
        """
        network.create_switch(self.name, self.plan)
        for name, machine in self.machines.items():
            network.attach(self.name, self.plan, name, machine.address)
            machine.create(layers(name))

    def _prepare(self, machine):
        """Create a machine's disk on top of the image and set its host name."""
        machine.create([self._image().root])
        (machine.root / "etc/hostname").write_text(f"{machine.name}\n")
        (machine.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{machine.address} {machine.name}\n")

    def give_keys(self):
        """Distribute key pairs: the master accepts every minion, every minion has the master's key."""
        keys.distribute(self.machines, self.master, list(self.plan["nodes"]))

    def revive(self):
        """Start a lab whose machines are all off, for example after a restart of the real machine; disks are kept."""
        network.destroy(self.name)
        network.create_switch(self.name, self.plan)
        for name, machine in self.machines.items():
            network.attach(self.name, self.plan, name, machine.address)
            machine.mount()
        self.power_on_all()

    def power_on_all(self, without=()):
        """Start every machine.

        :param without: units that are masked in this boot.
        """
        _raise_limits()
        for machine in self.machines.values():
            machine.power_on(without)

    def wait_booted(self, awaiting=lambda what: None, timeout=90):
        """Wait until every machine has booted.

        :param awaiting: called with a text that names what is awaited.
        :param timeout: seconds for all machines together.
        """
        deadline = time.monotonic() + timeout
        for name, machine in self.machines.items():
            awaiting(f"{name} to boot")
            machine.wait_booted(max(1, deadline - time.monotonic()))

    def pause(self, paused=True):
        """Freeze or thaw every process of the lab. To the daemons, a pause of minutes is like a power cut."""
        cgroup.freeze(cgroup.path(self.name), paused)

    @property
    def paused(self):
        """Whether the lab is paused."""
        return cgroup.is_frozen(cgroup.path(self.name))

    def forget(self):
        """Remove the lock of a lab that is gone."""
        (LABS / f".{self.name}.lock").unlink(missing_ok=True)

    def destroy(self):
        """Remove everything of this lab: processes, mounts, namespaces, cgroups, files; also what a killed run has left."""
        group = cgroup.path(self.name)
        if group.exists():
            cgroup.kill(group)
            if not any(sub.is_dir() for sub in group.parent.iterdir()):
                group.parent.rmdir()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            mounted = line.split()[4]
            if mounted.startswith(f"{self.folder}/"):
                run(["umount", "-l", mounted])
        network.destroy(self.name)
        delete(self.folder)

    # --- operations for tests and drills --------------------------------------------------------------------------

    def exec(self, machine, argv, timeout=60, check=True):
        """Run a command on a machine; see Machine.exec."""
        return self.machine(machine).exec(argv, timeout=timeout, check=check)

    def salt_run(self, *arguments, timeout=300, check=True):
        """Run `salt-run` on the master; return its CompletedProcess."""
        return self.exec(self.master, ["salt-run", *arguments], timeout=timeout, check=check)

    def salt(self, target, function, *arguments, patience=10, timeout=120):
        """Call a function on minions and return {minion: result}. Minions that do not answer are missing or False.

        :param target: a glob, or a list of minions.
        :param arguments: as on the command line of `salt`.
        :param patience: seconds after which Salt asks the minions whether the job still runs.
        :param timeout: seconds for the whole call.
        :raises LabError: when the master does not answer.
        """
        kind = "glob" if isinstance(target, str) else "list"
        return salt_client.call(
            self.machine(self.master), target, function, arguments, kind, patience, timeout
        )

    def nodes(self, role=None):
        """Return the ids of the plan's nodes; with `role`, only of the nodes that have it."""
        return fanatico_plan.nodes(self.plan, role)

    def virtual_ip_holders(self):
        """Return the balancers that have the virtual IP on an interface; machines that are off are skipped."""
        shown, on = f" {self.plan['virtual_ip']['address']}/", set(self.running())
        show = ["ip", "-4", "-o", "address", "show"]
        return [
            name for name in self.nodes("haproxy") if name in on and shown in self.exec(name, show).stdout
        ]

    def sql(self, node, statement, database="postgres"):
        """Run a statement as the operating system's user postgres, without a password; return psql's output."""
        return self.exec(
            node, ["runuser", "-u", "postgres", "--", "psql", "-XAtqc", statement, database]
        ).stdout

    def pillars(self, *names):
        """Return {minion: pillar} of the named nodes, or of all, as the master compiles it, secrets unmasked."""
        return salt_client.pillars(self.machine(self.master), names or list(self.plan["nodes"]))

    def power_off(self, machine):
        """Cut a machine's power."""
        self.machine(machine).power_off()

    def power_on(self, machine):
        """Switch a machine on; return at once."""
        self.machine(machine).power_on()

    def reboot(self, machine, timeout=60):
        """Shut a machine down cleanly, start it and wait until it has booted.

        :param timeout: seconds for the shutdown.
        """
        self.machine(machine).shut_down(timeout)
        self.machine(machine).power_on()
        self.machine(machine).wait_booted(timeout)

    def unplug(self, machine):
        """Pull a machine's network cable."""
        network.set_cable(self.name, machine, plugged=False)

    def plug(self, machine):
        """Plug a machine's network cable back in."""
        network.set_cable(self.name, machine, plugged=True)

    def boot_extra(self, name, address, bare=False):
        """Boot a machine that is not in the plan and return it.

        :param address: a free address in one of the plan's networks.
        :param bare: like a new real host: without Salt, with sshd.
        :raises LabError: when a machine of that name exists, or the new one does not boot; it is removed again.
        """
        if name in self.machines:
            raise LabError(
                f"The lab {self.name!r} already has a machine {name!r}. "
                f"Remove it: ./fanatico machine remove {name}{self.option()}"
            )
        self.note(extra={**self.state["extra"], name: address})
        try:
            return self._boot_new(self.machine(name), bare)
        except BaseException:
            self.remove_extra(name)
            raise

    def renew(self, name, bare=False, keep=()):
        """Replace a machine by a reinstalled one of the same name and address, boot it and return it.

        :param bare: like a new real host: without Salt, with sshd.
        :param keep: paths below / that the reinstallation restores, for example etc/salt/pki/minion; with etc/ssh, sshd runs.
        """
        machine = self.machine(name)
        with tempfile.TemporaryDirectory(dir=self.folder) as kept:
            for path in keep:
                run(["cp", "-a", "--parents", path, kept], cwd=machine.root)
            machine.delete()
            return self._boot_new(machine, bare, kept, keep)

    def _boot_new(self, machine, bare, kept=None, keep=()):
        _raise_limits()
        network.attach(self.name, self.plan, machine.name, machine.address)
        self._prepare(machine)
        if bare:
            _strip(machine.root)
        for path in keep:  # not `kept` itself: / would get its mode
            run(["cp", "-a", "--parents", path, machine.root], cwd=kept)
        if bare or "etc/ssh" in keep:
            (machine.root / "etc/systemd/system/ssh.service").unlink()
            run(["chroot", machine.root, "systemctl", "enable", "-q", "ssh.service"])
        machine.power_on()
        machine.wait_booted()
        return machine

    def write_plan(self, plan):
        """Set the lab's plan, in the master's pillar and in the recorded state."""
        text = "#!yaml\n" + yaml.safe_dump({"plan": plan}, sort_keys=False)
        (self.folder / "plan.sls").write_text(text)  # in place: the file is bound into the master
        self.note(plan=plan)

    def add(self, name, address, roles):
        """Add a machine to the plan, boot it with its keys and return it; nothing is deployed."""
        self._check_new(name, address)
        plan = plans.with_node(plans.load(self.folder / "plan.sls"), name, address, roles)
        self.write_plan(plan)
        try:
            machine = self._boot_new(self.machine(name), bare=False)
            keys.introduce(machine, self.machine(self.master))
        except BaseException:
            self.remove(name)
            raise
        return machine

    def add_bare(self, name, address):
        """Boot a machine that is not in the plan, with an sshd and without Salt, and return it."""
        plans.network_for(self.plan, address)
        self._check_new(name, address)
        return self.boot_extra(name, address, bare=True)

    def _check_new(self, name, address):
        if not re.fullmatch(NAME, name):
            raise LabError(
                f"The machine name {name!r} is not valid: use at most 15 lowercase letters, digits and hyphens, a letter first."
            )
        for other, machine in self.machines.items():
            if name == other or address == machine.address:
                raise LabError(
                    f"The lab {self.name!r} has a machine {other} at {machine.address}. Choose another name and address."
                )

    def remove(self, name):
        """Remove a machine with its disk, its entry in the plan and its key on the master; nothing is deployed."""
        machine, plan = self.machine(name), plans.load(self.folder / "plan.sls")
        if name in plan["nodes"]:
            plan = plans.without_node(plan, name)
        machine.delete()
        self.write_plan(plan)
        self.note(extra={other: address for other, address in self.state["extra"].items() if other != name})
        if self.machine(self.master).leader():
            self.exec(
                self.master, ["salt-key", "--yes", "--delete", name], check=False
            )  # there may be no key

    def remove_extra(self, name):
        """Remove a machine that boot_extra made. Harmless when it is gone."""
        extra = self.state["extra"]
        if name in extra:
            self.machine(name).delete()
            extra.pop(name)
            self.note(extra=extra)

    def site_write(self, settings):
        """Write this lab's pillar overrides: lab/site.sls with `settings` merged over it."""
        self._site.write_text(_site_text(settings))

    def site_changed(self):
        """Whether the overrides differ from lab/site.sls."""
        return self._site.read_text() != _site_text({})

    @property
    def _site(self):
        return self.folder / "site" / "init.sls"

    def root(self, machine):
        """Return the path of a machine's file system on the real machine. Do not write there while it runs."""
        return self.machine(machine).root


def _raise_limits():
    """Raise the real machine's limit of inotify instances, until its next boot: each systemd takes several of the usual 128."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < INOTIFY_INSTANCES:
        limit.write_text(str(INOTIFY_INSTANCES))


def names():
    """Return the names of the labs that exist."""
    return sorted(folder.name for folder in LABS.iterdir() if folder.is_dir()) if LABS.exists() else []


def obtain_image(progress):
    """Return the image of the present recipe, building it if necessary; a build deletes unused images."""
    built = image.cached()
    if built is None:
        with progress.phase("image"):
            built = image.obtain(progress)
            prune_cache(built)
    return built


def prune_cache(keep):
    """Delete images that no lab and no snapshot uses.

    :param keep: the image to keep in any case.
    """
    used = {str(keep.folder), *snapshot.images(), *(Lab(name).state.get("image") for name in names())}
    for folder in CACHE.iterdir():
        if str(folder) not in used:
            image.remove(folder)


def purge_cache():
    """Delete every snapshot, every image and all downloads."""
    snapshot.purge()
    if CACHE.exists():
        for folder in CACHE.iterdir():
            image.remove(folder)
        delete(CACHE)


def _strip(root):
    """Make a system like a new real host: without Salt, with sshd and new host keys."""
    delete(root / "opt/salt")
    for command in (root / "usr/local/bin").glob("salt*"):
        command.unlink()
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    run(["chroot", root, "ssh-keygen", "-A"])


def _site_text(settings):
    """Return the text of the site file: the lab's settings (lab/site.sls) with `settings` merged over them."""
    merged = _merge(yaml.safe_load((Path(__file__).parent / "site.sls").read_text()), settings)
    text = yaml.safe_dump(merged, sort_keys=False)
    return f"# This lab's settings, merged over the committed pillar.\n{text}"


def _merge(base, over):
    merged = dict(base)
    for key, value in over.items():
        merged[key] = (
            _merge(merged[key], value)
            if isinstance(value, dict) and isinstance(merged.get(key), dict)
            else value
        )
    return merged
