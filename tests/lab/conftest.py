"""The real thing, shared by all tests: they run in this order, and each puts right what it did."""

import pytest

from tests.support import labs

# From looking on to pulling plugs: a test may count on nothing but the health that `healthy` waits for.
ORDER = (
    "test_up",
    "test_isolation",
    "test_firewall",
    "test_certificates",
    "test_hardening",
    "test_deploy_again",
    "test_output",
    "test_status",
    "test_secrets",
    "test_settings",
    "test_edge",
    "test_health",
    "test_heal",
    "test_failover",
    "test_drill",
    "test_bad_input",
    "test_machines_lacking_data",
    "test_fleet",
    "test_three_nodes",
    "test_boot",
    "test_lab_cli",
)


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.module.__name__.rpartition(".")[2]
        return ORDER.index(name) if name in ORDER else -1

    items.sort(key=place)


@pytest.fixture
def healthy(lab):
    """The lab, once everything in it is healthy."""
    labs.wait_healthy(lab)
    return lab
