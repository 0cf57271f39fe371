"""
Secrets: generated or imported, encrypted for the master's own key, and never shown.

``pillar/secrets/<role>.sls`` is one PGP message per file (renderer ``gpg|yaml``): one decryption for each node's
pillar, whatever the number of secrets. Values pass through pipes only: never an argument, a temporary file or a log.
"""

import contextlib
import fcntl
import os
import pathlib
import subprocess

import salt.utils.path
import salt.utils.yaml

import fanatico_file
import fanatico_master
import fanatico_plan
import fanatico_secrets

__virtualname__ = "fanatico"

_KEY = """\
%no-protection
Key-Type: eddsa
Key-Curve: ed25519
Subkey-Type: ecdh
Subkey-Curve: cv25519
Name-Real: Fanatico pillar
Expire-Date: 0
%commit
"""
_GPG_TIMEOUT = 60  # seconds; the generation of a key waits for the kernel's random numbers


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def secrets_init():
    """
    Generate each missing secret, the missing certificate authorities, and the master's GPG key. Changes nothing that exists.

    Returns ``{"key": fingerprint, "created": [names], "kept": [names], "authorities": [names generated now]}``, never a value.
    Raises, with nothing changed, where a file cannot be decrypted or written.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.secrets_init
    """
    with _writable_directory() as directory:
        present = _read_all(directory)
        known = {name: value for of_role in present.values() for name, value in of_role.items()}
        made = {
            name: known.get(name) or fanatico_secrets.generate()
            for names in fanatico_plan.SECRETS.values()
            for name in names
        }
        new = {
            role: {name: made[name] for name in names if name not in present[role]}
            for role, names in fanatico_plan.SECRETS.items()
        }
        result = _store(directory, present, new) | {"authorities": __salt__["fanatico.ca_init"]()}
    return _backed_up(result)


def secrets_import(path, replace=False):
    """
    Import secrets of your own from a YAML file of names and values, and encrypt them; `secrets_init` generates the others.

    path
        The file, for example ``/root/my-secrets.yml``. Remove it afterwards (``shred -u``).
    replace
        Also replace secrets that have another value. The running cluster keeps the former values until it is deployed.

    Returns the same as ``secrets_init``. Raises, with nothing changed, where a name is unknown, a value is weak or a placeholder,
    or a secret has another value and ``replace`` is not set.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.secrets_import /root/my-secrets.yml
    """
    values = _own_values(path)
    with _writable_directory() as directory:
        present = _read_all(directory)
        _check_import(values, present, replace)
        new = {
            role: {name: values[name] for name in names if name in values} for role, names in _names().items()
        }
        result = _store(directory, present, new)
    return _backed_up(result)


def secrets_rotate(only=None):
    """
    Generate new values for existing secrets, and keep the former values beside them. A step of ``orch.rotate_secrets``.

    only
        A list of names, all secrets without it (not called "names", which has another meaning in an SLS). A password of etcd is
        rotated together with the key of etcd's tokens, so that no former token stays valid.

    The orchestration then deploys the new values. While an earlier rotation is not complete, no further values are generated:
    its former values are still needed. Returns ``{"rotated": [names]}``, never a value. Raises, with nothing changed, where a
    secret does not exist.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.secrets_rotate '[HAPROXY_STATS_PASSWORD]'
    """
    with _writable_directory() as directory:
        present = _read_all(directory)
        there = {name: value for of_role in present.values() for name, value in of_role.items()}
        former = _former(directory)
        if any(former.values()):
            return {"rotated": list(dict.fromkeys(name for of_role in former.values() for name in of_role))}
        lasting = [name for name in only or () if name in fanatico_plan.LASTING]
        if lasting:
            _refuse(
                f"{', '.join(lasting)} is not rotated: what it encrypts would be lost. Nothing was changed. "
                'Next: docs/backup.md, "The passphrase".'
            )
        foreign = fanatico_plan.imported_names(fanatico_plan.ROLES)
        asked = [name for name in only or () if name in foreign]
        if asked:
            _refuse(
                f"{', '.join(asked)} cannot be generated: another system issues it. Nothing was changed. "
                "Next: salt-run fanatico.secrets_import FILE replace=True, then orch.deploy."
            )
        every = [name for name in there if name not in (*fanatico_plan.LASTING, *foreign)]
        wanted = fanatico_secrets.together(list(only)) if only else every
        missing = [name for name in wanted if name not in there]
        if missing or not there:
            _refuse(
                f"There is no secret {', '.join(map(str, missing)) or 'yet'}. Next: salt-run fanatico.secrets_init."
            )
        made = {name: fanatico_secrets.generate() for name in wanted}
        old = {
            role: {name: of_role[name] for name in made if name in of_role}
            for role, of_role in present.items()
        }
        new = {role: {name: made[name] for name in of_role} for role, of_role in old.items()}
        _store(directory, present, new, old)
    return _backed_up({"rotated": wanted})  # before any host has the new values


