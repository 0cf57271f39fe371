"""
The minions: open the master's firewall to them, wait for them, and give them the modules of the tree.
"""

import pathlib
import time

import salt.fileclient

import fanatico_firewall
import fanatico_master
import fanatico_plan
import fanatico_sweep

__virtualname__ = "fanatico"

_SWEEP = 3  # seconds for each test.ping
# The kinds of modules that the tree has for minions; saltutil.sync_all would sync eighteen.
_KINDS = ("utils", "grains", "modules", "states", "beacons")
_RULES = "/etc/fanatico/firewall.nft"  # the rules that are loaded on this machine, as in fanatico_firewall


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def admit(timeout=60):
    """
    Update the master's own firewall to the plan, so that the master and a new host reach each other.

    timeout
        Seconds for the master's minion to load the rules.

    Returns ``{"firewall": "in force" | "none" | "loaded"}``: up to date already, never loaded on this machine, or loaded now.
    Raises where the pillar is not valid, or the rules could not be loaded.

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
            f"{master}: the firewall of the master was not updated to the plan, so new hosts cannot reach the master: {fault}. "
            f"Next, on the master: salt-call state.apply firewall"
        )
    return {"firewall": "loaded"}


def _rules(master):
    """Return the master's rules by its pillar; empty where the pillar does not render, which validation reports."""
    pillar, faults = fanatico_master.compiled(__opts__, master)
    if faults:
        return ""
    settings = fanatico_firewall.settings(pillar)
    plan = fanatico_plan.complete(pillar["plan"])
    return fanatico_firewall.ruleset(plan, settings, master)


def _fault(answer):
    """Return why states were not applied, from the minion's answer; empty where they were."""
    if answer is None:
        return "its own minion does not answer (systemctl status salt-minion)"
    if not isinstance(answer, dict):
        return "; ".join(answer) if isinstance(answer, list) else str(answer)
    return next((state["comment"] for state in answer.values() if state["result"] is False), "")


def wait_minions(timeout=None, ids=None):
    """
    Wait until every minion of the plan answers, and return their ids.

    timeout
        Seconds; pillar ``master:answer_within`` without it.
    ids
        The minions to wait for; all of the plan without it.

    Raises after ``timeout``, and names each missing host, the state of its key, and the next step.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.wait_minions timeout=30
    """
    plan = fanatico_master.plan(__opts__)
    ids = fanatico_master.known(plan, plan["nodes"] if ids is None else ids)
    timeout = _answer_within(plan) if timeout is None else timeout
    missing, deadline = list(ids), time.monotonic() + timeout
    while missing:
        began = time.monotonic()
        # Salt prints an error for a target without any accepted key.
        known = [name for name in missing if _key("minions", name).exists()]
        answers = fanatico_sweep.fanout(
            __opts__, known, "test.ping", (), max(1.0, min(_SWEEP, deadline - began))
        )
        missing = [name for name in missing if answers.get(name) is not True]
        if missing and time.monotonic() >= deadline:
            reasons = "".join(f"\n  - {name}: {_why(name)}" for name in missing)
            fanatico_master.refuse(
                f"No answer from {len(missing)} of {len(ids)} minions within {timeout:g} s:{reasons}"
            )
        if missing:
            time.sleep(max(0.0, began + 0.5 - time.monotonic()))
    return list(ids)


def _answer_within(plan):
    master = fanatico_plan.nodes(plan, "master")[0]
    pillar, _ = fanatico_master.compiled(__opts__, master)
    return fanatico_plan.setting(pillar, "master:answer_within")


def sync_modules(timeout=120):
    """
    Sync the modules of the tree to every minion of the plan whose modules differ.

    timeout
        Seconds for those minions together.

    Returns ``{"synced": [the minions that were synced]}``. Raises, and names each host, where modules still differ afterwards.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.sync_modules
    """
    wanted = _modules()
    nodes = list(fanatico_master.plan(__opts__)["nodes"])
    outdated = _outdated(nodes, wanted)
    functions = [*(f"saltutil.sync_{kind}" for kind in _KINDS), "saltutil.refresh_modules"]
    # The beacon is loaded again by an event of its own; the last function waits until everything else is.
    later = [{"__kwarg__": True, "refresh": False}]
    arguments = [later if kind != "beacons" else [] for kind in _KINDS]
    arguments.append([{"__kwarg__": True, "asynchronous": False}])
    fanatico_sweep.fanout(__opts__, outdated, functions, arguments, timeout)
    still = _outdated(outdated, wanted)
    if still:
        fanatico_master.refuse(
            f"{', '.join(still)}: the modules still differ from the tree. "
            f"Next: salt -L {','.join(still)} saltutil.sync_all"
        )
    return {"synced": outdated}


def _modules():
    """Return the modules of the tree, in the form in which ``fanatico_node.modules`` returns those of a minion."""
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
    """Return a minion's modules of the kinds in ``_KINDS``; ``saltutil.sync_all`` syncs others too, which do not matter."""
    if not isinstance(answer, dict):
        return None
    return {path: value for path, value in answer.items() if str(path).split("/")[0] in _KINDS}


def _key(folder, name):
    return pathlib.Path(__opts__["pki_dir"], folder, name)


def _why(name):
    """Return the state of the key of a minion that does not answer, and the next step."""
    if _key("minions_pre", name).exists():
        return "its key is not accepted yet. Next: salt-run fanatico.accept_keys"
    if _key("minions", name).exists():
        return "its key is accepted. Next, on the host: systemctl status salt-minion"
    if _key("minions_rejected", name).exists():
        return (
            f"its key was rejected on this master, as orch.evict does. To accept it again: salt-key -d {name}"
        )
    return (
        "it has not sent a key. Next: check on the host that salt-minion is installed and configured for this master; on the "
        "master: salt-run fanatico.admit"
    )
