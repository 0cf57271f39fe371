"""The functions that only orch.recover_etcd uses: etcd's clients, the end of the WAL, Patroni's keys."""

import copy
import pathlib
import stat
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_postgres_wal as wal
from _modules import fanatico_etcd_clients as clients
from _modules import fanatico_etcd_cure as cure
from _modules import fanatico_patroni_register as patroni
from _modules import fanatico_postgres_wal as module

CONTROL = """\
Latest checkpoint location:           0/7000110
Latest checkpoint's REDO location:    0/70000D8
Latest checkpoint's TimeLineID:       2
Bytes per WAL segment:                16777216
"""


@pytest.fixture
def salt():
    return {}


@pytest.fixture
def configure_loader_modules(plan, salt):
    own = {
        "__opts__": {"id": "etcd1"},
        "__pillar__": {"plan": copy.deepcopy(plan), "etcd": {"data_dir": "/nowhere"}},
        "__salt__": salt,
    }
    return dict.fromkeys((clients, cure, patroni, module), own)


class TestClients:
    """The rules for the time of a recovery."""

    @pytest.fixture(autouse=True)
    def nft(self, tmp_path, monkeypatch):
        calls = []

        def run(*argv, timeout=20):
            calls.append(argv)
            return types.SimpleNamespace(returncode=0, stderr="")

        monkeypatch.setattr(clients, "RULES", str(tmp_path / "rules.nft"))
        monkeypatch.setattr(clients.fanatico_probe, "run", run)
        monkeypatch.setattr(clients, "_postgres", lambda: None)
        return calls

    def rules(self):
        return pathlib.Path(clients.RULES).read_text()

    def test_only_the_etcd_hosts(self, plan, nft):
        clients.restrict_clients()
        assert [plan["nodes"][name]["address"][-2:] for name in ("etcd1", "etcd2", "etcd3")] == [
            "10",
            "11",
            "12",
        ]
        allowed = "ip saddr != { 10.0.3.10/31, 10.0.3.12 }"
        assert f"tcp dport 2379 {allowed} reject with tcp reset" in self.rules()
        assert "skuid" not in self.rules()
        assert nft == [("nft", "-f", clients.RULES)]
        assert stat.S_IMODE(pathlib.Path(clients.RULES).stat().st_mode) == 0o600
        assert clients.clients() == []

    def test_and_the_primary(self, plan):
        clients.restrict_clients(["db2"])
        assert plan["nodes"]["db2"]["address"] in self.rules()
        assert plan["nodes"]["db1"]["address"] not in self.rules()
        assert clients.clients() == ["db2"]

    def test_patroni_on_the_same_host_is_not_admitted_by_its_address(self, monkeypatch):
        monkeypatch.setattr(clients, "_postgres", lambda: 105)
        clients.restrict_clients(["db2"])
        assert "meta skuid 105 tcp dport 2379 reject with tcp reset" in self.rules()
        clients.restrict_clients(["etcd1"])  # this host is the primary
        assert "skuid" not in self.rules()

    def test_a_host_that_is_not_in_the_plan(self, nft):
        with pytest.raises(CommandExecutionError, match="db9: not in plan:nodes"):
            clients.restrict_clients(["db9"])
        assert nft == []

    def test_all_again(self, nft):
        assert clients.allow_clients() is False
        clients.restrict_clients()
        assert clients.allow_clients() is True
        assert clients.clients() is None
        assert "delete table inet fanatico_etcd_clients" in nft[-1][1]

    def test_rules_that_nftables_refuses(self, monkeypatch):
        refused = types.SimpleNamespace(returncode=1, stderr="Operation not permitted\n")
        monkeypatch.setattr(clients.fanatico_probe, "run", lambda *_, timeout=20: refused)
        with pytest.raises(CommandExecutionError, match="etcd1: nft -f .*Operation not permitted"):
            clients.restrict_clients()


class TestSetAside:
    """The rest of etcd's data."""

    def test_a_member_that_serves_keeps_its_data(self, salt):
        salt["fanatico_etcd.health"] = lambda: {"etcd1": {"healthy": True}}
        with pytest.raises(CommandExecutionError, match="its member serves"):
            cure.set_aside()

    def test_data_is_moved_after_the_stop(self, salt, tmp_path):
        salt["fanatico_etcd.health"] = lambda: {"etcd1": {"error": "refused"}}
        salt["service.stop"] = lambda name: (tmp_path / "stopped").touch()
        cure.__pillar__["etcd"]["data_dir"] = str(tmp_path)
        assert cure.set_aside() == ""
        (tmp_path / "member" / "wal").mkdir(parents=True)
        aside = pathlib.Path(cure.set_aside())
        assert (tmp_path / "stopped").exists()
        assert (aside / "wal").is_dir()
        assert aside.parent == tmp_path


