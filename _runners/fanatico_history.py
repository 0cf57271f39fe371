"""
The history: what was healed, refused, deployed, drilled and frozen.
"""

import fanatico_history
import fanatico_master
import fanatico_plan
import fanatico_record

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def history(limit=20, host=None):
    """
    Return the newest entries, newest first: as lines of text, or as data with ``--out=json``.

    limit
        How many entries: a whole number, 1 or more.
    host
        Only entries about this host: one of the plan, an evicted one, or any other that has entries.

    Raises for another ``limit``, and for a host that is neither in the plan nor in the history.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.history
        salt-run fanatico.history limit=5 host=db1 --out=json
    """
    if not isinstance(limit, int) or limit < 1:
        fanatico_master.refuse(f"limit is a whole number, 1 or more, not {limit}.")
    path = fanatico_record.history(__opts__)
    entries = fanatico_history.newest(path, limit, host)
    if host is not None and not entries:
        plan = fanatico_master.plan(__opts__)
        if host not in fanatico_plan.evicted(plan):
            fanatico_master.known(plan, str(host))
    if __opts__.get("output") in ("json", "yaml", "raw", "pprint"):
        return entries
    if not entries:
        about = f" about {host}" if host is not None else ""
        return f"No entries{about} in {path}. Heals, refusals, deploys, drills and freezes are written there."
    return [fanatico_history.line(entry) for entry in entries]
