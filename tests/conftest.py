"""What every layer needs."""

import os

import pytest

# As the units of the daemons have it: python-etcd3 0.12.0 does not import with today's protobuf otherwise.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")


def pytest_addoption(parser):
    parser.addoption(
        "--lab", metavar="NAME", help="use this lab, which is up, instead of making one named `test`"
    )


def pytest_configure(config):
    import salt._logging

    # Salt keeps early log records for a standard error that pytest has closed by the time they are shown.
    salt._logging.shutdown_temp_handler()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    # pytest-salt-factories collects the daemons' logs on all interfaces unless told otherwise.
    server = session.config.pluginmanager.get_plugin("saltfactories-log-server")
    if server:
        server.log_host = "127.0.0.1"
