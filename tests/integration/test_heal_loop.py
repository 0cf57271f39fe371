"""The first cure on real daemons: beacon, reactor, orch.heal, guard, start, history. Only systemd is made up."""

import json
import os
import re
import stat
import time

import pytest
import yaml

from _utils import fanatico_lock
from tests.support import REPO, wait_until

HOST, UNIT = "etcd1", "etcd.service"
SYSTEMCTL = """\
#!/bin/sh
# One unit, whose state is the content of a file.
cd {home}
case $1 in
  show)
    cat active > seen
    printf '%s\\n' LoadState=loaded UnitFileState=enabled "ActiveState=$(cat active)" SubState=x Result=x \\
      MainPID=42 NRestarts=0 ControlGroup=/none ;;
  start) if [ -e broken ]; then echo failed > active; else echo active > active; fi ;;
  is-system-running) echo running ;;
  --version) echo 'systemd 257'; echo +PAM ;;
esac
"""


class Systemd:
    """What systemctl answers on the minion."""

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
        (self.home / "active").write_text(f"{state}\n")

    @property
    def active(self):
        return (self.home / "active").read_text().strip()

    def wait_seen(self):
        """Wait until the beacon has looked at the unit's present state."""
        (self.home / "seen").unlink(missing_ok=True)
        wait_until(lambda: (self.home / "seen").exists(), 60, "the beacon to look at the unit")
        time.sleep(1.5)  # one turn of the beacon, so that it has also judged what it saw

    def break_it(self, broken=True):
        if broken:
            (self.home / "broken").touch()
        else:
            (self.home / "broken").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def systemd(tmp_path_factory):
    return Systemd(tmp_path_factory.mktemp("systemd") / "bin")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("fanatico")


@pytest.fixture(scope="module")
def healer(salt_factories, master_overrides, home):
    """A master with the reactor that salt/master gives it."""
    config = (REPO / "salt/master/files/master.conf.jinja").read_text()
    (reactor,) = re.findall(r"^reactor:(?:\n  .*)+", config, re.MULTILINE)
    overrides = {
        **master_overrides,
        **yaml.safe_load(reactor),
        "fanatico_home": str(home),
        "fanatico_history": str(home / "history.jsonl"),
    }
    factory = salt_factories.salt_master_daemon("healer", overrides=overrides)
    with factory.started():
        yield factory


@pytest.fixture(scope="module", autouse=True)
def patient(healer, systemd):
    """A minion of role etcd that watches the made-up unit and repeats itself every ten seconds."""
    factory = healer.salt_minion_daemon(
        HOST,
        overrides={
            "loop_interval": 1,
            "beacons": {"fanatico": [{"repeat": 10}, {"gap": 0.1}, {"resync": 0.5}]},
        },
    )
    factory.environ["PATH"] = f"{systemd.home}:{os.environ['PATH']}"
    with factory.started():
        assert factory.salt_call_cli().run("saltutil.sync_all", _timeout=120).returncode == 0
        yield factory


@pytest.fixture(autouse=True)
def well(systemd, home):
    """Each test begins with a running unit and an empty memory."""
    systemd.break_it(False)
    systemd.set("active")
    systemd.wait_seen()
    for name in ("guard.json", "history.jsonl"):
        (home / name).unlink(missing_ok=True)


@pytest.fixture
def history(home):
    """Return the decisions on record, oldest first."""
    path = home / "history.jsonl"
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def decided(history, decision):
    return [entry for entry in history() if entry["decision"] == decision]


def test_a_stopped_unit_is_started_and_it_is_written_down(systemd, history, healer, event_listener):
    begun = time.time()
    systemd.set("inactive")
    (entry,) = wait_until(lambda: decided(history, "healed"), 60, "the unit to be healed")
    assert systemd.active == "active"
    assert (entry["host"], entry["what"], entry["why"]) == (HOST, UNIT, "stopped")
    wait_until(
        lambda: event_listener.get_events([(healer.id, "fanatico/heal/healed")], after_time=begun),
        10,
        "the event fanatico/heal/healed",
    )
    assert healer.salt_run_cli().run("fanatico.history").data == [entry]


def test_a_failed_unit_too(systemd, history):
    systemd.set("failed")
    (entry,) = wait_until(lambda: decided(history, "healed"), 60, "the unit to be healed")
    assert (entry["why"], entry["reason"]) == ("failed", "failed, started again")


def test_not_while_a_deploy_runs_but_right_after_it(systemd, history, home):
    assert fanatico_lock.acquire(home, "deploy")[0], "this test is the deploy"
    systemd.set("inactive")
    (entry,) = wait_until(lambda: decided(history, "refused"), 60, "the refusal")
    assert entry["reason"].startswith("a deploy (pid ")
    time.sleep(4)
    assert systemd.active == "inactive"
    assert len(history()) == 1, "the same refusal again is no news"
    fanatico_lock.release(home)
    wait_until(lambda: decided(history, "healed"), 60, "the repeated event to be heard")


def test_three_times_and_no_more(systemd, history):
    for times in range(1, 4):
        wait_until(lambda: systemd.active == "active", 10, "the unit to run")
        time.sleep(1.5)
        systemd.set("failed")
        wait_until(lambda: len(decided(history, "healed")) == times, 60, f"healing number {times}")  # noqa: B023
    time.sleep(1.5)
    systemd.set("failed")
    (entry,) = wait_until(lambda: decided(history, "refused"), 60, "the refusal")
    assert "already started 3 times in 10 minutes" in entry["reason"]
    assert systemd.active == "failed"


def test_a_unit_that_cannot_start(systemd, history):
    systemd.break_it()
    systemd.set("failed")
    entry = wait_until(lambda: decided(history, "failed"), 60, "the failure")[0]
    assert "etcd.service should be active and is failed" in entry["reason"]
    assert "panic: no disk" in entry["reason"]


def test_frozen(systemd, history, healer):
    run = healer.salt_run_cli()
    assert "Nothing is healed until" in run.run("fanatico.freeze", "new disks", "5m").stdout
    systemd.set("inactive")
    (entry,) = wait_until(lambda: decided(history, "refused"), 60, "the refusal")
    assert "new disks" in entry["reason"]
    run.run("fanatico.unfreeze")
    wait_until(lambda: decided(history, "healed"), 60, "the unit to be healed")


def test_what_runs_again_is_left_alone(healer, history):
    ret = healer.salt_run_cli().run("fanatico.heal", HOST, UNIT, roles=["etcd"])
    assert ret.data["decision"] == "refused"
    assert ret.data["reason"] == "it runs again already"


def test_only_units_of_the_host(healer):
    ret = healer.salt_run_cli().run("fanatico.heal", HOST, "ssh.service", roles=["etcd"])
    assert (
        ret.data["reason"]
        == f"ssh.service is neither a unit that {HOST} has to keep running nor a fault it can have"
    )


def test_a_deploy_is_kept_away_by_another(healer, home):
    assert fanatico_lock.acquire(home, "deploy")[0]
    try:
        ret = healer.salt_run_cli().run("fanatico.lock", wait=0)
        assert ret.returncode != 0
        assert "This deploy was not started: a deploy (pid " in ret.stdout + ret.stderr
        assert healer.salt_run_cli().run("fanatico.locked").data["pid"] == os.getpid()
    finally:
        fanatico_lock.release(home)
