"""Fixtures and settings for all layers."""

import functools
import os

import hypothesis
import pytest

# As in the daemons' units: python-etcd3 0.12.0 cannot be imported with protobuf's C backend.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

# Number of examples for each property, chosen by FANATICO_TEST. No deadline: the machine may be busy.
EXAMPLES = {"fast": 25, "default": 100, "full": 1000}
for _name, _examples in EXAMPLES.items():
    hypothesis.settings.register_profile(f"fanatico-{_name}", max_examples=_examples, deadline=None)
hypothesis.settings.load_profile(f"fanatico-{os.environ.get('FANATICO_TEST') or 'default'}")


def pytest_addoption(parser):
    parser.addoption(
        "--lab", metavar="NAME", help="use this lab, which is up, instead of making one named `test`"
    )


def pytest_configure(config):
    import salt._logging

    # Salt buffers early log records for standard error, which pytest has closed when they are written.
    salt._logging.shutdown_temp_handler()
    _remember_entry_points()


def _remember_entry_points():
    """Cache Salt's search for extensions: its own cache lasts half a second, and a search reads all installed packages."""
    import salt.utils.entrypoints as entrypoints

    entrypoints.iter_entry_points = functools.cache(entrypoints.iter_entry_points)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    # pytest-salt-factories would listen for the daemons' logs on all interfaces.
    server = session.config.pluginmanager.get_plugin("saltfactories-log-server")
    if server:
        server.log_host = "127.0.0.1"
