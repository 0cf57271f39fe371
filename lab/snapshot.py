"""Snapshots of a lab: the machines' disks as read-only overlay layers, and what the lab itself keeps.

Nothing is copied: the writable layer of a machine becomes read-only, and the machine gets a new, empty layer over it.
A lab that is restored from a snapshot boots to what was deployed, without a deploy.
"""

import fcntl
import hashlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lab import image
from lab.errors import LabError
from lab.paths import LABS, REPO, STATE
from lab.plan import PLAN
from lab.shell import delete

SNAPSHOTS = STATE / "snapshots"
DEPLOYED = "deployed"  # what `up` keeps by itself; its folder carries the key of tree and image
KEPT = 2  # automatic snapshots that no lab stands on: two, for those who work on two branches
PARTS = ("secrets", "site", "plan.sls")  # what a lab keeps beside its machines
# What decides how a deployed lab looks. Secrets, site and plan are the lab's own and part of the snapshot.
TREE = (
    *("salt", "orch", "pillar", "requirements/salt.txt"),
    *("_beacons", "_cache", "_grains", "_modules", "_output", "_pillar", "_runners", "_states", "_utils"),
    *(
        f"lab/{name}"
        for name in ("deploy.py", "keys.py", "machine.py", "machines.py", "site.sls", "snapshot.py")
    ),
)
NOT_TREE = ("__pycache__", "secrets", "site", "artifacts", "plan.sls")


class Snapshot:
    """One snapshot by the name of its folder."""

    def __init__(self, name):
        self.name = name
        self.folder = SNAPSHOTS / name

    @property
    def facts(self):
        """Return what was noted at `save`: lab, created, image, tree, state; {} where there is no such snapshot."""
        try:
            return json.loads((self.folder / "snapshot.json").read_text())
        except (OSError, ValueError):
            return {}

    @property
    def plan_path(self):
        """Return the plan of the lab that was saved."""
        return self.folder / "plan.sls"

    def layers(self, machine):
        """Return the read-only layers of a machine, the uppermost first."""
        return [self.folder / "machines" / machine, *map(Path, self.facts["layers"][machine])]

    def require_usable(self):
        """Do nothing where a lab of the present tree and image can start from it.

        :raises LabError: with the reason, where it cannot.
        """
        facts = self.facts
        if not facts:
            raise LabError(
                f"There is no snapshot {self.name!r}; `./fanatico snapshot list` shows those that exist."
            )
        for what, present in (("image", image.key()), ("tree", tree_key(self.plan_path))):
            if facts[what] != present:
                raise LabError(
                    f"The snapshot {self.name!r} was made with another {what} ({facts[what]}, now {present}); "
                    f"drop it with `./fanatico snapshot drop {self.name}`, or go back to the {what} it was made with."
                )


