"""
Decide how the whole cluster is restored in place, and how that is accepted or undone; return the steps. Pure.

The journal on the master has the decisions of a restore that is open, and its phase:

``begun``
    The databases are being stopped or restored; clients see none.
``looking``
    One host shows the target to a person, read only.
``serving``
    The restored data starts to serve: its WAL is archived.
``served``
    It serves. The data of before is kept until the restore is accepted or undone.
``accepted``
    The data of before is being deleted.
``undoing``, ``undone``
    The data of before is put back; it serves again.
"""

import json

import fanatico_restore_scope
from fanatico_host_steps import on, runner
from fanatico_restore_scope import ACCEPT, NOTHING, UNDO, Refused

# The phases in which clients see no database, so that nothing else may be changed.
CLOSED = ("begun", "looking", "serving", "undoing")


def refused(reason):
    """Return the only step of an orchestration that must not begin: it fails with ``reason``."""
    return [
        runner("Check whether the cluster can be restored", "fanatico.restore_refused", reason=str(reason))
    ]


def restore(journal, states, timeouts):
    """
    Return the steps of ``orch.restore``.

    journal
        What ``fanatico_restore_scope.scope`` returned.
    states
        ``{host: what fanatico_restore.local_state returned}``.
    timeouts
        ``orch:timeouts``, in seconds.
    """
    if journal["phase"] == "serving":
        return serve(journal, states, timeouts)
    host, ready, target = journal["host"], timeouts["ready"], journal["restore"]
    kwarg = {name: target[name] for name in ("backup", "kind", "value", "timeline")}
    steps = [
        runner("Record the restore and stop healing", "fanatico.restore_begin", journal=journal),
        *stop(journal, journal["leader"], timeouts),
        runner("Check that no newer data is left", "fanatico.restore_stopped"),
        *_apply(_bare(journal["hosts"], states), "Install pgBackRest on the new hosts", "archive", timeouts),
        on([host], f"Move the data of {host} aside", "fanatico_restore.set_aside", timeouts["restore"]),
        on(
            [host], f"Start to restore {host}", "fanatico_restore.start", ready, **kwarg, look=journal["look"]
        ),
        runner(f"Wait until {host} is restored", "fanatico.restore_wait"),
    ]
    if journal["look"]:
        return [*steps, runner("Show the target to a person", "fanatico.restore_note", phase="looking")]
    return [*steps, *serve(journal, states, timeouts)]


def stop(journal, leader, timeouts):
    """
    Return the steps that stop Patroni and PostgreSQL everywhere, the leader's PostgreSQL first: the replicas get all of it.

    leader
        The present leader; empty without one: then Patroni stops PostgreSQL.
    """
    hosts, ready = journal["hosts"], timeouts["ready"]
    steps = []
    if leader:
        steps += [
            on([leader], "Pause Patroni", "fanatico_patroni.pause", ready),
            on(hosts, "Wait until every Patroni is paused", "fanatico_restore.wait_paused", ready),
        ]
    first = leader or journal["order"][0]
    others = [node for node in hosts if node != first]
    steps += [
        on(hosts, "Stop Patroni and prevent its start", "fanatico_restore.hold", ready),
        on([first], f"Stop PostgreSQL on {first}", "fanatico_restore.stop", timeouts["restore"]),
    ]
    if others:
        steps.append(
            on(others, "Stop PostgreSQL on the replicas", "fanatico_restore.stop", timeouts["restore"])
        )
    return steps


def serve(journal, states, timeouts):
    """Return the steps from restored data on one host to a cluster that serves it."""
    host, ready = journal["host"], timeouts["ready"]
    members = [node for node in journal["hosts"] if node != kept(journal)]
    others = [node for node in members if node != host]
    steps = [runner("Record that the restored data serves", "fanatico.restore_note", phase="serving")]
    if journal["phase"] != "serving" or states[host]["restoring"]:
        steps += [
            on([host], "Remove the former cluster from etcd", "fanatico_etcd.forget_cluster", ready),
            on([host], f"Let {host} serve the restored data", "fanatico_restore.served", ready),
        ]
    steps += _apply(_bare([host], states), f"Configure Patroni on {host}", "patroni.configured", timeouts)
    steps += _lead(host, ready)
    steps += _apply(
        _bare(others, states), "Configure Patroni on the replicas", "patroni.configured", timeouts
    )
    if others:
        steps.append(on(others, "Clone the replicas", "fanatico_restore.rejoin", timeouts["restore"]))
    return [
        *steps,
        *_settle(host, members, timeouts),
        runner("Record that the cluster serves", "fanatico.restore_served"),
        *_back_up(journal, timeouts),
    ]


