"""The daemons' own configuration checkers, in the versions of the lab's machines; nothing is installed on this machine."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pki

ACCOUNTS = {"haproxy": 901, "keepalived_script": 902, "fanatico": 903, "haproxy-edge": 904}
# A system with the unpacked packages over the image, in a private mount and network namespace with one interface.
ENTER = """
mount -t tmpfs tmpfs "$4"
mkdir "$4/upper" "$4/work" "$4/root"
mount -t overlay overlay -o "lowerdir=$1:$2:$3,upperdir=$4/upper,workdir=$4/work" "$4/root"
mount --bind "$5" "$4/root/mnt"
ip link add eth0 type veth peer name eth1
cd /
exec chroot "$4/root" "${@:6}"
"""


def unpacked(image, directory):
    """Unpack the balancers' packages below *directory*, once for all workers, and return the folder."""
    packages = directory / "packages"
    with open(directory / "packages.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not packages.exists():
            part = directory / "packages.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            for name in ("haproxy_*", "keepalived_*", "lib[!cl]*", "liblua*", "libl[!l]*"):
                for package in sorted(image.packages.glob(f"{name}.deb")):
                    subprocess.run(["dpkg-deb", "-x", package, part], check=True)
            part.rename(packages)
    return packages


class Machine:
    """A machine of the lab's image with the balancers' packages unpacked, to run single commands in.

    image
        A finished `lab.image.Image`.
    packages
        The result of `unpacked`.
    scratch
        An empty directory.
    """

    def __init__(self, image, packages, scratch):
        self.image, self.packages, self.scratch = image, packages, Path(scratch)
        self.files, self.extra, self.rw = (self.scratch / name for name in ("files", "extra", "rw"))
        for directory in (self.files, self.extra, self.rw):
            directory.mkdir()
        for name, line in (
            ("passwd", "{0}:x:{1}:{1}::/nonexistent:/usr/sbin/nologin"),
            ("group", "{0}:x:{1}:"),
        ):
            known = (image.root / "etc" / name).read_text()
            added = "".join(line.format(*account) + "\n" for account in ACCOUNTS.items())
            self.put(f"/etc/{name}", known + added)
        authority = pki.Authority()
        certificate, key = authority.issue()
        for end, text in (("-ca.crt", authority.certificate), (".crt", certificate), (".key", key)):
            self.put(f"/etc/haproxy/pki/edge{end}", text)
        self.put("/etc/haproxy/pki/service-ca.crt", authority.certificate)

    def put(self, path, text, mode=0o644):
        """Create a file on the machine."""
        target = self.extra / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def run(self, *command, text=None):
        """Run a command on the machine; `text`, if given, is the file /mnt/text for it. Return the finished process."""
        if text is not None:
            (self.files / "text").write_text(text)
        layers = [self.extra, self.packages, self.image.root, self.rw, self.files]
        return subprocess.run(
            ["unshare", "--mount", "--net", "bash", "-euc", ENTER, "enter", *layers, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,  # only against a hang; a busy machine may be slow
            check=False,
        )


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    """A `Machine`. The image is built if necessary; the lab tests use the same image."""
    from lab.machines import obtain_image
    from lab.progress import Progress

    if os.geteuid() != 0:
        cannot = pytest.fail if os.environ.get("CI") else pytest.skip
        cannot("needs root: the checkers run in the lab's image, as on a machine")
    ready = obtain_image(Progress(stream=sys.stderr))
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    return Machine(ready, unpacked(ready, shared), tmp_path_factory.mktemp("machine"))
