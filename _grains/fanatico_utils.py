"""
Make a minion import ``_utils`` again after a sync. This is no grain: grains run in the minion's process before it reloads
modules.

Jobs are forks of that process and inherit what it imported (its beacon uses ``_utils``); Python would not import a changed file
again.
"""

import pathlib
import sys


def imported_again():
    """Drop the imported files of ``_utils``, so that the next import reads them again. Return no grains."""
    folder = pathlib.Path(__opts__["extension_modules"], "utils")
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and pathlib.Path(path).parent == folder:
            del sys.modules[name]
    return {}
