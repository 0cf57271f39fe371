"""HAProxy with the tree's configuration, on a separate machine for each test."""

from tests.checkers import machine
from tests.rendering.conftest import salt_cache, with_site

__all__ = ["machine", "salt_cache", "with_site"]  # fixtures
