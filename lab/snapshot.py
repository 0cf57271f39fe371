"""Snapshots of a lab: the machines' disks as read-only overlay layers, and the lab's secrets, site and plan.

No disk is copied: the writable layer of a machine becomes read-only, and the machine gets a new, empty layer on top of it.
A lab that is restored from a snapshot boots in the deployed state, without a deploy.
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
DEPLOYED = "deployed"  # the automatic snapshot of `up`; its folder's name has the keys of image and tree
KEPT = 2  # unused automatic snapshots to keep: two, for work on two branches
PARTS = ("secrets", "site", "plan.sls")  # of a lab, besides its machines
# Everything that a deploy depends on. Secrets, site and plan are the lab's and part of the snapshot.
TREE = (
    *("salt", "orch", "pillar", "requirements/salt.txt", "bootstrap-master"),
    *("_beacons", "_cache", "_grains", "_modules", "_output", "_pillar", "_runners", "_states", "_utils"),
    *(
        f"lab/{name}"
        for name in ("deploy.py", "keys.py", "machine.py", "machines.py", "site.sls", "snapshot.py")
    ),
)
NOT_TREE = ("__pycache__", "secrets", "site", "artifacts", "plan.sls")


class Snapshot:
    """A snapshot by the name of its folder."""

    def __init__(self, name):
        self.name = name
        self.folder = SNAPSHOTS / name

    @property
    def facts(self):
        """Return what `save` recorded: lab, created, image, tree, layers, state; {} if the snapshot does not exist."""
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
        """Check that a lab of the present tree and image can start from this snapshot.

        :raises LabError: with the reason, when it cannot.
        """
        facts = self.facts
        if not facts:
            raise LabError(
                f"There is no snapshot {self.name!r}. List the snapshots: ./fanatico snapshot list"
            )
        for what, present in (("image", image.key()), ("tree", tree_key(self.plan_path))):
            if facts[what] != present:
                raise LabError(
                    f"The snapshot {self.name!r} was made with another {what} ({facts[what]}, now {present}). "
                    f"Drop it: ./fanatico snapshot drop {self.name}. Or return to that {what}."
                )


def tree_key(plan_path=PLAN, repo=REPO):
    """Return a short hash of everything in the tree that a deploy depends on.

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
    """Return the automatic snapshot of the present tree and image and this plan; it may not exist yet."""
    return Snapshot(f"{DEPLOYED}-{image.key()}-{tree_key(plan_path)}")


def find(name):
    """Return a snapshot by name: `deployed` is the automatic one of the present tree and image.

    :raises LabError: when it does not exist, or was made with another tree or image.
    """
    found = automatic() if name == DEPLOYED else Snapshot(_checked(name))
    if name == DEPLOYED and not found.facts:
        raise LabError("No lab of this tree and image has been deployed yet. Deploy one: sudo ./fanatico up")
    found.require_usable()
    return found


def everything():
    """Return all snapshots, the oldest first."""
    folders = SNAPSHOTS.iterdir() if SNAPSHOTS.exists() else ()
    found = [Snapshot(folder.name) for folder in folders if (folder / "snapshot.json").exists()]
    return sorted(found, key=lambda saved: saved.facts["created"])


def save(lab, name):
    """Turn the present disks of a lab into a snapshot. Its machines are off afterwards, on new empty layers.

    :param lab: a Lab whose machines exist.
    :param name: of the snapshot's folder.
    :raises LabError: when the name is in use or not valid.
    """
    snapshot = Snapshot(_checked(name))
    with _locked():
        if snapshot.facts:
            raise LabError(f"The snapshot {name!r} already exists. Drop it: ./fanatico snapshot drop {name}")
        _put_back(lab)
        part = SNAPSHOTS / f"{name}.part"
        if part.exists():
            raise LabError(
                f"{part} holds disks of the lab {_owner(part)!r}, whose `snapshot save` was interrupted. "
                f"Finish it: ./fanatico snapshot save {name} --name {_owner(part)}. Or choose another name."
            )
        _settle(lab)
        part.mkdir(parents=True)
        (part / "lab").write_text(lab.name)  # before any disk is moved
        (part / "machines").mkdir()
        machines = lab.machines
        facts = {
            "name": name,
            "lab": lab.name,
            "created": time.time(),
            "image": image.key(),
            "tree": tree_key(lab.folder / "plan.sls"),
            "layers": {
                node: [str(layer) for layer in machine.layers()] for node, machine in machines.items()
            },
            "state": {what: lab.state[what] for what in ("plan", "image", "deployed", "extra")},
        }
        for what in PARTS:
            _copy(lab.folder / what, part / what)
        try:
            for node, machine in machines.items():
                machine.release(part / "machines" / node)
            (part / "snapshot.json").write_text(json.dumps(facts, indent=2))
            part.rename(snapshot.folder)
        except BaseException:
            _put_back(lab)
            raise
        for node, machine in machines.items():
            machine.create(snapshot.layers(node))
    return snapshot


