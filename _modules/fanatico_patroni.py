"""
Patroni, asked and told through its REST API.

Reading needs no password; what changes the cluster is sent with basic authentication. A question about the
cluster goes to this node first and to its peers where it does not answer.
"""

import pathlib
import pwd
import stat
import subprocess
import time

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_http
import fanatico_patroni_plan
import fanatico_plan
import fanatico_timing
import fanatico_verdict
import fanatico_wait

REST_USER = "patroni"
UNIT = "patroni.service"
RUNNING = ("running", "streaming")
DOWN = ("start failed", "restart failed", "crashed", "stopped")
WATCHDOG = "/dev/watchdog"
MAX_LAG = 16 * 1024**2  # bytes a replica may be behind


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _timing():
    return fanatico_timing.resolved(_get("plan:timing"))["patroni"]


def _me():
    return __opts__["id"]


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _nodes():
    """Return ``{id: address}`` of the Patroni nodes, this one first where it is one."""
    addresses = fanatico_plan.addresses(__pillar__["plan"], "patroni")
    return dict(sorted(addresses.items(), key=lambda item: item[0] != _me()))


def _url(address, path):
    return f"https://{address}:{_setting('plan:ports:patroni_rest')}/{path}"


def _tls():
    """Return what this node knows Patroni by and, on a database node, what Patroni knows it by."""
    return __salt__["fanatico_pki.paths"]("service")


def _auth():
    password = _get("secrets:PATRONI_REST_PASSWORD")
    if not password:
        raise CommandExecutionError(
            f"{_me()} has no PATRONI_REST_PASSWORD in its pillar, so Patroni takes no orders from it: "
            "run this on a node with the role patroni, or see `salt-run fanatico.secrets_init`"
        )
    return REST_USER, password


def wanted_config():
    """
    Return the dynamic configuration that the pillar wants: ``patroni:dynamic``, ``plan:timing`` and ``postgresql:parameters``.

    With a Patroni before 4.0, which has no ``synchronous_mode: quorum``, what comes nearest to it.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wanted_config
    """
    version = __salt__["pkg.version"]("patroni")
    return fanatico_patroni_plan.dynamic(__pillar__, _timing(), version)


def _data_directory():
    return fanatico_patroni_plan.data_directory(_setting("postgresql"))


def _ask(path, timeout, node=None):
    """GET ``path`` from ``node``, or from the first node that answers."""
    nodes = _nodes()
    if node is not None and node not in nodes:
        raise CommandExecutionError(f"{node} is not a Patroni node of the plan: it has {', '.join(nodes)}")
    failures = []
    for name in [node] if node else nodes:
        try:
            return fanatico_http.fetch("GET", _url(nodes[name], path), timeout=timeout, tls=_tls())
        except CommandExecutionError as exc:
            failures.append(f"{name}: {exc}")
    raise CommandExecutionError(
        f"{_me()}: Patroni does not answer. {'; '.join(failures)}. Next: systemctl status patroni"
    )


def _order(method, path, payload, timeout, node=None):
    """Send ``payload`` with authentication to ``node``, or to the first node that answers at all."""
    nodes = _nodes()
    if node is None:
        node = next((name for name in nodes if _alive(nodes[name])), next(iter(nodes)))
    return fanatico_http.fetch(method, _url(nodes[node], path), payload, _auth(), timeout, _tls())


def _alive(address):
    try:
        fanatico_http.get(_url(address, "liveness"), 1, _tls())
    except CommandExecutionError:
        return False
    return True


def status(node=None, timeout=2):
    """
    Return what Patroni on ``node`` (this one without one) says of itself.

    node
        A Patroni node of the plan.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.status
    """
    node = node or _me()
    address = _nodes().get(node)
    if address is None:
        raise CommandExecutionError(f"{node} is not a Patroni node of the plan")
    # /patroni answers 503 with the same body while PostgreSQL is not running.
    url = _url(address, "patroni")
    code, body = fanatico_http.get(url, timeout, _tls())
    if not isinstance(body, dict):
        raise CommandExecutionError(f"{url}: HTTP {code} and no status in it")
    return body


