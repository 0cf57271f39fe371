"""
A running deploy, as it happens: told from the events the orchestration leaves on the master's bus.
"""

import shutil
import sys
import time

import salt.utils.event
import salt.utils.master

import fanatico_interrupt
import fanatico_master
import fanatico_steps

__virtualname__ = "fanatico"

_ORCHESTRATE = "runner.state.orchestrate"
# Healing has its own history and would end the story before the deploy has begun.
_NOT_WATCHED = ("orch.heal",)


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def watch(timeout=3600):
    """
    Show the progress of the orchestration that is running, or of the next one, line by line until it ends.

    timeout
        Seconds after which to stop watching, whatever happens.

    Returns a closing sentence.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.watch
    """
    try:
        return _watch(float(timeout))
    except fanatico_interrupt.Interrupted:
        _clear()
        fanatico_master.refuse(
            "No longer watching: interrupted by the operator. An orchestration that is running continues. "
            "Next: salt-run fanatico.watch"
        )


def _watch(timeout):
    deadline = time.monotonic() + timeout
    with salt.utils.event.get_event("master", __opts__["sock_dir"], opts=__opts__, listen=True) as bus:
        story = None
        # Subscribed first and asked afterwards: nothing that begins in between is missed.
        job = _running()
        if job:
            story = Story(job["jid"], job["mods"], _titles(job["mods"]), time.time())
            _say([f"{story.name} is already running"])
        else:
            _say(["Waiting for an orchestration to begin"])
        while time.monotonic() < deadline:
            event = bus.get_event(wait=0.5, full=True, auto_reconnect=True)
            if event:
                tag, data = event["tag"], event["data"]
                if story is None and _begins(tag, data):
                    mods = _mods(data["fun_args"])
                    story = Story(data["jid"], mods, {}, time.time())
                    _say([f"{mods} begins"])
                    story.titles.update(_titles(mods))
                if story:
                    nested = story.nested(tag, data)
                    if nested:
                        story.titles.update(_titles(nested))
                    _say(story.hear(tag, data, time.time()))
                    if story.ending:
                        return story.ending
            if story:
                _status(story.waiting(time.time()))
    return f"No longer watching: {timeout:g} s have passed."


class Story:
    """
    What is known of one orchestration. Fed with events, it answers with lines for people.

    jid
        The orchestration's job id.
    name
        Its SLS, for example ``orch.deploy``.
    titles
        ``{function: [step, ...]}``: what the steps that call a function are called, in order.
    begun
        Epoch seconds.
    """

    def __init__(self, jid, name, titles, begun):
        self.jid = jid
        self.name = name
        self.titles = titles
        self.begun = begun
        self.ending = ""
        self._steps = []  # begun, their jobs not yet published: {"title", "fun"}
        self._jobs = {}  # jid: {"title", "minions", "silent", "failed", "changed", "begun"}
        self._runners = []  # functions of runner steps that were begun

    def nested(self, tag, data):
        """Return the SLS of the orchestration that a step is about to start, or an empty string."""
        if tag == f"salt/run/{self.jid}/args" and data.get("name") in ("state.orchestrate", "state.orch"):
            return str(data.get("kwargs", {}).get("mods", ""))
        return ""

    def hear(self, tag, data, now):
        """Return the lines an event is worth."""
        parts = tag.split("/")
        if tag == f"salt/run/{self.jid}/args":
            return self._step(data, now)
        if tag == f"salt/run/{self.jid}/ret":
            return self._end(data, now)
        if len(parts) == 4 and parts[:2] == ["salt", "job"] and parts[3] == "new":
            return self._published(data, now)
        if len(parts) == 5 and parts[:2] == ["salt", "job"] and parts[3] == "ret":
            return self._returned(parts[2], data, now)
        if len(parts) == 4 and parts[:2] == ["salt", "run"] and parts[3] == "ret":
            return self._ran(data, now)
        return []

    def waiting(self, now):
        """Return what is being waited for, as one line; empty when that is nothing in particular."""
        told = [
            f"{job['title']}: waiting for {_names(job['silent'])}, {now - job['begun']:.0f} s"
            for job in self._jobs.values()
        ]
        return "; ".join(told)

    def _line(self, now, text):
        return f"{now - self.begun:6.1f} s  {text}"

    def _step(self, data, now):
        fun = data.get("name", "")
        if data.get("type") == "runner":
            self._runners.append(fun)
        title = fun
        if data.get("type") == "state":
            fun = "state."
        elif self.titles.get(fun):
            title = self.titles[fun].pop(0)
        if data.get("type") != "runner":
            self._steps.append({"title": title, "fun": fun, "tgt": data.get("tgt")})
        return [self._line(now, title)]

    def _published(self, data, now):
        for step in self._steps:
            if data.get("fun", "").startswith(step["fun"]) and data.get("tgt") == step["tgt"]:
                self._steps.remove(step)
                minions = sorted(data.get("minions", []))
                self._jobs[data["jid"]] = {
                    "title": step["title"],
                    "minions": minions,
                    "silent": set(minions),
                    "failed": 0,
                    "changed": {},
                    "begun": now,
                }
                break
        return []

    def _returned(self, jid, data, now):
        job = self._jobs.get(jid)
        if job is None or data.get("id") not in job["silent"]:
            return []
        job["silent"].discard(data["id"])
        faults = _faults(data)
        job["failed"] += bool(faults)
        job["changed"][data["id"]] = fanatico_steps.changed(data.get("return"))
        lines = [self._line(now, f"  {data['id']}: {fault}") for fault in faults]
        if not job["silent"]:
            del self._jobs[jid]
            good = len(job["minions"]) - job["failed"]
            took = now - job["begun"]
            # Steps may run side by side, so the line says whose it is.
            done = f"{good} of {len(job['minions'])} done in {took:.1f} s"
            if any(job["changed"].values()):
                done += f", {fanatico_steps.changes_in_words(job['changed'])}"
            lines.append(self._line(now, f"  {job['title']}: {done}"))
        return lines

    def _ran(self, data, now):
        fun = str(data.get("fun", "")).removeprefix("runner.")
        if fun not in self._runners:
            return []
        self._runners.remove(fun)
        if data.get("success", True) or fun.startswith("state.orch"):
            return []
        return [self._line(now, f"  {_last_line(data.get('return'))}")]

    def _end(self, data, now):
        result = "is done" if data.get("success") else "failed"
        self.ending = f"{self.name} {result} after {now - self.begun:.1f} s."
        return []


