"""HAProxy with the tree's configuration on a machine without a network, three fake nodes, and clients.

Input: /mnt/text, as JSON: ``{"addresses": [this machine's], "nodes": [address], "port": of all, "to": address, "chain": id,
"requests": [{"body": text, "times": n, "at_once": n, "source": address, "method": "POST", "path": "/",
"headers": {}, "abstract": name of a socket instead of the address, "drip": seconds between two bytes of the last hundred}]}``.

Prints, as JSON: ``{"answers": [[{"status", "headers", "body", "took": seconds}] for each of the requests], "asked": [[node,
method, how]], "heads": [what the nodes were sent before each of these bodies], "most": the most requests that any node had at
once}``.

The call's first parameter selects the node's behavior. None: answer; ``slow``: answer after 1.6 s; ``drop``: close the
connection without an answer.
"""

import asyncio
import contextlib
import csv
import http.client
import json
import select
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

SLOW = 1.6  # seconds


class Nodes:
    """Fake nodes: read a call, record it, and behave as its parameter says."""

    def __init__(self, chain):
        self.asked, self.heads, self.most, self._chain, self._busy = [], [], 0, hex(chain), {}

    async def serve(self, addresses, port, ready):
        for address in addresses:
            await asyncio.start_server(lambda *ends, at=address: self._node(at, *ends), address, port)
        ready.set()
        await asyncio.Event().wait()

    async def _node(self, address, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                called = json.loads(await _body(head.lower(), reader))
                called = called[0] if isinstance(called, list) else called
                how = (called.get("params") or [""])[0]
                if how == "drop":
                    self.asked.append([address, called["method"], how])
                    break
                if called["method"] != "eth_chainId":  # HAProxy's health check
                    self.heads.append(head.decode())
                    await self._work(address, called["method"], how)
                text = json.dumps({"jsonrpc": "2.0", "id": called["id"], "result": self._chain}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\n"
                    + b"Content-Length: %d\r\n\r\n%s" % (len(text), text)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _work(self, address, method, how):
        self.asked.append([address, method, how])
        self._busy[address] = self._busy.get(address, 0) + 1
        self.most = max(self.most, self._busy[address])
        await asyncio.sleep(SLOW if how == "slow" else 0)
        self._busy[address] -= 1


async def _body(head, reader):
    if b"content-length:" in head:
        return await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    whole = b""
    while size := int(await reader.readline(), 16):
        whole += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return whole


def ask(to, port, request):
    """Send one request; return what came back."""
    connection = http.client.HTTPConnection(to, port, timeout=30, source_address=(request["source"], 0))
    if name := request.get("abstract"):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(f"\0{name}".ljust(108, "\0"))  # as HAProxy makes it
    try:
        headers = {"Content-Type": "application/json", **request.get("headers", {})}
        body = request["body"].encode()
        if request.get("drip"):
            headers["Content-Length"] = str(len(body))
            connection.connect()
            body = drip(body, request["drip"], connection.sock)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):  # the answer may come before the end of the body
            connection.request(request.get("method", "POST"), request.get("path", "/"), body, headers)
        # After an incomplete request http.client does not expect an answer yet.
        connection._HTTPConnection__state = "Request-sent"
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        took = time.monotonic() - began
        return {"status": answer.status, "headers": found, "body": answer.read().decode(), "took": took}
    finally:
        connection.close()


def drip(body, pause, to):
    """Send a body, its last hundred bytes one by one until there is an answer."""
    yield body[:-100]
    for byte in body[-100:]:
        if select.select([to], [], [], pause)[0]:
            return
        yield bytes([byte])


def servers():
    """Return {server of the nodes' HTTP port: result of HAProxy's last check}."""
    with socket.socket(socket.AF_UNIX) as talk:
        talk.connect("/run/haproxy-edge/admin.sock")
        talk.sendall(b"show stat\n")
        text = b"".join(iter(lambda: talk.recv(65536), b"")).decode()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return {
        row["svname"]: row["check_status"]
        for row in rows
        if row["pxname"] == "rpc_http" and row["type"] == "2"
    }


def wait_checked(count):
    """Wait until HAProxy has checked all nodes: before its first check it assumes that they are up."""
    end, seen = time.monotonic() + 30, None
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            seen = servers()
            if len(seen) == count and all(status == "L7OK" for status in seen.values()):
                return
        time.sleep(0.05)
    with open("/run/haproxy.log") as log:
        raise LookupError(
            f"HAProxy has not found {count} nodes well within 30 s but {seen}; it said: {log.read()}"
        )


def main():
    with open("/mnt/text") as file:
        task = json.load(file)
    for command in ("link set lo up", *(f"address add {one}/32 dev lo" for one in task["addresses"])):
        subprocess.run(["ip", *command.split()], check=True)
    nodes, ready = Nodes(task["chain"]), threading.Event()
    threading.Thread(
        target=lambda: asyncio.run(nodes.serve(task["nodes"], task["port"], ready)), daemon=True
    ).start()
    ready.wait(10)
    subprocess.run(["mkdir", "-p", "/run/haproxy-edge", "/var/lib/haproxy-edge"], check=True)
    with open("/run/haproxy.log", "w") as log:
        haproxy = subprocess.Popen(["haproxy", "-db", "-f", "/etc/haproxy/edge.cfg"], stdout=log, stderr=log)
    try:
        wait_checked(len(task["nodes"]))
        answers = []
        for request in task["requests"]:
            with ThreadPoolExecutor(request.get("at_once", 1)) as pool:
                ways = [
                    pool.submit(ask, task["to"], task["port"], request)
                    for _ in range(request.get("times", 1))
                ]
                answers.append([way.result() for way in ways])
    finally:
        haproxy.terminate()
        haproxy.wait(10)
    print(json.dumps({"answers": answers, "asked": nodes.asked, "heads": nodes.heads, "most": nodes.most}))


main()
