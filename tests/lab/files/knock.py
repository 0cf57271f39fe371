"""Run on a lab machine: try ports with certificates, and print how far each attempt got.

    knock.py FOLDER < [[door, address, port, claim], ...]     prints [how far, ...]
    knock.py FOLDER offers DOOR ADDRESS PORT                  prints {"protocols": [...], "ciphers": [...]}

FOLDER holds DOOR.CLAIM.pem (certificate and key) and the same as .crt and .key.
"""

import concurrent.futures
import json
import pathlib
import socket
import ssl
import struct
import sys
import warnings

WAIT = 3  # seconds; the firewall drops packets silently
PROTOCOLS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
SSL_REQUEST = struct.pack("!II", 8, 80877103)


def context(pem=None, ciphers=None, only=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE  # only the server's decision is tested
    if ciphers:
        made.set_ciphers(ciphers)
    if only:
        made.minimum_version = made.maximum_version = only
    if pem:
        made.load_cert_chain(pem)
    return made


def connected(door, raw, tls):
    if door == "postgres":
        raw.sendall(SSL_REQUEST)
        if raw.recv(1) != b"S":
            raise ssl.SSLError("no TLS")
    return tls.wrap_socket(raw)


def asked(door, connection):
    """Send a request to the service; return how far it got."""
    if door == "postgres":
        return asked_postgres(connection)
    method, path = {
        "etcd": ("GET", "/version"),
        "etcd-peer": ("GET", "/version"),
        "patroni": ("GET", "/patroni"),
        "patroni-change": ("PATCH", "/config"),
        "statistics": ("GET", "/"),
        "edge-statistics": ("GET", "/"),
        "metrics": ("GET", "/"),
    }[door]
    body = "{}" if method == "PATCH" else ""
    words = f"{method} {path} HTTP/1.1\r\nHost: door\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    connection.sendall(words.encode())
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except TimeoutError:  # etcd's peer port leaves the connection open
        if not answer:
            raise
    code = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else ""
    if code == "403":
        return "certificate required" if b"client certificate required" in answer else "not from there"
    return {"200": "in", "503": "in", "401": "password required", "": "refused"}.get(code, f"HTTP {code}")


def asked_postgres(connection):
    names = b"user\0replicator\0database\0postgres\0\0"
    connection.sendall(struct.pack("!II", 8 + len(names), 196608) + names)
    answer = connection.recv(65536)
    if answer[:1] == b"R":
        return "password required"
    if b"valid client certificate" in answer:
        return "certificate required"
    return "not from there" if b"pg_hba" in answer else "refused"


def knock(folder, door, address, port, claim):
    pem = folder / f"{door}.{claim}.pem"
    try:
        raw = socket.create_connection((address, port), WAIT)
        raw.getpeername()  # a refused socket can look connected: the kernel reports the refusal a moment later
    except OSError:
        return "unreachable"
    try:
        with connected(door, raw, context(pem if pem.exists() else None)) as connection:
            return asked(door, connection)
    except (ssl.SSLError, ConnectionError):
        return "refused"
    except TimeoutError:
        return "silent"


def offers(folder, door, address, port):
    pem = folder / f"{door}.right.pem"

    def works(**wanted):
        try:
            raw = socket.create_connection((address, port), WAIT)
            connected(door, raw, context(pem, **wanted)).close()
        except (ssl.SSLError, ConnectionError):
            return False
        return True

    warnings.simplefilter("ignore")  # the test is about old protocols
    every = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    every.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    old = [one["name"] for one in every.get_ciphers() if one["protocol"] != "TLSv1.3"]
    return {
        "protocols": [name for name, one in PROTOCOLS.items() if works(ciphers="ALL:@SECLEVEL=0", only=one)],
        "ciphers": [name for name in old if works(ciphers=f"{name}:@SECLEVEL=0", only=PROTOCOLS["TLSv1.2"])],
    }


def main(folder, *rest):
    folder = pathlib.Path(folder)
    if rest:
        _, door, address, port = rest
        return offers(folder, door, address, int(port))
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        return list(pool.map(lambda attempt: knock(folder, *attempt), json.load(sys.stdin)))


print(json.dumps(main(*sys.argv[1:])))
