"""
Whether those that a step waits for are still there: the Salt master, and the hosts. Master only.

Salt waits for an answer as long as a step may take, minutes where packages are installed, before it asks whether anybody is
still at it. A minion that has gone takes its connection to the master with it, and a host that has gone answers no ping: both
are seen here within seconds, by looking alone.
"""

import contextlib
import os
import pathlib
import signal
import socket
import struct
import threading
import time

GRACE = 10  # seconds without a connection, or without an answer to a ping: a minion that restarts needs three
_LOOK = 2  # seconds between two looks
_PORT = 4505  # the master's, to which every minion keeps a connection
_ESTABLISHED = "01"


class Gone(BaseException):
    """What was waited for has gone. Not an ``Exception``: Salt's client logs those, and goes on waiting."""


class Watch:
    """
    What was seen of the hosts of a step. A host counts as gone in that way only in which it was seen there before.

    addresses
        ``{host: address}``.
    connected, answered
        Functions that return the addresses that have a connection, and that have answered a ping since the last look.
    master
        A function that returns what tells this process of the Salt master from any other; empty where there is none.
    """

    def __init__(self, addresses, connected, answered, master):
        self._addresses, self._master = addresses, master
        self._looks = {"is not connected to the master": connected, "answers no ping": answered}
        self._seen: dict[str, dict[str, float]] = {sign: {} for sign in self._looks}
        self._first = master()

    def look(self, now):
        """Return who or what has gone, as a sentence; empty where all are there. ``now`` in seconds."""
        if self._first and self._master() != self._first:
            return (
                "the Salt master was restarted or has ended, so answers of the hosts are lost. What they had begun they end by "
                "themselves. Next: systemctl status salt-master, then run it again"
            )
        for sign, look in self._looks.items():
            there, seen = look(), self._seen[sign]
            seen.update({host: now for host, address in self._addresses.items() if address in there})
            lost = sorted(host for host, last in seen.items() if now - last > GRACE)
            if lost:
                return f"{', '.join(lost)} {sign} any more: the host or its salt-minion has gone. Next: salt-run fanatico.status"
        return ""


def pid_of_master(path):
    """Return pid and start of the process whose pid stands in a file; empty where there is none."""
    try:
        pid = pathlib.Path(path).read_text(encoding="ascii").strip()
        stat = pathlib.Path(f"/proc/{int(pid)}/stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""
    return f"{pid}/{stat.rpartition(')')[2].split()[19]}"


def connected(port=_PORT, path="/proc/net/tcp"):
    """Return the IPv4 addresses with an open connection to a port of this machine."""
    found = set()
    with open(path, encoding="ascii") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            (_, local), (remote, _) = (fields[place].split(":") for place in (1, 2))
            if fields[3] == _ESTABLISHED and int(local, 16) == port:
                found.add(socket.inet_ntoa(struct.pack("=I", int(remote, 16))))
    return found


class Pings:
    """ICMP echoes, sent and received without waiting; of no effect where this process may not send them."""

    def __init__(self, addresses):
        self._addresses, self._mark = list(addresses), os.urandom(8)
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            self._socket.setblocking(False)

    def answered(self):
        """Return the addresses that have answered since the last call, and send each another echo."""
        found: set[str] = set()
        if self._socket is None:
            return found
        with contextlib.suppress(OSError):
            while True:
                packet, (address, _) = self._socket.recvfrom(512)
                body = packet[(packet[0] & 15) * 4 :]
                if body[:1] == b"\0" and body[8:] == self._mark:
                    found.add(address)
        for address in self._addresses:
            with contextlib.suppress(OSError):
                self._socket.sendto(_echo(self._mark), (address, 0))
        return found

    def close(self):
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()


def _echo(mark):
    """Return an ICMP echo request that carries a mark."""
    head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
    total = sum(struct.unpack(f"!{len(head + mark) // 2}H", head + mark))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", 8, 0, checksum, os.getpid() & 0xFFFF, 1) + mark


def attended(call, addresses, pidfile):
    """
    Return ``(what call() returns, "")``, or ``(None, reason)`` as soon as the master or one of the hosts has gone.

    call
        A function that waits for them.
    addresses
        ``{host: address}``.
    pidfile
        The Salt master's.

    Outside of a process' main thread, where nothing can be interrupted, it just waits.
    """
    if threading.current_thread() is not threading.main_thread() or not addresses:
        return call(), ""
    pings = Pings(addresses.values())
    watch = Watch(addresses, connected, pings.answered, lambda: pid_of_master(pidfile))

    def look(_signal, _frame):
        reason = watch.look(time.monotonic())
        if reason:
            raise Gone(reason)  # where somebody swallows it, the next look raises it again

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.1, _LOOK)
    try:
        return call(), ""
    except Gone as gone:
        return None, str(gone)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        pings.close()
