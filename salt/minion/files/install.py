#!/usr/bin/env python3
"""
Install Salt into /opt/salt from a lock file, and link its commands into /usr/local/bin.

Run with the system's Python, as root: ``install.py LOCK [--wheels-sha256=HASH] [pip options]``. Does nothing when all that is
locked is there, so it may be run at any time. The hash is that of the directory of wheels, ``sha256sum *.whl | sha256sum`` in
it (LC_ALL=C): with another one nothing is installed. Also the first step on a master, which nobody can reach by salt-ssh yet.
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
    """Return the SHA-256 of a directory of wheels: that of the lines that ``sha256sum *.whl`` prints there, as text."""
    lines = [
        f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}\n"
        for wheel in sorted(Path(directory).glob("*.whl"), key=lambda one: one.name)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checked(options):
    """Return pip's options; ends the program where the wheels they name are not those of ``--wheels-sha256``."""
    ours, links = "--wheels-sha256=", "--find-links="
    wanted = next((one.removeprefix(ours) for one in options if one.startswith(ours)), "")
    directory = next((one.removeprefix(links) for one in options if one.startswith(links)), "")
    if wanted and fingerprint(directory) != wanted:
        sys.exit(
            f"{directory}: these are not the wheels of minion:install:wheels_sha256 in the pillar; nothing was installed. Next: "
            f"compare with `(export LC_ALL=C; cd {directory}; sha256sum *.whl | sha256sum)` where they were built"
        )
    return [one for one in options if not one.startswith(ours)]


def main(lock, *options):
    """Bring /opt/salt to what the file ``lock`` says."""
    text = Path(lock).read_text(encoding="utf-8")
    if not (HOME / "bin/pip").exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(HOME)], check=True)
    # Lines with a marker behind the version are for other systems, or checked by pip when it gets that far.
    pins = re.findall(r"^([\w.\[\]-]+==[^\s;\\]+) *\\?$", text, re.MULTILINE)
    pins = [re.sub(r"\[.*\]", "", pin) for pin in pins]
    if subprocess.run([HOME / "bin/python", "-c", CHECK, *pins], check=False).returncode:
        options = checked(options)
        if "--no-index" in options:
            # Wheels that were built from the locked sources have hashes of their own: hold them to the versions, and
            # all of them together to the hash that the pillar has.
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
