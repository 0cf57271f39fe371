"""
Patroni: whether this node belongs to the cluster it finds, and the settings its members share.
"""

import pathlib

import salt.utils.yaml
from salt.exceptions import CommandExecutionError

import fanatico_diff
import fanatico_patroni_plan
import fanatico_plan
import fanatico_state
import fanatico_timing
import fanatico_validate
import fanatico_wait

CONFIGURATION = "/etc/patroni/patroni.yml"
ROLES = {
    "superuser": "POSTGRES_SUPERUSER_PASSWORD",
    "replication": "POSTGRES_REPLICATOR_PASSWORD",
    "rewind": "POSTGRES_REWIND_PASSWORD",
}
# Which of them another member may log in as; the superuser comes by the socket only.
ASKED = ("replicator", "rewind")


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _me():
    return __opts__["id"]


def _try(function, *args, **kwargs):
    """Return what an execution module says, or None where what it asks does not answer."""
    try:
        return __salt__[function](*args, **kwargs)
    except CommandExecutionError:
        return None


# --- whether the cluster is ours


def accepted(name, data_dir, bin_dir, timeout=30):
    """
    Make sure that the cluster of this name, where there is one, is this node's and takes it with its passwords.

    Changes nothing. A member that is up with the passwords of its pillar has proved it; only for others more is asked.

    name
        The cluster's name, Patroni's scope.
    data_dir
        Where PostgreSQL's data is, or will be.
    bin_dir
        Where ``pg_controldata`` is.
    timeout
        Seconds to wait for a leader, where a cluster was founded and this node has nothing of it.
    """
    wanted = {role: _get(f"secrets:{secret}") for role, secret in ROLES.items()}
    missing = [ROLES[role] for role, value in wanted.items() if not value]
    if missing:
        names = ", ".join(missing)
        return fanatico_state.answer(
            name, False, f"{_me()} has no {names} in its pillar. Next: salt-run fanatico.secrets_init"
        )
    known = _broken_pair()
    if known:
        return fanatico_state.answer(
            name, False, f"{_me()}: {known}. Next: pin the version of one under etcd or patroni in the pillar"
        )
    state = (_try("fanatico_patroni.status") or {}).get("state")
    if state in ("running", "streaming", "in archive recovery") and _in_use() == wanted:
        return fanatico_state.answer(name, True, f"{_me()} is a member")
    try:
        leader = _kin(name, data_dir, bin_dir, 0 if __opts__["test"] else timeout)
        if leader:
            _log_in(leader)
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))
    return fanatico_state.answer(
        name, True, f"{leader or 'nobody'} leads, and nothing speaks against {_me()}"
    )


def _broken_pair():
    """Return why this Patroni must not meet the etcd that is there, or None."""
    members = (_try("fanatico_etcd.status") or {}).values()
    versions = sorted({one["version"] for one in members if one.get("version")})
    patroni = __salt__["pkg.version"]("patroni")
    found = (fanatico_validate.broken_pair(etcd, patroni) for etcd in versions)
    return next((why for why in found if why), None)


def _in_use():
    """Return the passwords Patroni has now."""
    path = pathlib.Path(CONFIGURATION)
    if not path.exists():
        return None
    configuration = salt.utils.yaml.safe_load(path.read_text(encoding="utf-8"))
    return fanatico_patroni_plan.passwords(configuration)


def _kin(name, data_dir, bin_dir, timeout):
    """Return the leader, or None where this node may be the first; raise where neither can be."""
    local = _system_identifier(data_dir, bin_dir)
    key = f"/service/{name}/initialize"

    def look():
        initialize = __salt__["fanatico_etcd.get"](key)
        leader = _try("fanatico_patroni.leader")
        verdict, why = fanatico_patroni_plan.judge(_me(), key, initialize, local, leader)
        return verdict != "wait", (verdict, why, leader)

    done, seen = fanatico_wait.until(look, timeout, interval=1)
    if isinstance(seen, str):
        raise CommandExecutionError(f"{seen} (Patroni cannot start without etcd)")
    verdict, why, leader = seen
    if verdict == "ok":
        return leader
    raise CommandExecutionError(why if done else f"{why} (waited {timeout} s)")


def _system_identifier(data_dir, bin_dir):
    if not (pathlib.Path(data_dir) / "global" / "pg_control").exists():
        return None
    told = __salt__["cmd.run_stdout"]([f"{bin_dir}/pg_controldata", "-D", data_dir], python_shell=False)
    return fanatico_patroni_plan.system_identifier(told)


