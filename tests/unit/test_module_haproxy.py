"""fanatico_haproxy against a fake runtime socket that answers as HAProxy 3.0 does."""

import os
import pathlib
import socket
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from salt.exceptions import CommandExecutionError

from _modules import fanatico_haproxy
from tests.support import pki

HEAD = "# pxname,svname,scur,slim,status,check_status,last_chk,"
INFO = "Name: HAProxy\nVersion: 3.0.11-1+deb13u3\nCurrConns: 12\nMaxconn: 4196\nUptime_sec: 60\nUlimit-n: 9000\nMaxsock: 9000\n"
JOURNAL = "[NOTICE] x\n[ALERT] (7) : Cannot raise FD limit to 401051, limit is 20000.\n"
STATE = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n"
    "3 rpc_http 1 rpc1 10.0.1.10 2 0\n3 rpc_http 2 rpc2 10.0.1.11 0 0\n"
)


SERVERS = {
    "haproxy": {"postgres_primary": ["db1", "db2", "db3"], "postgres_replica": ["db1", "db2", "db3"]},
    "haproxy-edge": {"rpc_http": ["rpc1", "rpc2", "rpc3"], "rpc_ws": ["rpc1", "rpc2", "rpc3"]},
}


def stat(unit, **down):
    """The answer of a unit to `show stat`; `down` is {backend: [servers]} beyond those that are down by design."""
    rows = [HEAD]
    design = {"postgres_primary": ["db2", "db3"], "postgres_replica": ["db1"]}
    for name, members in SERVERS[unit].items():
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
    """The answers of each unit; none if it hangs."""
    return {
        unit: {
            "show stat": stat(unit),
            "show info": INFO,
            "show servers state": STATE,
            "show ssl cert": "# filename\n\n",
            "show ssl ca-file": "# filename\n@system-ca - 148 certificate(s)\n\n",
        }
        for unit in SERVERS
    }


