"""
What probes and cures of the components have in common: a question is asked once in a look, and states are applied.

Dunders are given as arguments: here are none.
"""

import contextlib
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_http

TIMEOUT = 1  # seconds for one question: the beacon's process waits for the answer
_ANSWERS = "fanatico_probe.answers"


@contextlib.contextmanager
def shared_answers(context, known=None):
    """
    Have all probes of one look share the answers that ``once`` gets: a TLS handshake costs more than all the rest.

    context
        ``__context__``, which all modules of a process share.
    known
        Answers that the caller has already, ``{question: answer}``.
    """
    context[_ANSWERS] = dict(known or {})
    try:
        yield
    finally:
        del context[_ANSWERS]


def once(context, question, ask):
    """Return the answer that the look under way has had already, or ask; outside of a look, ask."""
    answers = context.get(_ANSWERS)
    if answers is None:
        return ask()
    if question not in answers:
        try:
            answers[question] = ask()
        except CommandExecutionError as exc:
            answers[question] = exc
    if isinstance(answers[question], CommandExecutionError):
        raise answers[question]
    return answers[question]


def unit(context, states, name):
    """Return how a unit is; ``states`` is ``fanatico_unit.states``."""
    return once(context, name, lambda: states(name)[name])


def active(context, states, name):
    """Tell whether a unit runs; ``states`` is ``fanatico_unit.states``."""
    return unit(context, states, name)["active"] == "active"


def hang_reason(ask):
    """Return what was heard of a service that takes questions and does not answer; empty where it answers, or refuses at once."""
    try:
        ask()
    except CommandExecutionError as exc:
        # One that has just been started does not listen yet.
        return str(exc) if fanatico_http.timed_out(exc) else ""
    return ""


def run(*command, timeout=20):
    """Run a program and return how it ended, whatever that is."""
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def apply_states(apply, host, sls=None):
    """
    Have states put something in order on this host, and return a sentence; raises with what failed.

    apply
        ``state.apply``.
    host
        This one's name.
    sls
        Which; all of them without any.
    """
    # Said, since the dry run that looked for drift in this very process may have left it behind as the default.
    answer = apply(*([sls] if sls else []), queue=True, test=False)
    what = sls or "the highstate"
    if not isinstance(answer, dict):
        raise CommandExecutionError(f"{host}: {what}: {answer}")
    bad = [one["comment"] for one in answer.values() if one.get("result") is False]
    if bad:
        raise CommandExecutionError(f"{host}: {what}: {bad[0]}")
    return f"{what} applied"
