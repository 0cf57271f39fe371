"""
The settings that this node's daemons were started with and cannot change in place, recorded in a file.
"""

import pathlib

from salt.exceptions import CommandExecutionError

import fanatico_file
import fanatico_identity
import fanatico_patroni_plan
import fanatico_plan

FILE = "/etc/fanatico/identity.json"


def wanted(role: str) -> dict:
    """
    Return the immutable settings of a role's daemons as the pillar has them, ``{pillar path: value}``.

    role
        One of this node's roles.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_identity.wanted patroni
    """
    whole = fanatico_patroni_plan.completed(__pillar__)
    pillar = {**whole, "plan": fanatico_plan.complete(__pillar__["plan"])}
    return fanatico_identity.facts(pillar, __opts__["id"], role)


def kept() -> dict[str, dict]:
    """
    Return the settings that the daemons were started with, ``{role: {pillar path: value}}``; empty on a new host.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_identity.kept
    """
    try:
        return fanatico_file.read_json(pathlib.Path(FILE))
    except ValueError as exc:
        raise CommandExecutionError(
            f"{__opts__['id']}: {exc}. Next: if the pillar is correct, rm {FILE}"
        ) from exc


def keep(role: str) -> bool:
    """
    Record the settings that the daemons of a role run with now. Returns True if the record has changed.

    role
        One of this node's roles.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_identity.keep patroni
    """
    facts = wanted(role)

    def change(before):
        return {**before, role: facts}, before.get(role) != facts

    return fanatico_file.change_json(pathlib.Path(FILE), change)


def changed() -> list[str]:
    """
    Return, as lines, the settings of the pillar that differ from those the daemons were started with; empty if none do.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_identity.changed
    """
    me = __opts__["id"]
    roles = __pillar__["plan"]["nodes"].get(me, {}).get("roles", [])
    return fanatico_identity.differences(me, kept(), {role: wanted(role) for role in roles})
