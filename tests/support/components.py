"""Changed records of components."""

import dataclasses

import fanatico_plan


def with_pki(monkeypatch, name, **changes):
    """Give the certificates of the component *name* another folder or owner."""

    def changed(one):
        return dataclasses.replace(one, pki=dataclasses.replace(one.pki, **changes))

    _put(monkeypatch, (changed(one) if one.name == name else one for one in fanatico_plan.COMPONENTS))


def without(monkeypatch, name):
    """Take the component *name* from every node."""
    _put(monkeypatch, (one for one in fanatico_plan.COMPONENTS if one.name != name))


def _put(monkeypatch, records):
    monkeypatch.setattr(fanatico_plan, "COMPONENTS", tuple(records))
