"""What every layer needs."""

import functools
import os

import hypothesis
import pytest

# As the units of the daemons have it: python-etcd3 0.12.0 does not import with today's protobuf otherwise.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

# So many examples of each property; no deadline, since how long one takes is the machine's business. FANATICO_TEST chooses.
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

    # Salt keeps early log records for a standard error that pytest has closed by the time they are shown.
    salt._logging.shutdown_temp_handler()
    _remember_entry_points()


def _remember_entry_points():
    """Have Salt look once for extensions: it keeps what it found for half a second, and reads all installed packages again."""
    import salt.utils.entrypoints as entrypoints

    entrypoints.iter_entry_points = functools.cache(entrypoints.iter_entry_points)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    # pytest-salt-factories collects the daemons' logs on all interfaces unless told otherwise.
    server = session.config.pluginmanager.get_plugin("saltfactories-log-server")
    if server:
        server.log_host = "127.0.0.1"
