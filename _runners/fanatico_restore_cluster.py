"""
The whole cluster restored in place: what ``orch.restore``, ``orch.restore_accept`` and ``orch.restore_undo`` decide and record.
"""

import time

import fanatico_master
import fanatico_plan
import fanatico_record
import fanatico_restore_journal
import fanatico_restore_scope
import fanatico_restore_steps
import fanatico_sweep

__virtualname__ = "fanatico"

_FREEZE = "30d"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def _home():
    return fanatico_record.home(__opts__)


def _journal():
    try:
        return fanatico_restore_journal.read(_home())
    except ValueError as exc:
        fanatico_master.refuse(
            f"{exc}. Next: look at the database hosts: salt 'db*' fanatico_restore.local_state"
        )


def _change(**facts):
    fanatico_restore_journal.change(_home(), **facts)


def _databases(function, timeout=20, args=()):
    nodes = fanatico_plan.nodes(fanatico_master.plan(__opts__), "patroni")
    return fanatico_sweep.fanout(__opts__, nodes, function, args, timeout)


def _seen():
    """Return ``(states, ends)`` of the database hosts."""
    return _databases("fanatico_restore.local_state"), _databases("fanatico_postgres.wal_end", 60)


def restore_scope(target="latest", look=False, discard=(), host=""):
    """
    Return what ``orch.restore`` has to do now. It calls this before its first step.

    Nothing is changed, but the present WAL is brought into the repository.

    target
        As for ``fanatico.restore_plan``.
    look
        Whether a person looks at the target before it serves.
    discard
        Database hosts that are lost, and need not answer.
    host
        The backup host; default: the first of the plan.

    Returns ``{"journal": {...}, "states": {...}}``, see ``fanatico_restore_scope.scope``. Raises where the cluster cannot be
    restored.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_scope '2026-11-28 12:00:00+00'
    """
    plan = fanatico_master.plan(__opts__)
    discard = fanatico_master.known(plan, discard, "patroni")
    journal = _journal()
    states, ends = _seen()
    same = journal and journal["phase"] in ("begun", "serving") and journal["asked"] == str(target)
    if same:
        restore = journal["plan"]
    else:
        leader = "" if journal else fanatico_restore_scope.present_leader(states, ends)
        committed = _archive(plan, leader) if leader else 0
        restore = __salt__["fanatico.restore_plan"](target, host, in_place=True, committed=committed)
    try:
        found = fanatico_restore_scope.scope(plan, restore, journal, states, ends, look, discard)
    except fanatico_restore_scope.Refused as exc:
        fanatico_master.refuse(f"The cluster cannot be restored: {exc}")
    return {"journal": {**found, "plan": restore, "asked": str(target)}, "states": states}


_HEARTBEAT = "SELECT extract(epoch FROM at)::float8 AS at FROM heartbeat"


def _archive(plan, leader):
    """Bring the present into the repository, also for an undo; return a moment before a commit that is in it."""
    # A target needs a commit after it.
    fanatico_sweep.fanout(__opts__, [leader], "service.start", ("fanatico-heartbeat.service",), 20)
    asked = (_HEARTBEAT, None, "fanatico_proof")
    rows = fanatico_sweep.fanout(__opts__, [leader], "fanatico_postgres.query", asked, 20).get(leader)
    backups = fanatico_plan.nodes(plan, "backup")
    answers = fanatico_sweep.fanout(__opts__, backups, "fanatico_backup.check", (), 100)
    if not (backups and answers == dict.fromkeys(backups, "")):
        return 0
    return rows[0]["at"] if isinstance(rows, list) and rows else 0


def restore_open(what, discard=()):
    """
    Return what ``orch.restore_accept`` and ``orch.restore_undo`` decide with. Changes nothing.

    what
        ``accept`` or ``undo``.
    discard
        Database hosts that are lost, and take no part.

    Returns ``{"journal", "states", "ends"}``. Raises where nothing can be accepted or undone.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_open undo
    """
    journal = _journal()
    states, ends = _seen()
    discard = fanatico_master.known(fanatico_master.plan(__opts__), discard, "patroni")
    if journal:
        try:
            journal = fanatico_restore_scope.without(journal, discard)
        except fanatico_restore_scope.Refused as exc:
            fanatico_master.refuse(f"Not possible: {exc}")
    found = {"journal": journal, "states": states, "ends": ends}
    timeouts = dict.fromkeys(("ready", "apply", "prepare", "restore"), 0)
    try:
        if what == "accept":
            fanatico_restore_steps.accept(journal, states, timeouts)
        else:
            fanatico_restore_steps.undo(journal, states, ends, timeouts)
    except fanatico_restore_scope.Refused as exc:
        fanatico_master.refuse(f"Not possible: {exc}")
    return found


def restore_refused(reason):
    """
    Raise with the refusal of ``restore_scope`` or ``restore_open``: the only step of an orchestration that must not start.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_refused 'db3: no answer'
    """
    fanatico_master.refuse(reason)


def restore_state():
    """
    Return the restore of the whole cluster that is open, and what an operator may do.

    ``{"phase", "target", "host", "since": seconds, "look": command, "next": [commands]}``; ``{}`` where none is open.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_state
    """
    journal = _journal()
    if not journal:
        return {}
    host = journal["host"]
    state = fanatico_sweep.fanout(__opts__, [host], "fanatico_restore.state", (), 15).get(host)
    return {
        "phase": journal["phase"],
        "target": journal["target"],
        "host": host,
        "since": round(time.time() - journal["began"]),
        "look": state["command"] if isinstance(state, dict) else "",
        "next": fanatico_restore_steps.next_steps(journal),
    }