def _bare(hosts, states):
    """Return the hosts where no deploy has configured Patroni yet: the cluster is restored on new ones."""
    return [host for host in hosts if not states[host]["configured"]]


def _apply(hosts, title, sls, timeouts):
    step = {"tgt": hosts, "tgt_type": "list", "sls": sls, "queue": True, "timeout": timeouts["prepare"]}
    return [(title, "state", step)] if hosts else []


def _forget(title, journal, host, ready):
    return on([host], title, "fanatico_etcd.forget_cluster", ready, stopped=journal["hosts"])


def kept(journal):
    """Return the host, not the restored one, whose data is kept untouched for an undo; empty where the restored host has it."""
    return journal["undo"] if journal["undo"] != journal["host"] else ""


def _lead(host, ready):
    return [
        on([host], f"Start Patroni on {host}", "fanatico_restore.release", ready),
        on(
            [host],
            f"Wait until {host} leads",
            "fanatico_patroni.register",
            ready,
            leads=True,
            timeout=ready * 0.9,
        ),
    ]


def _settle(host, members, timeouts):
    """Return the steps after the leader leads and the replicas are started: they stream, the settings, the proof."""
    kwarg = {"members": members, "timeout": timeouts["restore"] * 0.9}
    settings = {"tgt": host, "sls": "patroni.settings", "queue": True, "timeout": timeouts["apply"]}
    return [
        on(
            [host],
            "Wait until every replica streams",
            "fanatico_patroni.wait_streaming",
            timeouts["restore"],
            **kwarg,
        ),
        ("Update the cluster settings of Patroni in etcd", "state", settings),
        on([host], "Prove that a client can write", "fanatico.proof", timeouts["ready"]),
    ]


def _back_up(journal, timeouts):
    return [
        on(
            [journal["backup_host"]], "Check that WAL is archived", "fanatico_backup.check", timeouts["ready"]
        ),
        runner("Make a full backup", "fanatico.restore_backup"),
    ]


def accept(journal, states, timeouts):
    """
    Return the steps of ``orch.restore_accept``: what a person looked at serves, and the data of before is deleted.

    Raises ``Refused`` where nothing can be accepted.
    """
    phase, host = _open(journal)["phase"], journal["host"]
    if phase in ("begun", "undoing"):
        again = "orch.restore with the same target" if phase == "begun" else "orch.restore_undo"
        raise Refused(
            f"the restore to {journal['target']} has not ended. {NOTHING}salt-run state.orchestrate {again}"
        )
    steps = []
    if phase == "looking":
        steps.append(
            on([host], f"Stop {host}, which was looked at", "fanatico_restore.finish", timeouts["restore"])
        )
    if phase in ("looking", "serving"):
        steps += serve(journal, states, timeouts)
    if kept(journal) and phase in ("looking", "serving", "served"):
        steps.append(
            on([kept(journal)], f"Clone {kept(journal)}", "fanatico_restore.rejoin", timeouts["restore"])
        )
        steps += _settle(host, journal["hosts"], timeouts)[:1]
    return [
        *_distinct(steps),
        runner("Record that the restore is accepted", "fanatico.restore_note", phase="accepted"),
        on(journal["hosts"], "Delete the data of before", "fanatico_restore.discard", timeouts["restore"]),
        runner("Close the restore", "fanatico.restore_close"),
    ]


def _distinct(steps):
    """Return steps with distinct titles: the second wait for the replicas has another one."""
    seen, found = set(), []
    for title, kind, arguments in steps:
        found.append((f"{title} too" if title in seen else title, kind, arguments))
        seen.add(title)
    return found


