"""Requirements of the real machine, checked before anything is changed."""

import os
import platform
import shutil
import tempfile
from pathlib import Path

from lab import cgroup
from lab.errors import LabError
from lab.paths import STATE
from lab.shell import run

NEEDED_GIB = 6
PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
COMMANDS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "apt-ftparchive": "apt-utils",
    "openssl": "openssl",
    "curl": "curl",
    PROXY: "systemd",
}


def check(state: Path = STATE, os_release: str | Path = "/etc/os-release") -> None:
    """Check all requirements and change nothing.

    :raises LabError: for the first requirement that is not met.
    """
    check_root()
    check_distribution(os_release)
    check_architecture()
    check_commands()
    check_space(state)
    check_kernel(state)


def check_root() -> None:
    """Check for root, which mounts, namespaces and cgroups need."""
    if os.geteuid() != 0:
        raise LabError(
            "The lab needs root for its machines' namespaces and mounts. Run the command with sudo."
        )


def check_distribution(os_release: str | Path = "/etc/os-release") -> None:
    """Check for Debian 12 or 13, the tested distributions."""
    text = Path(os_release).read_text() if Path(os_release).exists() else ""
    facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    name, version = facts.get("ID", "unknown").strip('"'), facts.get("VERSION_ID", "?").strip('"')
    if name != "debian" or version not in ("12", "13"):
        raise LabError(
            f"The lab needs Debian 12 or 13; this machine runs {name} {version}. Use another machine or a virtual machine."
        )


def check_architecture() -> None:
    """Check for x86-64: the lab's RPC node is a binary for it."""
    machine = platform.machine()
    if machine != "x86_64":
        raise LabError(f"The lab's RPC node needs x86_64; this machine is {machine}. Use an x86_64 machine.")


def check_commands() -> None:
    """Check for the programs in COMMANDS, which the script ./fanatico installs."""
    missing = sorted({package for command, package in COMMANDS.items() if not shutil.which(command)})
    if missing:
        raise LabError(f"These packages are missing: {', '.join(missing)}. Install them: sudo ./fanatico up")


def check_space(state: Path = STATE, needed_gib: float = NEEDED_GIB) -> None:
    """Check the free space for the image, the packages and the machines' writable layers."""
    folder = _nearest(state)
    free = shutil.disk_usage(folder).free / 2**30
    if free < needed_gib:
        raise LabError(
            f"{folder} has {free:.1f} GiB free; the lab needs {needed_gib}. "
            "Free some space or set FANATICO_LAB_DIR to a folder on a larger disk."
        )


def check_kernel(state: Path = STATE) -> None:
    """Try the kernel features that the lab needs: overlay, network namespace, bridge, veth, cgroup v2."""
    probe = f"fanatico-probe-{os.getpid()}"
    folder = cgroup.mount_point() / probe
    try:
        folder.mkdir()
        if not (folder / "cgroup.kill").exists():
            raise LabError("This kernel's cgroup v2 has no cgroup.kill. The lab needs Linux 5.14 or newer.")
    except OSError as error:
        raise LabError(
            f"A cgroup cannot be created in {folder.parent}: {error}. The lab needs a writable cgroup v2 tree."
        ) from error
    finally:
        if folder.exists():
            folder.rmdir()
    try:
        run(["ip", "netns", "add", probe])
        run(["ip", "-netns", probe, "link", "add", "br-probe", "type", "bridge"])
        run(["ip", "-netns", probe, "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"])
    except LabError as error:
        raise LabError(
            f"The lab's network (namespace, bridge, veth) cannot be created on this kernel: {error}"
        ) from error
    finally:
        run(["ip", "netns", "del", probe], check=False)
    with tempfile.TemporaryDirectory(prefix=probe, dir=_nearest(state)) as temporary:
        for part in ("lower", "upper", "work", "root"):
            (Path(temporary) / part).mkdir()
        layers = f"lowerdir={temporary}/lower,upperdir={temporary}/upper,workdir={temporary}/work"
        mounted = run(["mount", "-t", "overlay", "overlay", "-o", layers, f"{temporary}/root"], check=False)
        if mounted.returncode != 0:
            raise LabError(f"An overlay cannot be mounted in {temporary}: {mounted.stderr.strip()}")
        run(["umount", f"{temporary}/root"])


def _nearest(path: Path) -> Path:
    """Return the nearest folder above `path`, or itself, that exists."""
    folder = Path(path)
    while not folder.exists():
        folder = folder.parent
    return folder
