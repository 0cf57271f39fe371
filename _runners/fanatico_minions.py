"""
The minions: are they let in, and are they there?
"""

import pathlib
import time

import salt.fileclient

import fanatico_firewall
import fanatico_master
import fanatico_plan
import fanatico_sweep

__virtualname__ = "fanatico"

_SWEEP = 3  # seconds each test.ping has
_KINDS = (
    "utils",
    "grains",
    "modules",
    "states",
    "beacons",
)  # of our modules that minions have; saltutil.sync_all asks for eighteen
_RULES = "/etc/fanatico/firewall.nft"  # as in fanatico_firewall: the rules that are loaded on this machine


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def admit(timeout=60):
    """
    Have the master's own firewall follow the plan, so that it reaches a host that is new there, and the host reaches it.

    timeout
        Seconds for the master's minion to load the rules.

    Returns ``{"firewall": "in force" | "none" | "loaded"}``: as the plan wants it already, never loaded on this machine, or
    loaded just now. Raises where the pillar is not sound, or the rules could not be loaded.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.admit
    """
    plan = fanatico_master.plan(__opts__)
    path, master = pathlib.Path(_RULES), fanatico_plan.nodes(plan, "master")[0]
    if not path.exists():
        return {"firewall": "none"}
    if path.read_text(encoding="utf-8") == _rules(master):
        return {"firewall": "in force"}
    __salt__["fanatico.validate"]()
    answers = fanatico_sweep.fanout(__opts__, [master], "state.apply", ["firewall"], timeout)
    fault = _fault(answers.get(master))
    if fault:
        fanatico_master.refuse(
            f"{master}: the master's firewall is still that of an earlier plan, so hosts that are new in the plan do not "
            f"reach the master: {fault}. Next: salt-call state.apply firewall"
        )
    return {"firewall": "loaded"}


def _rules(master):
    """Return the rules that the pillar wants on the master; empty where it does not render, which validation explains."""
    pillar, faults = fanatico_master.compiled(__opts__, master)
    if faults:
        return ""
    settings = fanatico_firewall.settings(pillar)
    plan = fanatico_plan.complete(pillar["plan"])
    return fanatico_firewall.ruleset(plan, settings, master)


def _fault(answer):
    """Return why states were not applied, by what the minion answered; empty where they were."""
    if answer is None:
        return "its own minion does not answer (systemctl status salt-minion)"
    if not isinstance(answer, dict):
        return "; ".join(answer) if isinstance(answer, list) else str(answer)
    return next((one["comment"] for one in answer.values() if one["result"] is False), "")


def wait_minions(timeout=None, ids=None):
    """
    Wait until every minion of the plan answers, and return their ids.

    timeout
        Seconds; pillar ``master:answer_within`` without it.
    ids
        The minions awaited; all of the plan without them.

    Raises when the time is over, naming each missing host, what is known of it, and what to do next.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.wait_minions timeout=30
    """
    plan = fanatico_master.plan(__opts__)
    ids = fanatico_master.known(plan, plan["nodes"] if ids is None else ids)
    timeout = _patience(plan) if timeout is None else timeout
    missing, deadline = list(ids), time.monotonic() + timeout
    while missing:
        began = time.monotonic()
        # Salt prints a complaint for a target without a single accepted key.
        known = [name for name in missing if _key("minions", name).exists()]
        answers = fanatico_sweep.fanout(
            __opts__, known, "test.ping", (), max(1.0, min(_SWEEP, deadline - began))
        )
        missing = [name for name in missing if answers.get(name) is not True]
        if missing and time.monotonic() >= deadline:
            reasons = "".join(f"\n  - {name}: {_why(name)}" for name in missing)
            fanatico_master.refuse(
                f"Waited {timeout:g} s for {len(ids)} minions, no answer from {len(missing)}:{reasons}"
            )
        if missing:
            time.sleep(max(0.0, began + 0.5 - time.monotonic()))
    return list(ids)


def _patience(plan):
    master = fanatico_plan.nodes(plan, "master")[0]
    pillar, _ = fanatico_master.compiled(__opts__, master)
    return fanatico_plan.setting(pillar, "master:answer_within")


def sync_modules(timeout=120):
    """
    Hand our modules out to every minion of the plan whose modules are not those of the tree.

    timeout
        Seconds for those minions together.

    Returns ``{"synced": [the minions that were given modules]}``. Raises, naming each host, where one does not have them
    afterwards.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.sync_modules
    """
    wanted = _modules()
    nodes = list(fanatico_master.plan(__opts__)["nodes"])
    outdated = _outdated(nodes, wanted)
    functions = [*(f"saltutil.sync_{kind}" for kind in _KINDS), "saltutil.refresh_modules"]
    # The beacon is loaded again by its own event; the last function waits until all else is.
    later = [{"__kwarg__": True, "refresh": False}]
    arguments = [later if kind != "beacons" else [] for kind in _KINDS]
    arguments.append([{"__kwarg__": True, "asynchronous": False}])
    fanatico_sweep.fanout(__opts__, outdated, functions, arguments, timeout)
    still = _outdated(outdated, wanted)
    if still:
        fanatico_master.refuse(
            f"{', '.join(still)}: the modules are still not those of the tree. "
            f"Next: salt -L {','.join(still)} saltutil.sync_all"
        )
    return {"synced": outdated}


def _modules():
    """Return the tree's modules, as ``fanatico_node.modules`` has a minion's."""
    found = {}
    with salt.fileclient.get_file_client({**__opts__, "file_client": "local"}) as client:
        for kind in _KINDS:
            for path in client.file_list("base", prefix=f"_{kind}"):
                if path.endswith(".py"):
                    found[path.removeprefix("_")] = client.hash_file(f"salt://{path}")["hsum"]
    return found


def _outdated(nodes, wanted):
    answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico_node.modules", timeout=15)
    return [node for node in nodes if _ours(answers.get(node)) != wanted]


def _ours(answer):
    """Return what a minion has of the kinds that we hand out; ``saltutil.sync_all`` brings others, which it may keep."""
    if not isinstance(answer, dict):
        return None
    return {path: value for path, value in answer.items() if str(path).split("/")[0] in _KINDS}


def _key(folder, name):
    return pathlib.Path(__opts__["pki_dir"], folder, name)


def _why(name):
    """Return what the master knows of a minion that does not answer, and what to do next."""
    if _key("minions_pre", name).exists():
        return f"its key waits; compare with `salt-call --local key.finger` there, then `salt-key -a {name}`"
    if _key("minions", name).exists():
        return (
            "its key is accepted; is the host up, is its salt-minion running (systemctl status salt-minion)?"
        )
    if _key("minions_rejected", name).exists():
        return f"its key was rejected on this master, as orch.evict does; where it is to come in again: `salt-key -d {name}`"
    return (
        "it never sent a key; is salt-minion installed there and pointed at this master, and does the master's firewall "
        "let it in (salt-run fanatico.admit)?"
    )
