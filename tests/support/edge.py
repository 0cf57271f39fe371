"""Somebody from outside: a host in a lab's network that is none of the plan's, and what it asks the balancers."""

import contextlib
import ctypes
import http.client
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab import network
from lab.drill.run import free_address

_CLONE_NEWNET = 0x40000000


@dataclass
class Answer:
    """What came back: HTTP's status and headers (lower case), and the body as it came."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        """The body, which has to be JSON."""
        return json.loads(self.body)

    @property
    def error(self):
        """(HTTP status, id, code) of a JSON-RPC error."""
        return self.status, self.json["id"], self.json["error"]["code"]


class Outsider:
    """A host with one cable and as many addresses as wanted. What it does runs in threads that live in its network."""

    def __init__(self, lab, threads=8):
        self.lab, self.address = lab, free_address(lab.plan)
        self.virtual_ip, self.ports = lab.plan["virtual_ip"]["address"], lab.plan["ports"]
        network.detach(lab.name, "outsider")
        network.attach(lab.name, lab.plan, "outsider", self.address)
        self._space = network.namespace(lab.name, "outsider")
        self._threads = ThreadPoolExecutor(threads, initializer=_enter, initargs=(f"/run/netns/{self._space}",))

    def close(self):
        """Unplug it."""
        self._threads.shutdown(cancel_futures=True)
        network.detach(self.lab.name, "outsider")

    def also(self, address):
        """Give it another address, from wherever, and the lab's switch the way to it."""
        network.batch(self._space, [f"addr add {address}/32 dev lo"])
        network.batch(network.switch(self.lab.name), [f"route replace {address}/32 via {self.address}"])

    def start(self, function, *arguments, **options):
        """Run a function in its network and return a Future."""
        return self._threads.submit(function, *arguments, **options)

    def run(self, function, *arguments, **options):
        """Run a function in its network and return what that returns."""
        return self.start(function, *arguments, **options).result()

    def post(self, body, to=None, port="rpc_http", method="POST", source=None, **headers):
        """Send one request, a text or bytes as they are and all else as JSON, and return the Answer."""
        if not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        headers = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.run(_request, to or self.virtual_ip, self.ports[port], method, body, headers, source)

    def call(self, method, *params, number=1, **options):
        """Call a method and return the Answer."""
        return self.post({"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}, **options)

    def raw(self, data, port="rpc_http", timeout=5):
        """Send bytes as they are and return all that comes back until the connection ends, or ``timeout`` seconds are over."""
        return self.run(_raw, self.virtual_ip, self.ports[port], data, timeout)


@contextlib.contextmanager
def outsider(lab):
    """An Outsider for a while."""
    made = Outsider(lab)
    try:
        yield made
    finally:
        made.close()


def _enter(path):
    """Move this thread into a network namespace. (os.setns came with Python 3.12.)"""
    handle = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(handle)


def _request(address, port, method, body, headers, source):
    place = (source, 0) if source else None
    connection = http.client.HTTPConnection(address, port, timeout=20, source_address=place)
    try:
        connection.request(method, "/", body, headers)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def _raw(address, port, data, timeout):
    with socket.create_connection((address, port), timeout) as connection:
        connection.sendall(data)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := connection.recv(65536):
                found += piece
        return found
