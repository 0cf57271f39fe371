"""
What a host knows of its Patroni without asking it: its log, and whether the watchdog is armed.
"""

import pathlib
import pwd
import stat
import subprocess

import fanatico_patroni_plan
import fanatico_probe

__virtualname__ = "fanatico_patroni"


def __virtual__():
    return __virtualname__


UNIT = "patroni.service"
WATCHDOG = "/dev/watchdog"


def complaint(since="-10min"):
    """
    Return the last FATAL or PANIC of PostgreSQL's own processes on this node; empty where there is none.

    What sessions have caused is left out: their users could have written it.

    since
        How far back, as ``journalctl --since`` takes it.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.complaint
    """
    return fanatico_patroni_plan.last_fatal(said_by_postgresql(since))


def said_by_postgresql(since="-10min"):
    """
    Return the last lines in PostgreSQL's log on this node that its own processes and Patroni's sessions wrote, oldest first.

    Those of other sessions are left out by journalctl: as many as there are, they push nothing out.

    since
        How far back, as ``journalctl --since`` takes it.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.said_by_postgresql
    """
    words = ["-u", UNIT, "-n", "200", "--no-pager", "-o", "cat", f"--since={since}"]
    argv = ["journalctl", *words, f"--grep={fanatico_patroni_plan.log_pattern()}"]
    try:
        said = fanatico_probe.run(*argv, timeout=5).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    # With --grep, -n gives the newest first.
    return "\n".join(reversed(said.splitlines()))


def watchdog(device=WATCHDOG):
    """
    Return ``{"armed": bool, "why": str}``: whether Patroni has the watchdog open, and why it could not arm it (empty: it could).

    The device is not opened: that would start it.

    device
        Its path.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.watchdog
    """
    armed = _holds(__salt__["fanatico_unit.states"](UNIT)[UNIT].get("pid"), device)
    return {"armed": armed, "why": "" if armed else _unusable_watchdog(pathlib.Path(device))}


def _holds(pid, path):
    """Tell whether a process has a file open."""
    try:
        return bool(pid) and any(
            str(one.readlink()) == path for one in pathlib.Path(f"/proc/{pid}/fd").iterdir()
        )
    except OSError:
        return False


def _unusable_watchdog(path):
    try:
        facts = path.stat()
        owner = pwd.getpwnam("postgres").pw_uid
    except OSError:
        return f"there is no {path}"
    except KeyError:
        return "there is no user postgres"
    if not stat.S_ISCHR(facts.st_mode):
        return f"{path} is no device"
    if not (facts.st_mode & stat.S_IWOTH or (facts.st_uid == owner and facts.st_mode & stat.S_IWUSR)):
        return f"postgres may not write to {path}"
    try:
        # /dev/watchdog is the first of them.
        state = pathlib.Path("/sys/class/watchdog/watchdog0/state").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    return f"something else holds {path} (RuntimeWatchdogSec= of systemd?)" if state == "active" else ""
