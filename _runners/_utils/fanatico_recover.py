"""
Decide what ``orch.recover_etcd`` does, from the state of every etcd and database host, and return its steps. Pure.

etcd has nothing that the databases do not know better: a new etcd gets its content from the primary's Patroni. So what matters
is that no second primary can arise meanwhile, and that the node with the newest data becomes the primary.
"""

import fanatico_etcd_plan
import fanatico_plan
from fanatico_host_steps import on, runner

_RETRY = "Nothing was changed. Next: "


class Refused(Exception):
    """etcd cannot be recovered now; the message is the reason and the next step."""


def scope(plan, etcd, databases, discard=()):
    """
    Return what has to be done, ``{"case", "why", "primary", "etcd", "databases": [hosts that take part]}``.

    plan
        The dict under the pillar key ``plan``.
    etcd
        ``{host: what fanatico_etcd.local_state returned}``; a host that did not answer is missing.
    databases
        ``{host: what fanatico_postgres.wal_end returned, or the text of its error}``; the same.
    discard
        The hosts whose data the operator gives up: lost or damaged.

    ``case`` is ``rebuild`` (most of etcd's data is lost), ``unfinished`` (an earlier recovery was interrupted after the new etcd
    had a quorum) or ``serves`` (etcd has a quorum: only Patroni's part is checked). Raises ``Refused``.
    """
    members, nodes = fanatico_plan.nodes(plan, "etcd"), fanatico_plan.nodes(plan, "patroni")
    case, why = _etcd_case(members, etcd, discard)
    return {
        "case": case,
        "why": why,
        "primary": _primary(nodes, databases, discard),
        "etcd": [node for node in members if node in etcd],
        "databases": [node for node in nodes if isinstance(databases.get(node), dict)],
    }


def _etcd_case(nodes, states, discard):
    quorum = fanatico_etcd_plan.quorum(len(nodes))
    healthy = [node for node in nodes if states.get(node, {}).get("healthy")]
    if healthy:
        if any(state.get("clients") is not None for state in states.values()):
            return "unfinished", f"{', '.join(healthy)} serve, but do not admit all clients yet"
        return "serves", f"{', '.join(healthy)} serve, with a quorum"
    silent = [node for node in nodes if node not in states]
    if len(states) < quorum:
        # The others could form a quorum of the former etcd when they come back: two clusters, two primaries.
        raise Refused(
            f"{', '.join(silent)}: no answer. {_RETRY}start {quorum - len(states)} of them, empty or not"
        )
    unknown = [node for node in silent if node not in discard]
    if unknown:
        raise Refused(
            f"{', '.join(unknown)}: no answer, and the data there may be needed. {_RETRY}start the host and its minion; if its "
            f"disk is lost: {_command(unknown, discard)}"
        )
    usable = [node for node, state in states.items() if state["data_dir"] and not state["lost"]]
    usable = [node for node in nodes if node in usable and node not in discard]
    if len(usable) >= quorum:
        raise Refused(
            f"{', '.join(usable)} still have their data, enough for a quorum: a new etcd would discard it. {_RETRY}start etcd "
            f"there (systemctl start etcd; journalctl -u etcd -n 50); if the data is damaged: {_command(usable, discard)}"
        )
    lost = [node for node in nodes if node not in usable]
    rest = f"; the data of {', '.join(usable)} is moved aside" if usable else ""
    return "rebuild", f"the data of {', '.join(lost)} is lost, no quorum is possible{rest}"


def _command(hosts, discard):
    named = ", ".join(f'"{host}"' for host in dict.fromkeys([*discard, *hosts]))
    return f"""salt-run state.orchestrate orch.recover_etcd pillar='{{"discard": [{named}]}}'"""


