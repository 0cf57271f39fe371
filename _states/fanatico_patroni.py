"""
Patroni: whether this node belongs to the running cluster, and the cluster settings in etcd.
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
# The roles that other members may log in as. The superuser logs in through the local socket only.
TESTED_ROLES = ("replicator", "rewind")


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _me():
    return __opts__["id"]


def _try(function, *args, **kwargs):
    """Return the result of an execution module function, or None if its service does not answer."""
    try:
        return __salt__[function](*args, **kwargs)
    except CommandExecutionError:
        return None


# --- membership of this node


def accepted(name, data_dir, bin_dir, timeout=30):
    """
    Check that an existing cluster of this name is this node's cluster and accepts its passwords. Changes nothing.

    A running member with the passwords of its pillar has proved both; only other nodes query the leader.

    name
        The name of the cluster (Patroni's scope).
    data_dir
        The data directory of PostgreSQL; it may not exist yet.
    bin_dir
        The directory of ``pg_controldata``.
    timeout
        Seconds to wait for a leader if the cluster exists and this node has no data.
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
            name,
            False,
            f"{_me()}: {known}. Next: pin a version in the pillar (etcd:version or patroni:version)",
        )
    state = (_try("fanatico_patroni.status") or {}).get("state")
    if state in ("running", "streaming", "in archive recovery") and _in_use() == wanted:
        return fanatico_state.answer(name, True, f"{_me()} is a member of the cluster")
    try:
        leader = _compatible_leader(name, data_dir, bin_dir, 0 if __opts__["test"] else timeout)
        if leader:
            _test_logins(leader)
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))
    accepted_by = (
        f"the leader {leader} accepts {_me()}"
        if leader
        else f"there is no leader, and {_me()} may found the cluster"
    )
    return fanatico_state.answer(name, True, accepted_by)


def _broken_pair():
    """Return why the versions of Patroni and etcd do not work together, or None."""
    members = (_try("fanatico_etcd.status") or {}).values()
    versions = sorted({member["version"] for member in members if member.get("version")})
    patroni = __salt__["pkg.version"]("patroni")
    found = (fanatico_validate.broken_pair(etcd, patroni) for etcd in versions)
    return next((why for why in found if why), None)


def _in_use():
    """Return the passwords in the current configuration of Patroni."""
    path = pathlib.Path(CONFIGURATION)
    if not path.exists():
        return None
    configuration = salt.utils.yaml.safe_load(path.read_text(encoding="utf-8"))
    return fanatico_patroni_plan.passwords(configuration)


def _compatible_leader(name, data_dir, bin_dir, timeout):
    """Return the leader of this node's cluster, or None if this node may be the first; otherwise raise an error."""
    local = _system_identifier(data_dir, bin_dir)
    key = f"/service/{name}/initialize"

    def check():
        initialize = __salt__["fanatico_etcd.get"](key)
        leader = _try("fanatico_patroni.leader")
        verdict, why = fanatico_patroni_plan.judge(_me(), key, initialize, local, leader)
        return verdict != "wait", (verdict, why, leader)

    done, seen = fanatico_wait.until(check, timeout, interval=1)
    if isinstance(seen, str):
        raise CommandExecutionError(f"{seen} (Patroni cannot start without etcd)")
    verdict, why, leader = seen
    if verdict == "ok":
        return leader
    raise CommandExecutionError(why if done else f"{why} (waited {timeout} s)")


def _system_identifier(data_dir, bin_dir):
    if not (pathlib.Path(data_dir) / "global" / "pg_control").exists():
        return None
    output = __salt__["cmd.run_stdout"]([f"{bin_dir}/pg_controldata", "-D", data_dir], python_shell=False)
    return fanatico_patroni_plan.system_identifier(output)


def _test_logins(leader):
    """Raise an error if the leader refuses the passwords in the pillar. A leader that does not answer is not an error here."""
    address = fanatico_plan.address(__pillar__["plan"], leader)
    refused = []
    for role in TESTED_ROLES:
        try:
            __salt__["fanatico_postgres.query"]("SELECT 1", user=role, host=address)
        except CommandExecutionError as exc:
            if getattr(exc, "code", "") == "password-refused":
                refused.append(role)
    if refused:
        replace = """state.apply postgresql.roles pillar='{"postgresql": {"replace_passwords": true}}'"""
        raise CommandExecutionError(
            f"{_me()}: the leader {leader} refuses {' and '.join(refused)} with the password in this node's pillar: the cluster "
            "was founded with other secrets, or a password was changed in PostgreSQL. patroni.yml was not changed. Next: import "
            "the cluster's passwords into the pillar: salt-run fanatico.secrets_import. To set the pillar's passwords in the "
            f"cluster instead: salt {leader} {replace}, then a highstate of all database nodes"
        )


