"""fanatico_haproxy against a fake runtime socket that answers as HAProxy 3.0 does."""

import os
import socket
import threading
import time

import pytest
from salt.exceptions import CommandExecutionError

from _modules import fanatico_haproxy

HEAD = "# pxname,svname,scur,slim,status,check_status,last_chk,"
INFO = "Name: HAProxy\nVersion: 3.0.11-1+deb13u3\nCurrConns: 12\nMaxconn: 4196\nUptime_sec: 60\nUlimit-n: 9000\nMaxsock: 9000\n"
JOURNAL = "[NOTICE] x\n[ALERT] (7) : Cannot raise FD limit to 401051, limit is 20000.\n"
STATE = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n"
    "3 rpc_http 1 rpc1 10.0.1.10 2 0\n3 rpc_http 2 rpc2 10.0.1.11 0 0\n"
)


def stat(**down):
    """The answer to `show stat`; `down` is {backend: [servers]} beyond those that are down by design."""
    rows = [HEAD]
    servers = {
        "rpc_http": ["rpc1", "rpc2", "rpc3"],
        "rpc_ws": ["rpc1", "rpc2", "rpc3"],
        "postgres_primary": ["db1", "db2", "db3"],
        "postgres_replica": ["db1", "db2", "db3"],
    }
    design = {"postgres_primary": ["db2", "db3"], "postgres_replica": ["db1"]}
    for name, members in servers.items():
        rows.append(f"{name},FRONTEND,1,4096,OPEN,,,")
        for server in members:
            is_down = server in design.get(name, []) + down.get(name, [])
            rows.append(
                f"{name},{server},0,,{'DOWN,L7STS,Service Unavailable' if is_down else 'UP,L7OK,OK'},"
            )
        rows.append(f"{name},BACKEND,4,410,UP,,,")
    rows.append("stats,FRONTEND,0,100,OPEN,,,")
    return "\n".join(rows) + "\n\n"


@pytest.fixture
def answers():
    return {"show stat": stat(), "show info": INFO, "show servers state": STATE}


@pytest.fixture
def haproxy(tmp_path, answers, monkeypatch):
    path = str(tmp_path / "admin.sock")
    monkeypatch.setattr(fanatico_haproxy, "SOCKET", path)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    over = threading.Event()

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                command = connection.recv(1000).decode().strip()
                if answers.get(command) is None:
                    over.wait(10)
                else:
                    connection.sendall(answers[command].encode())

    threading.Thread(target=serve, daemon=True).start()
    yield path
    over.set()
    server.close()


@pytest.fixture
def configure_loader_modules(plan, haproxy, all_utils):
    return {
        fanatico_haproxy: {
            "__pillar__": {"plan": plan},
            "__opts__": {"id": "haproxy1"},
            "__utils__": all_utils,
            "__salt__": {"cmd.run_stdout": lambda *_, **__: JOURNAL},
        }
    }


def bad(checks):
    return {name: check["status"] for name, check in checks.items() if check["status"] != "ok"}


SESSIONS = """\
0x7f01: [29/Nov/2026:06:48:37.977976] id=0 proto=?
  flags=0x42, conn_retries=1, conn_exp=<NEVER> conn_et=0x000 srv_conn=0x7fc952e67000, pend_pos=(nil) waiting=0 epoch=0
  frontend=haproxy1 (id=4294967295 mode=peers), listener=? (id=0)
  backend=haproxy1 (id=4294967295 mode=peers) addr=10.0.0.10:44920
  server=haproxy2 (id=0) addr=10.0.0.11:8405
  task=0x7fc951aad660 (state=0x00 nice=0 calls=10 rate=0 exp=1s tid=0(1/0) age=19s)
0x7f02: [29/Nov/2026:06:50:37.977976] id=12 proto=tcpv4 source=10.0.7.9:40112
  flags=0x4a, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=0x7fc952e67000, pend_pos=(nil) waiting=0 epoch=0
  frontend=postgres_primary (id=7 mode=tcp), listener=? (id=1) addr=10.0.0.100:5432
  backend=postgres_primary (id=8 mode=tcp) addr=10.0.0.10:51234
  server=db1 (id=1) addr=10.0.2.10:5432
  task=0x7fc951aad660 (state=0x00 nice=0 calls=10 rate=0 exp=1s tid=0(1/0) age=19s)
"""


def test_who_has_a_session_with_which_database(haproxy, answers):
    answers["show sess all"] = SESSIONS
    assert fanatico_haproxy.sessions() == [
        {"client": "10.0.7.9:40112", "port": "10.0.0.100:5432", "server": "db1", "from": "10.0.0.10:51234"}
    ]


def test_all_is_well():
    found = fanatico_haproxy.look()
    assert bad(found["checks"]) == {}
    assert found["checks"].keys() == {
        f"haproxy.{name}"
        for name in (
            *("serving", "connections", "configuration", "files"),
            *("rpc_http", "rpc_ws", "postgres_primary", "postgres_replica"),
        )
    }
    assert found["facts"]["backends"]["postgres_primary"]["up"] == ["db1"]
    assert found["facts"]["version"].startswith("3.0.11")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """/etc/haproxy, written a while before HAProxy was started."""
    monkeypatch.setattr(fanatico_haproxy, "FOLDER", tmp_path)
    written(tmp_path, 3600)
    return tmp_path