def local_state():
    """
    Return what this node holds: ``{"data_dir": bool, "active": bool, "leader": id or None}``.

    ``data_dir``: PostgreSQL has data here. ``active``: Patroni's unit runs. ``leader``: who leads, as far as any
    Patroni can tell; None where none answers.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.local_state
    """
    directory = pathlib.Path(_data_directory())
    try:
        now = leader(timeout=1)
    except CommandExecutionError:
        now = None
    return {
        "data_dir": (directory / "PG_VERSION").is_file(),
        "active": __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"] == "active",
        "leader": now,
    }


def cluster(timeout=2):
    """
    Return Patroni's view of the cluster: members with role, state, timeline and lag.

    timeout
        Seconds, for each node asked.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.cluster
    """
    return _ask("cluster", timeout)


def leader(timeout=2):
    """
    Return the id of the leader, or None while there is none.

    timeout
        Seconds, for each node asked.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.leader
    """
    return _leader_of(cluster(timeout))


def _leader_of(view):
    roles = ("leader", "standby_leader")
    return next((member["name"] for member in view.get("members", []) if member.get("role") in roles), None)


def history(timeout=2):
    """
    Return the failovers Patroni remembers, oldest first: timeline, LSN, reason, time, new leader.

    timeout
        Seconds, for each node asked.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.history
    """
    names = ("timeline", "lsn", "reason", "time", "new_leader")
    return [dict(zip(names, line, strict=False)) for line in _ask("history", timeout) or []]


def config(timeout=2):
    """
    Return the dynamic configuration, as it stands in etcd.

    timeout
        Seconds, for each node asked.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.config
    """
    return _ask("config", timeout)


def patch_config(settings, timeout=5):
    """
    Change settings of the dynamic configuration and return all of it as it stands then.

    settings
        Merged into the configuration; None deletes a key.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.patch_config '{"loop_wait": 2, "postgresql": {"use_slots": null}}'
    """
    return _order("PATCH", "config", settings, timeout)


def reload(timeout=10):
    """
    Have Patroni on this node read its configuration file again.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.reload
    """
    return str(_order("POST", "reload", {}, timeout, _me())).strip()


def restart(pending=False, timeout=120):
    """
    Restart PostgreSQL on this node through Patroni.

    pending
        Only where a changed setting asks for it.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db2 fanatico_patroni.restart pending=True
    """
    try:
        said = _order("POST", "restart", {"restart_pending": True} if pending else {}, timeout, _me())
    except CommandExecutionError as exc:
        why = complaint("-1min")
        raise CommandExecutionError(f"{exc}. PostgreSQL says: {why}" if why else str(exc)) from exc
    return str(said).strip()


def complaint(since="-10min"):
    """
    Return the last FATAL or PANIC of PostgreSQL's own processes on this node; empty where there is none.

    What sessions have caused is left out: their users could have written it.

    since
        How far back, as ``journalctl --since`` takes it.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.complaint
    """
    return fanatico_patroni_plan.complaint(said_by_postgresql(since))


