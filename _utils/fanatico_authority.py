"""
Create, read and replace the certificate authorities on the disk of the host that signs.

``<name>.key`` and ``<name>.crt`` sign. During a replacement ``<name>.next.*`` is the successor: trusted, not signing yet.
Afterwards ``<name>.former.crt`` is the predecessor: trusted, no longer signing. Every step can be repeated.
"""

import os
import pathlib
import tempfile

import fanatico_pki

_STAGES = ("", ".next", ".former")


def read(directory, names):
    """
    Return ``{"trust": {authority: PEM}, "issuer": {authority: key id}, "stage": {authority: "next", "former" or ""}}``.

    directory
        The folder of the authorities.
    names
        Names of authorities; those that do not exist are left out.
    """
    folder = pathlib.Path(directory)
    found: dict[str, dict[str, str]] = {"trust": {}, "issuer": {}, "stage": {}}
    for name in names:
        if not _file(folder, name).exists():
            continue
        bundle = [path for stage in _STAGES if (path := _file(folder, name, stage)).exists()]
        # Sorted, so that a new signer alone does not change the trust bundle: that would cost restarts.
        found["trust"][name] = "".join(sorted(path.read_text() for path in bundle))
        found["issuer"][name] = fanatico_pki.facts(_file(folder, name).read_text())["id"]
        found["stage"][name] = next(
            (stage[1:] for stage in _STAGES[1:] if _file(folder, name, stage).exists()), ""
        )
    return found


def ensure(directory, names, owner):
    """
    Create the authorities that are missing and return their names.

    directory
        The folder of the authorities; created for root only.
    names
        Names of authorities.
    owner
        The owner's name; the common name in their certificates starts with it.
    """
    folder = _folder(directory)
    missing = [name for name in names if not _file(folder, name).exists()]
    for name in missing:
        _store(folder, name, "", *fanatico_pki.new_authority(f"{owner} {name}"))
    return missing


def prepare(directory, names, owner):
    """
    Create a successor for each authority, trusted before it signs; return the names of those that got one.

    A successor that was imported with ``add`` stays. Arguments: see ``ensure``.
    """
    folder = _folder(directory)
    fresh = [name for name in names if not _file(folder, name, ".next").exists()]
    for name in fresh:
        _store(folder, name, ".next", *fanatico_pki.new_authority(f"{owner} {name}"))
    return fresh


def switch(directory, names):
    """Make the successors sign; the predecessors stay trusted. Return the names that were switched."""
    folder = pathlib.Path(directory)
    due = [name for name in names if _file(folder, name, ".next").exists()]
    for name in due:
        # The certificate marks the step as done, so it moves last.
        if _key(folder, name, ".next").exists():
            _write(_file(folder, name, ".former"), _file(folder, name).read_text(), 0o644)
            os.replace(_key(folder, name, ".next"), _key(folder, name))
        os.replace(_file(folder, name, ".next"), _file(folder, name))
    return due


def retire(directory, names):
    """Delete the predecessors, so that they are no longer trusted. Return their names."""
    folder = pathlib.Path(directory)
    due = [name for name in names if _file(folder, name, ".former").exists()]
    for name in due:
        _file(folder, name, ".former").unlink()
    return due


def add(directory, name, key, certificate):
    """
    Import an authority: as the active authority if there is none, else as the successor. Return True if it is active.

    directory
        The folder of the authorities.
    name
        Its name.
    key
        Private key, PEM, without a passphrase.
    certificate
        Certificate of the authority itself, PEM: the nodes trust it.

    Raises ``ValueError`` with the reason if key or certificate are unusable.
    """
    wrong = fanatico_pki.authority_fault(key, certificate)
    if wrong:
        raise ValueError(wrong)
    folder = _folder(directory)
    first = not _file(folder, name).exists()
    _store(folder, name, "" if first else ".next", key, certificate)
    return first


def _folder(directory):
    folder = pathlib.Path(directory)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _file(folder, name, stage=""):
    return pathlib.Path(folder) / f"{name}{stage}.crt"


def _key(folder, name, stage=""):
    return pathlib.Path(folder) / f"{name}{stage}.key"


def _store(folder, name, stage, key, certificate):
    """Write the certificate last: a key without a certificate is ignored and created again."""
    _write(_key(folder, name, stage), key, 0o600)
    _write(_file(folder, name, stage), certificate, 0o644)


def _write(path, text, mode):
    """Replace ``path`` in one step."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(text.rstrip() + "\n")
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
