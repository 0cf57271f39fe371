"""
etcd's membership and its service, decided from what is there: never from a flag that says what was there.
"""

import pathlib

import salt.utils.files
import salt.utils.yaml
from salt.exceptions import CommandExecutionError

import fanatico_etcd_plan
import fanatico_etcd_users
import fanatico_plan
import fanatico_wait

CONFIGURATION = "/etc/etcd/etcd.conf.yml"
# Where a start that founds the cluster or joins it has its configuration; gone with the next boot.
FIRST_START = "/run/fanatico-etcd"
# A running etcd has read these when it started.
# (Certificates and keys it reads again for each connection, whom to trust and the key of its tokens it does not.)
READ_AT_START = (
    CONFIGURATION,
    "/etc/systemd/system/etcd.service.d/fanatico.conf",
    "/etc/etcd/pki/etcd-ca.crt",
    "/etc/etcd/pki/etcd-peer-ca.crt",
    "/etc/etcd/pki/token.key",
)


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _me():
    return __opts__["id"]


def _answer(name, result, comment, changes=None):
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def _peer_urls():
    addresses = fanatico_plan.addresses(__pillar__["plan"], "etcd")
    return {node: f"https://{address}:{_get('plan:ports:etcd_peer')}" for node, address in addresses.items()}


# --- membership


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
        return _answer(name, True, f"{name} has its data in {data_dir}")
    if __opts__["test"]:
        decision, _ = _decide(name, bootstrap)
        result = None if decision["action"] in ("found", "join", "add", "replace") else False
        return _answer(name, result, decision["why"], {name: {"old": None, "new": decision["action"]}})
    try:
        decision, settled = _settle(name, bootstrap, timeout, _token(name))
    except CommandExecutionError as exc:
        return _answer(name, False, str(exc))
    if not settled:
        return _answer(name, False, decision["why"])
    return _answer(name, True, decision["why"], {name: {"old": None, "new": decision["action"]}})


def _decide(me, bootstrap):
    """Look at the other members and return what is to be done, and the member list it rests on."""
    health = __salt__["fanatico_etcd.health"]()
    others = {node: one for node, one in health.items() if node != me}
    answering = [node for node, one in others.items() if "error" not in one]
    healthy = [node for node in answering if others[node]["healthy"]]
    live = __salt__["fanatico_etcd.members"]() if answering else None
    return fanatico_etcd_plan.decide(me, _peer_urls(), live, healthy, bootstrap), live


def _settle(me, bootstrap, timeout, token):
    """Do what has to be done, waiting while that can get better; return the last decision, and if it was done."""
    last = {}

    def look():
        decision, live = _decide(me, bootstrap)
        last.update(decision)
        if decision["action"] in ("found", "join", "add", "replace"):
            _act(me, decision["action"], live, token)
        return decision["action"] != "wait", decision["why"]

    done, seen = fanatico_wait.until(look, timeout, interval=1)
    if not done:
        return {"why": f"{seen} (waited {timeout} s)"}, False
    return last, last["action"] != "refuse"


def _act(me, action, live, token):
    """Tell the cluster, and leave etcd what its first start needs to know."""
    # A process whose data was deleted under it must not answer as the member it was.
    __salt__["service.stop"]("etcd")
    if action == "replace":
        __salt__["fanatico_etcd.member_remove"](_listed_as(me, live))
    if action in ("add", "replace"):
        # With its vote at once: etcd before 3.5.20 can forget that a learner was promoted.
        live = __salt__["fanatico_etcd.member_add"](me)
    configuration = fanatico_etcd_plan.first_start(
        salt.utils.yaml.safe_load(pathlib.Path(CONFIGURATION).read_text(encoding="utf-8")),
        "new" if action == "found" else "existing",
        fanatico_etcd_plan.initial_cluster(me, _peer_urls(), live),
        token,
    )
    _write(configuration)


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
    directory = pathlib.Path(FIRST_START)
    __salt__["file.mkdir"](FIRST_START, user="root", group="etcd", mode="0750")
    target = directory / "etcd.conf.yml"
    # The token in it is for etcd alone.
    with salt.utils.files.set_umask(0o027):
        target.write_text(salt.utils.yaml.safe_dump(configuration), encoding="utf-8")
    __salt__["file.chown"](str(target), "root", "etcd")
    (directory / "environment").write_text(f"ETCD_CONFIG={target}\n", encoding="utf-8")


# --- users