def restore_begin(journal):
    """
    Record that the cluster is restored, and stop healing. The first step of ``orch.restore``.

    journal
        What ``restore_scope`` returned.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_begin '{"target": "latest"}'
    """
    _keep_backups(journal["backup_host"])
    open_one = fanatico_restore_journal.begin(_home(), {**journal, "began": time.time()})
    if any(open_one[name] != journal[name] for name in ("asked", "look", "host")):
        fanatico_master.refuse(
            f"Another restore began meanwhile, to {open_one['target']}. Nothing was changed. Next: {fanatico_restore_scope.STATE}"
        )
    __salt__["fanatico.freeze"](f"the cluster is restored to {journal['target']}", _FREEZE)
    return {}


def restore_note(phase, **facts):
    """
    Record the phase of the open restore. A step of an orchestration.

    phase
        See ``fanatico_restore_steps``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_note looking
    """
    facts = {name: value for name, value in facts.items() if not name.startswith("__")}
    journal = _journal()
    if not journal:
        fanatico_master.refuse("No restore is open. Nothing was changed. Next: salt-run fanatico.history")
    if journal.get("phase") != phase:
        facts[f"{phase}_at"] = time.time()
    _change(phase=phase, **facts)
    if phase == "undoing":
        __salt__["fanatico.freeze"](f"the restore to {journal['target']} is being undone", _FREEZE)
    return {"next": [fanatico_restore_scope.STATE, *_next()]} if phase == "looking" else {}


def _next():
    return fanatico_restore_steps.next_steps(_journal())


def restore_stopped():
    """
    Check that the host whose data is kept for an undo has all of it. A step of ``orch.restore``, once PostgreSQL is stopped.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_stopped
    """
    journal = _journal()
    undo, hosts = journal["undo"], journal["hosts"]
    if not undo or journal.get("stopped_at"):
        return {}
    ends = fanatico_sweep.fanout(__opts__, hosts, "fanatico_postgres.wal_end", (), 60)
    wrong = [
        host
        for host in hosts
        if not isinstance(ends.get(host), dict) or (ends[host] and ends[host]["running"])
    ]
    if wrong:
        detail = "; ".join(str(ends.get(host, "no answer"))[-200:] for host in wrong)
        fanatico_master.refuse(
            f"{', '.join(wrong)}: whether PostgreSQL is stopped is not known ({detail}). "
            f"Next: run it again, or {fanatico_restore_scope.UNDO}"
        )
    reach = {host: (end["timeline"], end["lsn"]) for host, end in ends.items() if end}
    newer = [host for host, end in reach.items() if end > reach[undo]]
    if newer:
        fanatico_master.refuse(
            f"{newer[0]} has newer data than {undo}: nothing was replaced. Next: {fanatico_restore_scope.UNDO}"
        )
    _change(stopped_at=time.time())
    return {}


def restore_served():
    """
    Record that the restored cluster serves, at the master and on the backup hosts, and heal again. A step of ``orch.restore``.

    Returns ``{"given_up": seconds of writes, "took": seconds, "next": [commands]}``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_served
    """
    journal = _journal()
    moment = journal["restore"]["moment"] or journal.get("reached") or journal["began"]
    _record(journal["serving_at"], min(moment, journal["began"]), journal["before"])
    took = round(time.time() - journal["began"], 1)
    given_up = round(max(0.0, journal["began"] - moment), 1)
    _change(phase="served", took=took, given_up=given_up)
    reason = f"{given_up:g} s of writes are given up; writable after {took:g} s"
    fanatico_record.note(__opts__, "restore", "served", host=journal["host"], reason=reason)
    __salt__["fanatico.unfreeze"]()
    return {"given_up": given_up, "took": took, "next": _next()}


def _record(at, moment, before):
    """Record a restore here and on every backup host; on one that is away, its restore drill does not know it."""
    fanatico_restore_journal.record(_home(), {"at": at, "moment": moment, "before": before})
    backups = fanatico_plan.nodes(fanatico_master.plan(__opts__), "backup")
    answers = fanatico_sweep.fanout(
        __opts__, backups, "fanatico_backup.record_restore", (at, moment, before), 20
    )
    needed = _journal()["backup_host"]
    if not isinstance(answers.get(needed), int):
        fanatico_master.refuse(
            f"{needed} did not record the restore ({answers.get(needed, 'no answer')}): later restores would choose wrong "
            f"backups. Next: start it, then run this again"
        )


def restore_undone():
    """
    Record that the data of before the restore serves again, and heal again. A step of ``orch.restore_undo``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_undone
    """
    journal = _journal()
    if journal["served"]:
        _record(journal["undoing_at"], journal["began"], journal["restored_timeline"])
        _change(phase="undone")
    else:
        restore_close()
    __salt__["fanatico.unfreeze"]()
    return {"next": _next()}


def restore_close():
    """
    Forget a restore that is accepted. The last step of ``orch.restore_accept``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_close
    """
    _set_expiry(keep=False)
    fanatico_restore_journal.close(_home())
    return {}


def _keep_backups(needed):
    """Prevent that backups expire: an undo may need the oldest. Raises if the backup host ``needed`` did not confirm it."""
    answers = _set_expiry(keep=True)
    if answers.get(needed) is not True:
        answer = str(answers.get(needed, "no answer"))[-300:]
        fanatico_master.refuse(
            f"{needed} may expire backups that an undo needs ({answer}). Nothing was changed. "
            f"Next: salt {needed} fanatico_backup.keep_all True"
        )


def _set_expiry(keep):
    """Have every backup host keep all backups, or expire them again; return the answers."""
    backups = fanatico_plan.nodes(fanatico_master.plan(__opts__), "backup")
    return fanatico_sweep.fanout(__opts__, backups, "fanatico_backup.keep_all", (keep,), 20)