def _log_in(leader):
    """Raise where the leader refuses the passwords in the pillar; that it does not answer at all is another matter."""
    address = fanatico_plan.address(__pillar__["plan"], leader)
    refused = []
    for role in ASKED:
        try:
            __salt__["fanatico_postgres.query"]("SELECT 1", user=role, host=address)
        except CommandExecutionError as exc:
            if getattr(exc, "code", "") == "password-refused":
                refused.append(role)
    if refused:
        order = """state.apply postgresql.roles pillar='{"postgresql": {"replace_passwords": true}}'"""
        raise CommandExecutionError(
            f"{_me()}: the cluster, led by {leader}, refuses {' and '.join(refused)} with the password in this node's "
            "pillar: it was founded with other secrets, or somebody has changed them. patroni.yml was left as it is. "
            "Next: put the cluster's own passwords into the pillar (salt-run fanatico.secrets_import); or, where the "
            f"pillar's are to be the new ones: salt {leader} {order}, then a highstate of all database nodes"
        )


def watchdog_usable(name):
    """
    Make sure that Patroni could arm the watchdog of this host, before it is required of it. Changes nothing.

    A Patroni that requires one and has none demotes its primary, and is never elected.

    name
        The device.
    """
    why = __salt__["fanatico_patroni.watchdog"](name)["why"]
    if not why:
        return fanatico_state.answer(name, True, "Patroni can arm it")
    comment = (
        f"{_me()}: patroni:watchdog is required, and {why}. patroni.yml was left as it is. Next: name the driver in "
        "patroni:watchdog_module (softdog where the hardware has none), or set patroni:watchdog to automatic"
    )
    return fanatico_state.answer(name, False, comment)


# --- the settings in etcd


def settings_present(name, settings, timeout=30):
    """
    Keep the settings that all members share, which Patroni has in etcd: change what differs, take away what is not wanted.

    Done by the leader alone. PostgreSQL parameters that need a restart are named, and nothing is restarted.

    name
        The cluster's name.
    settings
        As ``PATCH /config`` takes them; a parameter that is null counts as not wanted.
    timeout
        Seconds to wait for a leader.
    """
    try:
        leader = _leader(0 if __opts__["test"] else timeout)
        if leader != _me():
            return fanatico_state.answer(name, True, f"{leader} leads and keeps the settings")
        changes, patch = fanatico_diff.patroni(settings, __salt__["fanatico_patroni.config"]())
        if not changes:
            return fanatico_state.answer(name, True, "the settings in etcd are as wanted")
        if __opts__["test"]:
            return fanatico_state.answer(name, None, "the settings in etcd would be changed", changes)
        before = _members()
        # Its answer is what was written; a question right after would be answered from the last loop's memory.
        left, _ = fanatico_diff.patroni(settings, __salt__["fanatico_patroni.patch_config"](patch))
        if left:
            taken = {key: one for key, one in changes.items() if key not in left}
            return fanatico_state.answer(
                name, False, f"{_me()}: Patroni did not take {', '.join(left)}", taken
            )
        return fanatico_state.answer(
            name, True, f"the settings in etcd were changed. {_restarts(before)}", changes
        )
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))


def _leader(timeout):
    def look():
        leader = __salt__["fanatico_patroni.leader"]()
        return leader is not None, leader or "no member leads"

    done, seen = fanatico_wait.until(look, timeout)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: the settings are kept by the leader, and there is none: {seen}. "
            f"Next: salt {_me()} fanatico_patroni.cluster"
        )
    return seen


def _members():
    """Return ``{id: what Patroni there says of itself}`` of the nodes where it answers."""
    nodes = fanatico_plan.nodes(__pillar__["plan"], "patroni")
    answers = {node: _try("fanatico_patroni.status", node) for node in nodes}
    return {node: answer for node, answer in answers.items() if answer}


def _restarts(before):
    """Say which members have to be restarted for what was changed, once each of them has been through two rounds."""
    rounds = 2 * fanatico_timing.resolved(_get("plan:timing"))["patroni"]["loop_wait"]
    seen = {}

    def look():
        seen.update(_members())
        late = [
            node
            for node, old in before.items()
            if seen.get(node, {}).get("dcs_last_seen", 0) < old.get("dcs_last_seen", 0) + rounds
        ]
        return not late, None

    fanatico_wait.until(look, 2 * rounds)
    pending = sorted(node for node, one in seen.items() if one.get("pending_restart"))
    if not pending:
        return "They are in force without a restart"
    return (
        f"A restart of PostgreSQL is needed on {', '.join(pending)} before all of them are in force; next, "
        "replicas first and one at a time: salt NODE fanatico_patroni.restart pending=True"
    )
