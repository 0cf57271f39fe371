"""Records of components that differ from the tree's."""

import dataclasses

import fanatico_plan


def with_pki(monkeypatch, name, **changes):
    """Give the certificates of the component *name* another folder or owner."""

    def changed(one):
        return dataclasses.replace(one, pki=dataclasses.replace(one.pki, **changes))

    records = tuple(changed(one) if one.name == name else one for one in fanatico_plan.COMPONENTS)
    monkeypatch.setattr(fanatico_plan, "COMPONENTS", records)