def said_by_postgresql(since="-10min"):
    """
    Return the last lines in PostgreSQL's log on this node that its own processes and Patroni's sessions wrote, oldest first.

    Those of other sessions are left out by journalctl: as many as there are, they push nothing out.

    since
        How far back, as ``journalctl --since`` takes it.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.said_by_postgresql
    """
    words = ["-u", UNIT, "-n", "200", "--no-pager", "-o", "cat", f"--since={since}"]
    argv = ["journalctl", *words, f"--grep={fanatico_patroni_plan.own_lines()}"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    # With --grep, -n gives the newest first.
    return "\n".join(reversed(said.splitlines()))


def watchdog(device=WATCHDOG):
    """
    Return ``{"armed": bool, "why": str}``: whether Patroni has the watchdog open, and why it could not arm it (empty: it could).

    The device is not opened: that would start it.

    device
        Its path.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.watchdog
    """
    armed = _holds(__salt__["fanatico_unit.states"](UNIT)[UNIT].get("pid"), device)
    return {"armed": armed, "why": "" if armed else _unusable_watchdog(pathlib.Path(device))}


def _holds(pid, path):
    """Tell whether a process has a file open."""
    try:
        return bool(pid) and any(
            str(one.readlink()) == path for one in pathlib.Path(f"/proc/{pid}/fd").iterdir()
        )
    except OSError:
        return False


def _unusable_watchdog(path):
    try:
        facts = path.stat()
        owner = pwd.getpwnam("postgres").pw_uid
    except OSError:
        return f"there is no {path}"
    except KeyError:
        return "there is no user postgres"
    if not stat.S_ISCHR(facts.st_mode):
        return f"{path} is no device"
    if not (facts.st_mode & stat.S_IWOTH or (facts.st_uid == owner and facts.st_mode & stat.S_IWUSR)):
        return f"postgres may not write to {path}"
    try:
        # /dev/watchdog is the first of them.
        state = pathlib.Path("/sys/class/watchdog/watchdog0/state").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    return f"something else holds {path} (RuntimeWatchdogSec= of systemd?)" if state == "active" else ""


def reinitialize(force=False, timeout=30):
    """
    Throw away this replica's data and have Patroni copy it anew from the cluster. The leader refuses.

    force
        Also while a copy is already under way.
    timeout
        Seconds, for the order; wait for the end with ``fanatico_patroni.wait_streaming``.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.reinitialize
    """
    return str(_order("POST", "reinitialize", {"force": force}, timeout, _me())).strip()


def switchover(candidate=None, timeout=60):
    """
    Hand the leadership over and return the id of the new leader.

    candidate
        The node to lead; the healthiest replica without one.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.switchover db2
    """
    old = leader()
    if old is None:
        raise CommandExecutionError(f"{_me()}: there is no leader to hand over from")
    if old == candidate:
        return candidate
    order = {"leader": old, **({"candidate": candidate} if candidate else {})}
    answer = _order("POST", "switchover", order, timeout)
    done, seen = fanatico_wait.until(lambda: _new_leader(old, candidate), timeout, 0.25)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: switchover from {old} to {candidate or 'any'}: "
            f"Patroni said {str(answer).strip()!r}, but {seen}"
        )
    return seen


def _new_leader(old, candidate):
    now = leader()
    done = now == candidate if candidate else now not in (None, old)
    return done, now if done else f"the leader is {now}"


def pause(timeout=5):
    """
    Stop Patroni from failing over or restarting anything, on all nodes, until ``resume``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.pause
    """
    return patch_config({"pause": True}, timeout).get("pause", False)


def resume(timeout=5):
    """
    Let Patroni act again after ``pause``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.resume
    """
    return not patch_config({"pause": None}, timeout).get("pause", False)


def wait_leader(timeout=90):
    """
    Wait until the cluster has a running leader and return its id.

    timeout
        Seconds; then ``CommandExecutionError`` with what was seen and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wait_leader
    """

    def seen():
        view = cluster(timeout=1)
        name = _leader_of(view)
        state = next((one.get("state") for one in view["members"] if one["name"] == name), None)
        done = state in RUNNING
        return done, name if done else _describe(view)

    return _wait(seen, timeout, "a running Patroni leader")


def wait_streaming(timeout=120, members=None):
    """
    Wait until the leader runs and every other member streams from it, and return ``{id: role}``.

    timeout
        Seconds; then ``CommandExecutionError`` with what was seen and the last lines of the journal.
    members
        The ids awaited; all Patroni nodes of the plan without them.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_patroni.wait_streaming
    """
    awaited = list(members or _nodes())

    def seen():
        view = cluster(timeout=1)
        by_name = {one["name"]: one for one in view["members"]}
        missing = [
            name for name in awaited if by_name.get(name, {}).get("state") not in _good(by_name.get(name))
        ]
        done = not missing and _leader_of(view) is not None
        return done, {name: by_name[name]["role"] for name in awaited} if done else _describe(view)

    return _wait(seen, timeout, f"{', '.join(sorted(awaited))} to run and stream")


def _good(member):
    """Return the states in which ``member`` does its part: a replica has to stream."""
    return RUNNING if member and member.get("role") in ("leader", "standby_leader") else ("streaming",)


def _describe(view):
    """Return a cluster view in one line."""
    members = [f"{one['name']} {one.get('role')} {one.get('state')}" for one in view.get("members", [])]
    return ", ".join(members) or "no member yet"


