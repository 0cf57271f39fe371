"""
What an orchestration did, step by step: read out of what Salt returns for it, and put into words. No I/O.

Used by the steps themselves (_runners/_states/fanatico_step.py), by what shows them at the end (_output/highstate.py), and
by what shows them as they happen (fanatico.watch, ./fanatico up): all of them say the same in the same words.
"""

import re
import textwrap

WIDTH = 120
_TITLES = 24  # the least width of the column of titles
# What a host says reaches a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
# The runners of the steps before which an orchestration has changed nothing.
_BEFORE_CHANGES = ("fanatico.validate", "fanatico.lock", "fanatico.evict_refused")
_BLOCKED = "One or more requisite failed"
# A traceback ends with the line that names the exception; the message may go on over more lines.
_RAISED = re.compile(
    r"^(?!Traceback)[A-Za-z_][\w.]*(?:Error|Exception|Refusal|NotImplemented|Exit|Timeout)\b:? ?", re.M
)


# what a step makes of what it was returned


def parted(answers):
    """
    Return ``(changed, rest)``: of the answers of machines those in which a state changed or failed, and the others.

    answers
        ``{machine: what a function returned}``.
    """
    changed = {machine: answer for machine, answer in answers.items() if _moved(answer)}
    return changed, {machine: answer for machine, answer in answers.items() if machine not in changed}


def acted(returned):
    """Return the changes of a runner that returns what it has changed, ``{}`` where that is nothing."""
    if isinstance(returned, dict):
        return {key: value for key, value in returned.items() if value}
    return {"changed": returned} if returned else {}


def differs(data):
    """Tell whether an orchestration changed anything or failed. ``data``: ``{master: {tag: result}}``."""
    return any(_moved(running) or not isinstance(running, dict) for running in data.values())


def services_that_failed(states):
    """Return the results of the services among a machine's states that could not be started."""
    return [
        result
        for tag, result in _ordered(states)
        if tag.startswith("service_|-") and result["result"] is False and not _is_blocked(result)
    ]


def reasons(comment, answers):
    """
    Return a line for each machine on which a function failed: ``machine: what it said``.

    comment
        Of ``salt.function``, which names them.
    answers
        ``{machine: what the function returned}``.
    """
    named = re.search(r"failed on minions: (.+?)(?: Function |$)", comment)
    failed = named[1].split(", ") if named else []
    said = {
        machine: message(answers[machine]) for machine in sorted(failed, key=_natural) if machine in answers
    }
    # Messages of ours begin with the machine already.
    return [
        text if text.startswith(f"{machine}: ") else f"{machine}: {text}" for machine, text in said.items()
    ]


def message(said):
    """
    Return what a failed function or runner said, for a person: the message whole, without a traceback or lines of a template.

    said
        What it returned: text, a list of texts, or False where there was no answer.
    """
    if said is False or said is None:
        return "no answer; is the host up, is its salt-minion running (systemctl status salt-minion)?"
    text = "\n".join(map(str, said)) if isinstance(said, list | tuple) else str(said)
    if "Traceback (most recent call last)" in text:
        # Behind the last frame: a message may quote a journal, and that other exceptions.
        raised = _RAISED.search(text, text.rfind("\n  File "))
        text = text[raised.end() :] if raised else text
    return text.split("\n---\n")[0].strip().removeprefix("ERROR: ")


# reading


def steps(running):
    """
    Return the steps of an orchestration, in their order.

    running
        ``{tag: result}``: what ``state.orchestrate`` returns for the master.

    Each is ``{"title", "took": seconds, "result", "comment", "machines": {machine: states that changed}, "acted": bool,
    "proof": {step: what was seen}, "steps": [...], "faults": [...]}``; a fault is a state that failed by itself, not for another,
    ``{"step", "host", "state", "comment", "blocked": how many states of that host did not run for it and those before}``.
    """
    return [_step(tag, result) for tag, result in _ordered(running)]


def is_orchestration(running):
    """Tell whether ``{tag: result}`` are the steps of one of our orchestrations."""
    return isinstance(running, dict) and any(tag.startswith("step_|-") for tag in running)


def name(running):
    """Return the SLS of an orchestration."""
    return next(
        (result["__sls__"] for _, result in _ordered(running) if result.get("__sls__")), "orchestration"
    )


def _ordered(running):
    if not isinstance(running, dict):
        return []
    results = [
        (tag, result) for tag, result in running.items() if isinstance(result, dict) and "result" in result
    ]
    return sorted(results, key=lambda item: item[1].get("__run_num__", 0))


