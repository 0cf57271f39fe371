"""
Record the settings that a role's daemons were started with and that a running cluster cannot change.
"""

import fanatico_state


def kept(name):
    """
    Record the identity of a role on this host, for ``fanatico_identity.changed``. The last state of a role.

    name
        The role.
    """
    wanted, before = __salt__["fanatico_identity.wanted"](name), _kept(name)
    known = f"the identity of {name} is recorded"
    if before == wanted:
        return fanatico_state.answer(name, True, known)
    changes = {name: {"old": before, "new": wanted}}
    if __opts__["test"]:
        return fanatico_state.answer(name, None, f"the identity of {name} would be recorded", changes)
    __salt__["fanatico_identity.keep"](name)
    now = _kept(name)
    if now != wanted:
        left = fanatico_state.not_applied({name: {"old": now, "new": wanted}})
        return fanatico_state.answer(
            name, False, f"{__opts__['id']}: the identity of {name} was not recorded: {left}"
        )
    return fanatico_state.answer(name, True, known, changes)


def _kept(name):
    return __salt__["fanatico_identity.kept"]().get(name)
