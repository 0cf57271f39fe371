#!py
"""
The roster of salt-ssh (`roster_file` on the master): every host of the plan but the master's own.

Read from `pillar/plan.sls` at each use, so there is nothing to generate and nothing to forget. How the hosts are reached
(user, key, port, sudo) stands in the master's `roster_defaults`, from the pillar key `master:ssh`.
"""

import pathlib

# By name: the renderer puts Salt's execution modules, of which it has none here, under the name `salt`.
from salt.loader import utils as load_utils
from salt.utils.crypt import pem_finger


def run():
    """
    Return ``{id: {"host", "minion_opts"}}``. Refuses when ``plan.sls`` cannot be read.

    ``minion_opts`` tells a minion that is being installed which master is the right one, so that it need not trust
    the first that answers.
    """
    utils = load_utils(__opts__)
    plan = utils["fanatico_master.plan"](__opts__)
    masters = utils["fanatico_plan.nodes"](plan, "master")
    options = {"master_finger": pem_finger(pathlib.Path(__opts__["pki_dir"], "master.pub"))}
    return {
        name: {"host": address, "minion_opts": options}
        for name, address in utils["fanatico_plan.addresses"](plan).items()
        if name not in masters
    }
