"""HAProxy with the tree's configuration on a machine without a network, and fakes of Patroni and PostgreSQL. One of
those nodes disappears silently, or becomes unhealthy, under clients.

Input: /mnt/text, as JSON: ``{"addresses": [this machine's], "nodes": {name: address}, "primary": name, "which": name of the one,
"unwell": its Patroni reports neither primary nor replica (else it disappears), "reloaded": HAProxy is reloaded before
that, "mute": and the process that serves now answers nobody, "rest": Patroni's port, "postgres": its
port, "to": address, "port": asked for, "frontend": whose port that is}``. A node's certificate is /pki/NAME.pem.

Prints, as JSON: ``{"ended": seconds until HAProxy ended an idle session with that node, or null, "answered": who answered in that
session afterwards, "kept": who answered in another session, with another node, "after": {name: who answered new sessions after
that}, "left": [HAProxy's description of each session that remains 15 s after the last client has left], "workers": how
many processes have sessions, or serve, then}``. Idle sessions are older than a reload.
"""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter

CLIENTS, PATIENCE = 16, 1
# Seconds in which an idle session must not be ended.
LET_BE = 8
# Seconds: the kernel gives up a connection to a silent node 10 s after the client has left (tcp-ut).
FORGOTTEN = 15
UNWELL = set()  # nodes whose Patroni reports neither primary nor replica
OURS, THEIRS = "192.0.2.1/30", "192.0.2.2/30"


