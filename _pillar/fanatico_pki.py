"""
The authorities of the master as pillar: to each node what its roles have to trust, to the master how it signs.

The keys stay where they are; only their paths are told, to the master's own minion, which signs with them.
"""

import datetime
import pathlib
from collections.abc import Mapping

import fanatico_authority
import fanatico_pki
import fanatico_plan

# Certificates that end soon are replaced by any highstate; and at night, should none come.
NIGHTLY = {
    "function": "state.apply",
    "args": ["roles.certified"],
    "when": "3:00am",
    "splay": 3600,
    "maxrunning": 1,
}


def ext_pillar(minion_id, pillar, directory):
    """
    Return ``{"pki": {"trust", "issuer"}}`` and the nightly job that renews certificates; the master's ``x509_signing_policies``.

    ``trust`` is ``{authority: PEM}``, more than one certificate while an authority is being replaced; ``issuer`` is
    ``{authority: key id}`` of the one that signs.

    minion_id
        The node.
    pillar
        What the SLS files gave it.
    directory
        Where the authorities lie (``salt-run fanatico.secrets_init`` makes them).
    """
    plan = pillar.get("plan")
    nodes = plan.get("nodes") if isinstance(plan, Mapping) else None
    node = nodes.get(minion_id) if isinstance(nodes, Mapping) else None
    if not isinstance(node, Mapping) or not pathlib.Path(directory).is_dir():
        return {}
    roles = node.get("roles") or []
    used = fanatico_pki.authorities(roles)
    read = fanatico_authority.read(directory, used)
    given = {"pki": {kind: read[kind] for kind in ("trust", "issuer")}}
    if used:
        given["schedule"] = {"certificates": NIGHTLY}
    if "master" in roles:
        days = fanatico_plan.setting(pillar, "pki:days")
        given["x509_signing_policies"] = fanatico_pki.policies(
            plan, directory, days, datetime.datetime.now(datetime.UTC)
        )
    return given