def users_present(name, keep=(), timeout=30):
    """
    Have etcd let in its users alone: ``root``, which these nodes are, ``patroni``, for the keys of its cluster only, and
    ``health``, for the question of ``etcdctl endpoint health``. A cluster made before there was ``health`` gets it by
    ``orch.rotate_secrets``. Every other user and role is named in the comment; that one removes it, or a first deploy.

    Done by one node, the first of the plan that answers: with every change etcd takes no token from before any more, and
    Patroni 4.0 does not understand why it is refused until its token has ended. Patroni's password is set after root's.

    name
        The name of Patroni's cluster.
    keep
        Users that a person has made on purpose; they stay, and so do the roles they hold.
    timeout
        Seconds.
    """
    done, strange = [], []
    try:
        keeper = _keeper(timeout)
    except CommandExecutionError as exc:
        return _answer(name, False, str(exc))
    if keeper != _me():
        return _answer(name, True, f"{keeper} keeps the users")

    def look():
        steps, strange[:] = _access_steps(name, keep)
        if steps and __opts__["test"]:
            return True, [(what, path) for what, path, _ in steps]
        for what, path, payload in steps:
            __salt__["fanatico_etcd.order"](path, _with_password(path, payload))
            done.append((what, path))
        return not steps, []

    settled, seen = fanatico_wait.until(look, timeout, interval=0.3)
    if not settled:
        return _answer(
            name,
            False,
            f"{_me()}: etcd's users could not be settled within {timeout} s: {seen}",
            _said(_texts(done)),
        )
    left = f"{'; '.join(strange)} with the next orch.rotate_secrets: {_WHY_LATER}" if strange else ""
    comment = (
        "; ".join(one for one in (_removed(seen or done), left) if one) or "etcd lets in its users alone"
    )
    if seen or (strange and __opts__["test"]):
        return _answer(name, None, comment, _said([*_texts(seen), *strange]))
    return _answer(name, True, comment, _said(_texts(done)))


_WHY_LATER = (
    "not in passing, since Patroni could not take over for five minutes then. Next: find out who made them, then "
    """salt-run state.orchestrate orch.rotate_secrets pillar='{"rotate": ["ETCD_ROOT_PASSWORD"]}'"""
)


def _texts(steps):
    return [what for what, _ in steps]


def _removed(steps):
    """Return the sentence about users and roles that went, or are to go, of ``[(what, path), ...]``; empty without any."""
    gone = [what for what, path in steps if path in fanatico_etcd_users.REMOVALS]
    return f"{'; '.join(gone)}: neither ours nor named in etcd:users of the pillar" if gone else ""


def _keeper(timeout):
    """Return the first node of the plan whose member answers."""

    def look():
        members = __salt__["fanatico_etcd.status"]()
        nodes = fanatico_plan.nodes(__pillar__["plan"], "etcd")
        keeper = next((node for node in nodes if "error" not in members.get(node, {"error": ""})), None)
        return keeper is not None, keeper

    done, seen = fanatico_wait.until(look, 0 if __opts__["test"] else timeout)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: no etcd member answers ({seen}), so its users cannot be settled. Next: salt {_me()} fanatico_etcd.status"
        )
    return seen


_SETS_PASSWORD = ("/v3/auth/user/add", "/v3/auth/user/changepw")
_SECRET_OF = {"root": "ETCD_ROOT_PASSWORD", "patroni": "ETCD_PATRONI_PASSWORD"}


def _said(steps):
    return {"users": {"old": "", "new": "; ".join(dict.fromkeys(steps))}} if steps else {}


def _access_steps(name, keep):
    """Return ``(steps, what is left for a rotation)``."""
    seen = __salt__["fanatico_etcd.access"]()
    admits = __salt__["fanatico_etcd.admits"]
    known = [user for user in _SECRET_OF if user in seen["users"]] if seen["enforced"] else []
    admitted = {user: admits(user, _SECRET_OF[user]) for user in known}
    renewing = bool(_get("secrets_former:ETCD_TOKEN_KEY"))
    steps = fanatico_etcd_users.access_steps(seen, name, admitted, renewing, keep)
    kinds = ("user", "role") if seen["enforced"] and not renewing else ()
    strange = fanatico_etcd_users.strangers(seen, keep)
    return steps, [
        f"{kind} {fanatico_etcd_users.named([one])} is removed"
        for kind, found in zip(kinds, strange, strict=False)
        for one in found
    ]


def _with_password(path, payload):
    if path not in _SETS_PASSWORD or "options" in payload:
        return payload
    return payload | {"password": _get(f"secrets:{_SECRET_OF[payload['name']]}")}


# --- service


def running(name, timeout=60):
    """
    Have etcd running, at boot too, healthy, in the cluster of its peers and with its present configuration.

    A configuration that is newer than the process is taken up by a restart: only while every other member is healthy,
    and only by one node at a time.

    name
        The unit.
    timeout
        Seconds to wait: for this member to be healthy, and for the other nodes' restarts.
    """
    unit = _unit(name)
    changes = {}
    if unit["UnitFileState"] != "enabled":
        changes["enabled"] = {"old": False, "new": True}
    stopped = unit["ActiveState"] not in ("active", "activating", "reloading")
    if stopped:
        changes["running"] = {"old": False, "new": True}
    stale = [] if stopped else _newer_than(unit)
    if stale:
        changes["restarted for"] = stale
    if __opts__["test"]:
        return _answer(name, None if changes else True, "", changes)
    try:
        if "enabled" in changes:
            __salt__["service.enable"](name)
        if unit["NeedDaemonReload"] == "yes":
            __salt__["service.systemctl_reload"]()
        if stopped:
            _systemctl("start", name)
        _wait_healthy(name, timeout)
        _forget_first_start()
        if stale:
            _restart_in_turn(name, timeout)
        _same_cluster()
    except CommandExecutionError as exc:
        return _answer(
            name, False, str(exc), {key: one for key, one in changes.items() if key != "restarted for"}
        )
    return _answer(name, True, f"{name} runs and its member is healthy", changes)


