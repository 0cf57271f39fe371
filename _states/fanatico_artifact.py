"""
A program that is not packaged, installed from one archive or file whose SHA-256 is known.
"""

import os
import shutil
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltException


def installed(name, source, sha256, program, strip=0, archive=True):
    """
    Ensure that ``<name>/current`` is the release with this SHA-256; the one before it is kept, older ones are removed.

    A release is unpacked beside the others and ``current`` is turned to it in one step, so a program that runs from
    ``current`` is never seen half installed. A file with another hash is refused and changes nothing.

    name
        The directory that holds ``releases/`` and ``current``.
    source
        ``salt://``, ``https://``, ``http://`` or a path on this machine.
    sha256
        Of the file as it is fetched: 64 hexadecimal digits.
    program
        The program, as a path inside the release; a single file is stored under this path.
    strip
        Leading directories of an archive to drop.
    archive
        True for a tar archive, compressed in any way the machine's tar knows; False for the program itself.
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
        _turn(current, release)
        _make_sure(current, release)
    except (SaltException, OSError) as exc:
        stays = f"; {Path(old).name} stays in use" if old else ""
        return {**ret, "result": False, "changes": {}, "comment": f"{__opts__['id']}: {exc}{stays}"}
    _forget(release.parent, keep={release.name, old and Path(old).name})
    return {**ret, "comment": f"{release} is current now"}


def _fetch(source, sha256):
    """Return the path of a local copy of ``source`` with the right hash."""
    copy = __salt__["cp.cache_file"](source)
    if not copy:
        raise CommandExecutionError(f"{source} could not be fetched: is it where rpc:artifact:source says?")
    seen = __salt__["file.get_hash"](copy, "sha256")
    if seen != sha256:
        if copy != source:
            os.remove(copy)
        raise CommandExecutionError(
            f"{source} is refused: its SHA-256 is {seen}, and the pillar (rpc:artifact:sha256) wants {sha256}"
        )
    return copy


def _unpack(copy, release, program, strip, archive):
    """Fill ``release`` from the file ``copy``: all of it, or nothing."""
    part = release.with_name(f".{release.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o755)
    if archive:
        # Owner and time of the machine that packed it mean nothing here; tar itself refuses what leads out of the release.
        command = ["tar", "--extract", f"--file={copy}", f"--directory={part}", f"--strip-components={strip}"]
        command += ["--no-same-owner", "--no-same-permissions", "--touch"]
        done = __salt__["cmd.run_all"](command, python_shell=False, umask="022")
        if done["retcode"]:
            shutil.rmtree(part)
            said = done["stderr"].splitlines()[0] if done["stderr"] else f"exit code {done['retcode']}"
            raise CommandExecutionError(f"the artefact does not unpack: {said}")
    else:
        (part / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copy, part / program)
        (part / program).chmod(0o755)
    if not os.access(part / program, os.X_OK):
        held = ", ".join(sorted(str(path.relative_to(part)) for path in part.rglob("*"))[:5])
        shutil.rmtree(part)
        raise CommandExecutionError(
            f"the artefact holds no program {program} (rpc:artifact:bin, after rpc:artifact:strip): it holds {held}"
        )
    part.rename(release)


def _turn(current, release):
    """Make the link ``current`` lead to ``release``, in one step."""
    new = current.with_name(".current.new")
    new.unlink(missing_ok=True)
    new.symlink_to(release)
    new.replace(current)


def _make_sure(current, release):
    """Raise where ``current`` is not the release after all."""
    found = os.readlink(current)
    if found != str(release):
        raise CommandExecutionError(f"{current} was turned to {release} and leads to {found}")


def _forget(releases, keep):
    """Remove all releases but those to keep. What cannot be removed only takes room."""
    for path in releases.iterdir():
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)
