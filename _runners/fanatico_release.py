"""
Which version of this product the master runs.
"""

import fanatico_master
import fanatico_release

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def version():
    """
    Return the version of this product, ``{"version": "0.5.0"}``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.version
    """
    return {"version": fanatico_release.VERSION}
