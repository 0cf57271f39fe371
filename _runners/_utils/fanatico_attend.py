"""
Whether the Salt master and the hosts that a step waits for are still up. Master only.

Salt asks for silent minions only after the whole timeout of a step, minutes where packages are installed. A minion that has
stopped has no connection to the master, and a host that is down answers no ping. Both are seen here within seconds, without a
question to the minions.
"""

import contextlib
import os
import pathlib
import signal
import socket
import struct
import threading
import time

import fanatico_interrupt

GRACE = 10  # seconds without a connection or a ping's answer until a host counts as gone; a minion restarts within three
_PERIOD = 2  # seconds between two checks
_PORT = 4505  # of the master; every minion keeps a connection to it
_ESTABLISHED = "01"


class Gone(BaseException):
    """A host or the master has gone. Not an ``Exception``: Salt's client logs exceptions and continues to wait."""


class Watch:
    """
    When each host of a step was last connected, and last answered a ping.

    A host counts as gone by a sign, connection or ping, only if that sign was seen before: some networks drop pings.

    addresses
        ``{host: address}``.
    connected, answered
        Functions that return the addresses with a connection, and those that have answered a ping since the last check.
    master
        A function that returns the identity of the Salt master's process; empty where there is none.
    """

    def __init__(self, addresses, connected, answered, master):
        self._addresses, self._master = addresses, master
        self._checks = {
            "is no longer connected to the master": connected,
            "no longer answers pings": answered,
        }
        self._seen: dict[str, dict[str, float]] = {sign: {} for sign in self._checks}
        self._first = master()

    def check(self, now):
        """Return which host or master has gone, as a sentence; empty where all are up. ``now``: seconds, monotonic."""
        if self._first and self._master() != self._first:
            return (
                "the Salt master was restarted or has ended, so the answers of the hosts are lost. Hosts finish what they have "
                "begun. Next: systemctl status salt-master, then run it again"
            )
        for sign, check in self._checks.items():
            there, seen = check(), self._seen[sign]
            seen.update({host: now for host, address in self._addresses.items() if address in there})
            lost = sorted(host for host, last in seen.items() if now - last > GRACE)
            if lost:
                return f"{', '.join(lost)} {sign}: the host or its salt-minion is down. Next: salt-run fanatico.status"
        return ""


def pid_of_master(path):
    """Return pid and start time of the process whose pid is in a file; empty where there is none."""
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
    """ICMP echo requests and replies, without waiting. Does nothing where this process may not send them."""

    def __init__(self, addresses):
        self._addresses, self._mark = list(addresses), os.urandom(8)
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            self._socket.setblocking(False)

    def answered(self):
        """Return the addresses that have answered since the last call, and send each another request."""
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
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()


def _echo(mark):
    """Return an ICMP echo request with ``mark`` as its payload."""
    head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
    total = sum(struct.unpack(f"!{len(head + mark) // 2}H", head + mark))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", 8, 0, checksum, os.getpid() & 0xFFFF, 1) + mark


def attended(call, addresses, pidfile):
    """
    Call a function that waits for hosts, and stop it as soon as the master or one of the hosts has gone.

    call
        The function, without arguments.
    addresses
        ``{host: address}``.
    pidfile
        Path of the Salt master's pid file.

    Returns ``(what call() returns, "")``, or ``(None, reason)``. Only the main thread of a process can be interrupted; in any
    other it waits until ``call`` returns.
    """
    if threading.current_thread() is not threading.main_thread() or not addresses:
        return call(), ""
    pings = Pings(addresses.values())
    watch = Watch(addresses, connected, pings.answered, lambda: pid_of_master(pidfile))

    def check(_signal, _frame):
        if fanatico_interrupt.happened():
            raise fanatico_interrupt.Interrupted(1)
        reason = watch.check(time.monotonic())
        if reason:
            raise Gone(reason)  # where other code catches it, the next check raises it again

    before = signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, 0.1, _PERIOD)
    try:
        return call(), ""
    except Gone as gone:
        return None, str(gone)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        pings.close()
