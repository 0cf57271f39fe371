"""
What the daemons of this node were started with and cannot change in place, kept in a file beside them.
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
    Return ``{pillar path: value}`` of what the daemons of a role here live by, as the pillar has it.

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
    Return ``{role: {pillar path: value}}``, what the daemons here were started with; empty on a host that is new.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_identity.kept
    """
    try:
        return fanatico_file.read_json(pathlib.Path(FILE))
    except ValueError as exc:
        raise CommandExecutionError(
            f"{__opts__['id']}: {exc}. Next: remove it where the pillar is right"
        ) from exc


def keep(role: str) -> bool:
    """
    Keep what the daemons of a role run with now. Returns True where that is new.

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
    Return as lines what the pillar wants otherwise than the daemons here were started with; empty where there is no such thing.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_identity.changed
    """
    me = __opts__["id"]
    roles = __pillar__["plan"]["nodes"].get(me, {}).get("roles", [])
    return fanatico_identity.differences(me, kept(), {role: wanted(role) for role in roles})
