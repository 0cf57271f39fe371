"""
No grain: the one thing that Salt runs in a minion's own process whenever it is about to load its modules again.

Jobs are forks of that process. What it has imported of ``_utils`` (its beacon uses them) they would have as well, whatever was
handed out since: Python imports a file once.
"""

import pathlib
import sys


def imported_again():
    """Have the files of ``_utils`` imported again by whatever is loaded from now on. Returns no grains."""
    folder = pathlib.Path(__opts__["extension_modules"], "utils")
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and pathlib.Path(path).parent == folder:
            del sys.modules[name]
    return {}
