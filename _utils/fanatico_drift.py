"""
What a dry run of a highstate says has drifted, and what of it may be put right. Pure.
"""

import re
from typing import Any

# What can drift, by the state module that would put it right. Commands run because of something else.
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
# Salt's own words, and all that tells a unit that follows a changed file from one that is down: a dry run returns nothing else.
_FOLLOWS = re.compile(r"(?i)set to be re(load|start)ed")


def drifted(entries):
    """
    Return what has drifted, ``[{"state", "kind", "sls", "would"}]``, of what a highstate with ``test=True`` returned.

    Only that, and what kind: a difference may show a secret.
    """
    found = []
    for key, one in entries.items():
        if one.get("result") is True:
            continue
        would = (one.get("comment") or "").strip().splitlines()[:1] or ["would change"]
        kind = KINDS.get(key.split("_|-")[0], "others")
        if kind == "units" and _FOLLOWS.search(would[0]):
            kind = "consequences"
        state = {"state": one.get("__id__", key), "kind": kind, "sls": one.get("__sls__", "")}
        found.append({**state, "would": would[0][:200]})
    return found


def correctable(found, kinds):
    """
    Return ``{component: [sls, ...]}``: what of ``drifted`` may be put right where ``kinds`` may.

    A component is put right as a whole, with what follows from it, or not at all.
    """
    components: dict[str, Any] = {}
    for one in found:
        components.setdefault(one["sls"].split(".")[0], []).append(one)
    allowed = {*kinds, "consequences"}
    return {
        name: sorted({one["sls"] for one in ones})
        for name, ones in components.items()
        if name and all(one["kind"] in allowed for one in ones) and any(one["kind"] in kinds for one in ones)
    }