def _unit(name):
    wanted = "ActiveState,UnitFileState,NeedDaemonReload,ExecMainStartTimestamp"
    told = __salt__["cmd.run_stdout"](
        ["systemctl", "show", "--timestamp=unix", f"--property={wanted}", name], python_shell=False
    )
    return dict(line.partition("=")[::2] for line in told.splitlines())


def _systemctl(verb, name):
    # Not waiting: the first of three members is ready when the second is.
    done = __salt__["cmd.run_all"](["systemctl", verb, "--no-block", name], python_shell=False)
    if done["retcode"]:
        raise CommandExecutionError(f"{_me()}: `systemctl {verb} {name}` failed: {done['stderr']}")


def _newer_than(unit):
    """Return the files that were written after the running process had started."""
    started = int(unit["ExecMainStartTimestamp"].lstrip("@") or 0)
    if not started:
        return []
    return [path for path in READ_AT_START if int(pathlib.Path(path).stat().st_mtime) > started]


def _wait_healthy(name, timeout):
    me = _me()

    def look():
        mine = __salt__["fanatico_etcd.health"]().get(me, {})
        if mine.get("healthy"):
            return True, "healthy"
        return False, mine.get("error") or mine.get("reason") or "unhealthy"

    done, seen = fanatico_wait.until(look, timeout, interval=0.25)
    if done:
        return
    journal = __salt__["fanatico.journal"](name)
    known = fanatico_etcd_plan.explain(journal)
    if known:
        cause, remedy = known
        raise CommandExecutionError(f"{me}: etcd does not come up: {cause}. Next: {remedy}")
    raise CommandExecutionError(
        fanatico_wait.ran_out(me, "its etcd member to be one of a quorum", timeout, seen, name, journal)
    )


def _same_cluster():
    """Raise where the members that answer are of more than one cluster."""
    clusters = fanatico_etcd_plan.clusters(__salt__["fanatico_etcd.status"]())
    if len(clusters) > 1:
        sides = "; ".join(f"cluster {key}: {', '.join(nodes)}" for key, nodes in clusters.items())
        raise CommandExecutionError(
            f"{_me()}: the members of the plan are of different etcd clusters ({sides}). Next: on the side that is not "
            "to stay, stop etcd, empty its data directory and run the highstate again"
        )


def _forget_first_start():
    """The cluster has this member now: from here on it starts on etcd.conf.yml, and the token need not lie about."""
    for file in ("environment", "etcd.conf.yml"):
        (pathlib.Path(FIRST_START) / file).unlink(missing_ok=True)


def _restart_in_turn(name, timeout):
    lease = _take_turn(timeout)
    try:
        _systemctl("restart", name)
        _wait_restarted(name, timeout)
    finally:
        __salt__["fanatico_etcd.unlock"](lease)


def _take_turn(timeout):
    """Return the lock that lets this node restart: no other node is at it, and every other member is healthy."""

    def look():
        ill = _ill()
        if ill:
            return False, f"{', '.join(ill)} is not healthy"
        turn = __salt__["fanatico_etcd.lock"]("restart-etcd", ttl=2 * timeout + 10)
        if not turn["lease"]:
            return False, f"{turn['holder']} is at it"
        if not _ill():
            return True, turn["lease"]
        # Whoever had the turn before has not come back.
        __salt__["fanatico_etcd.unlock"](turn["lease"])
        return False, "another member has just gone"

    done, seen = fanatico_wait.until(look, timeout, interval=0.5)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: etcd still runs on its old configuration: it is restarted by one node at a time and only while "
            f"all other members are healthy; after {timeout} s, {seen}. Next: see to that, then run the highstate again"
        )
    return seen


def _ill():
    """Return the other members that are not healthy: while there is one, the cluster cannot spare this one."""
    health = __salt__["fanatico_etcd.health"]()
    return [node for node, one in health.items() if node != _me() and not one.get("healthy")]


def _wait_restarted(name, timeout):
    """Wait for the new process: the old one still answers for a moment."""
    done, _ = fanatico_wait.until(lambda: (not _newer_than(_unit(name)), None), timeout, interval=0.25)
    if not done:
        raise CommandExecutionError(f"{_me()}: systemd has not restarted {name} within {timeout} s")
    _wait_healthy(name, timeout)