def _wait(look, timeout, awaited):
    done, seen = fanatico_wait.until(look, timeout)
    if done:
        return seen
    journal = __salt__["fanatico.journal"]("patroni")
    raise CommandExecutionError(fanatico_wait.ran_out(_me(), awaited, timeout, seen, "patroni", journal))


def look(timeout=2):
    """
    Look at Patroni once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.look
    """
    address = _nodes()[_me()]
    get, fetch = fanatico_http.get, fanatico_http.fetch
    tls = _tls()
    answers = fanatico_wait.gather(
        {
            "patroni": lambda: get(_url(address, "patroni"), timeout, tls)[1],
            "liveness": lambda: get(_url(address, "liveness"), timeout, tls)[0],
            "cluster": lambda: fetch("GET", _url(address, "cluster"), timeout=timeout, tls=tls),
        },
        timeout * 1.5,
    )
    facts = {name: value for name, (value, error) in answers.items() if error is None}
    facts["errors"] = {name: str(error) for name, (_, error) in answers.items() if error is not None}
    if isinstance(facts.get("patroni"), dict) and facts["patroni"].get("state") in DOWN:
        facts["complaint"] = complaint()
    if _get("patroni:watchdog") == "required":
        facts["watchdog"] = watchdog()
    facts["aside"] = fanatico_aside.kept(_data_directory())
    return {
        "facts": facts,
        "checks": _judge(facts, _me(), sorted(_nodes()), time.time(), _timing()["ttl"]),
    }


def checks(timeout=2):
    """
    Return the checks of Patroni on this node, ``{name: check}``.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.checks
    """
    return look(timeout)["checks"]


def _judge(facts, me, expected, now, ttl):
    """
    Return the checks for what Patroni on ``me`` said.

    ``expected`` are the members the plan has, ``now`` the time in seconds since 1970, ``ttl`` seconds.
    """
    own, errors = facts.get("patroni"), facts["errors"]
    if not isinstance(own, dict) or "liveness" not in facts:
        reason = errors.get("patroni") or errors.get("liveness") or "no status in its answer"
        return {
            "patroni.alive": fanatico_verdict.critical(
                None, reason, "systemctl status patroni; journalctl -u patroni -n 50"
            )
        }
    found = {
        "patroni.state": _judge_state(own, facts.get("complaint")),
        "patroni.etcd": _judge_etcd(own, now, ttl),
    }
    if facts["liveness"] == 200:
        found["patroni.alive"] = fanatico_verdict.ok(own.get("patroni", {}).get("version"), "its loop runs")
    else:
        said = facts["liveness"]
        found["patroni.alive"] = fanatico_verdict.critical(
            None, f"its loop has not run for {ttl} s (/liveness says {said})", "systemctl restart patroni"
        )
    if "cluster" in facts:
        found.update(_judge_cluster(facts["cluster"], expected))
    else:
        found["patroni.leader"] = fanatico_verdict.critical(
            None, errors["cluster"], "salt 'etcd*' fanatico.health"
        )
    found["patroni.pause"] = fanatico_verdict.ok(False, "it acts by itself")
    if own.get("pause"):
        hint = f"salt {me} fanatico_patroni.resume"
        found["patroni.pause"] = fanatico_verdict.degraded(True, "paused: nothing fails over", hint)
    found["patroni.restart"] = fanatico_verdict.ok(False, "no restart is due")
    if own.get("pending_restart"):
        detail = "PostgreSQL has to be restarted for a changed setting to hold"
        found["patroni.restart"] = fanatico_verdict.degraded(
            True, detail, f"salt {me} fanatico_patroni.restart pending=True"
        )
    if "watchdog" in facts:
        found["patroni.watchdog"] = _judge_watchdog(own, facts["watchdog"])
    if facts.get("aside"):
        detail = f"{', '.join(facts['aside'])}: what a cure replaced, whose end was not proven"
        hint = f"once {me} streams: salt {me} fanatico_cure.forget replica-lost"
        found["patroni.aside"] = fanatico_verdict.degraded(facts["aside"], detail, hint)
    return found