def written(folder, ago):
    path = folder / "haproxy.cfg"
    path.touch()
    os.utime(path, (time.time() - ago,) * 2)


@pytest.mark.parametrize(("ago", "older"), [(3600, False), (60.5, False), (59.5, False), (20, True)])
def test_a_reload_that_failed_is_seen(folder, ago, older):
    """The process before it goes on, and systemd says that all is well."""
    written(folder, ago)
    assert ("haproxy.configuration" in bad(fanatico_haproxy.checks())) is older


def test_a_change_that_is_not_taken_up_fails_with_haproxys_word(folder):
    assert fanatico_haproxy.wait_current(0) is True
    written(folder, 1)
    with pytest.raises(CommandExecutionError, match="did not take up.*limit is 20000"):
        fanatico_haproxy.wait_current(0)


def test_fewer_files_than_it_needs_are_seen(answers):
    answers["show info"] = INFO.replace("Ulimit-n: 9000", "Ulimit-n: 8999")
    assert bad(fanatico_haproxy.checks()) == {"haproxy.files": "degraded"}


def test_a_server_short_is_degraded_with_its_reason(answers):
    answers["show stat"] = stat(rpc_http=["rpc2"], postgres_replica=["db2"])
    checks = fanatico_haproxy.checks()
    assert bad(checks) == {"haproxy.rpc_http": "degraded", "haproxy.postgres_replica": "degraded"}
    assert "rpc2 DOWN Service Unavailable" in checks["haproxy.rpc_http"]["detail"]
    assert checks["haproxy.rpc_http"]["hint"] == "salt -L rpc2 fanatico.health"


def test_no_server_is_critical(answers):
    answers["show stat"] = stat(postgres_primary=["db1"])
    assert bad(fanatico_haproxy.checks()) == {"haproxy.postgres_primary": "critical"}


def test_no_replica_left_still_reads_from_the_primary(answers):
    answers["show stat"] = stat(postgres_replica=["db2", "db3"])
    assert bad(fanatico_haproxy.checks()) == {"haproxy.postgres_replica": "degraded"}


def test_a_backend_that_is_not_there_is_critical(answers):
    answers["show stat"] = "\n".join(line for line in stat().splitlines() if not line.startswith("rpc_ws,"))
    assert bad(fanatico_haproxy.checks()) == {"haproxy.rpc_ws": "critical"}


def test_a_stopped_frontend_is_critical_and_a_full_house_degraded(answers):
    answers["show stat"] = stat().replace("rpc_http,FRONTEND,1,4096,OPEN", "rpc_http,FRONTEND,1,4096,STOP")
    answers["show info"] = INFO.replace("CurrConns: 12", "CurrConns: 4100")
    assert bad(fanatico_haproxy.checks()) == {
        "haproxy.serving": "critical",
        "haproxy.connections": "degraded",
    }


def test_a_hung_haproxy_costs_the_timeout(answers):
    answers["show stat"] = None
    started = time.monotonic()
    checks = fanatico_haproxy.checks(timeout=0.2)
    assert time.monotonic() - started < 1
    assert bad(checks) == {"haproxy.serving": "critical"}
    assert "no answer within 0.2 s" in checks["haproxy.serving"]["detail"]


def test_no_socket(haproxy, monkeypatch):
    monkeypatch.setattr(fanatico_haproxy, "SOCKET", f"{haproxy}.gone")
    check = fanatico_haproxy.checks()["haproxy.serving"]
    assert check["status"] == "critical"
    assert "No such file" in check["detail"]
    with pytest.raises(CommandExecutionError, match="haproxy1: HAProxy's socket"):
        fanatico_haproxy.info()


def test_an_answer_without_end_is_refused(answers, monkeypatch):
    monkeypatch.setattr(fanatico_haproxy, "ANSWER_LIMIT", 100)
    with pytest.raises(CommandExecutionError, match="more than 100 bytes"):
        fanatico_haproxy.stat()


def test_what_a_person_asks():
    assert fanatico_haproxy.info()["Maxconn"] == "4196"
    assert fanatico_haproxy.stat()[1] == {
        "pxname": "rpc_http",
        "svname": "rpc1",
        "scur": "0",
        "status": "UP",
        "check_status": "L7OK",
        "last_chk": "OK",
    }
    assert fanatico_haproxy.servers()[1] == {
        "be_id": "3",
        "be_name": "rpc_http",
        "srv_id": "2",
        "srv_name": "rpc2",
        "srv_addr": "10.0.1.11",
        "srv_op_state": "0",
        "srv_admin_state": "0",
    }
    backend = fanatico_haproxy.backends()["postgres_replica"]
    assert backend["up"] == ["db2", "db3"]
    assert backend["down"] == {"db1": "DOWN Service Unavailable"}
    assert backend["sessions"] == 4