def serve(address, port, answer, tls=None):
    """Answer all data on any connection to a port."""
    listener = socket.create_server((address, port))

    def session(connection):
        with contextlib.suppress(OSError), connection:
            spoken = tls.wrap_socket(connection, server_side=True) if tls else connection
            while said := spoken.recv(4096):
                spoken.sendall(answer(said))

    def accept():
        while True:
            threading.Thread(target=session, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def start_node(task, name):
    role = b"/primary" if name == task["primary"] else b"/replica"

    def patroni(said):
        status = b"200 OK" if said.split()[1] == role and name not in UNWELL else b"503 Service Unavailable"
        return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(f"/pki/{name}.pem")
    serve(task["nodes"][name], task["rest"], patroni, tls)
    serve(task["nodes"][name], task["postgres"], lambda said: name.encode())


def ask(session):
    """Return the node that answered; None if the session was closed."""
    session.sendall(b"who?")
    return session.recv(100).decode() or None


def clients(to, answers, stop):
    """Open sessions repeatedly, as pools do, until stopped; record for each (number of the client, time, node that
    answered or None)."""

    def one(number):
        while not stop.is_set():
            came, who = time.monotonic(), None
            with contextlib.suppress(OSError), socket.create_connection(to, PATIENCE) as session:
                who = ask(session)
            answers.append((number, came, who))
            time.sleep(0.05)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    return threads


def said(command):
    """Return HAProxy's answer to a command."""
    with socket.socket(socket.AF_UNIX) as talk:
        talk.connect("/run/haproxy/admin.sock")
        talk.sendall(command + b"\n")
        return b"".join(iter(lambda: talk.recv(65536), b"")).decode()


def sessions(frontend):
    """Return HAProxy's description of each session at a frontend."""
    return [line for line in said(b"show sess").splitlines() if f"fe={frontend} " in line]


def workers(haproxy):
    """Return the processes that have sessions or serve."""
    with open(f"/proc/{haproxy.pid}/task/{haproxy.pid}/children") as file:
        return [int(pid) for pid in file.read().split()]


def reload(haproxy):
    """Reload HAProxy and return the new serving process."""
    (before,) = workers(haproxy)
    haproxy.send_signal(signal.SIGUSR2)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        # The new process inherits the socket.
        with contextlib.suppress(OSError):
            now = int(re.search(r"^Pid: (\d+)$", said(b"show info"), re.MULTILINE)[1])
            if now != before:
                return now
        time.sleep(0.05)
    with open("/run/haproxy.log") as log:
        raise LookupError(
            f"no other process than {before} serves within 30 s of a reload; HAProxy said: {log.read()}"
        )


def start_nodes(task):
    """Start the nodes in a separate network namespace, at the other end of eth0; return that process."""
    nodes = subprocess.Popen(
        ["unshare", "--net", "python3", __file__, "nodes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    nodes.stdout.readline()  # it has its network
    # Where `ip` finds that program's network.
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    ip("link", "set", "eth1", "netns", str(nodes.pid))
    ip("address", "add", OURS, "dev", "eth0")
    ip("link", "set", "eth0", "up")
    go_on(nodes)  # they listen
    for address in task["nodes"].values():
        ip("route", "add", address, "via", THEIRS.partition("/")[0])
    return nodes


def go_on(nodes):
    """Trigger the next step of the nodes' process and wait until it is done."""
    nodes.stdin.write(b"\n")
    nodes.stdin.flush()
    nodes.stdout.readline()


def be_nodes(task):
    """The nodes' process: the other side of these steps."""
    print(flush=True)
    input()
    ip("link", "set", "lo", "up")
    ip("address", "add", THEIRS, "dev", "eth1")
    ip("link", "set", "eth1", "up")
    for address in task["nodes"].values():
        ip("address", "add", f"{address}/32", "dev", "lo")
    for address in task["addresses"]:
        ip("route", "add", address, "via", OURS.partition("/")[0])
    for name in task["nodes"]:
        start_node(task, name)
    print(flush=True)
    input()
    if task["unwell"]:
        UNWELL.add(task["which"])
    else:
        vanish(task["nodes"][task["which"]])
    print(flush=True)
    input()


def vanish(address):
    """Drop all packets to an address silently from now on."""
    ip("address", "del", f"{address}/32", "dev", "lo")
    ip("route", "add", "blackhole", address)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def sessions_with(to, name, count):
    """Return (so many sessions that a certain node answers, those of others); raise LookupError if that takes over 150 tries."""
    found, others = [], []
    for _ in range(150):
        try:
            session = socket.create_connection(to, PATIENCE)
            # Sessions of other nodes stay open for a while: the next goes to the node with the fewest.
            (found if ask(session) == name else others).append(session)
        except OSError:
            time.sleep(0.1)
        if len(found) == count:
            return found, others
    with open("/run/haproxy.log") as log:
        raise LookupError(f"no {count} sessions with {name}; HAProxy said: {log.read()}")


def seconds_until_ended(session, patience=15):
    """Return the seconds until an idle session is closed; None if it is not within `patience` seconds."""
    start = time.monotonic()
    session.settimeout(patience)
    try:
        session.recv(1)
    except TimeoutError:
        return None
    except ConnectionError:
        pass
    return time.monotonic() - start


def wait_for_each(answers, moment, times):
    """Wait until every client has connected `times` times after a moment, with any result."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        counts = Counter(number for number, came, _ in answers.copy() if came > moment)
        if len(counts) == CLIENTS and min(counts.values()) >= times:
            return
        time.sleep(0.05)
    raise LookupError(f"the clients have not come {times} times each within 60 s: {counts}")


def main():
    with open("/mnt/text") as file:
        task = json.load(file)
    if sys.argv[1:] == ["nodes"]:
        return be_nodes(task)
    ip("link", "set", "lo", "up")
    for address in task["addresses"]:
        ip("address", "add", f"{address}/32", "dev", "lo")
    nodes = start_nodes(task)
    subprocess.run(["mkdir", "-p", "/run/haproxy", "/var/lib/haproxy"], check=True)
    with open("/run/haproxy.log", "w") as log:
        haproxy = subprocess.Popen(
            ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"], stdout=log, stderr=log
        )
    answers, stop, to = [], threading.Event(), (task["to"], task["port"])
    try:
        (session, given_up), others = sessions_with(to, task["which"], 2)
        serving = reload(haproxy) if task["reloaded"] else None
        threads = clients(to, answers, stop)
        go_on(nodes)  # one has disappeared, or is unhealthy
        given_up.sendall(b"who?")  # and its client does not wait for the answer
        given_up.close()
        if task["mute"]:
            os.kill(serving, signal.SIGSTOP)
        ended = seconds_until_ended(session, LET_BE if task["mute"] else 15)
        if task["mute"]:
            os.kill(serving, signal.SIGCONT)
        kept = ask(others[-1]) if others else None
        noticed = time.monotonic()
        answered = not ended and not task["mute"] and ask(session)
        wait_for_each(answers, noticed, 20)
        stop.set()
        for thread in threads:
            thread.join()
        after = Counter(who for _, came, who in answers if came > noticed and who)
        for one in (session, *others):
            one.close()
        end = time.monotonic() + FORGOTTEN
        while ((left := sessions(task["frontend"])) or len(workers(haproxy)) > 1) and time.monotonic() < end:
            time.sleep(0.1)
        processes = len(workers(haproxy))
    finally:
        stop.set()
        haproxy.terminate()
        haproxy.wait(10)
        nodes.kill()
        nodes.wait()
    seen = {
        "ended": ended,
        "answered": answered,
        "kept": kept,
        "after": after,
        "left": left,
        "workers": processes,
    }
    return print(json.dumps(seen))


main()
