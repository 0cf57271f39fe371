"""
Files that must never be seen half written, nor by anybody else.
"""

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
