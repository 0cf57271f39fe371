"""
What was healed, refused, deployed and frozen, read back.
"""

import fanatico_history
import fanatico_master
import fanatico_record

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def history(limit=20, host=None):
    """
    Return the newest decisions, newest first: as lines for people, as data with ``--out=json``.

    limit
        How many.
    host
        Only those about this minion.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.history
        salt-run fanatico.history limit=5 host=db1 --out=json
    """
    path = fanatico_record.history(__opts__)
    entries = fanatico_history.newest(path, int(limit), host)
    if __opts__.get("output") in ("json", "yaml", "raw", "pprint"):
        return entries
    if not entries:
        return f"Nothing yet: {path} is written when something is healed, refused, deployed or frozen."
    return [fanatico_history.line(entry) for entry in entries]
