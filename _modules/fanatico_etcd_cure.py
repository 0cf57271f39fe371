"""
What can be wrong with an etcd member, told and cured: its data are lost or damaged, its space is used up.

``fanatico_cure.apply`` calls the cures: it looks first and proves afterwards. Here each does what it is called for at once.
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


def member_directory():
    """
    Return the path of this member's data, which a cure puts aside.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd_cure.member_directory
    """
    return str(_directory() / "member")


def data_lost():
    """
    Return why this member's data are of no use: no write-ahead log, or damage that etcd names; empty where they are.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd_cure.data_lost
    """
    directory = _directory()
    if not directory.is_dir():
        return ""  # never installed, or not mounted: nothing to join with
    unit = fanatico_probe.unit(__context__, __salt__["fanatico_unit.states"], "etcd.service")
    if not any(directory.glob("member/wal/*.wal")):
        return f"{directory} holds no write-ahead log" if unit["tried"] else ""
    if unit["active"] != "active":
        command = "journalctl -u etcd -n 60 --no-pager -o cat --since=-2min"
        return fanatico_etcd_plan.damaged(fanatico_probe.run(*command.split()).stdout)
    return ""


def rejoin(timeout=120):
    """
    Put aside what is left of the data, and come back as a new member: the others have everything. Returns what was done.

    timeout
        Seconds; the states have their own.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd_cure.rejoin
    """
    __salt__["service.stop"]("etcd")
    left = pathlib.Path(member_directory())
    if left.exists():
        try:
            fanatico_aside.move(left)
        except (ValueError, OSError, subprocess.SubprocessError) as exc:
            raise CommandExecutionError(f"{__opts__['id']}: {exc}") from exc
    return fanatico_probe.apply_states(__salt__["state.apply"], __opts__["id"], "roles.etcd")


def unable_to_vote():
    """
    Return why this member does not serve as one with a vote yet; empty where it does.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd_cure.unable_to_vote
    """
    health = __salt__["fanatico_etcd.probe"](fanatico_probe.TIMEOUT)["checks"]
    bad = [
        one["detail"]
        for name, one in health.items()
        if name in ("etcd.serving", "etcd.member") and one["status"] != "ok"
    ]
    return bad[0] if bad else data_lost()


def full():
    """
    Return the alarm that this member has no space left; empty without it.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd_cure.full
    """
    errors = __salt__["fanatico_etcd.alarms"](fanatico_probe.TIMEOUT)
    return next((error for error in errors if "NOSPACE" in error), "")


def make_room(timeout=60):
    """
    Give up etcd's history, give back the space, end the alarm, and return a sentence with the sizes.

    timeout
        Seconds for all of it.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd_cure.make_room
    """
    return __salt__["fanatico_etcd.make_room"](timeout / 4)
