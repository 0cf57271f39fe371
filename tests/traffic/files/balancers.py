"""The databases' HAProxy with the tree's configuration on a machine without a network, and fake programs for its edge and
for the other balancer. They start and stop, and Keepalived's check is run.

Input: /mnt/text, as JSON: ``{"addresses": [this machine's], "statistics": port, "edge": port, "other": address}``. The other
balancer's certificate is /pki/other.pem. Prints, as JSON: ``{event: resulting exit code of the check}``, None where
the expected code was not reached.
"""

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time

CHECK = "/etc/keepalived/edge-elsewhere"


class Live:
    """A port that answers the health check of a HAProxy, while it is open."""

    def __init__(self, address, port, tls=None):
        self._place, self._tls, self._listener = (address, port), tls, None

    def open(self):
        self._listener = socket.create_server(self._place)
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()
        return self

    def close(self):
        # After close() alone the waiting thread would keep it open.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, listener):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(1)
                    spoken = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
                    spoken.recv(4096)
                    spoken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def check(port):
    """Return the exit code of Keepalived's check."""
    return subprocess.run([CHECK, str(port)], check=False, timeout=10).returncode


def come_to(port, wanted, within=25):
    """Return the check's exit code once it is the wanted one; None after the timeout."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if check(port) == wanted:
            return wanted
        time.sleep(0.1)
    return None


def main():
    with open("/mnt/text") as file:
        task = json.load(file)
    for command in ("link set lo up", *(f"address add {one}/32 dev lo" for one in task["addresses"])):
        subprocess.run(["ip", *command.split()], check=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain("/pki/other.pem")
    port, seen = task["statistics"], {}
    edge = Live("127.0.0.1", task["edge"]).open()
    other = [Live(task["other"], one, tls).open() for one in (port, task["edge"])]
    seen["nothing runs"] = check(port)
    subprocess.run(["mkdir", "-p", "/run/haproxy", "/var/lib/haproxy"], check=True)
    haproxy = subprocess.Popen(["haproxy", "-db", "-f", "/etc/haproxy/haproxy.cfg"])
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        time.sleep(0.5)  # its first checks take a tenth of a second
        seen["all there"] = check(port)
        edge.close()
        seen["right after the edge died"] = check(port)
        seen["edge gone"] = come_to(port, 1)
        other[0].close()
        seen["and the other's databases"] = come_to(port, 0)
        other[0].open()
        # Long before half a minute is over: it does not count as healthy yet.
        time.sleep(5)
        seen["which came back a moment ago"] = check(port)
        edge.open()
        time.sleep(4)
        seen["edge back"] = check(port)
    finally:
        haproxy.terminate()
        haproxy.wait(10)
    print(json.dumps(seen))


main()
