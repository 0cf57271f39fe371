"""What must be true of the real machine before anything is touched; each fault in one sentence."""

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
    """Raise LabError with one sentence for the first thing that is missing; change nothing."""
    check_root()
    check_distribution(os_release)
    check_architecture()
    check_commands()
    check_space(state)
    check_kernel(state)


def check_root() -> None:
    """The lab needs root: mounts, namespaces and cgroups."""
    if os.geteuid() != 0:
        raise LabError(
            "The lab needs root for its machines' namespaces and mounts; run `sudo ./fanatico up`."
        )


def check_distribution(os_release: str | Path = "/etc/os-release") -> None:
    """Only Debian 12 and 13 are tried, so only they are accepted."""
    text = Path(os_release).read_text() if Path(os_release).exists() else ""
    facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    name, version = facts.get("ID", "unknown").strip('"'), facts.get("VERSION_ID", "?").strip('"')
    if name != "debian" or version not in ("12", "13"):
        raise LabError(
            f"The lab runs on Debian 12 or 13 and this machine is {name} {version}; use such a machine or a virtual one."
        )


def check_architecture() -> None:
    """The lab's RPC node is a binary for x86-64."""
    machine = platform.machine()
    if machine != "x86_64":
        raise LabError(
            f"The lab's RPC node exists for x86_64 and this machine is {machine}; use an x86_64 machine."
        )


def check_commands() -> None:
    """The entry script installs these; run by hand, the module says what is missing."""
    missing = sorted({package for command, package in COMMANDS.items() if not shutil.which(command)})
    if missing:
        raise LabError(
            f"These packages are missing: {', '.join(missing)}; run `sudo ./fanatico up`, which installs them."
        )


def check_space(state: Path = STATE, needed_gib: float = NEEDED_GIB) -> None:
    """The image, the packages and twelve writable layers need room."""
    folder = _nearest(state)
    free = shutil.disk_usage(folder).free / 2**30
    if free < needed_gib:
        raise LabError(
            f"{folder} has {free:.1f} GiB free and the lab needs {needed_gib}; "
            "free some space or point FANATICO_LAB_DIR at a larger disk."
        )


def check_kernel(state: Path = STATE) -> None:
    """Try the kernel's features instead of reading version numbers: overlay, network namespace, bridge, veth, cgroup v2."""
    probe = f"fanatico-probe-{os.getpid()}"
    folder = cgroup.mount_point() / probe
    try:
        folder.mkdir()
        if not (folder / "cgroup.kill").exists():
            raise LabError("This kernel's cgroup v2 has no cgroup.kill; the lab needs Linux 5.14 or newer.")
    except OSError as error:
        raise LabError(
            f"No cgroup can be made in {folder.parent} ({error}); the lab needs a writable cgroup v2 tree."
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
            f"This kernel cannot make the lab's network (namespace, bridge, veth): {error}"
        ) from error
    finally:
        run(["ip", "netns", "del", probe], check=False)
    with tempfile.TemporaryDirectory(prefix=probe, dir=_nearest(state)) as temporary:
        for part in ("lower", "upper", "work", "root"):
            (Path(temporary) / part).mkdir()
        layers = f"lowerdir={temporary}/lower,upperdir={temporary}/upper,workdir={temporary}/work"
        mounted = run(["mount", "-t", "overlay", "overlay", "-o", layers, f"{temporary}/root"], check=False)
        if mounted.returncode != 0:
            raise LabError(f"This kernel cannot mount an overlay in {temporary}: {mounted.stderr.strip()}")
        run(["umount", f"{temporary}/root"])


def _nearest(path: Path) -> Path:
    """Return the nearest folder above `path`, or itself, that exists."""
    folder = Path(path)
    while not folder.exists():
        folder = folder.parent
    return folder
