"""`host`: the machine of a suite, converged.

Under test-kitchen, which has converged it, `--hosts` of testinfra names it. Otherwise it is a fresh lab machine,
booted and converged here.
"""

from pathlib import Path

import pytest
import testinfra

from lab import testing
from tests.kitchen import lab as kitchen
from tests.kitchen.checks import converge
from tests.support import REPO, labs


def suite_of(module):
    return Path(module.__file__).parent.name


@pytest.fixture(scope="session")
def lab(worker_id):
    """A network without machines, separate from those of the other workers."""
    number = worker_id.removeprefix("gw") if worker_id.startswith("gw") else ""
    with labs.network_only(f"{testing.NAME}-kitchen{number}", REPO / "tests/kitchen/plan.sls") as made:
        yield made


@pytest.fixture(scope="module")
def suite_id(request):
    """The minion id of the suite's machine."""
    return kitchen.settings(suite_of(request.module))["salt_minion_id"]


@pytest.fixture(scope="module")
def host(request, suite_id):
    option = request.config.getoption
    if option("--hosts"):
        yield testinfra.get_host(
            option("--hosts"),
            ssh_config=option("--ssh-config"),
            ssh_identity_file=option("--ssh-identity-file"),
            ssh_extra_args=option("--ssh-extra-args"),
        )
        return
    lab = request.getfixturevalue("lab")
    machine = kitchen.boot(lab, suite_of(request.module))
    try:
        converge(machine, suite_id)
        yield machine
    finally:
        lab.remove_extra(suite_id)
