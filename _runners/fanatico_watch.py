"""
The progress of a running orchestration, from its events on the master's event bus.
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
# Healing has its history, and often runs beside a deploy that is waited for.
_NOT_WATCHED = ("orch.heal",)


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def watch(timeout=3600):
    """
    Show the progress of the running orchestration, or of the next one, line by line until it ends.

    timeout
        Seconds after which to stop watching.

    Returns a sentence: the result. Ctrl-C stops watching; the orchestration continues.

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
        progress = None
        # Subscribe first and list jobs afterwards: an orchestration that starts in between is not missed.
        progress = _already()
        if progress is None:
            _print(["Waiting for an orchestration to start"])
        while time.monotonic() < deadline:
            event = bus.get_event(wait=0.5, full=True, auto_reconnect=True)
            if event:
                tag, data = event["tag"], event["data"]
                if progress is None and _begins(tag, data):
                    # A subscription begins a moment after the call: this may be a step of one whose start was missed.
                    progress = _already(before=data["jid"])
                if progress is None and _begins(tag, data):
                    mods = _mods(data["fun_args"])
                    progress = Progress(data["jid"], mods, {}, time.time())
                    _print([f"{mods} starts"])
                    progress.titles.update(_titles(mods))
                if progress:
                    nested = progress.nested(tag, data)
                    if nested:
                        progress.titles.update(_titles(nested))
                    _print(progress.lines(tag, data, time.time()))
                    if progress.ending:
                        return progress.ending
            if progress:
                _status(progress.waiting(time.time()))
    return f"No longer watching: {timeout:g} s have passed."


def _already(before=None):
    """Return the progress of the orchestration that is running, and say so; None without one that began ``before`` a job."""
    job = _running()
    if job is None or (before and job["jid"] >= before):
        return None
    _print([f"{job['mods']} is running already"])
    return Progress(job["jid"], job["mods"], _titles(job["mods"]), time.time())


class Progress:
    """
    The progress of one orchestration. Takes events, returns lines of text.

    jid
        The orchestration's job id.
    name
        Its SLS, for example ``orch.deploy``.
    titles
        ``{function: [title, ...]}``: the titles of the steps that call a function, in order.
    begun
        Its start, epoch seconds.
    """

    def __init__(self, jid, name, titles, begun):
        self.jid = jid
        self.name = name
        self.titles = titles
        self.begun = begun
        self.ending = ""
        self._steps = []  # started, job not yet published: {"title", "fun"}
        self._jobs = {}  # jid: {"title", "minions", "silent", "failed", "changed", "begun"}
        self._runners = []  # functions of runner steps that have started

    def nested(self, tag, data):
        """Return the SLS of the orchestration that a step is about to start, or an empty string."""
        if tag == f"salt/run/{self.jid}/args" and data.get("name") in ("state.orchestrate", "state.orch"):
            return str(data.get("kwargs", {}).get("mods", ""))
        return ""

    def lines(self, tag, data, now):
        """Return the lines to print for an event; empty for most events."""
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
        """Return which hosts each step waits for, as one line; empty where no step waits."""
        return "; ".join(
            f"{job['title']}: waiting for {_names(job['silent'])}, {now - job['begun']:.0f} s"
            for job in self._jobs.values()
        )

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
            # Steps may run in parallel, so the line names its step.
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
        result = "finished" if data.get("success") else "failed"
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
    """Return the SLS of an orchestration, from the arguments of its runner."""
    for argument in fun_args:
        if isinstance(argument, str):
            return argument
        if isinstance(argument, dict) and "mods" in argument:
            return str(argument["mods"])
    return "the orchestration"


def _titles(mods):
    """Return the titles of the steps of an orchestration, ``{function: [title, ...]}`` in their order."""
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
    """Return what failed on one minion, a sentence for each fault."""
    result = data.get("return")
    if not data.get("retcode") and data.get("success", True):
        return []
    if isinstance(result, dict):
        states = [
            state for state in result.values() if isinstance(state, dict) and state.get("result") is False
        ]
        comments = [(state.get("__id__", "?"), _first_line(state.get("comment"))) for state in states]
        # A state that failed only because of an earlier one gets no line.
        own = [
            f"{title}: {why}" for title, why in comments if not why.startswith("One or more requisite failed")
        ]
        if own:
            return own
    return [_last_line(result) or "failed without a message"]


def _first_line(text):
    return next((line.strip() for line in str(text).splitlines() if line.strip()), "")


def _last_line(text):
    if isinstance(text, list):
        text = "\n".join(str(line) for line in text)
    return next((line.strip() for line in reversed(str(text).splitlines()) if line.strip()), "")


def _names(minions):
    names = sorted(minions)
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _print(lines):
    if lines:
        _clear()
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def _status(line):
    """Show a line at the bottom of a terminal; without a terminal only steps and results are written."""
    if sys.stdout.isatty():
        _clear()
        sys.stdout.write(line[: shutil.get_terminal_size().columns - 1])
        sys.stdout.flush()


def _clear():
    if sys.stdout.isatty():
        sys.stdout.write("\r\x1b[K")
