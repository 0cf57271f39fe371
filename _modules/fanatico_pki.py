"""
This node's certificates: content, validity and expiry.
"""

import pathlib
import time

from salt.exceptions import CommandExecutionError

import fanatico_pki
import fanatico_plan
import fanatico_probe
import fanatico_verdict


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def wanted(component: str | None = None) -> list[dict]:
    """
    Return the certificates that the plan requires on this node, as ``fanatico_pki.certificates`` of ``_utils`` does.

    component
        Only those of this component.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.wanted
    """
    return fanatico_pki.certificates(__pillar__["plan"], __opts__["id"], component)


def probe(component: str | None = None) -> dict[str, dict]:
    """
    Return the state of each certificate of this node, ``{"component/authority": {"path", "ends", "days", "reasons", "trust"}}``.

    ``ends``: its last day; ``days``: the days left; ``reasons``: why it must be replaced, empty if it is valid; ``trust``: the
    file of authorities beside it is the master's. For an authority that this node only trusts, ``path`` is that file, and
    ``ends`` and ``days`` are None.

    component
        Only those of this component.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_pki.probe
    """
    now = time.time()
    known = fanatico_pki.trusts(__pillar__["plan"], __opts__["id"], component)
    return {certificate["name"]: _state(certificate, now) for certificate in wanted(component)} | {
        authority["name"]: _trust_only(authority) for authority in known
    }


def _trust_only(authority):
    return {
        "path": authority["ca"],
        "ends": None,
        "days": None,
        "reasons": [],
        "trust": _trust_matches(authority),
    }


def _trust_matches(certificate):
    """Return whether the file of authorities exists and is the one in the master's pillar, if that has one."""
    text = _read(certificate["ca"])
    return (
        text is not None
        and text == (trusted(certificate["authority"]) or text)
        and pathlib.Path(pinned(certificate["ca"])).exists()
    )


def _state(certificate, now):
    found = _parsed(fanatico_pki.facts, certificate["cert"])
    key = _parsed(fanatico_pki.key_hash, certificate["key"])
    authority = certificate["authority"]
    issuer, trust = _get(f"pki:issuer:{authority}", ""), trusted(authority)
    reasons = fanatico_pki.reasons(
        certificate,
        found,
        key,
        issuer,
        now,
        _setting("pki:renew_days"),
        proven=not found or not trust or fanatico_pki.signed(_read(certificate["cert"]), trust),
    )
    return {
        "path": certificate["cert"],
        "ends": fanatico_pki.day(found["not_after"]) if found else None,
        "days": fanatico_pki.days_left(found, now) if found else None,
        "reasons": reasons,
        "trust": _trust_matches(certificate),
    }


def _parsed(function, path):
    text = _read(path)
    try:
        return function(text) if text else None
    except (ValueError, TypeError):
        return None


def _read(path):
    try:
        return pathlib.Path(path).read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def trusted(authority: str) -> str:
    """
    Return the trusted certificates of ``authority`` from the pillar, PEM; "" if the pillar has none.

    authority
        ``etcd``, ``etcd-peer``, ``service``, ``edge`` or ``monitor``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.trusted service
    """
    return _get(f"pki:trust:{authority}", "")


def paths(authority: str) -> dict[str, str | None]:
    """
    Return the files with which this node connects to servers of ``authority``, ``{"ca", "cert", "key"}``.

    ``cert`` and ``key`` are None if its components only verify the server. Raises ``CommandExecutionError`` if none of them
    uses this authority.

    authority
        ``etcd``, ``etcd-peer``, ``service``, ``edge`` or ``monitor``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.paths etcd
    """
    found = fanatico_pki.paths(__pillar__["plan"], __opts__["id"], authority)
    if found is None:
        raise CommandExecutionError(
            f"{__opts__['id']} has no component that uses the authority '{authority}'. Next: run this on a node that has"
        )
    return found


def pinned(path: str) -> str:
    """
    Return the name of the link to a file of authorities that contains a hash of its content.

    It is for daemons that read the file again only under a new name. The state ``fanatico_pki.issued`` creates it.

    path
        The file, as ``paths`` returns it under ``ca``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.pinned /etc/patroni/pki/service-ca.crt
    """
    return str(fanatico_pki.pin(path, _read(path) or ""))


def checks() -> dict[str, dict]:
    """
    Return the check of this node's certificates, ``{name: check}``; empty if it has none.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_pki.checks
    """
    return _judge(probe(), __opts__["id"])


def expiring() -> str:
    """
    Return the certificates that the nightly job has failed to renew for half of ``pki:renew_days``; empty if there are none.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_pki.expiring
    """
    limit = _setting("pki:renew_days") / 2
    found = {
        name: state["days"]
        for name, state in probe().items()
        if state["reasons"] and (state["days"] is None or state["days"] < limit)
    }
    named = ", ".join(
        f"{name} in {days} days" if days is not None else f"{name} is unreadable"
        for name, days in found.items()
    )
    return f"certificates expire: {named}" if found else ""


def renew(timeout: float = 180) -> str:
    """
    Renew this node's expiring certificates and load them into the daemons. Returns what was done.

    timeout
        Not used: the states have timeouts of their own.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.renew
    """
    return fanatico_probe.apply_states(__salt__["state.apply"], __opts__["id"], "roles.certified")


def _judge(seen, me):
    if not seen:
        return {}
    hint = f"salt {me} state.apply roles.certified"
    expired = [
        name
        for name, state in seen.items()
        if state["reasons"] and (state["days"] is None or state["days"] < 0)
    ]
    stale = "the trusted authorities differ from the pillar's"
    wrong = {
        name: "; ".join([*state["reasons"], *([] if state["trust"] else [stale])])
        for name, state in seen.items()
        if state["reasons"] or not state["trust"]
    }
    if expired:
        verdict = fanatico_verdict.critical(
            expired, "; ".join(f"{name}: {wrong[name]}" for name in expired), hint
        )
    elif wrong:
        verdict = fanatico_verdict.degraded(
            sorted(wrong), "; ".join(f"{name}: {reason}" for name, reason in wrong.items()), hint
        )
    else:
        verdict = _judge_dates(seen)
    return {"node.certificates": verdict}


def _judge_dates(seen):
    """Return the check of certificates that are all valid: when the first one ends."""
    dated = [found for found in seen.values() if found["days"] is not None]
    if not dated:
        return fanatico_verdict.ok(None, "the trusted authorities are up to date")
    first = min(dated, key=lambda found: found["days"])
    return fanatico_verdict.ok(
        first["days"],
        f"{len(dated)} valid, the first expires on {first['ends']}, in {first['days']} days",
    )
