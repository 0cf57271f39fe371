"""Key pairs for the lab's Salt master and minions, distributed before the first boot: no key is trusted on first use."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.machine import Machine
from lab.shell import run

PKI = "etc/salt/pki"


def distribute(machines: Mapping[str, Machine], master: str, minions: Iterable[str]) -> None:
    """Generate all key pairs and write them to the paths where Salt reads them.

    :param machines: {id: Machine} with mounted disks.
    :param master: id of the master's machine.
    :param minions: ids whose keys the master accepts.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pairs = dict(zip(["", *minions], pool.map(lambda _: pair(), ["", *minions]), strict=True))
    master_private, master_public = pairs.pop("")
    home = machines[master].root / PKI / "master"
    (home / "minions").mkdir(parents=True, mode=0o700, exist_ok=True)
    _write(home / "master.pem", master_private, 0o400)
    _write(home / "master.pub", master_public, 0o644)
    for minion, minions_pair in pairs.items():
        _introduce(machines[minion], home, minions_pair, master_public)


def introduce(machine: Machine, master: Machine) -> None:
    """Exchange keys between a new machine and the existing master.

    :param machine: the new Machine, with a mounted disk.
    :param master: the master's Machine.
    """
    known = (master.root / PKI / "minion" / "minion_master.pub").read_text()
    _introduce(machine, master.root / PKI / "master", pair(), known)


def _introduce(machine: Machine, home: Path, minions_pair: tuple[str, str], master_public: str) -> None:
    private, public = minions_pair
    _write(home / "minions" / machine.name, public, 0o644)
    own = machine.root / PKI / "minion"
    own.mkdir(parents=True, mode=0o700, exist_ok=True)
    _write(own / "minion.pem", private, 0o400)
    _write(own / "minion.pub", public, 0o644)
    _write(own / "minion_master.pub", master_public, 0o644)


def pair() -> tuple[str, str]:
    """Generate an RSA key pair and return (private, public) in PEM."""
    private = run(["openssl", "genrsa", "2048"]).stdout
    return private, run(["openssl", "rsa", "-pubout"], text_input=private).stdout


def _write(path: Path, content: str, mode: int) -> None:
    path.write_text(content)
    path.chmod(mode)
