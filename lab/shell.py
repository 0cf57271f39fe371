"""Run commands on the real machine."""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.errors import LabError


def run(
    argv: Iterable[object],
    *,
    timeout: float = 120,
    check: bool = True,
    text_input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command and return its CompletedProcess with text output.

    :param argv: list of words; no shell is involved.
    :param timeout: seconds.
    :param check: raise when the exit code is not 0.
    :param text_input: the command's standard input.
    :raises LabError: with the last lines of the command's output.
    """
    words = [str(word) for word in argv]
    try:
        result = subprocess.run(
            words,
            input=text_input,
            stdin=None if text_input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env,
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise LabError(f"The command {words[0]} is not installed. Install it: sudo ./fanatico up") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(words)[:200]}` did not end within {timeout} s.") from error
    if check and result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-8:]
        raise LabError(
            f"`{' '.join(words)[:200]}` failed with exit code {result.returncode}: " + " / ".join(said)
        )
    return result


def delete(folder: Path) -> None:
    """Delete a folder on its own file system only: the content of a mount below it stays.

    :raises LabError: when something could not be deleted, for example a mount.
    """
    run(["rm", "-rf", "--one-file-system", "--", folder], timeout=600)
