"""Running commands on the real machine."""

import subprocess

from lab.errors import LabError


def run(argv, *, timeout=120, check=True, text_input=None, env=None, cwd=None):
    """Run a command and return its CompletedProcess with text output.

    :param argv: list of words; no shell is involved.
    :param timeout: seconds.
    :param check: raise when the exit code is not 0.
    :param text_input: what the command reads on its standard input.
    :raises LabError: with the last lines of what the command said.
    """
    argv = [str(word) for word in argv]
    try:
        result = subprocess.run(
            argv,
            input=text_input,
            stdin=None if text_input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env,
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise LabError(
            f"The command {argv[0]} is not installed; run ./fanatico, which installs it."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(argv)[:200]}` did not end within {timeout} s.") from error
    if check and result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-8:]
        raise LabError(
            f"`{' '.join(argv)[:200]}` failed with exit code {result.returncode}: " + " / ".join(said)
        )
    return result


def delete(folder):
    """Delete a folder without ever crossing into another file system: a forgotten mount below it keeps its content.

    :raises LabError: when something could not be deleted, a mount for instance.
    """
    run(["rm", "-rf", "--one-file-system", "--", folder], timeout=600)
