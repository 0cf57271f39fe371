"""
The certificate authorities on the master: generated, imported, and rotated in steps (``orch.rotate_certs``).
"""

import pathlib

import fanatico_authority
import fanatico_master
import fanatico_pki

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def ca_init():
    """
    Generate the missing authorities, and return their names. ``secrets_init`` does it too.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_init
    """
    return fanatico_authority.ensure(_directory(), _names(), _owner())


def ca_import(name, key, certificate):
    """
    Import an authority of your own: used at once where there is none yet, otherwise after the next ``orch.rotate_certs``.

    name
        ``etcd``, ``etcd-peer``, ``service`` or ``edge``. Import a different one for each: a service that trusts an authority
        authenticates everything that the authority has signed.
    key
        A file with its private key, PEM, without a passphrase. Remove it afterwards (``shred -u``).
    certificate
        A file with its certificate, PEM. Nodes trust this certificate alone, so it has to be a root, not an intermediate.

    Returns a sentence with the next step. Raises, with nothing changed, where key and certificate do not match.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_import service /root/ca.key /root/ca.crt
    """
    if name not in _names():
        _refuse(f"{name} is no authority; the authorities are {', '.join(_names())}. Nothing was changed.")
    try:
        texts = [pathlib.Path(path).read_text(encoding="ascii") for path in (key, certificate)]
        at_once = fanatico_authority.add(_directory(), name, *texts)
        __salt__["fanatico.master_changed"]()
    except (OSError, UnicodeDecodeError) as exc:
        _refuse(f"{getattr(exc, 'filename', None) or key}: cannot be read: {exc}. Nothing was changed.")
    except ValueError as exc:
        _refuse(f"The authority {name} was not imported: {exc}. Nothing was changed.")
    if at_once:
        return f"The imported authority {name} signs certificates from now on."
    return f"The authority {name} is imported and not used yet. Next: salt-run state.orchestrate orch.rotate_certs"


def ca_status():
    """
    Return the stage of rotation of each authority: ``{name: "signs" | "next is trusted" | "former is trusted still"}``.

    ``signs``: no rotation. ``next is trusted``: the next authority is trusted and does not sign yet. ``former is trusted still``:
    the new authority signs, and the former one is still trusted.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_status
    """
    words = {"": "signs", "next": "next is trusted", "former": "former is trusted still"}
    return {name: words[stage] for name, stage in _read()["stage"].items()}


def ca_trust(name):
    """
    Return the certificates of an authority, PEM: what a client needs to verify the server.

    Two certificates during a rotation: give both to clients before it ends.

    name
        ``service`` for PostgreSQL and Patroni, ``edge`` for HAProxy's statistics; ``etcd``, ``etcd-peer``.

    CLI Example:

    .. code-block:: bash

        salt-run --out=newline_values_only fanatico.ca_trust service > service-ca.crt
    """
    _need()
    if name not in _names():
        _refuse(f"{name} is no authority; the authorities are {', '.join(_names())}.")
    return _read()["trust"][name]


def ca_prepare():
    """
    Generate the next authority for each, trusted before it signs. The first step of a rotation in ``orch.rotate_certs``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_prepare
    """
    _need()
    # After a rotation that failed halfway: an authority that was replaced already is not replaced again.
    due = [name for name, stage in _read()["stage"].items() if stage != "former"]
    return _backed_up(fanatico_authority.prepare(_directory(), due, _owner()))


def ca_switch():
    """
    Have the next authorities sign, while the former ones stay trusted. The second step of a rotation in ``orch.rotate_certs``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_switch
    """
    return _backed_up(fanatico_authority.switch(_directory(), _names()))


def ca_retire():
    """
    Remove the former authorities from what is trusted. The last step of a rotation in ``orch.rotate_certs``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_retire
    """
    return _backed_up(fanatico_authority.retire(_directory(), _names()))


def _need():
    missing = [name for name in _names() if name not in _read()["stage"]]
    if missing:
        _refuse(f"There is no authority {', '.join(missing)} yet. Next: salt-run fanatico.secrets_init")


def _backed_up(changed):
    """Back up the master where authorities have changed, before a host depends on that; return ``changed``."""
    if changed:
        __salt__["fanatico.master_changed"]()
    return changed


def _refuse(message):
    fanatico_master.refuse(message)


def _names():
    return fanatico_pki.authorities()


def _read():
    return fanatico_authority.read(_directory(), _names())


def _directory():
    """Return the directory of the master's authorities, which its pillar reads."""
    sources = __opts__.get("ext_pillar") or []
    found = next((source["fanatico_pki"] for source in sources if "fanatico_pki" in source), None)
    if found is None:
        _refuse(
            "The master's configuration has no directory for its certificate authorities (ext_pillar: fanatico_pki). "
            "Next, on the master: salt-call --local state.apply master"
        )
    return found


def _owner():
    return fanatico_master.plan(__opts__)["name"]
