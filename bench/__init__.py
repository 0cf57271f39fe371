"""Benchmarks with published results."""

import lab  # noqa: F401  adds _utils/ to the path