def secrets_finish_rotation():
    """
    Delete the former values after a rotation: a step of ``orch.rotate_secrets``. Returns ``{"forgotten": [names]}``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.secrets_finish_rotation
    """
    with _writable_directory() as directory:
        former = _former(directory)
        present = _read_all(directory)
        touched = {role: present[role] for role, of_role in former.items() if of_role}
        _store(directory, present, touched, {})
    return _backed_up(
        {"forgotten": list(dict.fromkeys(name for of_role in former.values() for name in of_role))}
    )


def secrets_unsettled():
    """
    Return the names of the secrets whose former value is still valid, because a rotation is not complete.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.secrets_unsettled
    """
    former = _former(fanatico_master.root(__opts__) / "secrets")
    return list(dict.fromkeys(name for of_role in former.values() for name in of_role))


def _names():
    """Return ``{role: [names]}`` of all secrets, those that others issue included."""
    roles = {
        role: [*fanatico_plan.secret_names([role]), *fanatico_plan.imported_names([role])]
        for role in fanatico_plan.role_names()
    }
    return {role: names for role, names in roles.items() if names}


def _refuse(message):
    fanatico_master.refuse(f"{message} Nothing was changed.")


def _backed_up(result):
    """Back up the master, whose secrets have changed, and return ``result``."""
    __salt__["fanatico.master_changed"]()
    return result


# the operator's file


def _own_values(path):
    try:
        content = salt.utils.yaml.safe_load(pathlib.Path(path).read_text())
    except OSError as exc:
        _refuse(f"{path} cannot be read: {exc.strerror}.")
    except (salt.utils.yaml.YAMLError, UnicodeDecodeError):
        _refuse(f"{path} is not valid YAML. Next: write one line `NAME: 'value'` for each secret.")
    values = content.get("secrets", content) if isinstance(content, dict) else None
    if not isinstance(values, dict) or not values:
        _refuse(f"{path} contains no names and values. Next: write one line `NAME: 'value'` for each secret.")
    return values


def _check_import(values, present, replace):
    names = [name for of_role in _names().values() for name in of_role]
    there = {name: value for of_role in present.values() for name, value in of_role.items()}
    lines = fanatico_secrets.not_taken(values, names, there, replace)
    if lines:
        listed = "\n  - ".join(lines)
        fanatico_master.refuse(f"These secrets are refused, nothing was changed:\n  - {listed}")


# files


@contextlib.contextmanager
def _writable_directory():
    """Yield ``pillar/secrets`` of the first pillar root that has a plan, locked against a second run."""
    directory = fanatico_master.root(__opts__) / "secrets"
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        _refuse(
            f"{directory} is not a directory that {__opts__['user']} can write to. Next: create it, or correct its owner."
        )
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(handle)


def _read_all(directory):
    """Return ``{role: {name: value}}`` of the existing files, whichever renderers they name."""
    return _read(directory, "secrets")


def _former(directory):
    """Return ``{role: {name: former value}}`` of a rotation that is not complete."""
    return _read(directory, "secrets_former")


def _read(directory, kind):
    files = {role: directory / f"{role}.sls" for role in _names()}
    return {
        role: fanatico_master.rendered(__opts__, path).get(kind) or {} if path.exists() else {}
        for role, path in files.items()
    }


def _store(directory, present, new, former=None):
    key, former = _key(), _former(directory) if former is None else former
    for role, values in new.items():
        if values:
            merged = present[role] | values
            text = fanatico_secrets.header(merged) + _encrypted(key, merged, former.get(role))
            fanatico_file.replace(directory / f"{role}.sls", text, 0o640)
    created = list(dict.fromkeys(name for values in new.values() for name in values))
    kept = [name for values in present.values() for name in values if name not in created]
    kept = list(dict.fromkeys(kept))
    return {"key": key, "created": created, "kept": kept}


# GPG


def _key():
    """Return the fingerprint of the master's key for its pillar; generate the key where there is none."""
    home = fanatico_master.gpg_home(__opts__)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        _refuse(f"{home}, the directory of the master's GPG key, cannot be created: {exc.strerror}.")
    return _usable_key() or (_gpg("--generate-key", stdin=_KEY) or _usable_key())


def _usable_key():
    able = False
    for line in _gpg("--list-secret-keys", "--with-colons").splitlines():
        field = line.split(":")
        if field[0] == "sec":
            able = (
                "E" in field[11]
            )  # the capital letter: the key as a whole can encrypt, not expired or revoked
        elif field[0] == "fpr" and able:
            return field[9]
    return None


def _encrypted(key, values, former):
    content = fanatico_secrets.content(values, former)
    return _gpg("--trust-model", "always", "--armor", "--recipient", key, "--encrypt", stdin=content)


def _gpg(*args, stdin=""):
    program = salt.utils.path.which("gpg")
    if not program:
        _refuse("gpg is not installed on the master. Next: apt-get install gnupg.")
    home = fanatico_master.gpg_home(__opts__)
    argv = [program, "--homedir", str(home), "--batch", "--no-tty", "--quiet", *args]
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=_GPG_TIMEOUT, check=True
        )
    except subprocess.TimeoutExpired:
        _refuse(f"gpg {args[0]} did not end within {_GPG_TIMEOUT} s.")
    except subprocess.CalledProcessError as exc:
        _refuse(f"gpg {args[0]} failed: {exc.stderr.strip() or f'exit code {exc.returncode}'}.")
    return done.stdout
