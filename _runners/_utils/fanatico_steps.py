"""
What an orchestration did, step by step: read from Salt's results, and formatted as text. No I/O.

Used by the steps themselves (_runners/_states/fanatico_step.py), by the outputter (_output/highstate.py), and by those that show
the progress (fanatico.watch, ./fanatico up), so that all print the same text.
"""

import re
import textwrap

WIDTH = 120
_TITLES = 24  # the least width of the column of titles
# Control characters: what a host returns is printed on a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
# The runners of the steps before which an orchestration has changed nothing.
_BEFORE_CHANGES = (
    "fanatico.validate",
    "fanatico.lock",
    "fanatico.evict_refused",
    "fanatico.recover_refused",
    "fanatico.restore_refused",
)
_BLOCKED = "One or more requisite failed"
# A traceback ends with the line that names the exception; its message may have more lines.
_RAISED = re.compile(
    r"^(?!Traceback)[A-Za-z_][\w.]*(?:Error|Exception|Refusal|NotImplemented|Exit|Timeout)\b:? ?", re.M
)


# results of a step


def parted(answers):
    """
    Return ``(changed, rest)``: the answers of hosts in which a state changed or failed, and the other answers.

    answers
        ``{host: what a function returned}``.
    """
    changed = {machine: answer for machine, answer in answers.items() if _moved(answer)}
    return changed, {machine: answer for machine, answer in answers.items() if machine not in changed}


def acted(returned):
    """Return the changes of a runner that returns what it has changed; ``{}`` where that is nothing."""
    if isinstance(returned, dict):
        return {key: value for key, value in returned.items() if value}
    return {"changed": returned} if returned else {}


def differs(data):
    """Return whether an orchestration changed anything or failed. ``data``: ``{master: {tag: result}}``."""
    return any(_moved(running) or not isinstance(running, dict) for running in data.values())


def services_that_failed(states):
    """Return the results of services that could not be started, from the states of a host."""
    return [
        result
        for tag, result in _ordered(states)
        if tag.startswith("service_|-") and result["result"] is False and not _is_blocked(result)
    ]


def reasons(comment, answers):
    """
    Return a line for each host on which a function failed: ``host: message``.

    comment
        The comment of ``salt.function``, which names the hosts.
    answers
        ``{host: what the function returned}``.
    """
    named = re.search(r"failed on minions: (.+?)(?: Function |$)", comment)
    failed = named[1].split(", ") if named else []
    texts = {host: message(answers[host]) for host in sorted(failed, key=_natural) if host in answers}
    # Messages of ours begin with the host already.
    return [text if text.startswith(f"{host}: ") else f"{host}: {text}" for host, text in texts.items()]


def message(answer):
    """
    Return the message of a failed function or runner, whole, without a traceback or lines of a template.

    answer
        What it returned: text, a list of texts, or False where there was no answer.
    """
    if answer is False or answer is None:
        return "no answer. Next, on the host: systemctl status salt-minion"
    text = "\n".join(map(str, answer)) if isinstance(answer, list | tuple) else str(answer)
    if "Traceback (most recent call last)" in text:
        # After the last frame: a message may quote a journal, and the journal other exceptions.
        raised = _RAISED.search(text, text.rfind("\n  File "))
        text = text[raised.end() :] if raised else text
    return text.split("\n---\n")[0].strip().removeprefix("ERROR: ")


# reading


def steps(running):
    """
    Return the steps of an orchestration, in their order.

    running
        ``{tag: result}``: what ``state.orchestrate`` returns for the master.

    Each is ``{"title", "name": function or runner, "code", "took": seconds, "result", "comment", "machines": {host: states that
    changed}, "acted": bool, "proof": {step: what was seen}, "next": [commands], "steps": [...], "faults": [...]}``. A fault is a
    state that failed by itself, not because of another: ``{"step", "host", "state", "comment", "blocked": number of states that
    did not run}``.
    """
    return [_step(tag, result) for tag, result in _ordered(running)]


def is_orchestration(running):
    """Return whether ``{tag: result}`` are the steps of one of our orchestrations."""
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
        "next": [],
        "steps": [],
        "faults": [],
    }
    kind = tag.rpartition("_|-")[2]
    if kind == "orchestration":
        nested = of_states or (returned if isinstance(returned, dict) else {})
        step["steps"] = [inner for running in nested.values() for inner in steps(running)]
    elif kind in ("state", "function"):
        step["machines"] = dict.fromkeys(_unchanged(step["comment"]), 0)
        step["machines"] |= dict.fromkeys(returned or {}, 0)
        step["machines"] |= {machine: changed(states) for machine, states in of_states.items()}
        if result.get("name") == "fanatico.proof":
            step["proof"] = next((seen for seen in (returned or {}).values() if isinstance(seen, dict)), {})
    elif isinstance(returned, dict):
        step["next"] = [str(command) for command in returned.get("next", ())]
        if result.get("name") == "fanatico.evicted":
            step["proof"] = returned
    if result["result"] is False and not any(inner["result"] is False for inner in step["steps"]):
        found = [fault for machine, states in of_states.items() for fault in _faults(states, machine, title)]
        step["faults"] = found or [
            {"step": title, "host": "", "state": "", "comment": step["comment"], "blocked": 0}
        ]
    return step