def _running():
    """Return ``{"jid", "mods"}`` of the orchestration that is running, the outermost one; None without one."""
    jobs = [job for job in salt.utils.master.get_running_jobs(__opts__) if job.get("fun") == _ORCHESTRATE]
    jobs = [{"jid": job["jid"], "mods": _mods(job["fun_args"])} for job in jobs]
    return min(
        (job for job in jobs if job["mods"] not in _NOT_WATCHED), key=lambda job: job["jid"], default=None
    )


def _begins(tag, data):
    return (
        tag.startswith("salt/run/")
        and tag.endswith("/new")
        and data.get("fun") == _ORCHESTRATE
        and _mods(data["fun_args"]) not in _NOT_WATCHED
    )


def _mods(fun_args):
    """Return the SLS an orchestration was asked for, from its arguments."""
    for argument in fun_args:
        if isinstance(argument, str):
            return argument
        if isinstance(argument, dict) and "mods" in argument:
            return str(argument["mods"])
    return "the orchestration"


def _titles(mods):
    """Return what the steps of an orchestration are called, ``{function: [step, ...]}`` in their order."""
    shown = next(iter(__salt__["state.orchestrate_show_sls"](mods).values()))
    titles = {}
    if isinstance(shown, dict):
        steps = [(_order(step), title, step) for title, step in shown.items()]
        for _, title, step in sorted(steps, key=lambda item: item[:2]):
            titles.setdefault(_function(title, step), []).append(title)
    return titles


def _order(step):
    """Return the place of a compiled step in its SLS."""
    parts = next(value for key, value in step.items() if not key.startswith("__"))
    return next((part["order"] for part in parts if isinstance(part, dict) and "order" in part), 0)


def _function(title, step):
    """Return the function a compiled step calls: its name, or else its title."""
    parts = next(value for key, value in step.items() if not key.startswith("__"))
    if "orchestration" in parts:
        return "state.orchestrate"
    return next((part["name"] for part in parts if isinstance(part, dict) and "name" in part), title)


def _faults(data):
    """Return what went wrong on one minion, a sentence each."""
    result = data.get("return")
    if not data.get("retcode") and data.get("success", True):
        return []
    if isinstance(result, dict):
        states = [
            state for state in result.values() if isinstance(state, dict) and state.get("result") is False
        ]
        told = [(state.get("__id__", "?"), _first_line(state.get("comment"))) for state in states]
        # What failed only because something before it did is not worth a line.
        own = [f"{title}: {why}" for title, why in told if not why.startswith("One or more requisite failed")]
        if own:
            return own
    return [_last_line(result) or "it failed and did not say why"]


def _first_line(text):
    return next((line.strip() for line in str(text).splitlines() if line.strip()), "")


def _last_line(text):
    if isinstance(text, list):
        text = "\n".join(str(line) for line in text)
    return next((line.strip() for line in reversed(str(text).splitlines()) if line.strip()), "")


def _names(minions):
    names = sorted(minions)
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _say(lines):
    if lines:
        _clear()
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def _status(line):
    """Show what is awaited in the last line of a terminal; piped, only steps and results are written."""
    if sys.stdout.isatty():
        _clear()
        sys.stdout.write(line[: shutil.get_terminal_size().columns - 1])
        sys.stdout.flush()


def _clear():
    if sys.stdout.isatty():
        sys.stdout.write("\r\x1b[K")
