"""What a module on a minion sees of its pillar, without revealing a value."""

import fanatico_plan


def read(path):
    """Return the value at *path*, read as our modules read it."""
    return fanatico_plan.get(__pillar__, path)


def length(path):
    """Return the length of the value at *path*, and whether it is masked."""
    value = read(path)
    return {"length": len(value), "masked": set(value) == {"*"}}


def core(path):
    """The same by Salt's own `pillar.get`, which masks."""
    value = __salt__["pillar.get"](path)
    return {"length": len(value), "masked": set(value) == {"*"}}