def _moved(answer):
    return any(result.get("changes") or result["result"] is False for _, result in _ordered(answer))


def _is_blocked(result):
    return str(result.get("comment")).startswith(_BLOCKED)


def _step(tag, result):
    changes, returned = result.get("changes") or {}, result.get("return")
    of_states = changes.get("ret", {}) if changes.get("out") == "highstate" else {}
    title = result.get("__id__") or tag.split("_|-")[1]
    step = {
        "title": title,
        "name": str(result.get("name") or ""),
        "code": result.get("code", ""),
        "took": _seconds(result),
        "began": _clock(result.get("start_time")),
        "result": result["result"],
        "comment": str(result.get("comment") or ""),
        "machines": {},
        "acted": bool(changes) and not of_states,
        "proof": {},
        "steps": [],
        "faults": [],
    }
    kind = tag.rpartition("_|-")[2]
    if kind == "orchestration":
        nested = of_states or (returned if isinstance(returned, dict) else {})
        step["steps"] = [one for running in nested.values() for one in steps(running)]
    elif kind in ("state", "function"):
        step["machines"] = dict.fromkeys(_unchanged(step["comment"]), 0)
        step["machines"] |= dict.fromkeys(returned or {}, 0)
        step["machines"] |= {machine: changed(states) for machine, states in of_states.items()}
        if result.get("name") == "fanatico.proof":
            step["proof"] = next((seen for seen in (returned or {}).values() if isinstance(seen, dict)), {})
    elif result.get("name") == "fanatico.evicted" and isinstance(returned, dict):
        step["proof"] = returned
    if result["result"] is False and not any(one["result"] is False for one in step["steps"]):
        found = [fault for machine, states in of_states.items() for fault in _faults(states, machine, title)]
        step["faults"] = found or [
            {"step": title, "host": "", "state": "", "comment": step["comment"], "blocked": 0}
        ]
    return step


def _unchanged(comment):
    """Return the machines that ``salt.state`` names, and nowhere else, where nothing changed."""
    named = re.search(r"No changes made to ([^\n]*)\.$", comment, re.M)
    return named[1].split(", ") if named else []


def changed(states):
    """Return how many states of a machine changed something. ``states``: ``{tag: result}``."""
    return sum(bool(result.get("changes")) for _, result in _ordered(states))


def _faults(states, host, step):
    if not isinstance(states, dict):
        return [{"step": step, "host": host, "state": "", "comment": message(states), "blocked": 0}]
    failed = [(tag, result) for tag, result in _ordered(states) if result["result"] is False]
    own = [(tag, result) for tag, result in failed if not _is_blocked(result)]
    found = [
        {
            "step": step,
            "host": host,
            "state": f"{result.get('__id__') or tag.split('_|-')[1]} ({_function(tag)})",
            "comment": str(result.get("comment") or "it did not say why").strip(),
            "blocked": 0,
        }
        for tag, result in own
    ]
    if found:
        found[-1]["blocked"] = len(failed) - len(own)  # of all of them together: said once
    return found


def _function(tag):
    parts = tag.split("_|-")
    return f"{parts[0]}.{parts[-1]}"


def _seconds(result):
    try:
        return float(result.get("duration") or 0) / 1000
    except (TypeError, ValueError):
        return 0.0