def _primary(nodes, states, discard):
    """Return the database that must lead: the running primary, else the one with the newest data."""
    known = {node: states[node] for node in nodes if isinstance(states.get(node), dict)}
    primaries = [node for node, state in known.items() if state and state["in_recovery"] is False]
    if len(primaries) > 1:
        raise Refused(
            f"SPLIT-BRAIN: {' and '.join(primaries)} accept writes. {_RETRY}keep one, and on the others: systemctl stop patroni"
        )
    if primaries:
        return primaries[0]
    unclear = [node for node in nodes if node not in known and node not in discard]
    if unclear:
        detail = "; ".join(str(states.get(node, f"{node}: no answer"))[-300:] for node in unclear)
        lost = f"; if its disk is lost for good: {_command(unclear, discard)}" if any(known.values()) else ""
        raise Refused(
            f"no database accepts writes, and the newest data may be on {', '.join(unclear)} ({detail}). {_RETRY}start the host "
            f"and its minion{lost}"
        )
    newest = sorted(
        (node for node in known if known[node] and node not in discard),
        key=lambda node: (known[node]["timeline"], known[node]["lsn"], not known[node]["running"]),
    )
    if not newest:
        raise Refused(f"no database host has data. {_RETRY}salt-run state.orchestrate orch.deploy")
    return newest[-1]


def refused(reason):
    """Return the only step of a recovery that must not begin: it fails with ``reason``."""
    return [runner("Check whether etcd can be recovered", "fanatico.recover_refused", reason=reason)]


def steps(scope, bootstrap, timeouts):
    """
    Return the steps, ``[(title, kind, arguments), ...]``, as ``fanatico_orch`` writes them into an SLS.

    scope
        What ``scope`` returned.
    bootstrap
        A value that no other bootstrap had, see ``fanatico_etcd_plan.first_start``.
    timeouts
        ``orch:timeouts``, in seconds.
    """
    primary, etcd, found = scope["primary"], scope["etcd"], []
    if scope["case"] == "rebuild":
        found += [
            on(etcd, "Restrict etcd to its own hosts", "fanatico_etcd.restrict_clients", timeouts["ready"]),
            on(etcd, "Move the rest of etcd's data aside", "fanatico_etcd_cure.set_aside", timeouts["ready"]),
        ]
    if scope["case"] in ("rebuild", "unfinished"):
        bring_up = {
            "tgt": etcd,
            "tgt_type": "list",
            "sls": "etcd",
            "queue": True,
            "timeout": timeouts["apply"],
        }
        found += [
            ("Bootstrap etcd", "state", {**bring_up, "pillar": {"etcd": {"bootstrap": bootstrap}}}),
            on(etcd[:1], "Wait for the quorum of etcd", "fanatico_etcd.wait_quorum", timeouts["ready"]),
            on(
                etcd,
                f"Open etcd to {primary} alone",
                "fanatico_etcd.restrict_clients",
                timeouts["ready"],
                admitted=[primary],
            ),
        ]
    found.append(_register([primary], f"Wait until {primary} leads", timeouts["ready"], leads=True))
    if scope["case"] in ("rebuild", "unfinished"):
        found.append(on(etcd, "Open etcd to every client", "fanatico_etcd.allow_clients", timeouts["ready"]))
    others = [node for node in scope["databases"] if node != primary]
    if others:
        found.append(_register(others, "Wait until every replica is registered", timeouts["ready"]))
    return [
        *found,
        on(
            [primary],
            "Wait until every replica streams",
            "fanatico_patroni.wait_streaming",
            timeouts["ready"],
            members=scope["databases"],
        ),
        (
            "Update the cluster settings of Patroni in etcd",
            "state",
            {"tgt": primary, "sls": "patroni.settings", "queue": True, "timeout": timeouts["apply"]},
        ),
    ]


def _register(hosts, title, timeout, leads=False):
    return on(hosts, title, "fanatico_patroni.register", timeout, leads=leads, timeout=timeout * 0.9)


def result(scope):
    """Return what was done, for the history."""
    done = {
        "rebuild": "etcd was bootstrapped again",
        "unfinished": "the recovery was finished",
        "serves": "nothing to rebuild",
    }
    return f"{done[scope['case']]} with {scope['primary']} as primary: {scope['why']}"
