"""
Files beside the backups, in the same S3 bucket: for what is no backup of the databases.

The keys come from the pillar of this host; no argument and no return value contains them.
"""

import datetime
import hashlib
import json
import pathlib
import re

import requests
from salt.exceptions import CommandExecutionError

import fanatico_file
import fanatico_pgbackrest
import fanatico_plan
import fanatico_s3

__virtualname__ = "fanatico_backup"

_CREATED = "/etc/fanatico/backup-s3.json"
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # as pgBackRest; not the list that comes with requests
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_TIMEOUT = (10, 60)  # seconds: to connect, and between two pieces of data


def __virtual__():
    return __virtualname__


def s3_put(source: str, name: str) -> dict:
    """
    Put a file of this host into the S3 bucket of the backups, outside of pgBackRest's path. An object of that name is replaced.

    It is sent as it is: encrypt it before.

    source
        The path of the file.
    name
        The name of the object, for example ``master/2026-11-30.tar.gpg``.

    Returns ``{"object": its whole name in the bucket, "bytes", "sha256"}``. Raises ``CommandExecutionError`` if this host has no
    repository in S3, the file cannot be read, or the server refuses.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.s3_put /var/lib/fanatico/master.tar.gpg master/latest.tar.gpg
    """
    try:
        with open(source, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            _request("PUT", name, digest, data=file if pathlib.Path(source).stat().st_size else b"")
    except OSError as exc:
        raise CommandExecutionError(f"{__opts__['id']}: {source}: {exc.strerror or exc}") from exc
    return {"object": _object(name), "bytes": pathlib.Path(source).stat().st_size, "sha256": digest}


def s3_get(name: str, target: str) -> dict:
    """
    Fetch an object that ``s3_put`` stored, into a new file that only root can read.

    name
        As for ``s3_put``.
    target
        The path of the file; it must not exist.

    Returns ``{"object", "bytes", "sha256"}``. Raises ``CommandExecutionError`` if the server refuses, or the file exists.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.s3_get master/latest.tar.gpg /root/master.tar.gpg
    """
    digest, part = hashlib.sha256(), pathlib.Path(f"{target}.part")
    if pathlib.Path(target).exists():
        raise CommandExecutionError(
            f"{__opts__['id']}: {target} exists. Nothing was changed. Next: another path"
        )
    try:
        with _request("GET", name, hashlib.sha256().hexdigest(), stream=True) as answer:
            part.touch(mode=0o600)
            with part.open("wb") as file:
                for piece in answer.iter_content(1 << 20):
                    digest.update(piece)
                    file.write(piece)
        size = part.stat().st_size
        part.rename(target)
    except (OSError, requests.RequestException) as exc:
        part.unlink(missing_ok=True)
        raise CommandExecutionError(f"{__opts__['id']}: {target}: {exc}") from exc
    return {"object": _object(name), "bytes": size, "sha256": digest.hexdigest()}


def s3_created() -> bool:
    """
    Return whether the repository in S3 was created by this host, at the place that is set now.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.s3_created
    """
    try:
        return fanatico_file.read_json(_CREATED) == _where()
    except ValueError:
        return False


def s3_note() -> bool:
    """
    Remember that the repository in S3 was created, for ``s3_created``. Returns whether that is new.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.s3_note
    """
    if s3_created():
        return False
    fanatico_file.replace(_CREATED, json.dumps(_where()) + "\n", 0o644)
    return True


def _settings():
    if fanatico_pgbackrest.S3 not in fanatico_pgbackrest.own(__pillar__, __opts__["id"]):
        raise CommandExecutionError(
            f"{__opts__['id']}: this host has no repository in S3. Nothing was changed. "
            "Next: docs/backup.md#a-second-repository-in-s3"
        )
    return fanatico_plan.setting(__pillar__, "backup:s3")


def _where():
    return {key: _settings()[key] for key in ("endpoint", "port", "bucket", "path")}


def _object(name):
    """Return the whole name of an object: beside the path of the repository, which pgBackRest has for itself."""
    if not _NAME.fullmatch(str(name)):
        raise CommandExecutionError(
            f"{__opts__['id']}: {name!r} is no name of an object, like master/latest.tar.gpg"
        )
    return f"{_settings()['path'].strip('/')}-files/{name}"


def _request(method, name, digest, **options):
    """Return the server's answer to a signed request. Raises ``CommandExecutionError``, without the keys."""
    s3, secrets = _settings(), __pillar__.get("secrets", {})
    keys = [secrets.get(key, "") for key in ("BACKUP_S3_KEY", "BACKUP_S3_KEY_SECRET")]
    now = datetime.datetime.now(datetime.UTC)
    url, headers = fanatico_s3.signed(method, s3, keys, _object(name), digest, now)
    verify = s3["verify"] and (fanatico_pgbackrest.S3_CA if s3["ca"] else _AUTHORITIES)
    next_step = f"Next: salt {__opts__['id']} fanatico_backup.info repository=s3"
    try:
        answer = requests.request(method, url, headers=headers, verify=verify, timeout=_TIMEOUT, **options)
    except requests.RequestException as exc:
        raise CommandExecutionError(
            f"{__opts__['id']}: {method} {url}: {type(exc).__name__}. {next_step}"
        ) from exc
    if answer.status_code >= 300:
        why = " ".join(answer.text[:200].split())
        raise CommandExecutionError(
            f"{__opts__['id']}: {method} {url}: {answer.status_code} {why}. {next_step}"
        )
    return answer
