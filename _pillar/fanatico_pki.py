"""
External pillar: the authorities that each node trusts, and the signing policies of the master.

The keys stay on the master. Its own minion gets their paths, because it signs with them.
"""

import datetime
import pathlib
from collections.abc import Mapping

import fanatico_authority
import fanatico_pki
import fanatico_plan

# Every highstate renews certificates that expire soon; this job does it at night if there is no highstate.
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

    ``trust`` is ``{authority: PEM}``, with several certificates while an authority is being replaced; ``issuer`` is
    ``{authority: key id}`` of the one that signs.

    minion_id
        The node.
    pillar
        Its pillar from the SLS files.
    directory
        The folder of the authorities (``salt-run fanatico.secrets_init`` creates them).
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
