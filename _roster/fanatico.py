"""
The roster of salt-ssh: every host of the plan but the master's own, read from ``pillar/plan.sls`` at each use.

How to reach them (user, key, port, sudo) stands in the master's ``roster_defaults``, from the pillar key ``master:ssh``.
"""

import pathlib

import salt.utils.crypt


def targets(tgt, tgt_type="glob"):
    """
    Return ``{id: {"host", "minion_opts"}}`` of the hosts that match.

    tgt
        What is looked for, for example ``rpc*``.
    tgt_type
        ``glob``, ``list`` or ``pcre``.

    ``minion_opts`` tells a minion that is being installed which master is the right one, so that it need not trust
    the first that answers. Refuses when ``plan.sls`` cannot be read.
    """
    plan = __utils__["fanatico_master.plan"](__opts__)
    masters = __utils__["fanatico_plan.nodes"](plan, "master")
    options = {"master_finger": salt.utils.crypt.pem_finger(pathlib.Path(__opts__["pki_dir"], "master.pub"))}
    hosts = {
        name: {"host": address, "minion_opts": options}
        for name, address in __utils__["fanatico_plan.addresses"](plan).items()
        if name not in masters
    }
    return __utils__["roster_matcher.targets"](hosts, tgt, tgt_type)
