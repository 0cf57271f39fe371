"""Run on a lab machine: try ports with a host's former credentials, and print how far each attempt got.

    old_keys.py < [{"door", "address", "port", ...}, ...]     prints [how far, ...]
    old_keys.py ADDRESS PORT CA < password                    opens a session, prints "open", and on a line whether it lives

"unreachable": no packet came back. "refused": the service refused access. "in": the service gave access.
A door that is not named below is only tried for a connection: "in" where anything answers, even a refusal.
"""

import base64
import concurrent.futures
import json
import signal
import socket
import ssl
import sys

import psycopg

WAIT = 3  # seconds; a firewall drops packets silently


def reached(address, port):
    """Return whether any packet comes back from an address."""
    try:
        socket.create_connection((address, port), WAIT).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def asked(one, method, path, body, headers=""):
    """Return the HTTP status of a request, 0 where the TLS handshake is refused."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # only the server's decision is tested
    tls.load_cert_chain(f"{one['cert']}.crt", f"{one['cert']}.key")
    text = json.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: door\r\nConnection: close\r\nContent-Length: {len(text)}\r\n{headers}\r\n"
    try:
        with (
            socket.create_connection((one["address"], one["port"]), WAIT) as raw,
            tls.wrap_socket(raw) as line,
        ):
            line.sendall((head + text).encode())
            answer = line.recv(65536)
    except OSError:
        return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def etcd(one):
    credentials = {"name": one["user"], "password": one["password"]}
    return asked(one, "POST", "/v3/auth/authenticate", credentials) == 200


def etcd_peer(one):
    return asked(one, "GET", "/version", {}) == 200


def patroni(one):
    token = base64.b64encode(f"patroni:{one['password']}".encode()).decode()
    # An accepted client gets an answer, even if etcd refuses the request at the moment.
    return asked(one, "PATCH", "/config", {}, f"Authorization: Basic {token}\r\n") not in (0, 401, 403)


def postgres(one):
    pair = {"sslcert": f"{one['cert']}.crt", "sslkey": f"{one['cert']}.key"} if one.get("cert") else {}
    try:
        psycopg.connect(
            host=one["address"],
            port=one["port"],
            dbname=one["database"],
            user=one["user"],
            password=one["password"],
            sslmode="require",
            connect_timeout=WAIT + 2,
            **pair,
        ).close()
    except psycopg.Error:
        return False
    return True


DOORS = {"etcd": etcd, "etcd-peer": etcd_peer, "patroni": patroni, "postgres": postgres}


def tried(one):
    if not reached(one["address"], one["port"]):
        return "unreachable"
    door = DOORS.get(one["door"])
    return "in" if door is None or door(one) else "refused"


def hold(address, port, ca):
    password = sys.stdin.readline().strip()
    session = psycopg.connect(
        host=address,
        port=port,
        dbname="fanatico",
        user="fanatico",
        password=password,
        sslmode="verify-full",
        sslrootcert=ca,
        autocommit=True,
    )
    print("open", flush=True)
    sys.stdin.readline()
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(print("no answer", flush=True)))
    signal.alarm(10)
    try:
        session.execute("SELECT 1")
        print("lives", flush=True)
    except psycopg.Error:
        print("cut", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        hold(*sys.argv[1:])
    else:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            print(json.dumps(list(pool.map(tried, json.load(sys.stdin)))))
