"""A real master and a real minion on the loopback, over our own tree, one pair for all tests of a worker.

    def test_exit_code(salt_run, minion):
        assert salt_run.run("fanatico.validate").returncode == 0

    def test_value(call, run):
        assert call("fanatico.roles") == ["etcd"]
        assert run("fanatico.locked") is None

`salt_run` and `salt_cli` are the commands, `.run("fun", *args)` gives `.data` and `.returncode`. They take seconds: for tests
without exit codes or printed text, `call` (a function of the minion) and `run` (a runner) do the same in this process.
The bus: `event_listener.get_events([(master.id, "salt/beacon/*")], after_time=start)`.
Neither daemon uses this machine's systemd or root's files: fakes replace them (`systemd`).
"""

import os
import re
import shutil
import stat
import tempfile
import types
from pathlib import Path

import pytest
import salt.client
import salt.runner
import yaml

from tests.support import MODULES, REPO, pillar, wait_until

# Loaded repeatedly by long-lived processes of a master and a minion; the minion's main process imports grains.
CHANGING = {
    "_grains": "import told_number\n\ndef told():\n    return {'told': told_number.NUMBER}\n",
    "_modules": "import told_number\n\ndef number():\n    return told_number.NUMBER\n",
    "_pillar": (
        "import told_number\n\n"
        "def ext_pillar(minion_id, pillar):\n"
        "    return {'told': {told_number.NUMBER: ''}} if 'ask' in pillar else {}\n"  # a key unknown to validation
    ),
}
MASTER = "salt"
MINION = "etcd1"
PATIENCE = 120  # timeout in seconds, generous for a busy machine
SYSTEMCTL = """\
#!/bin/sh
# The state of etcd's unit is the content of a file; all others are well.
cd {home}
case $1 in
  show)
    echo >> looks
    for unit; do
      case $unit in etcd.service) state=$(cat active) ;; *.service) state=active ;; *) continue ;; esac
      printf '%s\\n' LoadState=loaded UnitFileState=enabled "ActiveState=$state" SubState=x Result=x \\
        MainPID=42 NRestarts=0 ControlGroup=/none ''
    done ;;
  start) if [ -e broken ]; then echo failed > active; else echo active > active; fi ;;
  is-system-running) echo running ;;
  --version) echo 'systemd 257'; echo +PAM ;;
esac
"""