class TestWalStart:
    """Where to read the WAL from."""

    def test_from_the_last_checkpoint(self):
        assert wal.start(CONTROL, ["000000020000000000000007", "00000002.history"]) == (2, "0/70000D8")

    def test_from_the_first_segment_of_a_newer_timeline(self):
        names = ["000000020000000000000007", "000000030000000000000009", "00000003000000000000000A"]
        assert wal.start(CONTROL, names) == (3, "0/9000000")

    def test_from_the_checkpoint_if_the_newer_timeline_begins_before(self):
        assert wal.start(CONTROL, ["000000030000000000000006"]) == (3, "0/70000D8")

    @pytest.mark.parametrize("control", ["", "Bytes per WAL segment: x\n", CONTROL.replace("0/70000D8", "?")])
    def test_a_control_file_that_cannot_be_read(self, control):
        with pytest.raises(ValueError, match="does not show the last checkpoint"):
            wal.start(control, [])

    def test_a_position(self):
        assert wal.text(wal.number("1A/2B000028")) == "1A/2B000028"
        line = "rmgr: XLOG len (rec/tot): 114/114, tx: 0, lsn: 1/07000028, prev 1/06FFFFF8, desc: CHECKPOINT_SHUTDOWN"
        assert wal.record(line) == 2**32 + 0x7000028
        assert wal.record("pg_waldump: error") is None


class TestWalEnd:
    """The newest data of this host."""

    @pytest.fixture
    def data(self, tmp_path, salt, monkeypatch):
        """A data directory, and the programs of a PostgreSQL that does not run."""
        (tmp_path / "global").mkdir()
        (tmp_path / "pg_wal").mkdir()
        (tmp_path / "global" / "pg_control").touch()
        (tmp_path / "pg_controldata").write_text(f'#!/bin/sh\ncat "{tmp_path}/control"\n')
        (tmp_path / "control").write_text(CONTROL)
        (tmp_path / "pg_waldump").write_text(
            "#!/bin/sh\necho 'lsn: 0/070000D8, prev'\necho \"lsn: 0/07000110, prev, $*\"\necho invalid >&2\nexit 1\n"
        )
        for name in ("pg_controldata", "pg_waldump"):
            (tmp_path / name).chmod(0o755)
        salt["fanatico_postgres.wanted"] = lambda: {"data_dir": str(tmp_path), "bin_dir": str(tmp_path)}

        def query(sql, timeout):
            raise CommandExecutionError("etcd1: PostgreSQL: connection refused")

        salt["fanatico_postgres.query"] = query
        return tmp_path

    def test_the_last_complete_record(self, data):
        assert module.wal_end() == {"running": False, "in_recovery": None, "timeline": 2, "lsn": 0x7000110}

    def test_no_data(self, data):
        (data / "global" / "pg_control").unlink()
        assert module.wal_end() == {}

    def test_a_running_server(self, data, salt):
        row = {"in_recovery": True, "lsn": "500", "timeline": 3}
        salt["fanatico_postgres.query"] = lambda sql, timeout: [row]
        assert module.wal_end() == {"running": True, "in_recovery": True, "timeline": 3, "lsn": 500}

    def test_a_running_server_that_does_not_answer_is_no_stopped_one(self, data, monkeypatch):
        """Its files would show less than it has, or more."""
        monkeypatch.setattr(module.fanatico_postmaster, "pid", lambda path: 4711)
        with pytest.raises(CommandExecutionError, match="PostgreSQL runs, but cannot be asked"):
            module.wal_end()

    def test_no_record_at_all(self, data):
        (data / "pg_waldump").write_text("#!/bin/sh\necho 'could not find a valid record' >&2\nexit 1\n")
        with pytest.raises(CommandExecutionError, match="no record of the WAL from 0/70000D8 on timeline 2"):
            module.wal_end()

    def test_a_program_that_does_not_end(self, data):
        (data / "pg_waldump").write_text("#!/bin/sh\nexec sleep 60\n")
        with pytest.raises(CommandExecutionError, match="has not ended within 0.2 s"):
            module.wal_end(timeout=0.2)


class TestRegister:
    """Patroni's keys in the new etcd."""

    PREFIX = "/service/fanatico-l1/"

    @pytest.fixture
    def node(self, salt):
        node = types.SimpleNamespace(keys={}, active="active", done=[])
        salt |= {
            "fanatico_unit.states": lambda unit: {unit: {"active": node.active}},
            "service.start": lambda name, no_block: node.done.append(("start", name)),
            "fanatico_unit.kill": lambda unit: node.done.append(("kill", unit)),
            "fanatico_etcd.keys": lambda prefix: sorted(f"{prefix}{key}" for key in node.keys),
            "fanatico_etcd.get": lambda key: node.keys[key.removeprefix(self.PREFIX)],
            "fanatico.journal": lambda unit: "last line",
        }
        return node

    ALL = {"members/etcd1": "", "leader": "etcd1", "initialize": "7", "config": "{}"}

    def test_the_leader(self, node):
        node.keys = self.ALL
        assert patroni.register(leads=True) == {"leader": "etcd1", "started": False, "restarted": False}

    def test_a_replica(self, node):
        node.keys = {"members/etcd1": "", "leader": "db2"}
        assert patroni.register()["leader"] == "db2"

    def test_another_leader_is_not_accepted(self, node):
        node.keys = {**self.ALL, "leader": "db2"}
        with pytest.raises(CommandExecutionError, match="db2 is the leader"):
            patroni.register(leads=True, timeout=0.1)

    def test_a_patroni_that_writes_nothing_is_killed_once(self, node):
        with pytest.raises(CommandExecutionError, match="not in etcd: members/etcd1, leader"):
            patroni.register(timeout=0.1)
        assert node.done == [("kill", "patroni.service")]

    def test_a_patroni_that_does_not_run_is_started_and_not_killed(self, node):
        node.active = "inactive"
        with pytest.raises(CommandExecutionError):
            patroni.register(timeout=0.1)
        assert node.done == [("start", "patroni")]