def _judge_watchdog(own, watchdog):
    """Return the check of a watchdog that is required: a primary has it armed, a replica could arm it."""
    armed, why = watchdog["armed"], watchdog["why"]
    if not armed and own.get("watchdog_failed"):
        why = why or "Patroni may not write to it"
    if why:
        hint = "patroni:watchdog_module in pillar/patroni.sls; journalctl -u patroni -n 50"
        return fanatico_verdict.degraded(armed, f"required, and this member cannot lead: {why}", hint)
    if own.get("role") in ("master", "primary") and not armed:
        return fanatico_verdict.degraded(
            False, "the primary runs without its watchdog", "it is off while Patroni is paused"
        )
    return fanatico_verdict.ok(armed, "armed: this host is reset if its Patroni hangs" if armed else "ready")


def _judge_state(own, complaint):
    """Return the check of this node's own PostgreSQL, as its Patroni sees it, with the cause that PostgreSQL itself gave."""
    role, state = own.get("role", "unknown"), own.get("state", "unknown")
    if state != "running":
        why = f": {complaint}" if complaint else ""
        return fanatico_verdict.critical(
            f"{role} {state}", f"PostgreSQL is {state}{why}", "journalctl -u patroni -n 50"
        )
    replication = own.get("replication_state")
    if role == "replica" and replication != "streaming":
        return fanatico_verdict.degraded(
            f"replica {replication or 'not streaming'}",
            f"this replica does not stream ({replication or 'no connection to the primary'})",
            "journalctl -u patroni -n 50; salt-call fanatico_patroni.reinitialize copies it anew",
        )
    return fanatico_verdict.ok(f"{role} {replication or state}", f"{role}, {replication or state}")


def _judge_etcd(own, now, ttl):
    """Return the check of Patroni's way to etcd."""
    seen = own.get("dcs_last_seen")
    if seen is None:
        return fanatico_verdict.unknown(None, "Patroni does not say when it last saw etcd")
    age = max(0, round(now - seen))
    judge, hint = (
        (fanatico_verdict.degraded, "salt 'etcd*' fanatico.health")
        if age >= ttl
        else (fanatico_verdict.ok, "")
    )
    return judge(age, f"etcd was last seen {age} s ago", hint)


def _judge_cluster(view, expected):
    """Return the checks of leader, members, lag and timeline, for the view ``/cluster`` gives."""
    members = {one["name"]: one for one in view["members"]}
    found = {"patroni.leader": fanatico_verdict.ok(_leader_of(view), f"{_leader_of(view)} leads")}
    if _leader_of(view) is None:
        hint = "salt 'db*' fanatico_patroni.status; salt 'etcd*' fanatico.health"
        found["patroni.leader"] = fanatico_verdict.critical(None, "no leader holds the lock", hint)

    poor = {
        name: members[name].get("state", "unknown") if name in members else "missing"
        for name in expected
        if name not in members or members[name].get("state") not in _good(members[name])
    }
    found["patroni.members"] = fanatico_verdict.ok([], f"{', '.join(expected)} run and stream")
    if poor:
        detail = ", ".join(f"{name} is {state}" for name, state in poor.items())
        found["patroni.members"] = fanatico_verdict.degraded(
            sorted(poor), detail, f"salt -L {','.join(poor)} fanatico.health"
        )

    lags = {name: one["lag"] for name, one in members.items() if isinstance(one.get("lag"), int)}
    slowest = max(lags, key=lags.get, default=None)
    lag = lags.get(slowest, 0)
    found["patroni.lag"] = fanatico_verdict.ok(lag, f"at most {lag} bytes behind")
    if lag > MAX_LAG:
        detail = f"{slowest} is {lag / 1024**2:.0f} MiB behind"
        found["patroni.lag"] = fanatico_verdict.degraded(lag, detail, f"salt {slowest} fanatico.health")

    timelines = {name: one["timeline"] for name, one in members.items() if one.get("timeline")}
    newest = max(timelines.values(), default=None)
    old = sorted(name for name, timeline in timelines.items() if timeline != newest)
    found["patroni.timeline"] = fanatico_verdict.ok(newest, f"all on timeline {newest}")
    if old:
        found["patroni.timeline"] = fanatico_verdict.degraded(
            newest,
            f"{', '.join(old)} not on timeline {newest}",
            f"wait a moment; then salt {old[0]} fanatico_patroni.reinitialize copies it anew",
        )
    return found
