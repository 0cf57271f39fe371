"""`host`: the machine of a suite, converged.

Under test-kitchen, which has booted and converged it, that is testinfra's own `--hosts`. Otherwise it is a
fresh lab machine, booted and converged here.
"""

from pathlib import Path

import pytest
import testinfra

from tests.kitchen import lab as kitchen
from tests.kitchen.checks import converge


def suite_of(module):
    return Path(module.__file__).parent.name


@pytest.fixture(scope="module")
def suite_id(request):
    """The minion id of the suite's machine."""
    return kitchen.suites()[suite_of(request.module)]["salt_minion_id"]


@pytest.fixture(scope="module")
def host(request):
    kitchens_own = request.config.getoption("--hosts")
    if kitchens_own:
        yield testinfra.get_host(kitchens_own)
        return
    lab = request.getfixturevalue("lab")
    suite_id = request.getfixturevalue("suite_id")
    machine = kitchen.boot(lab, suite_of(request.module))
    try:
        converge(machine, suite_id)
        yield machine
    finally:
        lab.remove_extra(suite_id)
