#!py
"""
The roster of salt-ssh (`roster_file` on the master): every host of the plan except the master itself.

It reads `pillar/plan.sls` at each use, so nothing has to be generated. The access to the hosts (user, key, port, sudo) is in the
master's `roster_defaults`, from the pillar key `master:ssh`.
"""

import pathlib
import sys

# Imported by name: the renderer binds `salt` to Salt's execution modules, of which it has none here.
from salt.utils.crypt import pem_finger


def run():
    """
    Return ``{id: {"host", "minion_opts"}}``. Raises an error if ``plan.sls`` cannot be read.

    ``minion_opts`` contains the fingerprint of the master, so that a new minion does not have to trust the first master that
    answers.
    """
    # A renderer does not have utils on its path.
    sys.path.extend(f"{folder}/_utils" for folder in __opts__["module_dirs"])
    import fanatico_master
    import fanatico_plan

    plan = fanatico_master.plan(__opts__)
    masters = fanatico_plan.nodes(plan, "master")
    options = {"master_finger": pem_finger(pathlib.Path(__opts__["pki_dir"], "master.pub"))}
    return {
        name: {"host": address, "minion_opts": options}
        for name, address in fanatico_plan.addresses(plan).items()
        if name not in masters
    }
