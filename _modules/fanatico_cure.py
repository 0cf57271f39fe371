"""
What is wrong with this node although its units run, and the cures: each looks again first, and proves what it did.

The names are those of ``fanatico_guard.CURES``, which says what has to be left standing.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_etcd_plan
import fanatico_file
import fanatico_guard
import fanatico_http
import fanatico_patroni_plan
import fanatico_plan
import fanatico_wait

__virtualname__ = "fanatico_cure"

_ASK = 1  # seconds; the beacon's process waits for the answer
_LOOPS = 4  # restarts by systemd, which a unit that stays up does not come to
_LATEST = 10  # seconds for a chain node's answer; one that is later is slow, which health says, and not hung
_HANGS = 5  # seconds without what comes twice a second: more than a busy machine makes of it

# What may go when a disk is full: what can be had again.
_SPARE_CACHES = ("/var/cache/apt/archives",)
_KEEPS = 86400  # seconds for which journals and core dumps stay, whatever else fills the disk


def __virtual__():
    return __virtualname__


def _roles():
    return fanatico_plan.roles(__pillar__["plan"], __opts__["id"])


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def symptoms(states=None):
    """
    Return what is wrong with this node beside units that are down, ``{fault: what was seen}``.

    Cheap enough for the beacon: some files, and one short question to each service.

    states
        What ``fanatico_unit.states`` has just returned, for as many units as the caller knows; others are asked for.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.symptoms
    """
    return _look(fanatico_guard.cheap(_roles()), states, {**_SYMPTOMS, "rpc-hung": _rpc_owes})


def _look(faults, states=None, symptoms_of=None):
    found = {}
    __context__[_ANSWERS] = dict(states or {})
    try:
        for fault in faults:
            try:
                seen = (symptoms_of or _SYMPTOMS)[fault]()
            except (CommandExecutionError, OSError, ValueError, LookupError, subprocess.SubprocessError):
                seen = ""  # it could not be told; `fanatico.health` says why, and nothing is done about it
            if seen:
                found[fault] = seen
    finally:
        del __context__[_ANSWERS]
    return found


_ANSWERS = "fanatico_cure.answers"


def _once(question, ask):
    """Return the answer that the look under way has had already, or ask: a TLS handshake costs more than all the rest."""
    answers = __context__.get(_ANSWERS)
    if answers is None:
        return ask()
    if question not in answers:
        try:
            answers[question] = ask()
        except CommandExecutionError as exc:
            answers[question] = exc
    if isinstance(answers[question], CommandExecutionError):
        raise answers[question]
    return answers[question]


def _patroni():
    return _once("patroni", lambda: __salt__["fanatico_patroni.status"](timeout=_ASK))


def _keepalived():
    return _once("keepalived", lambda: __salt__["fanatico_keepalived.state"](_ASK))


def _unit(name):
    return _once(name, lambda: __salt__["fanatico_unit.states"](name)[name])


def found():
    """
    Return all that is wrong with this node, ``{unit or fault: what was seen}``, for ``salt-run fanatico.reconcile``.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.found
    """
    units = __salt__["fanatico_unit.states"]()
    down = {
        unit: f"{one['active']} ({one['result']})"
        for unit, one in units.items()
        if one["down"] and one["enabled"] == "enabled" and one["tried"]
    }
    return {**down, **_look(fanatico_guard.own(_roles()))}


def reported():
    """
    Return what the beacon has reported lately and still sees, ``{unit or fault: why}``, for ``salt-run fanatico.look``.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.reported
    """
    path = pathlib.Path(__opts__["cachedir"], _REPORTED)
    known = fanatico_file.read_json(path)
    return {what: one["why"] for what, one in known.items() if time.time() - one["when"] < _FRESH}


_REPORTED = "fanatico-reported.json"  # as in the beacon, which writes it
_FRESH = 150  # seconds; the beacon repeats itself every minute


def bare():
    """
    Return why this host is not what its roles make of it, as one that was made anew is not; empty where it is.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_cure.bare
    """
    overrides = _get("heal:units")
    first = [fanatico_guard.units([role], overrides)[:1] for role in _roles()]
    units = [unit for one in first for unit in one]
    missing = (
        [unit for unit, one in __salt__["fanatico_unit.states"](*units).items() if one["load"] == "not-found"]
        if units
        else []
    )
    return f"{' and '.join(missing)} is not installed" if missing else ""


def apply(what, samples=None, timeout=60):
    """
    Cure one fault of this node if it still has it, and prove that it is gone.

    what
        A fault that ``symptoms`` names, or a unit that is down.
    samples
        So many looks in a row must find it gone; pillar ``heal:samples`` without it.
    timeout
        Seconds for all of it.

    Returns ``{"acted": bool, "running": bool, "took": seconds, "did": str, "detail": str}``. ``running`` is whether all is well
    with it now; ``detail`` says what is not. ``instead`` is there where a unit must not be started before another fault is
    cured, and names that; nothing was done then.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_cure.apply etcd-full
    """
    samples = _setting("heal:samples") if samples is None else samples
    if what not in _SYMPTOMS:
        cause = _CAUSES.get(what)
        seen = _SYMPTOMS[cause]() if cause else ""
        if seen:
            return {
                "acted": False,
                "running": False,
                "took": 0.0,
                "did": "",
                "detail": seen,
                "instead": cause,
            }
        return {**__salt__["fanatico_unit.start"](what, samples, timeout), "did": "started again"}
    begun = time.monotonic()
    seen = _SYMPTOMS[what]()
    if seen and what not in _CURES:
        return {"acted": False, "running": False, "took": 0.0, "did": "", "detail": seen}
    if not seen:
        return {"acted": False, "running": True, "took": 0.0, "did": "", "detail": ""}
    did = _CURES[what](timeout)
    look = _in_a_row(_PROOFS.get(what, lambda: _SYMPTOMS[what]()), 1 if what in _ONE_LOOK else samples)
    ended, last = fanatico_wait.until(
        _or_hopeless(look, _HOPELESS.get(what)), timeout - (time.monotonic() - begun), 0.5
    )
    gone = ended and not last
    if gone and what in _REPLACED:
        fanatico_aside.forget(_REPLACED[what]())
    took = round(time.monotonic() - begun, 2)
    detail = "" if gone else f"{what} after {took} s, {did}: {last}"
    return {"acted": True, "running": gone, "took": took, "did": did, "detail": detail}


def forget(what):
    """
    Remove what a cure of this node has put aside, now that its replacement is proven. Returns the bytes that were removed.

    what
        The fault that was cured: ``replica-lost``, ``etcd-data-lost``.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_cure.forget replica-lost
    """
    if what not in _REPLACED:
        return 0
    bad = _PROOFS[what]()
    if bad:
        raise CommandExecutionError(f"{__opts__['id']}: {bad}, so what was put aside stays")
    return fanatico_aside.forget(_REPLACED[what]())


def _or_hopeless(look, hopeless):
    """Return a look for ``fanatico_wait.until`` that also ends, with the reason, once the cure can do no more."""

    def again():
        done, seen = look()
        why = hopeless() if hopeless and not done else ""
        return bool(done or why), why or seen

    return again


def _in_a_row(look, samples):
    """Return a look for ``fanatico_wait.until`` that is done once ``look`` has found nothing so many times in a row."""
    good = 0

    def again():
        nonlocal good
        try:
            seen = look()
        except Exception:
            good = 0
            raise
        good = 0 if seen else good + 1
        return good >= samples, seen

    return again


def _active(unit):
    return _unit(unit)["active"] == "active"


def _silent(unit, ask):
    """Return what was heard of a service whose unit runs and that does not answer; empty where it answers, or refuses at once."""
    if not _active(unit):
        return ""
    try:
        ask()
    except CommandExecutionError as exc:
        # One that has just been started does not listen yet.
        return str(exc) if fanatico_http.unanswered(exc) else ""
    return ""


def _run(*command, timeout=20):
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def _apply_states(sls=None):
    """Have states put something in order here, or all of them; raises with what failed."""
    # Said, since the dry run that looked for drift in this very process may have left it behind as the default.
    answer = __salt__["state.apply"](*([sls] if sls else []), queue=True, test=False)
    what = sls or "the highstate"
    if not isinstance(answer, dict):
        raise CommandExecutionError(f"{__opts__['id']}: {what}: {answer}")
    bad = [one["comment"] for one in answer.values() if one.get("result") is False]
    if bad:
        raise CommandExecutionError(f"{__opts__['id']}: {what}: {bad[0]}")
    return f"{what} applied"


# --- any node


def _drift():
    """What has drifted and may be put right without a person, by pillar ``heal:correct``."""
    kinds = _setting("heal:correct")
    components = __salt__["fanatico_node.correctable"](kinds) if kinds else {}
    return f"drifted: {', '.join(components)}" if components else ""


def _correct(timeout):
    components = __salt__["fanatico_node.correctable"](_setting("heal:correct"))
    _apply_states([sls for one in components.values() for sls in one])
    return f"{', '.join(components)} put right"


def _build(timeout):
    return _apply_states()


def _unwell():
    """Return what is not yet well with a host that was built anew."""
    health = __salt__["fanatico.health"]()
    bad = [one["detail"] for one in health["checks"].values() if one["status"] != "ok"]
    streams = _replica_streams() if "patroni" in _roles() else ""
    return bad[0] if bad else streams


def _certificate_ending():
    """A certificate that should have been renewed by the nightly job, and was not: half of that time is over."""
    owed = _setting("pki:renew_days") / 2
    ending = {
        name: one["days"]
        for name, one in __salt__["fanatico_pki.look"]().items()
        if one["reasons"] and (one["days"] is None or one["days"] < owed)
    }
    told = ", ".join(
        f"{name} in {days} days" if days is not None else f"{name} is unreadable"
        for name, days in ending.items()
    )
    return f"certificates end: {told}" if ending else ""


def _certify(timeout):
    return _apply_states("roles.certified")


def _disk_full():
    check = __salt__["fanatico_node.disk"]()
    return check["detail"] if check["status"] == "critical" else ""


def _make_room(timeout):
    """
    Let go of what can be had again: packages that were installed from, journals and core dumps older than a day.

    What was written today stays: whoever looks for the cause needs it. Says which files are the largest: one of them is it.
    """
    before = shutil.disk_usage("/").free
    for folder in _SPARE_CACHES:
        for path in pathlib.Path(folder).glob("*.deb"):
            path.unlink(missing_ok=True)
    _run("journalctl", "--rotate", f"--vacuum-time={_KEEPS}s", timeout=timeout)
    for path in pathlib.Path("/var/lib/systemd/coredump").glob("core.*"):
        if time.time() - path.stat().st_mtime > _KEEPS:
            path.unlink(missing_ok=True)
    room = (shutil.disk_usage("/").free - before) / 1024**2
    largest = ", ".join(f"{path} {size / 1024**2:.0f} MiB" for size, path in _largest_files(timeout / 4))
    return f"{room:.0f} MiB of packages, old journals and core dumps removed; the largest files: {largest}"


def _largest_files(seconds, count=3):
    """Return ``[(bytes, path), ...]`` of the largest files on the disk of ``/``, as far as it can be read in the time."""
    until, device, found = time.monotonic() + seconds, os.stat("/").st_dev, []
    for folder, names, files in os.walk("/"):
        if time.monotonic() > until:
            break
        names[:] = [name for name in names if _device(os.path.join(folder, name)) == device]
        sizes = [(_disk_use(os.path.join(folder, name)), os.path.join(folder, name)) for name in files]
        found = sorted([*found, *sizes], reverse=True)[:count]
    return found


def _device(path):
    try:
        return os.lstat(path).st_dev
    except OSError:
        return None


def _disk_use(path):
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0


def _firewall_gone():
    """Somebody has flushed nftables, by hand or by its own unit. Rules that were changed are shown by health, not undone."""
    if not __salt__["fanatico_firewall.present"]():
        return ""
    listed = _run("nft", "list", "tables", "inet", timeout=5)
    if listed.returncode or "table inet fanatico\n" in listed.stdout:
        return ""
    return "the table inet fanatico is not in the kernel: this host has no firewall"


def _load_firewall(timeout):
    _run("systemctl", "restart", "fanatico-firewall", timeout=timeout)
    return "the confirmed rules loaded again"


# --- etcd


def _etcd_directory():
    return pathlib.Path(_setting("etcd:data_dir"))


def _etcd_data_lost():
    directory = _etcd_directory()
    if not directory.is_dir():
        return ""  # never installed, or not mounted: nothing to join with
    unit = _unit("etcd.service")
    if not any(directory.glob("member/wal/*.wal")):
        return f"{directory} holds no write-ahead log" if unit["tried"] else ""
    if unit["active"] != "active":
        said = _run("journalctl", "-u", "etcd", "-n", "60", "--no-pager", "-o", "cat", "--since=-2min").stdout
        return fanatico_etcd_plan.damaged(said)
    return ""


def _rejoin_etcd(timeout):
    """Put aside what is left of the data, and come back as a new member: the others have everything."""
    __salt__["service.stop"]("etcd")
    left = _etcd_directory() / "member"
    if left.exists():
        try:
            fanatico_aside.put(left)
        except (ValueError, OSError, subprocess.SubprocessError) as exc:
            raise CommandExecutionError(f"{__opts__['id']}: {exc}") from exc
    return _apply_states("roles.etcd")


def _etcd_votes():
    health = __salt__["fanatico_etcd.look"](_ASK)["checks"]
    bad = [
        one["detail"]
        for name, one in health.items()
        if name in ("etcd.serving", "etcd.member") and one["status"] != "ok"
    ]
    return bad[0] if bad else _etcd_data_lost()


def _etcd_full():
    errors = __salt__["fanatico_etcd.own_errors"](_ASK)
    return next((error for error in errors if "NOSPACE" in error), "")


def _make_room_in_etcd(timeout):
    return __salt__["fanatico_etcd.make_room"](timeout / 4)


# --- Patroni


def _patroni_hung():
    return _silent("patroni.service", _patroni)


def _restart_patroni(timeout):
    """End it as a crash would: PostgreSQL goes on, and the unit starts it again."""
    pid = __salt__["fanatico_unit.kill"]("patroni.service")
    return f"process {pid} ended, its unit starts it again"


def _patroni_paused():
    own = _patroni()
    # One node speaks for all.
    return "Patroni is paused: nothing fails over" if own.get("pause") and own.get("role") in _LEADS else ""


def _resume(timeout):
    __salt__["fanatico_patroni.resume"]()
    return "resumed"


_LEADS = ("primary", "master", "leader", "standby_leader")
# A replica in one of these does not get better by waiting.
_LOST = ("start failed", "crashed")


def _replica_lost():
    if not _active("patroni.service"):
        return ""
    try:
        own = _patroni()
    except CommandExecutionError:
        return _does_not_stay_up()
    state, role = own.get("state"), own.get("role")
    if (
        own.get("pause")
        or role in _LEADS
        or state in ("creating replica", "starting", "restarting", "initializing new cluster")
    ):
        return ""
    if not (_data_directory() / "global" / "pg_control").is_file():
        return f"{_data_directory()} has lost its content ({state})"
    if state in _LOST:
        said = _said_by_postgresql("-2min")
        return f"its PostgreSQL is {state}: {said}" if said else ""
    if state == "running" and own.get("replication_state") != "streaming":
        said = _said_by_postgresql()
        return f"it cannot follow: {said}" if said else ""
    return ""


def _postgres_failed():
    """Its PostgreSQL does not start, and nothing that it says proves its data unusable: a parameter, a library, a limit."""
    if not _active("patroni.service"):
        return ""
    own = _patroni()
    if own.get("pause") or own.get("state") not in _LOST or _said_by_postgresql("-2min"):
        return ""
    return f"its PostgreSQL is {own['state']}: {__salt__['fanatico_patroni.complaint']() or 'it does not say why'}"


def _data_directory():
    return pathlib.Path(fanatico_patroni_plan.data_directory(_setting("postgresql")))


def _does_not_stay_up():
    """A Patroni that ends again and again because its PostgreSQL takes no connection: its data are damaged."""
    unit = _unit("patroni.service")
    said = _said_by_postgresql() if unit["restarts"] >= _LOOPS else ""
    return f"Patroni does not stay up with its data: {said}" if said else ""


def _said_by_postgresql(since="-30s"):
    """Return why PostgreSQL cannot use its data, or follow with them, if it has said so lately."""
    said = __salt__["fanatico_patroni.said_by_postgresql"](since)
    return fanatico_patroni_plan.unusable(said)


def _replica_astray():
    """A replica that runs, follows nobody, and does not say what proves its data unusable: it may be refused, or cut off."""
    if not _active("patroni.service"):
        return ""
    own = _patroni()
    if own.get("pause") or own.get("role") in _LEADS or own.get("state") != "running":
        return ""
    if own.get("replication_state") == "streaming" or own.get("cluster_unlocked") or _said_by_postgresql():
        return ""
    said = __salt__["fanatico_patroni.complaint"]()
    return (
        f"its PostgreSQL runs and does not follow ({said or own.get('replication_state') or 'not streaming'})"
    )


def _copy_again(timeout):
    """Put the data aside and start Patroni without: it copies the leader's. What was put aside goes once the copy streams."""
    if __salt__["fanatico_patroni.cluster"]().get("pause"):  # as everywhere here: somebody is at work
        raise CommandExecutionError(f"{__opts__['id']}: Patroni is paused, so its data stay as they are")
    leader = __salt__["fanatico_patroni.leader"]()
    if leader in (None, __opts__["id"]):
        raise CommandExecutionError(
            f"{__opts__['id']}: {leader or 'nobody'} leads, so its data stay as they are"
        )
    _run("systemctl", "stop", "patroni", timeout=timeout)
    try:
        _stop_postmaster(timeout / 4)
        path = fanatico_aside.put(_data_directory(), emptied=True)
    except (ValueError, OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{__opts__['id']}: {exc}") from exc
    finally:
        _run("systemctl", "start", "patroni", timeout=timeout)
    return f"copied again from {leader}, the old data in {path} until then"


def _stop_postmaster(timeout):
    """Stop the PostgreSQL that runs on the data; Patroni's unit leaves it running."""
    pid = _postmaster()
    if pid:
        os.kill(pid, signal.SIGQUIT)  # its immediate shutdown
    ended, seen = fanatico_wait.until(
        lambda: (not _postmaster(), f"PostgreSQL ({pid}) does not end"), timeout, 0.25
    )
    if not ended:
        raise CommandExecutionError(f"{__opts__['id']}: {seen}, so its data stay as they are")


def _postmaster():
    """Return the pid of the PostgreSQL that runs on the data, or None."""
    try:
        pid = int((_data_directory() / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        name = pathlib.Path("/proc", str(pid), "comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError, IndexError):
        return None
    return pid if name == "postgres" else None


def _replica_streams():
    own = _patroni()
    if own.get("state") == "running" and own.get("replication_state") == "streaming":
        return ""
    return f"{own.get('state')}, {own.get('replication_state') or 'not streaming'}"


def _writes_stall():
    seen = __salt__["fanatico.canary"]()
    return seen["why"] if seen["ok"] is False else ""


def _hand_over(timeout):
    return f"{__salt__['fanatico_patroni.switchover'](timeout=timeout * 2 / 3)} leads now"


# --- HAProxy


def _haproxy_unconfigured():
    seen = (_configuration_fault(pathlib.Path("/etc/haproxy", name)) for name in ("haproxy.cfg", "edge.cfg"))
    return next(filter(None, seen), "")


def _configuration_fault(path):
    if not path.is_file():
        return f"{path} is not there"
    # The check costs more than all the rest: once for each content.
    stamp, key = (path.stat().st_mtime_ns, path.stat().st_size), f"fanatico_cure.{path.name}"
    known = __context__.get(key)
    if known and known[0] == stamp:
        return known[1]
    done = _run("haproxy", "-c", "-q", "-f", str(path))
    lines = [line for line in done.stderr.splitlines() if "ALERT" in line]
    seen = f"{path} is not valid: {(lines or ['haproxy -c says so'])[0][-200:]}" if done.returncode else ""
    __context__[key] = (stamp, seen)
    return seen


def _configure_haproxy(timeout):
    _run("systemctl", "reset-failed", "haproxy", "haproxy-edge")
    return _apply_states("haproxy")


def _address_missing():
    held = _keepalived()
    mine = _active("haproxy.service") and _active("keepalived.service")
    if mine and held["role"] == "backup" and not held["answers"]:
        return f"nobody answers at {held['address']}, and this balancer could"
    return ""


def _keepalived_hung():
    idle = __salt__["fanatico_keepalived.idle"]()
    if idle < _HANGS or not _active("keepalived.service"):
        return ""
    return f"Keepalived has not asked HAProxy for {idle:.0f} s, which it does twice a second"


def _address_doubled():
    """Whether another holds it as well nobody can see from here; who asks for the cure has seen it."""
    held = _keepalived()
    return (
        f"{held['address']} is held here, and by another balancer as well" if held["role"] == "master" else ""
    )


def _address_settled():
    held = _keepalived()
    return "" if held["answers"] and held["running"] else f"nobody answers at {held['address']}"


def _elect_anew(timeout):
    _run("systemctl", "restart", "keepalived", timeout=timeout)
    return "Keepalived restarted, which settles who holds it"


# --- the chain


def _rpc_hung():
    """One that answers late is under load and not hung: a restart would take it, and then the next, from those who ask."""
    return _silent("fanatico-rpc.service", lambda: __salt__["fanatico_rpc.head"](timeout=_LATEST))


def _rpc_owes():
    """The same for the beacon, which watches everything else on this host and so does not wait ten seconds."""
    if not _silent("fanatico-rpc.service", lambda: __salt__["fanatico_rpc.head"](timeout=_ASK)):
        return ""
    owed = __salt__["fanatico_rpc.owed"]()
    return f"no answer within {_LATEST} s" if owed >= _LATEST else ""


def _restart_rpc(timeout):
    _run("systemctl", "restart", "fanatico-rpc", timeout=timeout)
    return "restarted"


def _rpc_behind():
    """Behind the others, and its newest block is an old one: it does not catch up either. One that syncs is let alone."""
    if not _active("fanatico-rpc.service"):
        return ""
    block = __salt__["fanatico_rpc.call"]("eth_getBlockByNumber", ["latest", False], timeout=_ASK)
    if time.time() - int(block["timestamp"], 16) < _setting("heal:behind"):
        return ""
    # One after the other: the beacon's process is no place for threads.
    heads = []
    for peer in fanatico_plan.peers(__pillar__["plan"], "rpc", __opts__["id"]):
        with contextlib.suppress(CommandExecutionError):
            heads.append(__salt__["fanatico_rpc.heard"](peer, timeout=_ASK)["head"] or 0)
    lag = max(heads, default=0) - int(block["number"], 16)
    if lag <= _setting("rpc:health:max_lag") or __salt__["fanatico_rpc.syncing"](timeout=_ASK):
        return ""
    time.sleep(1)  # one that catches up has old blocks too, and a new one every moment
    if __salt__["fanatico_rpc.head"](timeout=_ASK) == int(block["number"], 16):
        return f"it stands at block {int(block['number'], 16)}, {lag} behind the others"
    return ""


def _restart_chain(timeout):
    """Restart all that makes a chain node: its program, and what keeps that at the others' heels."""
    units = [unit for unit in __salt__["fanatico_unit.expected"]() if unit.startswith("fanatico-rpc")]
    there = [
        unit for unit, one in __salt__["fanatico_unit.states"](*units).items() if one["load"] == "loaded"
    ]
    _run("systemctl", "restart", *there, timeout=timeout)
    return "restarted"


_SYMPTOMS = {
    "bare": bare,
    # Seen, and cured, by the master alone: fanatico.renew_key.
    "key-denied": lambda: "",
    "drift": _drift,
    "certificate-ending": _certificate_ending,
    "disk-full": _disk_full,
    "firewall-gone": _firewall_gone,
    "etcd-data-lost": _etcd_data_lost,
    "etcd-full": _etcd_full,
    "patroni-hung": _patroni_hung,
    "patroni-paused": _patroni_paused,
    "replica-lost": _replica_lost,
    "replica-astray": _replica_astray,
    "postgres-failed": _postgres_failed,
    "writes-stall": _writes_stall,
    "haproxy-unconfigured": _haproxy_unconfigured,
    "keepalived-hung": _keepalived_hung,
    "address-missing": _address_missing,
    "address-doubled": _address_doubled,
    "rpc-hung": _rpc_hung,
    "rpc-behind": _rpc_behind,
}
_CURES = {
    "bare": _build,
    "key-denied": lambda timeout: "",
    "drift": _correct,
    "certificate-ending": _certify,
    "disk-full": _make_room,
    "firewall-gone": _load_firewall,
    "etcd-data-lost": _rejoin_etcd,
    "etcd-full": _make_room_in_etcd,
    "patroni-hung": _restart_patroni,
    "patroni-paused": _resume,
    "replica-lost": _copy_again,
    "writes-stall": _hand_over,
    "haproxy-unconfigured": _configure_haproxy,
    "keepalived-hung": _elect_anew,
    "address-missing": _elect_anew,
    "address-doubled": _elect_anew,
    "rpc-hung": _restart_rpc,
    "rpc-behind": _restart_chain,
}
# A unit that would not start, or not rightly, before this is cured.
_CAUSES = {
    "etcd.service": "etcd-data-lost",
    "haproxy.service": "haproxy-unconfigured",
    "haproxy-edge.service": "haproxy-unconfigured",
}
# Where one look costs as much as the cure, and nothing comes and goes.
_ONE_LOOK = ("drift", "certificate-ending")
# Where the symptom's end is not yet the cure.
_PROOFS = {
    "bare": _unwell,
    "etcd-data-lost": _etcd_votes,
    "replica-lost": _replica_streams,
    "address-doubled": _address_settled,
}
# Where a cure has done its part and the cause is another, it does not hold the lock until its time is over.
_HOPELESS = {"replica-lost": _postgres_failed}
# What a cure puts aside, and lets go of once it is proven.
_REPLACED = {"etcd-data-lost": lambda: _etcd_directory() / "member", "replica-lost": _data_directory}
