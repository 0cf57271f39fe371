"""
Run pgBackRest, as the user postgres.
"""

import subprocess

import fanatico_pgbackrest
import fanatico_probe

_PROGRAM = "/usr/bin/pgbackrest"


class Failed(Exception):
    """pgBackRest failed; the message is its own."""


def call(command, *options, timeout, stanza=True):
    """
    Run a command and return what it printed.

    command
        For example ``info``.
    options
        More words of the command line, no secret among them.
    timeout
        Seconds.
    stanza
        Whether the command takes the name of the stanza.

    Raises ``Failed`` with pgBackRest's message.
    """
    named = [f"--stanza={fanatico_pgbackrest.STANZA}"] if stanza else []
    quiet = ["--log-level-console=off", "--log-level-stderr=error"]
    argv = ["runuser", "-u", "postgres", "--", _PROGRAM, *named, *quiet, command, *options]
    try:
        done = fanatico_probe.run(*argv, timeout=timeout)
    except subprocess.TimeoutExpired as exc:
        raise Failed(f"pgbackrest {command}: no result within {timeout:g} s") from exc
    except OSError as exc:
        raise Failed(f"pgbackrest {command}: {exc}") from exc
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[-500:]
        raise Failed(f"pgbackrest {command} failed with code {done.returncode}: {why}")
    return done.stdout
