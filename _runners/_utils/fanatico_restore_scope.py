"""
Decide whether and where the whole cluster can be restored in place. Pure.
"""

import fanatico_plan

ROOM = 1.2  # free space for the restored data, as a factor of their size
NOTHING = "Nothing was changed. Next: "
STATE = "salt-run fanatico.restore_state"
ACCEPT, UNDO = (f"salt-run state.orchestrate orch.restore_{what}" for what in ("accept", "undo"))


class Refused(Exception):
    """The cluster cannot be restored now; the message is the reason and the next step."""


def scope(plan, restore, journal, states, ends, look=False, discard=()):
    """
    Return how to restore the cluster: a new journal, or the present one where a restore of the same target was interrupted.

    plan
        The dict under the pillar key ``plan``.
    restore
        What ``fanatico_restore.plan`` returned.
    journal
        The present journal; ``{}`` where no restore is open.
    states, ends
        ``{host: answer}`` of the database hosts to ``fanatico_restore.local_state`` and ``fanatico_postgres.wal_end``; text is an
        error, and a host that did not answer is missing.
    look
        Whether a person looks at the target before it serves.
    discard
        Hosts that are lost: they need not answer.

    Raises ``Refused``.
    """
    if journal:
        return _resumed(without(journal, discard), restore, states, ends, look)
    if look and not restore["kind"]:
        raise Refused(
            f"there is nothing to look at with target=latest. {NOTHING}name a moment, or leave out look"
        )
    hosts = _answering(fanatico_plan.nodes(plan, "patroni"), states, ends, discard)
    primaries = _primaries(ends)
    if len(primaries) > 1:
        raise Refused(
            f"SPLIT-BRAIN: {' and '.join(primaries)} accept writes. {NOTHING}keep one, and on the others: systemctl stop patroni"
        )
    _refuse_left_overs(hosts, states)
    newest = _newest_first(hosts, ends, primaries)
    host = _with_room(newest, states, restore)
    with_data = [node for node in newest if ends[node]]
    return {
        "phase": "begun",
        "target": restore["target"],
        "restore": {
            name: restore[name] for name in ("kind", "value", "timeline", "backup", "moment", "seconds")
        },
        "backup_host": restore["host"],
        "host": host,
        "hosts": hosts,
        "order": newest,
        "leader": primaries[0] if primaries else "",
        "undo": with_data[0] if with_data else "",
        "before": max((ends[node]["timeline"] for node in with_data), default=restore["newest_timeline"]),
        "look": bool(look),
    }


def _answering(nodes, states, ends, discard):
    """Return the hosts that answered both questions; raise if another is not given up."""
    hosts = [
        node for node in nodes if isinstance(states.get(node), dict) and isinstance(ends.get(node), dict)
    ]
    silent = [node for node in nodes if node not in (*hosts, *discard)]
    if silent:
        detail = "; ".join(str(ends.get(node, f"{node}: no answer"))[-300:] for node in silent)
        raise Refused(
            f'{detail}. {NOTHING}start the host and its minion; if it is lost: pillar=\'{{"discard": ["{silent[0]}"]}}\''
        )
    return hosts


def _resumed(journal, restore, states, ends, look):
    same = journal["target"] == restore["target"] and journal["look"] == bool(look)
    if same and journal["phase"] in ("begun", "serving"):
        return {**journal, "leader": present_leader(states, ends)}
    raise Refused(
        f"the restore to {journal['target']} is open ({journal['phase']}). {NOTHING}{ACCEPT}, or: {UNDO}; {STATE} shows it"
    )


def _primaries(ends):
    return [
        node for node, end in ends.items() if isinstance(end, dict) and end and end["in_recovery"] is False
    ]


def present_leader(states, ends):
    """Return the host that accepts writes under Patroni, which is then paused before anything stops; empty without one."""
    held = [node for node, state in states.items() if isinstance(state, dict) and state["held"]]
    return ([node for node in _primaries(ends) if node not in held] or [""])[0]


def without(journal, discard):
    """
    Return a journal without hosts that are lost.

    discard
        Their ids.

    Raises ``Refused`` for the restored host, and for the one that has the data of before.
    """
    needed = [node for node in discard if node in (journal["host"], journal["undo"])]
    if needed:
        raise Refused(
            f"{needed[0]} is the host that was restored, or has the data of before. {NOTHING}{STATE}"
        )
    keep = {name: [node for node in journal[name] if node not in discard] for name in ("hosts", "order")}
    return {**journal, **keep}


def _refuse_left_overs(hosts, states):
    """Raise where a host has the data of before a restore that the master does not know."""
    for node in hosts:
        state = states[node]
        if state["undo"]:
            back = ", ".join(
                f"salt {node} fanatico_restore.{what}" for what in ("hold", "stop", "put_back", "release")
            )
            raise Refused(
                f"{node} has data of before an earlier restore in {', '.join(state['undo'])}, and the master has no record of "
                f"it. {NOTHING}if PostgreSQL serves well: salt {node} fanatico_restore.discard; to put them back: "
                f"{back}, one after the other"
            )
        if state["restoring"] or (state["held"] and state["data"]):
            raise Refused(
                f"{node}: an earlier restore has not ended, and the master has no record of it. {NOTHING}look at its data; if it "
                f"can be restored once more: salt {node} fanatico_restore.wipe"
            )


def _newest_first(hosts, ends, primaries):
    def rank(node):
        end = ends[node]
        return (node in primaries, bool(end), (end["timeline"], end["lsn"]) if end else (0, 0))

    return sorted(hosts, key=rank, reverse=True)


def _with_room(newest, states, restore):
    """Return the first host whose disk has room for the restored data beside its own, which can be moved."""
    needed = ROOM * restore["bytes"]
    for node in newest:
        if states[node]["free"] >= needed and not states[node]["obstacle"]:
            return node
    why = [f"{node}: {states[node]['obstacle'] or _gib(states[node]['free']) + ' free'}" for node in newest]
    raise Refused(
        f"the restored data need {_gib(needed)} beside the present data, and no host can take them: {'; '.join(why)}. "
        f"{NOTHING}free space on one of them"
    )


def _gib(size):
    return f"{size / 1024**3:.1f} GiB"
