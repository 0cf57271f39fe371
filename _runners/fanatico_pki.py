"""
The certificate authorities, on the master: made, brought along, replaced step by step (``orch.rotate_certs``).
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
    Make the authorities that are missing and return their names; ``secrets_init`` does it too.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_init
    """
    return fanatico_authority.ensure(_directory(), _names(), _owner())


def ca_import(name, key, certificate):
    """
    Take an authority of your own: at once where there is none yet, otherwise with the next ``orch.rotate_certs``.

    name
        ``etcd``, ``etcd-peer``, ``service`` or ``edge``. Each needs one of its own: who trusts it lets in all that it signed.
    key
        A file with its private key, PEM, without a passphrase. Remove it afterwards (``shred -u``).
    certificate
        A file with its certificate, PEM. Nodes trust this very one, so it must not be below another that they lack.

    Returns a sentence that says what comes next. Raises, with nothing changed, where the two do not fit.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_import service /root/ca.key /root/ca.crt
    """
    if name not in _names():
        _refuse(f"{name} is none of the authorities {', '.join(_names())}. Nothing was changed.")
    try:
        texts = [pathlib.Path(path).read_text(encoding="ascii") for path in (key, certificate)]
        at_once = fanatico_authority.add(_directory(), name, *texts)
    except (OSError, UnicodeDecodeError) as exc:
        _refuse(f"{getattr(exc, 'filename', None) or key}: cannot be read: {exc}. Nothing was changed.")
    except ValueError as exc:
        _refuse(f"The authority {name} is not taken: {exc}. Nothing was changed.")
    if at_once:
        return f"{name} signs from now on"
    return f"{name} is ready to take over. Next: salt-run state.orchestrate orch.rotate_certs"


def ca_status():
    """
    Return how far each authority is in being replaced: ``{name: "signs" | "next is trusted" | "former is trusted still"}``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_status
    """
    words = {"": "signs", "next": "next is trusted", "former": "former is trusted still"}
    return {name: words[stage] for name, stage in _read()["stage"].items()}


def ca_trust(name):
    """
    Return what is to be trusted as an authority, PEM: what a client needs to be sure of the server it speaks to.

    More than one certificate while the authority is being replaced: give clients both before the rotation ends.

    name
        ``service`` for PostgreSQL and Patroni, ``edge`` for HAProxy's statistics; ``etcd``, ``etcd-peer``.

    CLI Example:

    .. code-block:: bash

        salt-run --out=newline_values_only fanatico.ca_trust service > service-ca.crt
    """
    _need()
    if name not in _names():
        _refuse(f"{name} is none of the authorities {', '.join(_names())}.")
    return _read()["trust"][name]


def ca_prepare():
    """
    Have a successor ready for each authority, trusted before it signs; the first step of ``orch.rotate_certs``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_prepare
    """
    _need()
    # Begun, broken off and begun again: those that have changed hands already do not do so twice.
    due = [name for name, stage in _read()["stage"].items() if stage != "former"]
    return fanatico_authority.prepare(_directory(), due, _owner())


def ca_switch():
    """
    Let the successors sign; what they succeed stays trusted. The second step of ``orch.rotate_certs``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_switch
    """
    return fanatico_authority.switch(_directory(), _names())


def ca_retire():
    """
    Trust the former authorities no more; the last step of ``orch.rotate_certs``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.ca_retire
    """
    return fanatico_authority.retire(_directory(), _names())


def _need():
    missing = [name for name in _names() if name not in _read()["stage"]]
    if missing:
        _refuse(f"There is no authority {', '.join(missing)} yet. Next: salt-run fanatico.secrets_init")


def _refuse(message):
    fanatico_master.refuse(message)


def _names():
    return fanatico_pki.authorities()


def _read():
    return fanatico_authority.read(_directory(), _names())


def _directory():
    """Return where the master keeps its authorities: where its pillar takes them from."""
    sources = __opts__.get("ext_pillar") or []
    found = next((source["fanatico_pki"] for source in sources if "fanatico_pki" in source), None)
    if found is None:
        _refuse(
            "The master's configuration names no place for its certificate authorities (ext_pillar: fanatico_pki). "
            "Next, on the master: salt-call --local state.apply master"
        )
    return found


def _owner():
    return fanatico_master.plan(__opts__)["name"]
