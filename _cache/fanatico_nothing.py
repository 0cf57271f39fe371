"""A cache that keeps nothing: the pillar's, because what the master compiled for a node holds its secrets in clear.

Salt's master writes each pillar to `/var/cache/salt/master/pillar` for every compilation, and reads it only to target by pillar
(`salt -I`), which this tree has no use for. With `pillar.cache_driver: fanatico_nothing` it never reaches the disk.
"""

__func_alias__ = {"list_": "list"}


def store(bank, key, data):
    """Let what is given go."""


def fetch(bank, key):
    """Answer with an empty dict, as for a key that was never stored."""
    return {}


def updated(bank, key):
    """Answer None: never stored."""


def flush(bank, key=None):
    """There is nothing to remove."""


def list_(bank):
    """List no keys."""
    return []


def contains(bank, key):
    """Say that nothing is held."""
    return False
