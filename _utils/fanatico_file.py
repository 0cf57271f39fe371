"""
Files that must never be seen half written, nor by anybody else.
"""

import fcntl
import json
import os
import pathlib
import tempfile


def replace(path, text, mode, uid=-1, gid=-1):
    """
    Replace ``path`` in one step; what it holds is readable for nobody but its owner before it has its mode.

    path
        The file; its directory has to be there.
    text
        What it is to hold.
    mode
        Permission bits, as ``0o640``.
    uid, gid
        Whose it is to be; -1 for those of this process.

    Raises OSError; the file is as it was then.
    """
    path = pathlib.Path(path)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def read_json(path):
    """
    Return the object that a file of ``change_json`` holds; ``{}`` where there is none.

    path
        The file.

    Raises ValueError where it holds anything else: what was remembered there is lost then, and nobody may go on as if there had
    been nothing.
    """
    try:
        found = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as exc:
        raise ValueError(f"{path} is damaged: {exc}") from exc
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return found


def change_json(path, function, afresh=False):
    """
    Change what a JSON file holds, one process and thread at a time, in one step; return ``function``'s second value.

    path
        The file; its directory is made.
    function
        Is given the object that the file holds and returns ``(new object, anything)``.
    afresh
        Begin with ``{}`` where the file is damaged.

    Raises ValueError where it is damaged and ``afresh`` is not set; it stays as it is then.
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
