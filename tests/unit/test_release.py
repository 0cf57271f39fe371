"""The version is written in one place."""

import re

import fanatico_release
from _runners import fanatico_release as runner


def test_the_runner_returns_the_version():
    assert runner.version() == {"version": fanatico_release.VERSION}
    assert re.fullmatch(r"\d+\.\d+\.\d+", fanatico_release.VERSION)