class Systemd:
    """The fake systemctl of the minion."""

    def __init__(self, home):
        self.home = home
        home.mkdir()
        self.set("active")
        self._command("systemctl", SYSTEMCTL.format(home=home))
        self._command("journalctl", "#!/bin/sh\necho panic: no disk\n")

    def _command(self, name, content):
        path = self.home / name
        path.write_text(content)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def set(self, state):
        """Set the unit's state."""
        new = self.home / "active.new"
        new.write_text(f"{state}\n")
        new.replace(self.home / "active")

    @property
    def active(self):
        """The unit's state."""
        return (self.home / "active").read_text().strip()

    def wait_judged(self):
        """Wait until the beacon has judged the unit's present state. No cure may be running."""
        looks = self.home / "looks"
        looks.write_text("")
        wait_until(lambda: looks.stat().st_size >= 2, PATIENCE, "the beacon to look at the unit twice")

    def break_it(self, broken=True):
        """Set whether the unit fails to start."""
        if broken:
            (self.home / "broken").touch()
        else:
            (self.home / "broken").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def salt_factories_default_root_dir():
    """A short path, because it contains Unix sockets."""
    root = Path(tempfile.mkdtemp(prefix="sf-", dir="/tmp"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def salt_factories_config():
    return {"code_dir": str(REPO), "inject_sitecustomize": False, "start_timeout": PATIENCE}


@pytest.fixture(scope="session")
def pillar_root(tmp_path_factory):
    """The committed pillar with fake secrets; a test may rewrite its site/init.sls.

    Its nodes are on the loopback: packets of these real daemons must not leave the machine. No node is a backup host: each
    orchestration would wait for it. The backups of the master, and copies of them, are in a temporary directory.
    """
    directory = tmp_path_factory.mktemp("pillar")
    plan, backups = directory / "plan.sls", tmp_path_factory.mktemp("backups")
    lines = (REPO / "pillar" / "plan.sls").read_text().replace(" 10.", " 127.").splitlines(keepends=True)
    plan.write_text("".join(line for line in lines if "roles: [backup]" not in line))
    site = {**pillar.SITE, "backup": {"master": {**pillar.shipped("backup")["master"], "path": str(backups)}}}
    site["master"] = {"tree": str(directory), "ca_dir": str(directory / "ca")}
    return pillar.build(directory / "root", plan=plan, site=site)


@pytest.fixture(scope="session")
def systemd(tmp_path_factory):
    return Systemd(tmp_path_factory.mktemp("systemd") / "bin")


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """The master's files of /var/lib/fanatico and /var/log/fanatico."""
    return tmp_path_factory.mktemp("fanatico")


@pytest.fixture(scope="session")
def changing(tmp_path_factory):
    """Additional files that a test may change: `changing.say(n)` makes all importers return that number."""
    root = tmp_path_factory.mktemp("changing")
    for folder, text in CHANGING.items():
        (root / folder).mkdir()
        (root / folder / "told.py").write_text(text)

    def say(number):
        path = root / "_utils" / "told_number.py"
        path.write_text(f"NUMBER = {number}\n")
        os.utime(path, (number, number))

    (root / "_utils").mkdir()
    say(1)
    return types.SimpleNamespace(root=root, say=say)


@pytest.fixture(scope="session")
def master(salt_factories, pillar_root, home, changing):
    """A master with the tree, its reactor configuration, and the start script of salt/master."""
    config = (REPO / "salt/master/files/master.conf.jinja").read_text()
    (reactor,) = re.findall(r"^reactor:(?:\n  .*)+", config, re.MULTILINE)
    overrides = {
        "file_roots": {
            "base": [str(REPO / "salt"), str(REPO / "tests/integration/files/states"), str(changing.root)]
        },
        "pillar_roots": {"base": [str(pillar_root)]},
        "module_dirs": [*MODULES, str(changing.root)],
        "ext_pillar": [{"told": {}}],
        "open_mode": True,
        "worker_threads": 3,
        **yaml.safe_load(reactor),
        "fanatico_home": str(home),
        "fanatico_history": str(home / "history.jsonl"),
    }
    factory = salt_factories.salt_master_daemon(MASTER, overrides=overrides)
    factory.script_name = str(REPO / "salt/master/files/salt_master.py")
    with factory.started():
        yield factory


@pytest.fixture(scope="session")
def minion(master, systemd):
    """A minion of role etcd whose beacon checks the fake unit four times a second."""
    overrides = {
        "loop_interval": 0.25,
        "module_dirs": [str(REPO / "tests" / "integration" / "files")],
        # The gate (_runners/_utils/fanatico_gate.py) accepts the same fault every four seconds.
        "beacons": {"fanatico": [{"repeat": 4.5}, {"gap": 0.1}, {"resync": 0.1}]},
    }
    factory = master.salt_minion_daemon(MINION, overrides=overrides)
    factory.environ["PATH"] = f"{systemd.home}:{os.environ['PATH']}"
    with factory.started():
        ret = factory.salt_call_cli().run("saltutil.sync_all", _timeout=120)
        assert ret.returncode == 0, ret
        # The following refresh reloads the beacon at some time, which loses its memory: a unit that is down
        # at that moment was never up. Started with our files, the minion loads them once.
        with factory.stopped():
            pass
        yield factory


@pytest.fixture(scope="session")
def salt_cli(master):
    return master.salt_cli(timeout=PATIENCE)


@pytest.fixture(scope="session")
def salt_run(master):
    return master.salt_run_cli(timeout=PATIENCE)


@pytest.fixture(scope="session")
def call(master, minion):
    """Return a function that calls a function on the minion and returns its result."""
    client = salt.client.LocalClient(mopts=dict(master.config))

    def ask(function, *args, **kwargs):
        answers = client.cmd(minion.id, function, args, timeout=PATIENCE, full_return=True, kwarg=kwargs)
        answer = answers[minion.id]
        assert answer["retcode"] == 0, answer
        return answer["ret"]

    return ask


@pytest.fixture(scope="session")
def run(master):
    """Return a function that calls a runner as `salt-run` does and returns its result."""
    client = salt.runner.RunnerClient(dict(master.config))

    def ask(function, *args, **kwargs):
        return client.cmd(function, list(args), kwarg=kwargs, print_event=False)

    return ask
