"""A real master and a real minion on the loopback, over our own tree.

    def test_x(master, minion, salt, salt_run):
        ret = salt.run("fanatico.roles", minion_tgt=minion.id)
        assert ret.data == ["etcd"]

`salt`, `salt_run` and `salt_call` are the commands of those names: `.run("fun", *args)` gives `.data` and
`.returncode`.
The bus: `event_listener.get_events([(master.id, "salt/beacon/*")], after_time=start)`.
Neither daemon has systemd or root's files to itself: fake what touches the system.
"""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support import REPO, pillar

MASTER = "salt"
MINION = "etcd1"


@pytest.fixture(scope="session")
def salt_factories_default_root_dir():
    """A short path: Unix sockets are made under it."""
    root = Path(tempfile.mkdtemp(prefix="sf-", dir="/tmp"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def salt_factories_config():
    return {"code_dir": str(REPO), "inject_sitecustomize": False, "start_timeout": 60}


@pytest.fixture(scope="session")
def pillar_root(tmp_path_factory):
    """The committed pillar with made-up secrets; site/init.sls in it may be rewritten by a test.

    Its nodes stand on the loopback: what these real daemons say to a plan's address must not leave the machine.
    """
    directory = tmp_path_factory.mktemp("pillar")
    plan = directory / "plan.sls"
    plan.write_text((REPO / "pillar" / "plan.sls").read_text().replace(" 10.", " 127."))
    return pillar.build(directory / "root", plan=plan)


@pytest.fixture(scope="session")
def master_overrides(pillar_root, tmp_path_factory):
    """The master's configuration beyond the factory's own: the tree as design.md §2 wires it."""
    return {
        "file_roots": {"base": [str(REPO / "salt"), str(REPO / "tests/integration/files/states")]},
        "pillar_roots": {"base": [str(pillar_root)]},
        "module_dirs": [str(REPO)],
        "open_mode": True,
        "worker_threads": 3,
        "reactor": [],
    }


@pytest.fixture(scope="session")
def master(salt_factories, master_overrides):
    factory = salt_factories.salt_master_daemon(MASTER, overrides=master_overrides)
    with factory.started():
        yield factory


@pytest.fixture(scope="session")
def minion(master):
    overrides = {
        # The factory ticks 20 times a second, which would make every beacon interval 20 times too long.
        "loop_interval": 1,
        "module_dirs": [str(REPO / "tests" / "integration" / "files")],
    }
    factory = master.salt_minion_daemon(MINION, overrides=overrides)
    with factory.started():
        ret = factory.salt_call_cli().run("saltutil.sync_all", _timeout=120)
        assert ret.returncode == 0, ret
        yield factory


@pytest.fixture(scope="session")
def salt(master):
    return master.salt_cli(timeout=60)


@pytest.fixture(scope="session")
def salt_run(master):
    return master.salt_run_cli(timeout=60)


@pytest.fixture(scope="session")
def salt_call(minion):
    return minion.salt_call_cli(timeout=60)
