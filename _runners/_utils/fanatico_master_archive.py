"""
The backup of the Salt master as a file: read the state, pack and encrypt it, decrypt it and write it back. No Salt: a bare host
uses it too.

The file is a tar archive that gpg has compressed and encrypted with a passphrase (AES-256, with a check of its integrity). Its
first member is the manifest. The passphrase passes through a pipe only.
"""

import dataclasses
import io
import json
import os
import pathlib
import stat
import subprocess
import tarfile
import tempfile

import fanatico_file
import fanatico_master_copies
import fanatico_master_state

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST = 128 * 1024**2  # bytes of the state
SECONDS = 60  # for gpg
_KINDS = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE}
# The derivation of the key from the passphrase takes a few tenths of a second, also for who guesses.
_ENCRYPT = (
    *("--symmetric", "--cipher-algo", "AES256", "--compress-algo", "zlib"),
    *("--s2k-mode", "3", "--s2k-digest-algo", "SHA512", "--s2k-count", "65011712"),
)


class ArchiveError(Exception):
    """The backup cannot be made or read; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Backup:
    """A decrypted backup: the manifest, and ``{absolute path: (kind, mode, owner, group, data)}``."""

    manifest: dict
    entries: dict


def collect(known):
    """
    Read the state of the master: ``{absolute path: (kind, mode, owner, group, data in bytes)}``.

    known
        What ``fanatico_master_state.parts`` returned.

    The kind is ``f`` (file), ``d`` (directory) or ``l`` (symbolic link, its data is the target). Raises ``ArchiveError`` if the
    state has more than ``LARGEST`` bytes, ``OSError`` if a file cannot be read.
    """
    entries, total = {}, 0
    for part in known:
        for path in _below(pathlib.Path(part.path)):
            name = str(path)
            if name in entries or fanatico_master_state.is_skipped(name):
                continue
            try:
                entry = _read(path)
            except FileNotFoundError:
                continue  # it was replaced meanwhile: the next backup has it
            if entry:
                entries[name] = entry
                total += len(entry[-1])
            if total > LARGEST:
                raise ArchiveError(
                    f"the state of the master has more than {LARGEST} bytes, up to {name}. Next: du -a {part.path} | sort -n"
                )
    return entries


def _below(top):
    """Yield a path and what is below it, directories first; links are not followed."""
    if top.is_symlink() or not top.is_dir():
        if top.is_symlink() or top.exists():
            yield top
        return
    yield top
    for name in sorted(os.listdir(top)):
        yield from _below(top / name)


def _read(path):
    found = path.lstat()
    facts = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
    if stat.S_ISDIR(found.st_mode):
        return ("d", *facts, b"")
    if stat.S_ISLNK(found.st_mode):
        return ("l", *facts, os.fsencode(os.readlink(path)))
    if not stat.S_ISREG(found.st_mode):
        return None  # a socket of gpg's agent
    if found.st_size > LARGEST:
        raise ArchiveError(f"{path} has {found.st_size} bytes, more than {LARGEST}")
    return ("f", *facts, path.read_bytes())


def write(path, manifest, entries, passphrase):
    """
    Write an encrypted backup to ``path``, which must not exist: readable by its owner only, whole or not at all.

    manifest
        Plain data about it.
    entries
        What ``collect`` returned.
    passphrase
        Text.

    Raises ``ArchiveError`` if gpg fails or the file would have more than ``fanatico_master_copies.LARGEST`` bytes.
    """
    done = _gpg([*_ENCRYPT, "--output", "-"], passphrase, _packed(manifest, entries))
    if done.returncode or not done.stdout:
        raise ArchiveError(f"gpg could not encrypt the backup: {_words(done.stderr)}")
    if len(done.stdout) > fanatico_master_copies.LARGEST:
        raise ArchiveError(
            f"the backup would have {len(done.stdout)} bytes, more than {fanatico_master_copies.LARGEST}"
        )
    put(pathlib.Path(path), ("f", 0o600, -1, -1, done.stdout))


def _packed(manifest, entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        text = json.dumps({"format": FORMAT, **manifest}).encode()
        members = {f"/{MANIFEST}": ("f", 0o600, 0, 0, text), **entries}
        for path, (kind, mode, owner, group, data) in members.items():
            member = tarfile.TarInfo(path[1:])
            member.type, member.mode, member.uid, member.gid = _KINDS[kind], mode, owner, group
            if kind == "l":
                member.linkname = os.fsdecode(data)
            member.size = len(data) if kind == "f" else 0
            archive.addfile(member, io.BytesIO(data) if kind == "f" else None)
    return buffer.getvalue()


def read(path, passphrase):
    """
    Decrypt a backup and return it as a ``Backup``. Nothing is written.

    path
        The encrypted file.
    passphrase
        Text.

    Raises ``ArchiveError`` for a wrong passphrase, and for a file that is damaged, cut off, too large or no backup of a master.
    """
    path = pathlib.Path(path)
    if path.stat().st_size > fanatico_master_copies.LARGEST:
        raise ArchiveError(
            f"{path} has more than {fanatico_master_copies.LARGEST} bytes: it is no backup of a master"
        )
    # gpg writes no byte beyond this, whatever the file claims to contain.
    done = _gpg(["--max-output", str(LARGEST + 16 * 1024**2), "--decrypt", str(path)], passphrase)
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        if "Bad session key" in said or "BAD_PASSPHRASE" in said:
            raise ArchiveError("the passphrase is wrong")
        raise ArchiveError(f"{path} is damaged or no backup of a master: {_words(done.stderr)}")
    try:
        return _unpacked(done.stdout)
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError) as exc:
        raise ArchiveError(f"{path} is no backup of a master: {exc}") from exc


def _unpacked(content):
    entries = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        first = archive.next()
        held = archive.extractfile(first) if first is not None and first.name == MANIFEST else None
        if held is None:
            raise ValueError("it has no manifest")
        manifest = json.loads(held.read())
        if manifest.get("format") != FORMAT:
            raise ValueError(
                f"it has the format {manifest.get('format')!r:.20}, and this tree reads {FORMAT}"
            )
        known = fanatico_master_state.parts(manifest["tree"], manifest["ca_dir"])
        for member in archive.getmembers()[1:]:
            path = f"/{member.name}"
            if not fanatico_master_state.is_plain(path) or not fanatico_master_state.part_of(path, known):
                raise ValueError(f"{path!r:.200} is not part of a master's state")
            entries[path] = (
                _kind(member),
                member.mode & 0o7777,
                member.uid,
                member.gid,
                _data(archive, member),
            )
    return Backup(manifest, entries)


def _kind(member):
    for kind, code in _KINDS.items():
        if member.type == code:
            return kind
    raise ValueError(f"{member.name!r:.200} is neither a file nor a directory nor a link")


def _data(archive, member):
    held = archive.extractfile(member) if member.isreg() else None
    if held is not None:
        return held.read()
    return os.fsencode(member.linkname) if member.issym() else b""


def put(path, entry):
    """
    Write one entry of a backup: a file and a link atomically, with mode and owner; a directory that exists keeps its own.

    path
        Where to.
    entry
        ``(kind, mode, owner, group, data in bytes)``; owner and group -1: this process's.
    """
    path = pathlib.Path(path)
    kind, mode, owner, group, data = entry
    if kind == "d":
        if not path.is_dir():
            path.mkdir(mode=0o700)
            os.chown(path, owner, group)
            path.chmod(mode)
        return
    if kind == "f":
        fanatico_file.replace(path, data, mode, owner, group)
        return
    new = path.with_name(f".{path.name[:100]}.{os.getpid()}")
    new.unlink(missing_ok=True)
    os.symlink(os.fsdecode(data), new)
    try:
        os.lchown(new, owner, group)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _gpg(arguments, passphrase, content=b""):
    """Run gpg with a home of its own, which is removed: the keys of the master and of its users are not involved."""
    reader, writer = os.pipe()
    try:
        with tempfile.TemporaryDirectory() as home:
            os.write(writer, passphrase.encode() + b"\n")
            os.close(writer)
            options = ["--batch", "--no-tty", "--quiet", "--no-options", "--pinentry-mode", "loopback"]
            argv = ["gpg", "--homedir", home, *options, "--passphrase-fd", str(reader), *arguments]
            return subprocess.run(
                argv, input=content, capture_output=True, timeout=SECONDS, check=False, pass_fds=[reader]
            )
    except subprocess.TimeoutExpired as exc:
        raise ArchiveError(f"gpg did not end within {SECONDS} s") from exc
    except FileNotFoundError as exc:
        raise ArchiveError("gpg is not installed. Next: apt-get install gnupg") from exc
    finally:
        os.close(reader)


def _words(said):
    return " ".join(said.decode(errors="replace").split())[-300:] or "no message"
