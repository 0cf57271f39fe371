"""
The steps of our orchestrations, on the master: Salt's ``salt.state``, ``salt.function`` and ``salt.runner``, with differences:

- A result counts as a change only where something was changed; Salt counts whatever a function or a runner returns. The result
  itself is under ``return``.
- A host that does not answer fails every kind of step. A host that goes down while a step waits for it fails the step within
  seconds.
- The comment of a failed step is the whole reason.
- Ctrl-C ends the step with one sentence.
"""

import functools
import logging

import fanatico_attend
import fanatico_interrupt
import fanatico_steps

__virtualname__ = "step"


def __virtual__():
    # Salt 3008 opens the event bus for each step and never closes it (salt.utils.event.fire_args); its finalizer does, and
    # warns. This can only be fixed in Salt, so that warning is hidden, and no other.
    _hide("salt.utils.event", _is_the_leak)
    # Our outputter shows at the end what failed. Salt would print all states of the host before that, as one line.
    if __opts__.get("fun") in ("state.orchestrate", "state.orch"):
        _hide("salt.state", _is_a_failed_step)
    return __virtualname__


def _is_the_leak(record):
    return record.getMessage().startswith("unclosed MasterEvent")


def _is_a_failed_step(record):
    return record.funcName == "format_log"


def _hide(logger, which):
    """Add a filter to a logger; once in a process, however often it loads this module (the master's reactor)."""
    logger = logging.getLogger(logger)
    if which.__name__ not in [getattr(known, "__name__", "") for known in logger.filters]:

        def others(record):
            return not which(record)

        others.__name__ = which.__name__
        logger.addFilter(others)


def _noted(function):
    """
    Wrap a step: Ctrl-C ends it, and a failure is written to the history.

    A failed step also releases the lock of its orchestration, before the process has ended.
    """

    @functools.wraps(function)
    def step(name, *args, **kwargs):
        ret = {"name": name, "result": False, "comment": "", "changes": {}}
        try:
            with fanatico_interrupt.interruptible():
                if not fanatico_interrupt.happened():
                    ret = function(name, *args, **kwargs)
        except fanatico_interrupt.Interrupted:
            pass
        code = ""
        if ret["result"] is False and fanatico_interrupt.happened():
            ret = _without_tracebacks(ret)
            ret["code"] = code = "interrupted"
            if not _has_steps(ret):  # else its own failed step has the reason
                ret["comment"] = fanatico_interrupt.WORDS.format(next="")
                ret.pop("return", None)
        if ret["result"] is False:
            arguments = [__low__["__id__"], ret["comment"], kwargs.get("begins", ""), code]
            __salt__["saltutil.runner"]("fanatico.broke_off", arg=arguments)
        return ret

    return step


def _without_tracebacks(value):
    """Return the result of an interrupted step, at any depth without the tracebacks that Salt makes of the interrupt."""
    if isinstance(value, dict):
        return {key: _without_tracebacks(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_tracebacks(item) for item in value]
    if isinstance(value, str):
        return value.partition("Traceback (most recent call last)")[0]
    return value


def _has_steps(ret):
    """Return whether a step is an orchestration that got as far as its own steps."""
    runs = ret["changes"].get("ret") or ret.get("return")
    return isinstance(runs, dict) and any(map(fanatico_steps.is_orchestration, runs.values()))


@_noted
def state(name, tgt, **kwargs):
    """
    Apply an SLS to hosts, as ``salt.state`` does. Where a service did not start, its journal is added to the comment.

    name
        The title of the step.
    tgt
        The hosts.
    kwargs
        The other arguments of ``salt.state``.
    """
    ret = _attended("salt.state", name, tgt, **kwargs)
    for machine, states in ret["changes"].get("ret", {}).items():
        for result in fanatico_steps.services_that_failed(states):
            journal = _journal(machine, result["name"])
            result["comment"] = f"{result['comment']}\nThe last lines of its journal:\n{journal}"
    return ret


@_noted
def function(name, tgt, expect_minions=True, **kwargs):
    """
    Run a function on hosts, as ``salt.function`` does.

    name
        The function.
    tgt
        The hosts.
    expect_minions
        Whether a host that does not answer is a failure.
    kwargs
        The other arguments of ``salt.function``.

    Only a function that applies states has ``changes``, in the form of ``salt.state``.
    """
    ret = _attended("salt.function", name, tgt, expect_minions=expect_minions, **kwargs)
    answers = ret["changes"].get("ret", {})
    changed, ret["return"] = fanatico_steps.parted(answers)
    ret["changes"] = {"out": "highstate", "ret": changed} if changed else {}
    if ret["result"] is False:
        reasons = fanatico_steps.reasons(ret["comment"], ret["return"])
        ret["comment"] = "\n".join(reasons) or ret["comment"]
    return ret


@_noted
def runner(name, acts=False, begins="", **kwargs):
    """
    Run a runner, as ``salt.runner`` does.

    name
        The runner.
    acts
        Whether the runner returns what it has changed; empty: nothing.
    begins
        The orchestration that starts with this step, before it has the lock: the history then names it where the step fails.
    kwargs
        The arguments of the runner.
    """
    ret = __states__["salt.runner"](name, **kwargs)
    returned = ret["changes"].get("return")
    ret["changes"], ret["return"] = {}, returned
    if ret["result"] is False:
        ret["comment"] = fanatico_steps.message(returned)
    elif acts:
        ret["changes"] = fanatico_steps.acted(returned)
    return ret


@_noted
def orchestration(name, **kwargs):
    """
    Run another orchestration as one step of this one.

    name
        Its SLS, for example ``orch.etcd``.
    kwargs
        The other arguments of ``state.orchestrate``.
    """
    ret = __states__["salt.runner"]("state.orchestrate", mods=name, **kwargs)
    ret["name"] = name
    returned = ret["changes"].get("return")
    data = returned.get("data") if isinstance(returned, dict) else None
    ret["changes"], ret["return"] = {}, returned if data is None else data
    if data is not None and fanatico_steps.differs(data):
        ret["changes"], ret["return"] = {"out": "highstate", "ret": data}, {}
    if ret["result"] is False:
        reasons = [
            fanatico_steps.message(run)
            for run in (data.values() if data else [returned])
            if not isinstance(run, dict)
        ]
        ret["comment"] = "\n".join([f"{name} failed.", *reasons])
    return ret


def _attended(kind, name, tgt, **kwargs):
    """Run a state of Salt that waits for hosts, as long as they and the master are up."""
    nodes = __pillar__.get("plan", {}).get("nodes", {})
    targets = [tgt] if isinstance(tgt, str) else tgt
    addresses = {node: nodes[node]["address"] for node in targets if node in nodes}
    call = functools.partial(__states__[kind], name, tgt, **kwargs)
    ret, reason = fanatico_attend.attended(call, addresses, __opts__.get("pidfile", "/run/salt-master.pid"))
    if reason:
        return {"name": name, "result": False, "comment": reason, "changes": {}}
    return ret


def _journal(machine, unit):
    """Return the end of a unit's journal on a host, or that it could not be read."""
    answer = __salt__["saltutil.cmd"](machine, "fanatico.journal", arg=[unit], timeout=10)
    return str(
        answer.get(machine, {}).get("ret") or f"(not available: salt {machine} fanatico.journal {unit})"
    )
