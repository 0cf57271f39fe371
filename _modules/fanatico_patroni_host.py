"""
Patroni's log and watchdog on this host, read without Patroni.
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


def last_fatal(since: str = "-10min") -> str:
    """
    Return the last FATAL or PANIC line of PostgreSQL's own processes on this node; empty if there is none.

    Lines of client sessions are left out: their users control the text.

    since
        The start of the search, as for ``journalctl --since``.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.last_fatal
    """
    return fanatico_patroni_plan.last_fatal(postgresql_log(since))


def postgresql_log(since: str = "-10min") -> str:
    """
    Return the last log lines of PostgreSQL's own processes and of Patroni's sessions on this node, oldest first.

    journalctl filters out other sessions, so their number does not shorten the result.

    since
        The start of the search, as for ``journalctl --since``.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_patroni.postgresql_log
    """
    options = ["-u", UNIT, "-n", "200", "--no-pager", "-o", "cat", f"--since={since}"]
    argv = ["journalctl", *options, f"--grep={fanatico_patroni_plan.log_pattern()}"]
    try:
        log = fanatico_probe.run(*argv, timeout=5).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    # With --grep and -n, journalctl prints the newest line first.
    return "\n".join(reversed(log.splitlines()))


def watchdog(device: str = WATCHDOG) -> dict:
    """
    Return whether Patroni has armed the watchdog, ``{"armed": bool, "why": str}``; ``why``: the reason if it cannot be armed.

    The device is not opened, which would start the watchdog.

    device
        The path of the watchdog.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_patroni.watchdog
    """
    armed = _holds(__salt__["fanatico_unit.states"](UNIT)[UNIT].get("pid"), device)
    return {"armed": armed, "why": "" if armed else _unusable_watchdog(pathlib.Path(device))}


def _holds(pid, path):
    """Return whether a process has a file open."""
    try:
        return bool(pid) and any(
            str(link.readlink()) == path for link in pathlib.Path(f"/proc/{pid}/fd").iterdir()
        )
    except OSError:
        return False


def _unusable_watchdog(path):
    try:
        facts = path.stat()
        owner = pwd.getpwnam("postgres").pw_uid
    except OSError:
        return f"{path} does not exist"
    except KeyError:
        return "the user postgres does not exist"
    if not stat.S_ISCHR(facts.st_mode):
        return f"{path} is not a device"
    if not (facts.st_mode & stat.S_IWOTH or (facts.st_uid == owner and facts.st_mode & stat.S_IWUSR)):
        return f"postgres has no write permission on {path}"
    try:
        # /dev/watchdog is the first watchdog.
        state = pathlib.Path("/sys/class/watchdog/watchdog0/state").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    return f"another process has {path} open (RuntimeWatchdogSec= of systemd?)" if state == "active" else ""