def tree_key(plan_path=PLAN, repo=REPO):
    """Return a short hash of everything in the tree that decides how a deployed lab looks.

    :param plan_path: the plan of that lab.
    """
    digest = hashlib.sha256(Path(plan_path).read_bytes())
    for part in TREE:
        top = repo / part
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            inside = path.relative_to(repo)
            if not path.is_file() or set(inside.parts) & set(NOT_TREE):
                continue
            digest.update(f"\0{inside}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def automatic(plan_path=PLAN):
    """Return the snapshot that `up` keeps of the present tree, image and this plan; it may not exist yet."""
    return Snapshot(f"{DEPLOYED}-{image.key()}-{tree_key(plan_path)}")


def find(name):
    """Return a snapshot by the name a person types: `deployed` is the automatic one of the present tree and image.

    :raises LabError: where it does not exist, or was made with another tree or image.
    """
    found = automatic() if name == DEPLOYED else Snapshot(_checked(name))
    if name == DEPLOYED and not found.facts:
        raise LabError("No lab of this tree and image has been deployed yet: run `sudo ./fanatico up` once.")
    found.require_usable()
    return found


def everything():
    """Return all snapshots, the oldest first."""
    folders = SNAPSHOTS.iterdir() if SNAPSHOTS.exists() else ()
    found = [Snapshot(folder.name) for folder in folders if (folder / "snapshot.json").exists()]
    return sorted(found, key=lambda one: one.facts["created"])


def save(lab, name):
    """Turn the present disks of a lab into a snapshot. Its machines are off afterwards, on new empty layers.

    :param lab: a Lab whose machines `up` has made.
    :param name: of the snapshot's folder.
    :raises LabError: where the name is taken or does not do.
    """
    snapshot = Snapshot(_checked(name))
    with _locked():
        if snapshot.facts:
            raise LabError(
                f"There is a snapshot {name!r} already; `./fanatico snapshot drop {name}` removes it."
            )
        _put_back(lab)
        part = SNAPSHOTS / f"{name}.part"
        if part.exists():
            raise LabError(
                f"{part} holds disks of the lab {_owner(part)!r}, whose `snapshot save` was broken off. "
                f"Next: `./fanatico snapshot save {name} --name {_owner(part)}`, or choose another name."
            )
        _settle(lab)
        part.mkdir(parents=True)
        (part / "lab").write_text(lab.name)  # before anything is taken from it
        (part / "machines").mkdir()
        machines = lab.machines
        facts = {
            "name": name,
            "lab": lab.name,
            "created": time.time(),
            "image": image.key(),
            "tree": tree_key(lab.folder / "plan.sls"),
            "layers": {one: [str(layer) for layer in machine.layers()] for one, machine in machines.items()},
            "state": {what: lab.state[what] for what in ("plan", "image", "deployed", "extra")},
        }
        for what in PARTS:
            _copy(lab.folder / what, part / what)
        try:
            for one, machine in machines.items():
                machine.release(part / "machines" / one)
            (part / "snapshot.json").write_text(json.dumps(facts, indent=2))
            part.rename(snapshot.folder)
        except BaseException:
            _put_back(lab)
            raise
        for one, machine in machines.items():
            machine.create(snapshot.layers(one))
    return snapshot


def _put_back(lab):
    """Give a lab's machines the disks that a `save` has taken from them and not kept, because it failed or was killed.

    What is left of a lab that does not exist any more goes.
    """
    for part in SNAPSHOTS.glob("*.part"):
        if _owner(part) == lab.name:
            for name, machine in lab.machines.items():
                machine.take_back(part / "machines" / name)
        if _owner(part) in ("", lab.name) or not (LABS / _owner(part)).exists():
            delete(part)


def _owner(part):
    """Return the name of the lab whose disks lie in what a `save` has begun; empty where it has taken none yet."""
    note = part / "lab"
    return note.read_text() if note.exists() else ""


def lay(lab, snapshot):
    """Make a lab, whatever it is now, what it was when the snapshot was saved. Its machines are off afterwards.

    :raises LabError: where the snapshot cannot be used with the present tree and image.
    """
    snapshot.require_usable()
    ports = lab.folder / "forward.json"
    known = ports.read_text() if ports.exists() else ""
    lab.destroy()
    lab.folder.mkdir(parents=True)
    if known:
        ports.write_text(known)  # what is forwarded stays where a person has found it
    for what in PARTS:
        _copy(snapshot.folder / what, lab.folder / what)
    lab.note(repo=str(REPO), since=time.time(), **snapshot.facts["state"])
    lab.lay_machines(snapshot.layers)
    lab.note(created=True)


def drop(name):
    """Remove a snapshot.

    :raises LabError: where there is none of this name, or something stands on it.
    """
    with _locked():
        snapshot = automatic() if name == DEPLOYED else Snapshot(_checked(name))
        if not snapshot.facts:
            raise LabError(
                f"There is no snapshot {name!r}; `./fanatico snapshot list` shows those that exist."
            )
        users = _users(snapshot)
        if users:
            raise LabError(f"The snapshot {name!r} stays because {users[0]} stands on it; remove that first.")
        delete(snapshot.folder)


def prune(keep):
    """Delete automatic snapshots that nothing stands on, but for the newest ones.

    :param keep: the snapshot that stays in any case.
    """
    with _locked():
        unused = [
            one
            for one in everything()
            if one.name.startswith(f"{DEPLOYED}-") and one.name != keep.name and not _users(one)
        ]
        for one in unused[: max(0, len(unused) - (KEPT - 1))]:
            delete(one.folder)


def images():
    """Return the folders of the images that snapshots stand on."""
    return {one.facts["state"]["image"] for one in everything()}


def purge():
    """Delete every snapshot; no lab may be left."""
    if SNAPSHOTS.exists():
        delete(SNAPSHOTS)
    (STATE / "snapshots.lock").unlink(missing_ok=True)


def _settle(lab):
    """End a lab's machines so that they start quickly and clean from these disks."""
    for name in lab.machines:
        if not {"patroni", "etcd"} & set(lab.plan["nodes"].get(name, {}).get("roles", [])):
            lab.power_off(name)
    # A database that ends in order, while etcd runs, gives its lease back: nobody waits for the lease's end at the next start.
    on = set(lab.running())
    with ThreadPoolExecutor() as pool:
        for role in ("patroni", "etcd"):
            nodes = [name for name in lab.nodes(role) if name in on]
            list(
                pool.map(
                    lambda node, unit=role: lab.exec(node, ["systemctl", "stop", unit], check=False), nodes
                )
            )
    for name in lab.machines:
        lab.power_off(name)


def _users(snapshot):
    """Return what stands on a snapshot, in words."""
    above = f"{snapshot.folder}/"
    labs = [
        f"the lab {layers.parts[-4]!r}"
        for layers in LABS.glob("*/machines/*/layers")
        if above in layers.read_text()
    ]
    snapshots = [
        f"the snapshot {one.name!r}"
        for one in everything()
        if any(layer.startswith(above) for layers in one.facts["layers"].values() for layer in layers)
    ]
    return [*labs, *snapshots]


def _checked(name):
    if not (name.isascii() and name.replace("-", "").isalnum() and len(name) <= 60):
        raise LabError(
            f"A snapshot's name has letters, digits and hyphens, at most 60; {name!r} does not fit."
        )
    return name


def _copy(source, target):
    shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)


@contextmanager
def _locked(timeout=60):
    """Let one process at a time change the set of snapshots.

    :param timeout: seconds to wait for another.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    with open(STATE / "snapshots.lock", "w") as lock:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"Another command works on the snapshots since {timeout} s; wait for it."
                    ) from error
                time.sleep(0.1)
        yield
