"""Measurements with published results."""

import lab  # noqa: F401  it puts _utils/ on the path
