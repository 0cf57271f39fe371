"""HAProxy with its own configuration, on a machine of its own that is seen by one test alone."""

from tests.checkers import machine
from tests.rendering.conftest import salt_cache, with_site

__all__ = ["machine", "salt_cache", "with_site"]  # fixtures
