#!/usr/bin/env python3
"""
Install Salt into /opt/salt from a lock file, and link its commands into /usr/local/bin.

Run with the system's Python, as root: ``install.py LOCK [--wheels-sha256=HASH] [pip options]``. It does nothing if all locked
packages are installed, so it can be run at any time. HASH is the hash of the directory of wheels, ``sha256sum *.whl | sha256sum``
in it (LC_ALL=C): with a different hash nothing is installed. It is also the first step on a new master.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

HOME = Path("/opt/salt")
COMMANDS = ("salt", "salt-call", "salt-cp", "salt-key", "salt-master", "salt-minion", "salt-run", "salt-ssh")
CHECK = """
import importlib.metadata, sys
def found(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
pins = dict(pin.split("==") for pin in sys.argv[1:])
sys.exit(any(found(name) != version for name, version in pins.items()))
"""


def fingerprint(directory):
    """Return the SHA-256 of a directory of wheels as text: the hash of the lines that ``sha256sum *.whl`` prints there."""
    lines = [
        f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}\n"
        for wheel in sorted(Path(directory).glob("*.whl"), key=lambda wheel: wheel.name)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checked(options):
    """Return the options for pip; exits if the wheels do not match ``--wheels-sha256``."""
    ours, links = "--wheels-sha256=", "--find-links="
    wanted = next((option.removeprefix(ours) for option in options if option.startswith(ours)), "")
    directory = next((option.removeprefix(links) for option in options if option.startswith(links)), "")
    if wanted and fingerprint(directory) != wanted:
        sys.exit(
            f"{directory}: the wheels do not match minion:install:wheels_sha256 in the pillar; nothing was installed. Next: on "
            f"the host where they were built, compare with `(export LC_ALL=C; cd {directory}; sha256sum *.whl | sha256sum)`"
        )
    return [option for option in options if not option.startswith(ours)]


def main(lock, *options):
    """Install the packages of the file ``lock`` into /opt/salt."""
    text = Path(lock).read_text(encoding="utf-8")
    if not (HOME / "bin/pip").exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(HOME)], check=True)
    # Lines with a marker after the version are for other systems, or pip checks them later.
    pins = re.findall(r"^([\w.\[\]-]+==[^\s;\\]+) *\\?$", text, re.MULTILINE)
    pins = [re.sub(r"\[.*\]", "", pin) for pin in pins]
    if subprocess.run([HOME / "bin/python", "-c", CHECK, *pins], check=False).returncode:
        options = checked(options)
        if "--no-index" in options:
            # Wheels that were built from the locked sources have different hashes: check their versions, and all of them
            # together by the hash in the pillar.
            text = re.sub(r" \\$|^ +--hash.*\n?", "", text, flags=re.MULTILINE)
        wanted = HOME / "wanted.txt"
        wanted.write_text(text, encoding="utf-8")
        pip = [HOME / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *options]
        subprocess.run([*pip, "--requirement", wanted], check=True)
    for command in COMMANDS:
        link = Path("/usr/local/bin", command)
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(HOME / "bin" / command)


if __name__ == "__main__":
    main(*sys.argv[1:])