def _unchanged(comment):
    """Return the hosts where nothing changed; ``salt.state`` names them in its comment alone."""
    named = re.search(r"No changes made to ([^\n]*)\.$", comment, re.M)
    return named[1].split(", ") if named else []


def changed(states):
    """Return how many states of a host changed something. ``states``: ``{tag: result}``."""
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
            "comment": str(result.get("comment") or "no message").strip(),
            "blocked": 0,
        }
        for tag, result in own
    ]
    if found:
        found[-1]["blocked"] = len(failed) - len(own)  # for all faults of the host together
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


# text


def lines(running):
    """
    Return the output for an orchestration that has ended, as lines: a line for each step, the failures, a summary.

    running
        ``{tag: result}``: what ``state.orchestrate`` returns for the master.
    """
    read = steps(running)
    title = name(running)
    width = max([_TITLES, *(len(step["title"]) + 2 * depth for depth, step in _walk(read))])
    shown = [f"{title}:"]
    for depth, step in _walk(read):
        shown += _line(step, depth, width)
    shown += failure_lines({"": running})
    if any(step["result"] is False for step in read):
        shown += ["", _next_step(title, [step for _, step in _walk(read) if step["result"] is False])]
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
    Return the output for an orchestration that did not start, as lines.

    runs
        ``{master: [errors]}``.
    """
    texts = [message(errors) for errors in runs.values()]
    fault = {
        "step": "not started, nothing was changed",
        "host": "",
        "state": "",
        "comment": "\n".join(texts),
        "blocked": 0,
    }
    shown = _fault_lines(fault)
    if any("Pillar failed to render" in text for text in texts):
        shown += ["", "Next: salt-run fanatico.validate, which names the file, the line and the error."]
    return shown


def failure_lines(runs):
    """
    Return the failures as lines, an empty line before each: the step and host, the state, and the whole message.

    runs
        ``{host: {tag: result}}``, of an orchestration or a highstate.
    """
    found = []
    for host, running in runs.items():
        if is_orchestration(running):
            found += [fault for _, step in _walk(steps(running)) for fault in step["faults"]]
        else:
            found += _faults(running, host, "")
    return [line for fault in found for line in ["", *_fault_lines(fault)]]


def _fault_lines(fault):
    where = f" on {fault['host']}" if fault["host"] else ""
    shown = [f"FAILED: {fault['step']}{where}" if fault["step"] else f"FAILED{where}"]
    if fault["state"]:
        shown.append(f"  state: {fault['state']}")
    comment = _CONTROL.sub("?", fault["comment"]).splitlines()
    shown += [f"  {line.rstrip()}" for line in comment if line.strip()]
    if fault["blocked"]:
        many = fault["blocked"] != 1
        shown.append(
            f"  {fault['blocked']} {'states that require' if many else 'state that requires'} it did not run."
        )
    return shown


def changes_in_words(machines):
    """
    Return how many states changed on each host: ``changed: db1 14, db2 14``, or ``no change``.

    machines
        ``{host: number of states that changed}``.
    """
    moved = [f"{host} {machines[host]}" for host in sorted(machines, key=_natural) if machines[host]]
    return f"changed: {', '.join(moved)}" if moved else "no change"


def _natural(text):
    """Return a sort key by which db2 comes before db10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _walk(read, depth=1):
    for step in read:
        yield depth, step
        yield from _walk(step["steps"], depth + 1)


def _line(step, depth, width):
    head = f"{'  ' * depth}{step['title']}".ljust(width + 2) + f"{step['took']:7.1f} s"
    words = ["FAILED"] if step["result"] is False else []
    if any(step["machines"].values()):
        words.append(changes_in_words(step["machines"]))
    elif step["acted"]:
        words.append("changed")
    indent = " " * (len(head) + 2)
    return textwrap.wrap("; ".join(words), WIDTH, initial_indent=f"{head}  ", subsequent_indent=indent) or [
        head
    ]


def _summary(title, read):
    everything = [step for _, step in _walk(read)]
    machines = {host for step in everything for host in step["machines"]}
    changes = sum(sum(step["machines"].values()) + step["acted"] for step in everything)
    failed = sum(step["result"] is False for step in read)
    moved = sum(bool(_changes(step)) for step in read)
    proof = [f"  {what}: {seen}" for step in everything for what, seen in step["proof"].items()]
    return [
        f"Summary for {title}",
        "-" * (12 + len(title)),
        f"Machines:  {len(machines)}",
        f"Changes:   {changes}",
        f"Seconds:   {_elapsed(read):.1f}",
        *(["Proof:", *proof] if proof else []),
        f"Succeeded: {len(read) - failed} (changed={moved})",
        f"Failed:    {failed}",
        *[f"Next: {command}" for step in everything for command in step["next"]],
    ]


def _changes(step):
    return sum(step["machines"].values()) + step["acted"] + sum(map(_changes, step["steps"]))


def _elapsed(read):
    """Return the seconds from the start of the first step to the end of the last; steps may run in parallel, or over midnight."""
    timed = [step for step in read if step["began"] is not None]
    if not timed:
        return sum(step["took"] for step in read)
    first = timed[0]["began"]
    day = 86400
    return max((step["began"] - first + day / 2) % day - day / 2 + step["took"] for step in timed)