def _put_back(lab):
    """Return the disks that an interrupted `save` has moved to the lab's machines.

    Unfinished snapshots of labs that no longer exist are deleted.
    """
    for part in SNAPSHOTS.glob("*.part"):
        if _owner(part) == lab.name:
            for name, machine in lab.machines.items():
                machine.take_back(part / "machines" / name)
        if _owner(part) in ("", lab.name) or not (LABS / _owner(part)).exists():
            delete(part)


def _owner(part):
    """Return the name of the lab whose disks are in an unfinished snapshot; empty if it has no disk yet."""
    note = part / "lab"
    return note.read_text() if note.exists() else ""


def lay(lab, snapshot):
    """Replace a lab by the state that a snapshot has saved. Its machines are off afterwards.

    :raises LabError: when the snapshot cannot be used with the present tree and image.
    """
    snapshot.require_usable()
    ports = lab.folder / "forward.json"
    known = ports.read_text() if ports.exists() else ""
    lab.destroy()
    lab.folder.mkdir(parents=True)
    if known:
        ports.write_text(known)  # forwarded services keep their ports
    for what in PARTS:
        _copy(snapshot.folder / what, lab.folder / what)
    lab.note(repo=str(REPO), since=time.time(), **snapshot.facts["state"])
    lab.lay_machines(snapshot.layers)
    lab.note(created=True)


def drop(name):
    """Delete a snapshot.

    :raises LabError: when it does not exist, or a lab or another snapshot uses it.
    """
    with _locked():
        snapshot = automatic() if name == DEPLOYED else Snapshot(_checked(name))
        if not snapshot.facts:
            raise LabError(f"There is no snapshot {name!r}. List the snapshots: ./fanatico snapshot list")
        users = _users(snapshot)
        if users:
            raise LabError(f"The snapshot {name!r} is in use by {', '.join(users)}. Remove them first.")
        delete(snapshot.folder)


def prune(keep):
    """Delete unused automatic snapshots, except for the newest (KEPT).

    :param keep: the snapshot to keep in any case.
    """
    with _locked():
        unused = [
            saved
            for saved in everything()
            if saved.name.startswith(f"{DEPLOYED}-") and saved.name != keep.name and not _users(saved)
        ]
        for saved in unused[: max(0, len(unused) - (KEPT - 1))]:
            delete(saved.folder)


def images():
    """Return the folders of the images that snapshots use."""
    return {saved.facts["state"]["image"] for saved in everything()}


def purge():
    """Delete every snapshot; no lab may exist."""
    if SNAPSHOTS.exists():
        delete(SNAPSHOTS)
    (STATE / "snapshots.lock").unlink(missing_ok=True)


def _settle(lab):
    """Switch a lab's machines off so that they start quickly from these disks."""
    for name in lab.machines:
        if not {"patroni", "etcd"} & set(lab.plan["nodes"].get(name, {}).get("roles", [])):
            lab.power_off(name)
    # A database that is stopped while etcd runs releases its lease, so the next start need not wait for the lease to expire.
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
    """Return the labs and snapshots that use a snapshot, as texts."""
    above = f"{snapshot.folder}/"
    labs = [
        f"the lab {layers.parts[-4]!r}"
        for layers in LABS.glob("*/machines/*/layers")
        if above in layers.read_text()
    ]
    snapshots = [
        f"the snapshot {saved.name!r}"
        for saved in everything()
        if any(layer.startswith(above) for layers in saved.facts["layers"].values() for layer in layers)
    ]
    return list(dict.fromkeys([*labs, *snapshots]))  # a lab has many machines


def _checked(name):
    if not (name.isascii() and name.replace("-", "").isalnum() and len(name) <= 60):
        raise LabError(
            f"The snapshot name {name!r} is not valid: use at most 60 letters, digits and hyphens."
        )
    return name


def _copy(source, target):
    shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)


@contextmanager
def _locked(timeout=60):
    """Hold the lock of all snapshots: one process at a time may change them.

    :param timeout: seconds to wait for another process.
    :raises LabError: when another process still holds the lock by then.
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
                        f"Another command has held the lock of the snapshots for {timeout} s. Wait for it, then retry."
                    ) from error
                time.sleep(0.1)
        yield
