"""
etcd's membership, decided from what is there: never from a flag that says what was there.
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


def member_present(name, data_dir, bootstrap=False, timeout=60):
    """
    Make this node a member of the etcd cluster, as far as that has to be settled before etcd starts.

    name
        The id of this node.
    data_dir
        Where etcd keeps its data. Where there is some, nothing is to be settled.
    bootstrap
        Whether a new cluster may be founded where no member answers.
    timeout
        Seconds to wait for the other members to be healthy enough to let this one in.
    """
    if (pathlib.Path(data_dir) / "member" / "wal").is_dir():
        return fanatico_state.answer(name, True, f"{name} has its data in {data_dir}")
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
    """Look at the other members and return what is to be done, and the member list it rests on."""
    health = __salt__["fanatico_etcd.health"]()
    others = {node: one for node, one in health.items() if node != me}
    answering = [node for node, one in others.items() if "error" not in one]
    healthy = [node for node in answering if others[node]["healthy"]]
    live = __salt__["fanatico_etcd.members"]() if answering else None
    return fanatico_etcd_plan.decide(me, _peer_urls(), live, healthy, bootstrap), live


def _settle(me, bootstrap, timeout, token, steps):
    """
    Do what has to be done, waiting while that can get better; return the last decision, and if it was done.

    ``steps`` is given each step that was taken.
    """
    last = {}

    def look():
        decision, live = _decide(me, bootstrap)
        last.update(decision)
        if decision["action"] in ("found", "join", "add", "replace"):
            _act(me, decision["action"], live, token, steps)
        return decision["action"] != "wait", decision["why"]

    done, seen = fanatico_wait.until(look, timeout, interval=1)
    if not done:
        return {"why": f"{seen} (waited {timeout} s)"}, False
    return last, last["action"] != "refuse"


def _act(me, action, live, token, steps):
    """Tell the cluster, and leave etcd what its first start needs to know."""
    # A process whose data was deleted under it must not answer as the member it was.
    __salt__["service.stop"]("etcd")
    if action == "replace":
        __salt__["fanatico_etcd.member_remove"](_listed_as(me, live))
        steps.append("removed")
    if action in ("add", "replace"):
        # With its vote at once: etcd before 3.5.20 can forget that a learner was promoted.
        live = __salt__["fanatico_etcd.member_add"](me)
        _make_sure(me, live)
        steps.append("added")
    configuration = fanatico_etcd_plan.first_start(
        salt.utils.yaml.safe_load(pathlib.Path(fanatico_etcd_plan.CONFIGURATION).read_text(encoding="utf-8")),
        "new" if action == "found" else "existing",
        fanatico_etcd_plan.initial_cluster(me, _peer_urls(), live),
        token,
    )
    _write(configuration)


def _make_sure(me, live):
    """Raise where the member list, read after this node was added, does not have it."""
    url = _peer_urls()[me]
    there = sorted(url for one in live.values() for url in one["peer_urls"])
    if url not in there:
        raise CommandExecutionError(
            f"{me}: etcd took it in, and its member list lacks it: expected {url}, found {', '.join(there)}"
        )


def _listed_as(me, live):
    url = _peer_urls()[me]
    return next(name for name, one in live.items() if url in one["peer_urls"])


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
    # The token in it is for etcd alone.
    with salt.utils.files.set_umask(0o027):
        target.write_text(salt.utils.yaml.safe_dump(configuration), encoding="utf-8")
    __salt__["file.chown"](str(target), "root", "etcd")
    (directory / "environment").write_text(f"ETCD_CONFIG={target}\n", encoding="utf-8")
