"""
The etcd membership of this node, decided from the live state of the cluster, never from a stored flag.
"""

import pathlib

import salt.utils.files
import salt.utils.yaml
from salt.exceptions import CommandExecutionError

import fanatico_etcd_plan
import fanatico_plan
import fanatico_state
import fanatico_wait

__virtualname__ = "fanatico_etcd"


def __virtual__():
    return __virtualname__


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _peer_urls():
    addresses = fanatico_plan.addresses(__pillar__["plan"], "etcd")
    return {node: f"https://{address}:{_get('plan:ports:etcd_peer')}" for node, address in addresses.items()}


def member_present(name, data_dir, bootstrap="", timeout=60):
    """
    Make this node a member of the etcd cluster before etcd starts: found a cluster, or add or replace the member.

    name
        The minion ID of this node.
    data_dir
        The data directory of etcd. A node with data is a member already, and nothing changes.
    bootstrap
        Not empty: a new cluster is founded if no member answers. See ``fanatico_etcd_plan.first_start``.
    timeout
        Seconds to wait until enough other members are healthy to add this one.
    """
    if (pathlib.Path(data_dir) / "member" / "wal").is_dir():
        return fanatico_state.answer(name, True, f"{name} is a member with data in {data_dir}")
    if __opts__["test"]:
        decision, _ = _decide(name, bootstrap)
        result = None if decision["action"] in ("found", "join", "add", "replace") else False
        return fanatico_state.answer(
            name, result, decision["why"], {name: {"old": None, "new": decision["action"]}}
        )
    done = []
    try:
        decision, settled = _settle(name, bootstrap, timeout, _token(name), done)
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))
    if not settled:
        changes = {name: {"old": None, "new": ", ".join(dict.fromkeys(done))}} if done else {}
        return fanatico_state.answer(name, False, decision["why"], changes)
    return fanatico_state.answer(
        name, True, decision["why"], {name: {"old": None, "new": decision["action"]}}
    )


def _decide(me, bootstrap):
    """Query the other members; return the decision, and the member list that it is based on."""
    health = __salt__["fanatico_etcd.health"]()
    others = {node: member for node, member in health.items() if node != me}
    answering = [node for node, member in others.items() if "error" not in member]
    healthy = [node for node in answering if others[node]["healthy"]]
    live = __salt__["fanatico_etcd.members"]() if answering else None
    return fanatico_etcd_plan.decide(me, _peer_urls(), live, healthy, bootstrap), live


def _settle(me, bootstrap, timeout, token, steps):
    """
    Carry out the decision, and wait while the cluster may still recover; return the last decision, and whether it is final.

    Each completed step is appended to ``steps``.
    """
    last = {}

    def attempt():
        decision, live = _decide(me, bootstrap)
        last.update(decision)
        if decision["action"] in ("found", "join", "add", "replace"):
            _act(me, decision["action"], live, (token, bootstrap), steps)
        return decision["action"] != "wait", decision["why"]

    done, seen = fanatico_wait.until(attempt, timeout, interval=1)
    if not done:
        return {"why": f"{seen} (waited {timeout} s)"}, False
    return last, last["action"] != "refuse"


def _act(me, action, live, tokens, steps):
    """Change the member list of the cluster, and write the configuration of etcd's first start."""
    # A process whose data was deleted while it ran must not answer as the former member.
    __salt__["service.stop"]("etcd")
    if action == "replace":
        __salt__["fanatico_etcd.member_remove"](_listed_as(me, live))
        steps.append("removed")
    if action in ("add", "replace"):
        # As a voting member at once: etcd before 3.5.20 can lose the promotion of a learner.
        live = __salt__["fanatico_etcd.member_add"](me)
        _verify(me, live)
        steps.append("added")
    configuration = fanatico_etcd_plan.first_start(
        salt.utils.yaml.safe_load(pathlib.Path(fanatico_etcd_plan.CONFIGURATION).read_text(encoding="utf-8")),
        "new" if action == "found" else "existing",
        fanatico_etcd_plan.initial_cluster(me, _peer_urls(), live),
        *tokens,
    )
    _write(configuration)


def _verify(me, live):
    """Raise an error if this node is missing from the member list that was read after it was added."""
    url = _peer_urls()[me]
    found = sorted(url for member in live.values() for url in member["peer_urls"])
    if url not in found:
        raise CommandExecutionError(
            f"{me}: etcd accepted the new member, but its member list does not contain it: expected {url}, "
            f"found {', '.join(found)}. Next: run the highstate again"
        )


def _listed_as(me, live):
    url = _peer_urls()[me]
    return next(name for name, member in live.items() if url in member["peer_urls"])


def _token(me):
    token = _get("secrets:ETCD_CLUSTER_TOKEN")
    if not token:
        raise CommandExecutionError(
            f"{me} has no ETCD_CLUSTER_TOKEN in its pillar. Next: salt-run fanatico.secrets_init"
        )
    return token


def _write(configuration):
    directory = pathlib.Path(fanatico_etcd_plan.FIRST_START)
    __salt__["file.mkdir"](fanatico_etcd_plan.FIRST_START, user="root", group="etcd", mode="0750")
    target = directory / "etcd.conf.yml"
    # It contains the cluster token: only etcd may read it.
    with salt.utils.files.set_umask(0o027):
        target.write_text(salt.utils.yaml.safe_dump(configuration), encoding="utf-8")
    __salt__["file.chown"](str(target), "root", "etcd")
    (directory / "environment").write_text(f"ETCD_CONFIG={target}\n", encoding="utf-8")
