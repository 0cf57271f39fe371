"""
Find drift in the result of a highstate's dry run, and what of it may be corrected automatically. Pure.
"""

import re
from typing import Any

# Kinds of drift, by the state module that would correct it. Commands run as a consequence of another change.
KINDS = {
    "file": "files",
    "pkg": "packages",
    "pkgrepo": "packages",
    "fanatico_artifact": "packages",
    "service": "units",
    "fanatico_firewall": "firewall",
    "fanatico_haproxy": "certificates",
    "fanatico_pki": "certificates",
    "fanatico_etcd": "settings",
    "fanatico_patroni": "settings",
    "fanatico_postgres": "settings",
    "user": "users",
    "group": "users",
    "cmd": "consequences",
}
# Salt's comment. It is the only difference in a dry run between a unit that restarts for a changed file and a unit that is down.
_FOLLOWS = re.compile(r"(?i)set to be re(load|start)ed")


def drifted(entries):
    """
    Return the drift in the result of a highstate with ``test=True``, ``[{"state", "kind", "sls", "would"}]``.

    Differences are left out: they may contain secrets.

    entries
        ``{tag: result}`` of the highstate.
    """
    found = []
    for key, entry in entries.items():
        if entry.get("result") is True:
            continue
        would = (entry.get("comment") or "").strip().splitlines()[:1] or ["would change"]
        kind = KINDS.get(key.split("_|-")[0], "others")
        if kind == "units" and _FOLLOWS.search(would[0]):
            kind = "consequences"
        state = {"state": entry.get("__id__", key), "kind": kind, "sls": entry.get("__sls__", "")}
        found.append({**state, "would": would[0][:200]})
    return found


def correctable(found, kinds):
    """
    Return the states that may be applied to correct drift, ``{component: [sls, ...]}``.

    A component is corrected as a whole, with the consequences, or not at all.

    found
        What ``drifted`` returned.
    kinds
        The kinds of drift that may be corrected, values of ``KINDS``.
    """
    components: dict[str, Any] = {}
    for drift in found:
        components.setdefault(drift["sls"].split(".")[0], []).append(drift)
    allowed = {*kinds, "consequences"}
    return {
        name: sorted({drift["sls"] for drift in drifts})
        for name, drifts in components.items()
        if name
        and all(drift["kind"] in allowed for drift in drifts)
        and any(drift["kind"] in kinds for drift in drifts)
    }
