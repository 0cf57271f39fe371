"""
Helpers for probes and cures: share answers between probes, detect hangs, run programs, apply states.

Salt's dunders are passed as arguments.
"""

import contextlib
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_http

TIMEOUT = 1  # seconds for one request: the beacon's process waits for the answer
_ANSWERS = "fanatico_probe.answers"


@contextlib.contextmanager
def shared_answers(context, known=None):
    """
    Share the answers of ``once`` between all probes in this context: a TLS handshake costs more than everything else.

    context
        ``__context__``, which all modules of a process share.
    known
        Answers that the caller already has, ``{question: answer}``.
    """
    context[_ANSWERS] = dict(known or {})
    try:
        yield
    finally:
        del context[_ANSWERS]


def once(context, question, ask):
    """Return the shared answer to ``question``, or call ``ask``; outside of ``shared_answers`` always call ``ask``."""
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
    """Return the state of a unit; ``states`` is ``fanatico_unit.states``."""
    return once(context, name, lambda: states(name)[name])


def active(context, states, name):
    """Tell whether a unit runs; ``states`` is ``fanatico_unit.states``."""
    return unit(context, states, name)["active"] == "active"


def hang_reason(ask):
    """Return the timeout message of a service that hangs; empty if it answers or refuses the connection."""
    try:
        ask()
    except CommandExecutionError as exc:
        # A refused connection is no hang: a service that has just started does not listen yet.
        return str(exc) if fanatico_http.timed_out(exc) else ""
    return ""


def run(*command, timeout=20):
    """Run a program and return its ``CompletedProcess``, whatever the exit code; ``timeout`` in seconds."""
    # What a program prints may be anything: pgBackRest shows bytes that it could not decrypt.
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
    )


def apply_states(apply, host, sls=None):
    """
    Apply states on this host and return a sentence about it.

    apply
        ``state.apply``.
    host
        This host's id.
    sls
        The states; the highstate by default.

    Raises ``CommandExecutionError`` with the first state that failed.
    """
    # test=False is explicit: a dry run for drift in the same process may have changed the default.
    answer = apply(*([sls] if sls else []), queue=True, test=False)
    what = sls or "the highstate"
    if not isinstance(answer, dict):
        raise CommandExecutionError(f"{host}: {what}: {answer}")
    bad = [state["comment"] for state in answer.values() if state.get("result") is False]
    if bad:
        raise CommandExecutionError(f"{host}: {what}: {bad[0]}")
    return f"{what} applied"
