"""
Install a program that is not packaged, from one archive or file with a known SHA-256.
"""

import os
import shutil
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltException


def installed(name, source, sha256, program, strip=0, archive=True):
    """
    Ensure that ``<name>/current`` is the release with this SHA-256. The previous release is kept, older releases are removed.

    A release is unpacked beside the others, and the link ``current`` is switched in one atomic step: a program that starts from
    ``current`` never sees a partial release. A file with a different hash is refused, and nothing changes.

    name
        The directory that contains ``releases/`` and ``current``.
    source
        A ``salt://``, ``https://`` or ``http://`` URL, or a path on this host.
    sha256
        The SHA-256 of the downloaded file: 64 hexadecimal digits.
    program
        The path of the program inside the release. A single file is stored under this path.
    strip
        The number of leading directories to remove from the paths of an archive.
    archive
        True for a tar archive in any compression that the host's tar supports, False for the program itself.
    """
    root, sha256 = Path(name), sha256.lower()
    release, current = root / "releases" / sha256[:16], root / "current"
    old = os.readlink(current) if current.is_symlink() else None
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{release} is current"}
    if old == str(release) and release.is_dir():
        return ret
    ret["changes"] = {"release": {"old": old and Path(old).name, "new": release.name}}
    if __opts__["test"]:
        return {**ret, "result": None, "comment": f"{release} would be unpacked from {source}"}
    try:
        if not release.is_dir():
            copy = _fetch(source, sha256)
            _unpack(copy, release, program, strip, archive)
            if copy != source:
                os.remove(copy)
        _switch(current, release)
        _verify(current, release)
    except (SaltException, OSError) as exc:
        stays = f"; {Path(old).name} stays in use" if old else ""
        return {**ret, "result": False, "changes": {}, "comment": f"{__opts__['id']}: {exc}{stays}"}
    _prune(release.parent, keep={release.name, old and Path(old).name})
    return {**ret, "comment": f"{release} is current now"}


def _fetch(source, sha256):
    """Return the path of a local copy of ``source`` with the right hash."""
    copy = __salt__["cp.cache_file"](source)
    if not copy:
        raise CommandExecutionError(f"cannot fetch {source}: check rpc:artifact:source in the pillar")
    found = __salt__["file.get_hash"](copy, "sha256")
    if found != sha256:
        if copy != source:
            os.remove(copy)
        raise CommandExecutionError(
            f"{source} is refused: its SHA-256 is {found}, expected {sha256} (rpc:artifact:sha256 in the pillar)"
        )
    return copy


def _unpack(copy, release, program, strip, archive):
    """Unpack the file ``copy`` into ``release`` completely, or leave nothing behind."""
    part = release.with_name(f".{release.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o755)
    if archive:
        # The owner and times of the machine that packed it mean nothing here. tar refuses paths that lead out of the release.
        command = ["tar", "--extract", f"--file={copy}", f"--directory={part}", f"--strip-components={strip}"]
        command += ["--no-same-owner", "--no-same-permissions", "--touch"]
        done = __salt__["cmd.run_all"](command, python_shell=False, umask="022")
        if done["retcode"]:
            shutil.rmtree(part)
            error = done["stderr"].splitlines()[0] if done["stderr"] else f"exit code {done['retcode']}"
            raise CommandExecutionError(f"cannot unpack the artifact: {error}")
    else:
        (part / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copy, part / program)
        (part / program).chmod(0o755)
    if not os.access(part / program, os.X_OK):
        content = ", ".join(sorted(str(path.relative_to(part)) for path in part.rglob("*"))[:5])
        shutil.rmtree(part)
        raise CommandExecutionError(
            f"the artifact contains no program {program} (rpc:artifact:bin, after rpc:artifact:strip). It contains: {content}"
        )
    part.rename(release)


def _switch(current, release):
    """Point the link ``current`` to ``release`` in one atomic step."""
    new = current.with_name(".current.new")
    new.unlink(missing_ok=True)
    new.symlink_to(release)
    new.replace(current)


def _verify(current, release):
    """Raise an error if ``current`` does not point to the release."""
    found = os.readlink(current)
    if found != str(release):
        raise CommandExecutionError(f"{current} was switched to {release} but points to {found}")


def _prune(releases, keep):
    """Remove all releases except those to keep. A release that cannot be removed only uses disk space."""
    for path in releases.iterdir():
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)
