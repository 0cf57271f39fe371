"""What every layer needs."""


def pytest_configure(config):
    # pytest-salt-factories collects the daemons' logs on all interfaces unless told otherwise.
    server = config.pluginmanager.get_plugin("saltfactories-log-server")
    if server:
        server.log_host = "127.0.0.1"
