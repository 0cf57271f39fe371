"""
What the daemons of a role were started with stands beside them, so that nothing changes it in passing.
"""


def kept(name):
    """
    Keep what a role's daemons run with, for ``fanatico_identity.changed``. The last state of a role.

    name
        The role.
    """
    wanted, before = (
        __salt__["fanatico_identity.wanted"](name),
        __salt__["fanatico_identity.kept"]().get(name),
    )
    answer = {"name": name, "result": True, "comment": f"what {name} runs with is known", "changes": {}}
    if before == wanted:
        return answer
    changes = {name: {"old": before, "new": wanted}}
    if __opts__["test"]:
        return {
            **answer,
            "result": None,
            "comment": f"what {name} runs with would be written down",
            "changes": changes,
        }
    __salt__["fanatico_identity.keep"](name)
    return {**answer, "changes": changes}