def watchdog_usable(name):
    """
    Check that Patroni can use the watchdog of this host, before patroni.yml requires it. Changes nothing.

    If Patroni requires a watchdog and has none, it demotes its primary and never becomes leader.

    name
        The watchdog device.
    """
    why = __salt__["fanatico_patroni.watchdog"](name)["why"]
    if not why:
        return fanatico_state.answer(name, True, f"Patroni can use the watchdog {name}")
    comment = (
        f"{_me()}: patroni:watchdog is required, but {why}. patroni.yml was not changed. Next: name the driver in "
        "patroni:watchdog_module (softdog if the hardware has none), or set patroni:watchdog to automatic"
    )
    return fanatico_state.answer(name, False, comment)


# --- the settings in etcd


def settings_present(name, settings, timeout=30):
    """
    Ensure the cluster settings that Patroni keeps in etcd: change settings that differ, remove settings that are not listed.

    Only the leader makes changes. Members that need a restart of PostgreSQL are named in the comment; nothing is restarted.

    name
        The name of the cluster.
    settings
        The settings in the form of ``PATCH /config``. A parameter with the value null is removed.
    timeout
        Seconds to wait for a leader.
    """
    try:
        leader = _leader(0 if __opts__["test"] else timeout)
        if leader != _me():
            return fanatico_state.answer(name, True, f"the leader {leader} manages the settings")
        changes, patch = fanatico_diff.patroni(settings, __salt__["fanatico_patroni.config"]())
        if not changes:
            return fanatico_state.answer(name, True, "the settings in etcd match the pillar")
        if __opts__["test"]:
            return fanatico_state.answer(name, None, "the settings in etcd would be changed", changes)
        before = _members()
        # The response contains what was written. A separate request would be answered from the cache of the last loop.
        left, _ = fanatico_diff.patroni(settings, __salt__["fanatico_patroni.patch_config"](patch))
        if left:
            applied = {key: change for key, change in changes.items() if key not in left}
            return fanatico_state.answer(
                name,
                False,
                f"{_me()}: Patroni did not accept {', '.join(left)}. Next: journalctl -u patroni",
                applied,
            )
        return fanatico_state.answer(
            name, True, f"the settings in etcd were changed. {_restarts(before)}", changes
        )
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))


def _leader(timeout):
    def find():
        leader = __salt__["fanatico_patroni.leader"]()
        return leader is not None, leader or "no leader"

    done, seen = fanatico_wait.until(find, timeout)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: only the leader changes the settings in etcd, and the cluster has no leader: {seen}. "
            f"Next: salt {_me()} fanatico_patroni.cluster"
        )
    return seen


def _members():
    """Return ``{node: status of Patroni}`` of the nodes where Patroni answers."""
    nodes = fanatico_plan.nodes(__pillar__["plan"], "patroni")
    answers = {node: _try("fanatico_patroni.status", node) for node in nodes}
    return {node: answer for node, answer in answers.items() if answer}


def _restarts(before):
    """Return the sentence about members that need a restart, after each of them has completed two loops."""
    rounds = 2 * fanatico_timing.resolved(_get("plan:timing"))["patroni"]["loop_wait"]
    seen = {}

    def check():
        seen.update(_members())
        late = [
            node
            for node, old in before.items()
            if seen.get(node, {}).get("dcs_last_seen", 0) < old.get("dcs_last_seen", 0) + rounds
        ]
        return not late, None

    fanatico_wait.until(check, 2 * rounds)
    pending = sorted(node for node, status in seen.items() if status.get("pending_restart"))
    if not pending:
        return "They are in force without a restart"
    return (
        f"A restart of PostgreSQL is needed on {', '.join(pending)} before all settings are in force. Next, replicas first "
        "and one node at a time: salt NODE fanatico_patroni.restart pending=True"
    )
