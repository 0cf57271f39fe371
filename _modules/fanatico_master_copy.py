"""
Copies of the Salt master's backups on a backup host. The master sends them, as jobs to this host alone; a minion cannot.
"""

import base64
import binascii
import json
import pathlib
import shutil
import time

from salt.exceptions import CommandExecutionError

import fanatico_file
import fanatico_master_copies
import fanatico_plan


def _me():
    return __opts__["id"]


def _settings():
    return fanatico_plan.setting(__pillar__, "backup:master")


def _directory():
    return pathlib.Path(_settings()["path"])


def _refuse(why):
    raise CommandExecutionError(f"{_me()}: {why}. Nothing was changed")


def _checked(name, sha256="0" * 64):
    why = fanatico_master_copies.fault(name, sha256)
    if why:
        _refuse(why)
    return _directory() / name


def receive(name: str, offset: int, data: list[str]) -> int:
    """
    Take one chunk of a copy, and return how many bytes of it are there. It counts once ``complete`` has verified it.

    name
        The name of the backup.
    offset
        Where the chunk belongs; 0 starts the copy again.
    data
        The chunk in Base64, in a list: Salt would take a text that ends with ``=`` for a keyword argument.

    Raises ``CommandExecutionError``, with nothing written, for another name, a chunk out of turn, a copy that would be too large,
    and where the file system has no room for it.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_master_copy.receive master-20261130T030000Z.tar.gpg 0 '[AAAA]'
    """
    path = _checked(name)
    part = path.with_name(path.name + fanatico_master_copies.PART)
    try:
        (text,) = data
        chunk = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as exc:
        _refuse(f"the chunk is not Base64: {exc}")
    present = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(_directory()).free
    why = fanatico_master_copies.chunk_fault(present, offset, len(chunk), free)
    if why:
        _refuse(f"{name}: {why}")
    if not offset:
        for old in _directory().glob(f"*{fanatico_master_copies.PART}"):  # an interrupted one too
            old.unlink()
        part.touch(mode=0o600)
    with part.open("ab") as file:
        file.write(chunk)
    return offset + len(chunk)


def complete(name: str, sha256: str) -> bool:
    """
    Verify a copy whose chunks are all here, let it count, and delete the oldest ones. Returns True.

    name
        The name of the backup.
    sha256
        Of the whole file, in hexadecimal.

    Raises ``CommandExecutionError`` if the content is another; the partial copy is deleted then.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_master_copy.complete master-20261130T030000Z.tar.gpg e3b0c442…
    """
    path = _checked(name, sha256)
    part = path.with_name(path.name + fanatico_master_copies.PART)
    if fanatico_file.sha256(part, fanatico_master_copies.LARGEST) != sha256:
        part.unlink(missing_ok=True)
        _refuse(f"{name}: what arrived has another SHA-256 than {sha256}")
    fanatico_file.settle(part, path)
    for old in fanatico_master_copies.expired([one["name"] for one in listing()], _settings()["keep"]):
        (_directory() / old).unlink()
    return confirm(name, sha256)


def confirm(name: str, sha256: str) -> bool:
    """
    Return whether this host has a whole copy of a backup, and record that the master has asked for it.

    name
        The name of the backup.
    sha256
        Of the file, in hexadecimal.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_master_copy.confirm master-20261130T030000Z.tar.gpg e3b0c442…
    """
    path = _checked(name, sha256)
    if fanatico_file.sha256(path, fanatico_master_copies.LARGEST) != sha256:
        return False
    facts = {"file": name, "sha256": sha256, "time": time.time()}
    fanatico_file.replace(_directory() / fanatico_master_copies.CONFIRMED, json.dumps(facts), 0o600)
    return True


def listing() -> list[dict]:
    """
    Return the copies on this host, the oldest first: ``[{"name", "bytes"}, ...]``; without those that are not complete.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_master_copy.listing
    """
    found = _directory().glob("master-*")
    return [
        {"name": path.name, "bytes": path.stat().st_size}
        for path in sorted(found)
        if fanatico_master_copies.NAME.fullmatch(path.name)
    ]


def probe(timeout: float = 2) -> dict:
    """
    Probe the copies on this host once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Not used: nothing is awaited.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_master_copy.probe
    """
    try:
        confirmed = fanatico_file.read_json(_directory() / fanatico_master_copies.CONFIRMED)
    except (OSError, ValueError):
        confirmed = {}
    intact = (
        bool(confirmed)
        and fanatico_file.sha256(_directory() / confirmed["file"], fanatico_master_copies.LARGEST)
        == confirmed["sha256"]
    )
    check = fanatico_master_copies.on_host(confirmed, intact, _me(), _settings(), time.time())
    return {"facts": {"confirmed": confirmed}, "checks": {"backup.master": check}}


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of the copies on this host, ``{name: check}``.

    timeout
        Not used: nothing is awaited.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_master_copy.checks
    """
    return probe(timeout)["checks"]
