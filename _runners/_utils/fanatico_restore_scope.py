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
        return _resumed(journal, restore, states, ends, look)
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
        "before": max((ends[node]["timeline"] for node in with_data), default=0),
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
    """Return the host that accepts writes, for a pause of Patroni; empty where Patroni is held on a host, so paused before."""
    held = any(isinstance(state, dict) and state["held"] for state in states.values())
    return "" if held else (_primaries(ends) or [""])[0]


def _refuse_left_overs(hosts, states):
    """Raise where a host has the data of before a restore that the master does not know."""
    left = [
        node for node in hosts if states[node]["undo"] or states[node]["held"] or states[node]["restoring"]
    ]
    if left:
        paths = [path for node in left for path in states[node]["undo"]]
        raise Refused(
            f"{', '.join(left)}: an earlier restore was not accepted ({', '.join(paths) or 'Patroni is held'}), and the master "
            f"has no record of it. {NOTHING}look at these data; if they are not needed: salt -L {','.join(left)} "
            f"fanatico_restore.discard and fanatico_restore.release"
        )


def _newest_first(hosts, ends, primaries):
    def rank(node):
        end = ends[node]
        return (node in primaries, bool(end), (end["timeline"], end["lsn"]) if end else (0, 0))

    return sorted(hosts, key=rank, reverse=True)


def _with_room(newest, states, restore):
    """Return the first host whose disk has room for the restored data beside its own."""
    needed = ROOM * restore["bytes"]
    for node in newest:
        if states[node]["free"] >= needed:
            return node
    free = ", ".join(f"{node} {states[node]['free'] / 1024**3:.1f}" for node in newest)
    raise Refused(
        f"the restored data need {needed / 1024**3:.1f} GiB beside the present data, and the hosts have free: {free} GiB. "
        f"{NOTHING}free space on one of them"
    )
