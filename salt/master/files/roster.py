#!py
"""
The roster of salt-ssh (`roster_file` on the master): every host of the plan but the master's own.

Read from `pillar/plan.sls` at each use, so there is nothing to generate and nothing to forget. How the hosts are reached
(user, key, port, sudo) stands in the master's `roster_defaults`, from the pillar key `master:ssh`.
"""

import pathlib
import sys

# By name: the renderer puts Salt's execution modules, of which it has none here, under the name `salt`.
from salt.utils.crypt import pem_finger


def run():
    """
    Return ``{id: {"host", "minion_opts"}}``. Refuses when ``plan.sls`` cannot be read.

    ``minion_opts`` tells a minion that is being installed which master is the right one, so that it need not trust
    the first that answers.
    """
    # A renderer has no utils on its path.
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
