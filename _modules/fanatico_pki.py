"""
This node's certificates: what they say, whether they are right, and when they end.
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
    Return the certificates that the plan gives this node, as ``fanatico_pki.certificates`` of ``_utils`` does.

    component
        Only those of this component.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.wanted
    """
    return fanatico_pki.certificates(__pillar__["plan"], __opts__["id"], component)


def probe(component: str | None = None) -> dict[str, dict]:
    """
    Return how each certificate of this node is, ``{"component/authority": {"path", "ends", "days", "reasons", "trust"}}``.

    ``ends`` is a date, ``days`` how many are left, ``reasons`` why it has to be replaced: none while it is right.
    ``trust`` tells whether the file of authorities beside it is the master's. Of an authority that this node has to know, and
    holds no certificate of, ``path`` is that file, ``ends`` and ``days`` are None.

    component
        Only those of this component.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_pki.probe
    """
    now = time.time()
    known = fanatico_pki.trusts(__pillar__["plan"], __opts__["id"], component)
    return {one["name"]: _look(one, now) for one in wanted(component)} | {
        one["name"]: _known(one) for one in known
    }


def _known(one):
    return {"path": one["ca"], "ends": None, "days": None, "reasons": [], "trust": _is_masters(one)}


def _is_masters(one):
    """Tell whether a file of authorities is there, and as the master says, as far as it has said anything."""
    there = _read(one["ca"])
    return (
        there is not None
        and there == (trusted(one["authority"]) or there)
        and pathlib.Path(pinned(one["ca"])).exists()
    )


def _look(one, now):
    found = _parsed(fanatico_pki.facts, one["cert"])
    key = _parsed(fanatico_pki.key_hash, one["key"])
    issuer, trust = _get(f"pki:issuer:{one['authority']}", ""), trusted(one["authority"])
    reasons = fanatico_pki.reasons(
        one,
        found,
        key,
        issuer,
        now,
        _setting("pki:renew_days"),
        proven=not found or not trust or fanatico_pki.signed(_read(one["cert"]), trust),
    )
    return {
        "path": one["cert"],
        "ends": fanatico_pki.day(found["not_after"]) if found else None,
        "days": fanatico_pki.days_left(found, now) if found else None,
        "reasons": reasons,
        "trust": _is_masters(one),
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
    Return what is to be trusted as ``authority``, PEM; "" where the master has told nothing.

    authority
        ``etcd``, ``etcd-peer``, ``service``, ``edge`` or ``monitor``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.trusted service
    """
    return _get(f"pki:trust:{authority}", "")


def paths(authority: str) -> dict[str, str | None]:
    """
    Return ``{"ca", "cert", "key"}``: the files this node speaks with to servers of ``authority``.

    ``cert`` and ``key`` are None where its components only have to know the server. Raises ``CommandExecutionError`` where
    they have nothing to do with it.

    authority
        ``etcd``, ``etcd-peer``, ``service``, ``edge`` or ``monitor``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.paths etcd
    """
    found = fanatico_pki.paths(__pillar__["plan"], __opts__["id"], authority)
    if found is None:
        raise CommandExecutionError(
            f"{__opts__['id']} has no part in what the authority '{authority}' protects: ask on a node whose role has"
        )
    return found


def pinned(path: str) -> str:
    """
    Return the name of the link to a file of authorities that tells its content, for daemons that read a file again only
    when its name is another. The state ``fanatico_pki.issued`` makes it.

    path
        The file, as ``paths`` returns it under ``ca``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.pinned /etc/patroni/pki/service-ca.crt
    """
    return str(fanatico_pki.pin(path, _read(path) or ""))


def checks() -> dict[str, dict]:
    """
    Return the check of this node's certificates, ``{name: check}``; empty where it has none.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_pki.checks
    """
    return _judge(probe(), __opts__["id"])


def expiring() -> str:
    """
    Return which certificates the nightly job should have renewed and did not, half of that time being over; empty without any.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_pki.expiring
    """
    owed = _setting("pki:renew_days") / 2
    found = {
        name: one["days"]
        for name, one in probe().items()
        if one["reasons"] and (one["days"] is None or one["days"] < owed)
    }
    told = ", ".join(
        f"{name} in {days} days" if days is not None else f"{name} is unreadable"
        for name, days in found.items()
    )
    return f"certificates end: {told}" if found else ""


def renew(timeout: float = 180) -> str:
    """
    Have this node's certificates signed again where they end, and taken up by the daemons. Returns what was done.

    timeout
        Seconds; the states have their own.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_pki.renew
    """
    return fanatico_probe.apply_states(__salt__["state.apply"], __opts__["id"], "roles.certified")


def _judge(seen, me):
    if not seen:
        return {}
    hint = f"salt {me} state.apply roles.certified"
    ended = [
        name for name, one in seen.items() if one["reasons"] and (one["days"] is None or one["days"] < 0)
    ]
    stale = "what is trusted is not what the master says"
    wrong = {
        name: "; ".join([*one["reasons"], *([] if one["trust"] else [stale])])
        for name, one in seen.items()
        if one["reasons"] or not one["trust"]
    }
    if ended:
        verdict = fanatico_verdict.critical(
            ended, "; ".join(f"{name}: {wrong[name]}" for name in ended), hint
        )
    elif wrong:
        verdict = fanatico_verdict.degraded(
            sorted(wrong), "; ".join(f"{name}: {why}" for name, why in wrong.items()), hint
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