def _clock(text):
    """Return a time of day as seconds since midnight; None where there is none."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", str(text))
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


# words


def lines(running):
    """
    Return what a person is shown of an orchestration that has ended: a line for each step, what failed, a summary.

    running
        ``{tag: result}``: what ``state.orchestrate`` returns for the master.
    """
    read = steps(running)
    title = name(running)
    width = max([_TITLES, *(len(one["title"]) + 2 * depth for depth, one in _walk(read))])
    shown = [f"{title}:"]
    for depth, one in _walk(read):
        shown += _line(one, depth, width)
    shown += failure_lines({"": running})
    if any(one["result"] is False for one in read):
        shown += ["", _next_step(title, [one for _, one in _walk(read) if one["result"] is False])]
    return [*shown, "", *_summary(title, read)]


def _next_step(title, failed):
    """Return what to do after a failure; ``failed``: the steps that failed, those of nested orchestrations included."""
    if any(step["code"] == "interrupted" for step in failed):
        return f"Next: run {title} again. Steps that are complete change nothing."
    if any(step["name"] in _BEFORE_CHANGES for step in failed):
        return f"Nothing was changed. Next: remove the cause, then run {title} again."
    hosts = [fault["host"] for step in failed for fault in step["faults"] if fault["host"]]
    look = f" (`salt {hosts[0]} fanatico.health --out=yaml` shows more)" if hosts else ""
    return f"Next: remove the cause{look}, then run {title} again. Steps that are complete change nothing."


def not_compiled_lines(runs):
    """
    Return what a person is shown of an orchestration that could not even begin.

    runs
        ``{master: [errors]}``.
    """
    said = [message(errors) for errors in runs.values()]
    fault = {"step": "nothing was begun", "host": "", "state": "", "comment": "\n".join(said), "blocked": 0}
    shown = _fault_lines(fault)
    if any("Pillar failed to render" in text for text in said):
        shown += ["", "Next: salt-run fanatico.validate names the file, the line and what is wrong there."]
    return shown


def failure_lines(runs):
    """
    Return what failed as lines for a person, an empty line before each: where, which state, and what was said, whole.

    runs
        ``{machine: {tag: result}}``, of an orchestration or a highstate.
    """
    found = []
    for machine, running in runs.items():
        if is_orchestration(running):
            found += [fault for _, one in _walk(steps(running)) for fault in one["faults"]]
        else:
            found += _faults(running, machine, "")
    return [line for fault in found for line in ["", *_fault_lines(fault)]]


def _fault_lines(fault):
    where = f" on {fault['host']}" if fault["host"] else ""
    shown = [f"FAILED: {fault['step']}{where}" if fault["step"] else f"FAILED{where}"]
    if fault["state"]:
        shown.append(f"  state: {fault['state']}")
    said = _CONTROL.sub("?", fault["comment"]).splitlines()
    shown += [f"  {line.rstrip()}" for line in said if line.strip()]
    if fault["blocked"]:
        many = fault["blocked"] != 1
        shown.append(
            f"  {fault['blocked']} {'states that need' if many else 'state that needs'} it did not run."
        )
    return shown


def changes_in_words(machines):
    """
    Return how many states changed, per machine: ``changed: db1 14, db2 14``, or ``no change``.

    machines
        ``{machine: number of states that changed}``.
    """
    moved = [
        f"{machine} {machines[machine]}" for machine in sorted(machines, key=_natural) if machines[machine]
    ]
    return f"changed: {', '.join(moved)}" if moved else "no change"


def _natural(text):
    """db2 comes before db10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _walk(read, depth=1):
    for one in read:
        yield depth, one
        yield from _walk(one["steps"], depth + 1)


def _line(one, depth, width):
    head = f"{'  ' * depth}{one['title']}".ljust(width + 2) + f"{one['took']:7.1f} s"
    words = ["FAILED"] if one["result"] is False else []
    if any(one["machines"].values()):
        words.append(changes_in_words(one["machines"]))
    elif one["acted"]:
        words.append("changed")
    indent = " " * (len(head) + 2)
    return textwrap.wrap("; ".join(words), WIDTH, initial_indent=f"{head}  ", subsequent_indent=indent) or [
        head
    ]


def _summary(title, read):
    everything = [one for _, one in _walk(read)]
    machines = {machine for one in everything for machine in one["machines"]}
    changes = sum(sum(one["machines"].values()) + one["acted"] for one in everything)
    failed = sum(one["result"] is False for one in read)
    moved = sum(bool(_changes(one)) for one in read)
    proof = [f"  {step}: {seen}" for one in everything for step, seen in one["proof"].items()]
    return [
        f"Summary for {title}",
        "-" * (12 + len(title)),
        f"Machines:  {len(machines)}",
        f"Changes:   {changes}",
        f"Seconds:   {_elapsed(read):.1f}",
        *(["Proof:", *proof] if proof else []),
        f"Succeeded: {len(read) - failed} (changed={moved})",
        f"Failed:    {failed}",
    ]


def _changes(one):
    return sum(one["machines"].values()) + one["acted"] + sum(_changes(below) for below in one["steps"])


def _elapsed(read):
    """Return the seconds from the first step's begin to the last one's end; steps may run side by side, and over midnight."""
    timed = [one for one in read if one["began"] is not None]
    if not timed:
        return sum(one["took"] for one in read)
    first = timed[0]["began"]
    day = 86400
    return max((one["began"] - first + day / 2) % day - day / 2 + one["took"] for one in timed)