def undo(journal, states, ends, timeouts):
    """
    Return the steps of ``orch.restore_undo``: the data of before serve again.

    states, ends
        As for ``fanatico_restore_scope.scope``.

    Raises ``Refused`` where nothing can be undone.
    """
    phase = _open(journal)["phase"]
    if phase == "undone":
        raise Refused(
            f"the restore to {journal['target']} is undone already. {NOTHING}{ACCEPT}, which deletes its data"
        )
    if not journal["undo"]:
        return _give_up(journal, timeouts)
    if journal.get("back"):
        return _settle_undo(journal, journal["hosts"], timeouts)
    _refuse_undo(journal, states)
    journal = {**journal, "served": _has_served(journal)}
    served, first, restore_time = journal["served"], journal["undo"], timeouts["restore"]
    others = [node for node in journal["hosts"] if node != first]
    steps = [
        runner("Record that the restore is being undone", "fanatico.restore_note", **_undoing(journal, ends)),
        *stop(journal, fanatico_restore_scope.present_leader(states, ends), timeouts),
        on([first], f"Put the data of before back on {first}", "fanatico_restore.put_back", restore_time),
    ]
    if others:
        title = "Put the data of before back on the replicas"
        steps.append(on(others, title, "fanatico_restore.put_back", restore_time, clone=served))
    if served:
        steps.append(
            on([first], f"Promote {first} to a new timeline", "fanatico_restore.reopen", restore_time)
        )
    return [
        *steps,
        _forget("Remove the restored cluster from etcd", journal, first, timeouts["ready"]),
        *_lead(first, timeouts["ready"]),
        runner("Record that the data of before leads", "fanatico.restore_note", phase="undoing", back=True),
        *_settle_undo(journal, others, timeouts),
    ]


def _has_served(journal):
    """Return whether the restored data has begun to serve, so that its WAL may be in the repository."""
    return journal["phase"] in ("serving", "served") or (journal["phase"] == "undoing" and journal["served"])


def _undoing(journal, ends):
    """Return the facts to record when an undo begins; the timeline of the restored cluster only once."""
    facts = {"phase": "undoing", "served": journal["served"]}
    if journal["phase"] == "undoing":
        return facts
    known = [end["timeline"] for end in ends.values() if isinstance(end, dict) and end]
    return {**facts, "restored_timeline": max(known, default=0)}


def _settle_undo(journal, held, timeouts):
    """Return the steps of an undo after the data of before leads; ``held``: the hosts where Patroni is to be started."""
    steps = []
    if held:
        steps.append(on(held, "Start Patroni on the replicas", "fanatico_restore.release", timeouts["ready"]))
    return [
        *steps,
        *_settle(journal["undo"], journal["hosts"], timeouts),
        runner("Record that the data of before serves", "fanatico.restore_undone"),
        *(_back_up(journal, timeouts) if journal["served"] else []),
    ]


def _give_up(journal, timeouts):
    """Return the steps that undo a restore on hosts that had no data before: possible until it serves."""
    if journal["phase"] not in ("begun", "looking", "undoing"):
        raise Refused(f"there was no data before the restore to {journal['target']}. {NOTHING}{ACCEPT}")
    return [
        runner(
            "Record that the restore is being undone", "fanatico.restore_note", phase="undoing", served=False
        ),
        on([journal["host"]], "Delete the restored data", "fanatico_restore.wipe", timeouts["restore"]),
        runner("Record that the restore is undone", "fanatico.restore_undone"),
    ]


def _refuse_undo(journal, states):
    """Raise where the data of before is not where the journal says."""
    first = journal["undo"]
    if journal["phase"] == "accepted":
        raise Refused(
            f"the restore to {journal['target']} is accepted: its data of before is being deleted. {NOTHING}{ACCEPT}"
        )
    state = states.get(first)
    if not isinstance(state, dict):
        raise Refused(
            f"{first}, which has the data of before, does not answer. {NOTHING}start the host and its minion"
        )
    there = state["data"] if kept(journal) else state["undo"]
    if journal["phase"] in ("serving", "served") and not there:
        raise Refused(f"{first} has no data of before the restore any more. {NOTHING}{ACCEPT}")


def _open(journal):
    if not journal:
        raise Refused(f"no restore is open. {NOTHING}salt-run fanatico.history")
    return journal


def next_steps(journal):
    """Return what an operator may type now, ``[command, ...]``."""
    phase = journal.get("phase")
    if phase == "begun":
        wanted = {"target": journal["asked"], "look": journal["look"]}
        return [f"salt-run state.orchestrate orch.restore pillar='{json.dumps(wanted)}'", UNDO]
    if phase in ("looking", "serving", "served"):
        return [ACCEPT, UNDO]
    return {"accepted": [ACCEPT], "undoing": [UNDO], "undone": [ACCEPT]}.get(phase, [])
