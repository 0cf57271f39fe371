"""A null cache for compiled pillars, which contain secrets in clear text.

Salt's master writes every compiled pillar to `/var/cache/salt/master/pillar` and reads it only to target by pillar (`salt -I`),
which this tree does not use. With `pillar.cache_driver: fanatico_nothing` it is never written to disk.
"""

__func_alias__ = {"list_": "list"}


def store(bank, key, data):
    """Discard the data."""


def fetch(bank, key):
    """Return an empty dict, as for a key that was never stored."""
    return {}


def updated(bank, key):
    """Return None: the key was never stored."""


def flush(bank, key=None):
    """Do nothing: there is nothing to remove."""


def list_(bank):
    """Return an empty list of keys."""
    return []


def contains(bank, key):
    """Return False: no key is stored."""
    return False
