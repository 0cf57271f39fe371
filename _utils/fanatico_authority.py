"""
The certificate authorities on the disk of the one host that signs: made, read, replaced.

``<name>.key`` and ``<name>.crt`` sign. While one is being replaced, ``<name>.next.*`` is trusted already and signs
soon; afterwards ``<name>.former.crt`` is trusted still and signs no more. Every step can be taken again.
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
        Where the authorities lie.
    names
        Which ones; those that are not there are left out.
    """
    folder = pathlib.Path(directory)
    told: dict[str, dict[str, str]] = {"trust": {}, "issuer": {}, "stage": {}}
    for name in names:
        if not _file(folder, name).exists():
            continue
        bundle = [path for stage in _STAGES if (path := _file(folder, name, stage)).exists()]
        # In an order of its own, so that a change of who signs is none of whom to trust: that would cost restarts.
        told["trust"][name] = "".join(sorted(path.read_text() for path in bundle))
        told["issuer"][name] = fanatico_pki.facts(_file(folder, name).read_text())["id"]
        told["stage"][name] = next(
            (stage[1:] for stage in _STAGES[1:] if _file(folder, name, stage).exists()), ""
        )
    return told


def ensure(directory, names, owner):
    """
    Make the authorities that are missing and return their names.

    directory
        Where they are to lie; made for root alone.
    names
        Which ones.
    owner
        Whose they are; it stands in their certificates before their name.
    """
    folder = _folder(directory)
    missing = [name for name in names if not _file(folder, name).exists()]
    for name in missing:
        _store(folder, name, "", *fanatico_pki.new_authority(f"{owner} {name}"))
    return missing


def prepare(directory, names, owner):
    """
    Lay the successor of each authority beside it, to be trusted before it signs; return whose is new.

    One that has been brought along (``bring``) stays. Arguments as for ``ensure``.
    """
    folder = _folder(directory)
    fresh = [name for name in names if not _file(folder, name, ".next").exists()]
    for name in fresh:
        _store(folder, name, ".next", *fanatico_pki.new_authority(f"{owner} {name}"))
    return fresh


def switch(directory, names):
    """Let the successors sign; what they succeed stays trusted. Return whose did."""
    folder = pathlib.Path(directory)
    due = [name for name in names if _file(folder, name, ".next").exists()]
    for name in due:
        # The certificate is what marks a step as taken, so it is the last to move.
        if _key(folder, name, ".next").exists():
            _write(_file(folder, name, ".former"), _file(folder, name).read_text(), 0o644)
            os.replace(_key(folder, name, ".next"), _key(folder, name))
        os.replace(_file(folder, name, ".next"), _file(folder, name))
    return due


def retire(directory, names):
    """Trust the former authorities no more; return whose they were."""
    folder = pathlib.Path(directory)
    due = [name for name in names if _file(folder, name, ".former").exists()]
    for name in due:
        _file(folder, name, ".former").unlink()
    return due


def add(directory, name, key, certificate):
    """
    Take an authority of one's own: at once where there was none, as successor otherwise. Return True where at once.

    directory
        Where the authorities lie.
    name
        Which one.
    key
        PEM, without a passphrase.
    certificate
        PEM, of the authority itself: it has to be what the nodes trust.

    Raises ``ValueError`` saying what is wrong with them.
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
    """The certificate last: without it the key counts for nothing and is made again."""
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
