"""
What the daemons of a role were started with stands beside them, so that nothing changes it in passing.
"""

import fanatico_state


def kept(name):
    """
    Keep what a role's daemons run with, for ``fanatico_identity.changed``. The last state of a role.

    name
        The role.
    """
    wanted, before = __salt__["fanatico_identity.wanted"](name), _kept(name)
    known = f"what {name} runs with is known"
    if before == wanted:
        return fanatico_state.answer(name, True, known)
    changes = {name: {"old": before, "new": wanted}}
    if __opts__["test"]:
        return fanatico_state.answer(name, None, f"what {name} runs with would be written down", changes)
    __salt__["fanatico_identity.keep"](name)
    now = _kept(name)
    if now != wanted:
        left = fanatico_state.not_applied({name: {"old": now, "new": wanted}})
        return fanatico_state.answer(name, False, f"{__opts__['id']}: it was not written down: {left}")
    return fanatico_state.answer(name, True, known, changes)


def _kept(name):
    return __salt__["fanatico_identity.kept"]().get(name)
