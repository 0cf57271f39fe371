"""
Probes and cures for the faults of an etcd member: its data are lost or damaged, or its space is used up.

``fanatico_cure.apply`` probes before a cure and proves afterwards; a cure that is called directly acts at once.
"""

import pathlib
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_etcd_plan
import fanatico_plan
import fanatico_probe


def _directory():
    return pathlib.Path(fanatico_plan.setting(__pillar__, "etcd:data_dir"))


def member_directory() -> str:
    """
    Return the path of this member's data, which a cure moves aside.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd_cure.member_directory
    """
    return str(_directory() / "member")


def data_lost() -> str:
    """
    Return why this member's data are unusable: no write-ahead log, or damage that etcd logs; empty if they are usable.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd_cure.data_lost
    """
    directory = _directory()
    if not directory.is_dir():
        return ""  # not installed or not mounted: a rejoin cannot work
    unit = fanatico_probe.unit(__context__, __salt__["fanatico_unit.states"], "etcd.service")
    if not any(directory.glob("member/wal/*.wal")):
        return f"{directory} holds no write-ahead log" if unit["tried"] else ""
    if unit["active"] != "active":
        command = "journalctl -u etcd -n 60 --no-pager -o cat --since=-2min"
        return fanatico_etcd_plan.damaged(fanatico_probe.run(*command.split()).stdout)
    return ""


def set_aside() -> str:
    """
    Stop etcd and move its data aside, before a new cluster is bootstrapped. A step of ``orch.recover_etcd``.

    Returns the new path of the data, empty without data. Raises ``CommandExecutionError`` while this member serves.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd_cure.set_aside
    """
    me = __opts__["id"]
    if __salt__["fanatico_etcd.health"]().get(me, {}).get("healthy"):
        raise CommandExecutionError(
            f"{me}: its member serves, so etcd has a quorum and its data is needed. Nothing was changed. "
            "Next: salt-run fanatico.status"
        )
    __salt__["service.stop"]("etcd")
    return _move_aside()


def _move_aside():
    """Move this member's data aside and return its new path; empty without data."""
    data = pathlib.Path(member_directory())
    if not data.exists():
        return ""
    try:
        return fanatico_aside.move(data)
    except (ValueError, OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{__opts__['id']}: {exc}") from exc


def rejoin(timeout: float = 120) -> str:
    """
    Move the data aside and rejoin the cluster as a new member, which copies all data from the others.

    timeout
        Not used: the states have timeouts of their own.

    Returns what was done.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd_cure.rejoin
    """
    __salt__["service.stop"]("etcd")
    _move_aside()
    return fanatico_probe.apply_states(__salt__["state.apply"], __opts__["id"], "roles.etcd")


def unable_to_vote() -> str:
    """
    Return why this member is not a healthy voting member; empty if it is.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd_cure.unable_to_vote
    """
    health = __salt__["fanatico_etcd.probe"](fanatico_probe.TIMEOUT)["checks"]
    bad = [
        check["detail"]
        for name, check in health.items()
        if name in ("etcd.serving", "etcd.member") and check["status"] != "ok"
    ]
    return bad[0] if bad else data_lost()


def full() -> str:
    """
    Return the alarm NOSPACE of this member; empty if it is not set.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd_cure.full
    """
    errors = __salt__["fanatico_etcd.alarms"](fanatico_probe.TIMEOUT)
    return next((error for error in errors if "NOSPACE" in error), "")


def make_room(timeout: float = 60) -> str:
    """
    Compact and defragment etcd and disarm the alarm NOSPACE.

    timeout
        Seconds, in total.

    Returns a sentence with the sizes before and after.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd_cure.make_room
    """
    return __salt__["fanatico_etcd.make_room"](timeout / 4)
