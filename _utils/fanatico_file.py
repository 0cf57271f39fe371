"""
Write files atomically and with restricted permissions; change JSON files under a lock.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import tempfile


def replace(path, content, mode, uid=-1, gid=-1):
    """
    Replace ``path`` atomically; until the mode is set only the owner can read the new content.

    path
        The file; its directory must exist.
    content
        The new content, text or bytes.
    mode
        Permission bits, for example ``0o640``.
    uid, gid
        Owner and group; -1 for those of this process.

    Raises ``OSError``; the file is unchanged then.
    """
    path = pathlib.Path(path)
    kind, prefix = ("wb" if isinstance(content, bytes) else "w"), f".{path.name[:100]}."
    with tempfile.NamedTemporaryFile(kind, dir=path.parent, prefix=prefix, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def sha256(path, most=None):
    """Return the SHA-256 of a file in hexadecimal; empty if it cannot be read, or has more than ``most`` bytes."""
    path = pathlib.Path(path)
    try:
        if most is not None and path.stat().st_size > most:
            return ""
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def read_json(path):
    """
    Return the object in a file that ``change_json`` wrote; ``{}`` if there is no file.

    path
        The file.

    Raises ``ValueError`` if the content is not a JSON object: the state is lost, and the caller must not start from nothing.
    """
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as exc:
        raise ValueError(f"{path} is damaged: {exc}") from exc
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: the content is not a JSON object")
    return content


def change_json(path, function, afresh=False):
    """
    Change the object in a JSON file atomically and under a lock; return the second value of ``function``.

    path
        The file; its directory is created.
    function
        Gets the present object and returns ``(new object, any value)``.
    afresh
        Start with ``{}`` if the file is damaged.

    Raises ``ValueError`` if the file is damaged and ``afresh`` is not set; the file is unchanged then.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "a", encoding="ascii") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        sound = True
        try:
            before = read_json(path)
        except ValueError:
            if not afresh:
                raise
            before, sound = {}, False
        after, answer = function(before)
        if after != before or not sound:
            replace(path, json.dumps(after), 0o600)
        return answer


def settle(new, path):
    """
    Write a finished file to the disk and give it its final name, atomically.

    new
        The file, in the same directory.
    path
        Its final path.

    Raises ``OSError``.
    """
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
