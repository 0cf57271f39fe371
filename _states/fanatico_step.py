"""
The steps of our orchestrations, on the master: ``salt.state``, ``salt.function`` and ``salt.runner`` of Salt, with three differences.

- What a step returns counts as a change only where something was changed. The rest stands beside it, under ``return``.
- A machine that does not answer is a failure, of every kind of step.
- The comment of a step that failed has the whole reason.

Salt's own count whatever a function or a runner returns as a change.
"""

import logging

__virtualname__ = "step"


def _not_the_leak(record):
    return not record.getMessage().startswith("unclosed MasterEvent")


def __virtual__():
    # Salt 3008 opens the event bus for each step and never closes it (salt.utils.event.fire_args); its finalizer does, and
    # warns. Nobody but Salt can mend that, so that warning is hidden, and no other. The master keeps its process and loads
    # this module for each orchestration: the filter is added once.
    logger = logging.getLogger("salt.utils.event")
    if _not_the_leak.__name__ not in [getattr(one, "__name__", "") for one in logger.filters]:
        logger.addFilter(_not_the_leak)
    return __virtualname__


def state(name, tgt, **kwargs):
    """
    Apply an SLS to machines, as ``salt.state`` does. Where a service did not start, its journal is added to the comment.

    name
        What the step is called.
    tgt
        The machines.
    kwargs
        Whatever ``salt.state`` takes.
    """
    ret = __states__["salt.state"](name, tgt, **kwargs)
    for machine, states in ret["changes"].get("ret", {}).items():
        for result in __utils__["fanatico_steps.services_that_failed"](states):
            journal = _journal(machine, result["name"])
            result["comment"] = f"{result['comment']}\nThe last lines of its journal:\n{journal}"
    return ret


def function(name, tgt, expect_minions=True, **kwargs):
    """
    Run a function on machines, as ``salt.function`` does.

    name
        The function.
    tgt
        The machines.
    expect_minions
        Whether a machine that does not answer is a failure.
    kwargs
        Whatever ``salt.function`` takes.

    Only a function that applies states changes something: ``changes`` is then what it is of ``salt.state``.
    """
    ret = __states__["salt.function"](name, tgt, expect_minions=expect_minions, **kwargs)
    answers = ret["changes"].get("ret", {})
    changed, ret["return"] = __utils__["fanatico_steps.parted"](answers)
    ret["changes"] = {"out": "highstate", "ret": changed} if changed else {}
    if ret["result"] is False:
        ret["comment"] = "\n".join([ret["comment"], *__utils__["fanatico_steps.reasons"](ret["return"])])
    return ret


def runner(name, acts=False, **kwargs):
    """
    Run a runner, as ``salt.runner`` does.

    name
        The runner.
    acts
        Whether what it returns, if it is not empty, is what it has changed.
    kwargs
        The arguments of the runner.
    """
    ret = __states__["salt.runner"](name, **kwargs)
    returned = ret["changes"].get("return")
    ret["changes"], ret["return"] = {}, returned
    if ret["result"] is False:
        ret["comment"] = f"{ret['comment']}\n{__utils__['fanatico_steps.message'](returned)}"
    elif acts:
        ret["changes"] = __utils__["fanatico_steps.acted"](returned)
    return ret


def orchestration(name, **kwargs):
    """
    Run another orchestration as one step of this one.

    name
        Its SLS, for example ``orch.etcd``.
    kwargs
        Whatever ``state.orchestrate`` takes.
    """
    ret = __states__["salt.runner"]("state.orchestrate", mods=name, **kwargs)
    ret["name"] = name
    returned = ret["changes"].get("return")
    data = returned.get("data") if isinstance(returned, dict) else None
    ret["changes"], ret["return"] = {}, returned if data is None else data
    if data is not None and __utils__["fanatico_steps.differs"](data):
        ret["changes"], ret["return"] = {"out": "highstate", "ret": data}, {}
    if ret["result"] is False:
        reasons = __utils__["fanatico_steps.reasons"](data) if data else [str(returned)]
        ret["comment"] = "\n".join([f"{name} failed.", *reasons])
    return ret


def _journal(machine, unit):
    """Return the end of a unit's journal on a machine, or that it could not be had."""
    answer = __salt__["saltutil.cmd"](machine, "fanatico.journal", arg=[unit], timeout=10)
    return str(answer.get(machine, {}).get("ret") or "(none was to be had)")