@pytest.fixture
def haproxy(tmp_path, answers, monkeypatch):
    """/run, with both units' sockets."""
    monkeypatch.setattr(fanatico_haproxy, "RUN", tmp_path / "run")
    over, servers = threading.Event(), []

    def serve(unit, server):
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                command = connection.recv(10000).decode()[:-1]
                if answers[unit].get(command) is None:
                    over.wait(10)
                else:
                    connection.sendall(answers[unit][command].encode())

    for unit in answers:
        path = tmp_path / "run" / unit / "admin.sock"
        path.parent.mkdir(parents=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        servers.append(server)
        threading.Thread(target=serve, args=(unit, server), daemon=True).start()
    yield tmp_path / "run"
    over.set()
    for server in servers:
        server.close()


@pytest.fixture
def configure_loader_modules(plan, haproxy):
    return {
        fanatico_haproxy: {
            "__pillar__": {"plan": plan},
            "__opts__": {"id": "haproxy1"},
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


def test_sessions(haproxy, answers):
    answers["haproxy"]["show sess all"] = SESSIONS
    assert fanatico_haproxy.sessions() == [
        {"client": "10.0.7.9:40112", "port": "10.0.0.100:5432", "server": "db1", "from": "10.0.0.10:51234"}
    ]


def test_a_healthy_load_balancer():
    found = fanatico_haproxy.probe()
    assert bad(found["checks"]) == {}
    assert found["checks"].keys() == {
        f"{begins}.{name}"
        for begins, unit in (("haproxy", "haproxy"), ("edge", "haproxy-edge"))
        for name in ("serving", "connections", "configuration", "certificates", "files", *SERVERS[unit])
    }
    assert found["facts"]["backends"]["postgres_primary"]["up"] == ["db1"]
    assert found["facts"]["version"].startswith("3.0.11")
    assert found["facts"]["edge"]["backends"]["rpc_http"]["up"] == ["rpc1", "rpc2", "rpc3"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """/etc/haproxy, written before HAProxy was started."""
    monkeypatch.setattr(fanatico_haproxy, "FOLDER", tmp_path)
    for name in ("haproxy.cfg", "edge.cfg"):
        written(tmp_path, 3600, name)
    return tmp_path


def written(folder, ago, name="haproxy.cfg"):
    path = folder / name
    path.touch()
    os.utime(path, (time.time() - ago,) * 2)


@pytest.mark.parametrize(("ago", "older"), [(3600, False), (60.5, False), (59.5, False), (20, True)])
@pytest.mark.parametrize(
    ("name", "begins"), [("haproxy.cfg", "haproxy"), ("edge.cfg", "edge"), ("rpc_guard.lua", "edge")]
)
def test_a_failed_reload_is_detected(folder, ago, older, name, begins):
    """The old worker keeps running, and systemd reports no failure."""
    written(folder, ago, name)
    assert bad(fanatico_haproxy.checks()) == ({f"{begins}.configuration": "degraded"} if older else {})


def test_a_failed_reload_is_raised_with_haproxys_log_line(folder):
    for unit, name in (("haproxy", "haproxy.cfg"), ("haproxy-edge", "edge.cfg")):
        assert fanatico_haproxy.wait_current(0, unit) is True
        written(folder, 1, name)
        with pytest.raises(CommandExecutionError, match=f"did not load.*limit is 20000.*-u {unit} "):
            fanatico_haproxy.wait_current(0, unit)


def test_too_low_a_limit_of_open_files_is_degraded(answers):
    answers["haproxy-edge"]["show info"] = INFO.replace("Ulimit-n: 9000", "Ulimit-n: 8999")
    assert bad(fanatico_haproxy.checks()) == {"edge.files": "degraded"}


def test_a_missing_server_is_degraded_with_the_reason(answers):
    answers["haproxy"]["show stat"] = stat("haproxy", postgres_replica=["db2"])
    answers["haproxy-edge"]["show stat"] = stat("haproxy-edge", rpc_http=["rpc2"])
    checks = fanatico_haproxy.checks()
    assert bad(checks) == {"edge.rpc_http": "degraded", "haproxy.postgres_replica": "degraded"}
    assert "rpc2 DOWN Service Unavailable" in checks["edge.rpc_http"]["detail"]
    assert checks["edge.rpc_http"]["hint"] == "salt -L rpc2 fanatico.health"


def test_no_server_is_critical(answers):
    answers["haproxy"]["show stat"] = stat("haproxy", postgres_primary=["db1"])
    assert bad(fanatico_haproxy.checks()) == {"haproxy.postgres_primary": "critical"}


def test_without_a_replica_the_primary_serves_reads(answers):
    answers["haproxy"]["show stat"] = stat("haproxy", postgres_replica=["db2", "db3"])
    assert bad(fanatico_haproxy.checks()) == {"haproxy.postgres_replica": "degraded"}


def test_a_missing_backend_is_critical(answers):
    rows = stat("haproxy-edge").splitlines()
    answers["haproxy-edge"]["show stat"] = "\n".join(row for row in rows if not row.startswith("rpc_ws,"))
    assert bad(fanatico_haproxy.checks()) == {"edge.rpc_ws": "critical"}


def test_a_stopped_frontend_is_critical_and_full_connections_are_degraded(answers):
    edge = answers["haproxy-edge"]
    edge["show stat"] = edge["show stat"].replace("http,FRONTEND,1,4096,OPEN", "http,FRONTEND,1,4096,STOP")
    edge["show info"] = INFO.replace("CurrConns: 12", "CurrConns: 4100")
    assert bad(fanatico_haproxy.checks()) == {"edge.serving": "critical", "edge.connections": "degraded"}


def test_a_hung_haproxy_costs_a_single_timeout(answers):
    answers["haproxy"]["show stat"] = None
    started = time.monotonic()
    checks = fanatico_haproxy.checks(timeout=0.2)
    assert time.monotonic() - started < 1
    assert bad(checks) == {"haproxy.serving": "critical"}
    assert "no answer within 0.2 s" in checks["haproxy.serving"]["detail"]


@pytest.mark.parametrize(("unit", "begins"), [("haproxy", "haproxy"), ("haproxy-edge", "edge")])
def test_each_process_is_judged_by_itself(haproxy, unit, begins):
    (haproxy / unit / "admin.sock").unlink()
    checks = fanatico_haproxy.checks()
    assert bad(checks) == {f"{begins}.serving": "critical"}
    assert "No such file" in checks[f"{begins}.serving"]["detail"]
    with pytest.raises(CommandExecutionError, match=f"haproxy1: HAProxy's socket.*systemctl status {unit}$"):
        fanatico_haproxy.info(unit=unit)


def test_an_endless_answer_is_refused(answers, monkeypatch):
    monkeypatch.setattr(fanatico_haproxy, "ANSWER_LIMIT", 100)
    with pytest.raises(CommandExecutionError, match="exceeds 100 bytes"):
        fanatico_haproxy.stat()


def test_info_servers_and_backends():
    assert fanatico_haproxy.info()["Maxconn"] == "4196"
    assert fanatico_haproxy.stat(unit="haproxy-edge")[1] == {
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
    assert fanatico_haproxy.backends().keys() == {name for unit in SERVERS.values() for name in unit}
    backend = fanatico_haproxy.backends()["postgres_replica"]
    assert backend["up"] == ["db2", "db3"]
    assert backend["down"] == {"db1": "DOWN Service Unavailable"}
    assert backend["sessions"] == 4


def test_backends_of_one_process_while_the_other_does_not_answer(haproxy, answers):
    (haproxy / "haproxy-edge" / "admin.sock").unlink()
    found = fanatico_haproxy.backends()
    assert found.keys() == {*SERVERS["haproxy"], "haproxy-edge"}
    assert found["postgres_replica"]["up"] == ["db2", "db3"]
    assert (found["haproxy-edge"]["up"], found["haproxy-edge"]["sessions"]) == ([], 0)
    assert "haproxy-edge" in found["haproxy-edge"]["status"]
    (haproxy / "haproxy" / "admin.sock").unlink()
    with pytest.raises(CommandExecutionError):
        fanatico_haproxy.backends()


# --- certificates: loaded and on disk


LOADED = (
    "Filename: {path}\nStatus: {status}\n \nSerial: 1\nSHA1 FingerPrint: {fingerprint}\nSubject: /CN=x\n\n"
)


def fingerprint(certificate):
    der = x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA1())
    return der.hex().upper()


@pytest.fixture(params=["haproxy", "haproxy-edge"])
def unit(request):
    return request.param


@pytest.fixture
def told(answers, unit):
    """The answers of the process that has loaded them."""
    return answers[unit]


@pytest.fixture
def check(unit):
    return {"haproxy": "haproxy.certificates", "haproxy-edge": "edge.certificates"}[unit]


@pytest.fixture
def files(tmp_path, told):
    """A certificate and authorities that HAProxy has loaded from disk: {kind: path}."""
    authority = pki.Authority("edge")
    certificate, key = authority.issue("haproxy1")
    pki_folder = tmp_path / "pki"
    pki_folder.mkdir()
    texts = {"edge.crt": certificate, "edge.key": key, "edge-ca.crt": authority.certificate}
    for name, text in texts.items():
        (pki_folder / name).write_text(text)
    path, trusted = (str(pki_folder / name) for name in ("edge.crt", "edge-ca.crt"))
    told["show ssl cert"] = f"# transaction\n*/x/y.crt\n# filename\n{path}\n\n"
    told["show ssl ca-file"] = (
        f"# filename\n{trusted} - 1 certificate(s)\n@system-ca - 148 certificate(s)\n\n"
    )
    loaded(told, "cert", path, certificate)
    loaded(told, "ca-file", trusted, authority.certificate, status="Unused")
    return {"certificate": path, "authorities": trusted}


def loaded(told, kind, path, certificate, status="Used"):
    about = LOADED.format(path=path, status=status, fingerprint=fingerprint(certificate))
    told[f"show ssl {kind} {path}"] = about


def renew(files):
    """Put another certificate on disk and return it with its key."""
    certificate, key = pki.Authority("edge").issue("haproxy1")
    path = pathlib.Path(files["certificate"])
    path.write_text(f"\n{certificate}\n")
    path.with_suffix(".key").write_text(key)
    return certificate, key


def orders(files, certificate, key):
    """The commands with which HAProxy replaces a certificate."""
    lines = "\n".join([*certificate.splitlines(), *key.splitlines()])
    path = files["certificate"]
    return f"set ssl cert {path} <<\n{lines}\n", f"commit ssl cert {path}"


def test_certificates_that_are_up_to_date(files, unit, check):
    assert check not in bad(fanatico_haproxy.checks())
    assert fanatico_haproxy.update_certificates(unit=unit) == {}


@pytest.mark.parametrize("word", ["certificate", "authorities"])
def test_a_certificate_that_differs_from_disk_is_degraded(files, word, unit, check):
    pathlib.Path(files[word]).write_text(pki.Authority().certificate)
    found = fanatico_haproxy.checks()[check]
    assert (found["status"], found["value"]) == ("degraded", [files[word]])
    pathlib.Path(files[word]).unlink()
    assert bad(fanatico_haproxy.checks()) == {check: "degraded"}


def test_a_certificate_is_replaced_with_its_key(files, told, unit):
    certificate, key = renew(files)
    put, commit = orders(files, certificate, key)
    told |= {put: "Transaction created for certificate x!\n", commit: "Committing x.\nSuccess!\n"}
    assert fanatico_haproxy.update_certificates(unit=unit) == {files["certificate"]: ""}


def test_a_refused_certificate_is_reported_with_haproxys_message(files, told, unit):
    certificate, key = renew(files)
    put, _ = orders(files, certificate, key)
    told[put] = "inconsistencies between private key and certificate\nCan't update x!\n"
    told[f"abort ssl cert {files['certificate']}"] = "No ongoing transaction!\n"
    (why,) = fanatico_haproxy.update_certificates(unit=unit).values()
    assert "inconsistencies between private key and certificate" in why


def test_authorities_of_server_lines_need_a_reload(files, unit):
    """HAProxy 3.0 answers Success and keeps the old authorities."""
    pathlib.Path(files["authorities"]).write_text(pki.Authority().certificate)
    assert fanatico_haproxy.update_certificates(unit=unit) == {files["authorities"]: "only servers name it"}


def test_no_error_message_contains_a_key(files, told, unit):
    certificate, key = renew(files)
    told[orders(files, certificate, key)[0]] = None
    with pytest.raises(CommandExecutionError) as caught:
        fanatico_haproxy.update_certificates(timeout=0.2, unit=unit)
    assert key.splitlines()[1] not in str(caught.value)
