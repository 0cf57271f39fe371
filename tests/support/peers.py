"""Fake peers on the loopback: HTTP or HTTPS servers with answers set by the test, one address each, one port for all."""

import atexit
import contextlib
import functools
import json
import os
import shutil
import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support import pki


@functools.cache
def tls():
    """Return {"ca", "cert", "key"}, the certificate files of every fake peer and of its clients."""
    addresses = [f"127.0.0.{number}" for number in range(1, 20)]
    directory = tempfile.mkdtemp(prefix="fanatico-test-pki-")
    atexit.register(_remove, directory, os.getpid())
    return pki.write(directory, pki.Authority("fake peers"), addresses=addresses)


def _remove(directory, owner):
    """Delete the certificates when the process that made them ends; a fork that ends earlier leaves them."""
    if os.getpid() == owner:
        shutil.rmtree(directory, ignore_errors=True)


def _context():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls()["ca"])
    context.load_cert_chain(tls()["cert"], tls()["key"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        payload = json.loads(raw) if raw else None
        self.server.peer.seen.append((self.command, self.path, payload, dict(self.headers)))
        said = self.server.peer.answers.get(f"{self.command} {self.path}", (404, {"message": "no such path"}))
        status, body = said(payload) if callable(said) else said
        if status is None:  # hang until the end of the test
            self.server.peer.over.wait(10)
            self.close_connection = True
            return
        body = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = do_PATCH = _answer

    def log_message(self, *args):
        """Log nothing."""


class Peer:
    """A fake peer: `answers` is {"GET /path": (status, body) or callable(payload)}, `seen` the requests."""

    def __init__(self, address, port=0, secure=False):
        self.address, self.answers, self.seen, self.over = address, {}, [], threading.Event()
        self.server = ThreadingHTTPServer((address, port), _Handler)
        self.server.daemon_threads = True
        if secure:
            self.server.socket = _context().wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.server.peer = self
        self.port = self.server.server_address[1]
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def hang(self, *questions):
        """Never answer these requests."""
        for question in questions:
            self.answers[question] = (None, "")

    def stop(self):
        """Refuse connections from here on."""
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def peers(*names, secure=False):
    """Yield {name: Peer} on 127.0.0.2 and following, all on one port; with `secure` they use TLS and require `tls()`."""
    started = {}
    try:
        port = 0
        for number, name in enumerate(names, 2):
            started[name] = Peer(f"127.0.0.{number}", port, secure)
            port = started[name].port
        yield started
    finally:
        for peer in started.values():
            with contextlib.suppress(OSError):
                peer.stop()
