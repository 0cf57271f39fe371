"""One cgroup per machine: it separates the machines, and a power cut ends every process in it."""

import contextlib
import time
from pathlib import Path

from lab.errors import LabError


def mount_point() -> Path:
    """Return where cgroup v2 is mounted: /sys/fs/cgroup, or a tree beside v1."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    raise LabError("cgroup v2 is not mounted on this machine. Mount it: mount -t cgroup2 none /sys/fs/cgroup")


def path(lab: str, machine: str | None = None) -> Path:
    """Return the cgroup folder of a lab, or of one of its machines."""
    folder = mount_point() / "fanatico-lab" / lab
    return folder / machine if machine else folder


def kill(folder: Path, timeout: float = 10) -> None:
    """End every process below a cgroup at once and remove the folder. Harmless when it does not exist.

    :param timeout: seconds to wait for the kernel to reap them.
    """
    deadline = time.monotonic() + timeout
    while folder.exists():
        (folder / "cgroup.kill").write_text("1")
        if "populated 0" in (folder / "cgroup.events").read_text():
            # A process that starts in between may still join the cgroup; the next iteration kills it.
            with contextlib.suppress(OSError):
                remove(folder)
                return
        if time.monotonic() > deadline:
            raise LabError(
                f"Processes in {folder} did not end within {timeout} s. List them: cat {folder}/cgroup.procs"
            )
        time.sleep(0.02)


def freeze(folder: Path, frozen: bool, timeout: float = 10) -> None:
    """Freeze every process below a cgroup, or thaw it; no process is ended.

    :param timeout: seconds to wait for the kernel.
    :raises LabError: when the kernel has not frozen or thawed all of them by then.
    """
    deadline = time.monotonic() + timeout
    (folder / "cgroup.freeze").write_text("1" if frozen else "0")
    while is_frozen(folder) != frozen:
        if time.monotonic() > deadline:
            raise LabError(
                f"Processes in {folder} were not {'frozen' if frozen else 'thawed'} within {timeout} s."
            )
        time.sleep(0.02)


def is_frozen(folder: Path) -> bool:
    """Return whether every process below a cgroup is frozen; False without such a cgroup."""
    try:
        return "frozen 1" in (folder / "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def remove(folder: Path) -> None:
    """Remove an empty cgroup with everything below it."""
    below = sorted(
        (sub for sub in folder.rglob("*") if sub.is_dir()), key=lambda sub: len(sub.parts), reverse=True
    )
    for sub in [*below, folder]:
        sub.rmdir()
