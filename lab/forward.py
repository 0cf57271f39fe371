"""Forward a lab's services to 127.0.0.1 on this machine, with one process for each service.

A socket that listens on this machine's loopback is passed to a systemd-socket-proxyd inside a network namespace of the lab.
The socket is all that the two share, so the lab still has no route out. The processes are in the lab's cgroup and end with it.
"""

import contextlib
import json
import os
import pwd
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from lab import cgroup, network, preflight
from lab import plan as plans
from lab.errors import LabError

LOOPBACK = "127.0.0.1"
# (key of plan:ports on the virtual IP, namespace that connects to it). A client in the plan's networks is in "switch";
# the balancers' firewall accepts connections to the statistics port from the master only.
SERVICES = (
    ("rpc_http", "switch"),
    ("rpc_ws", "switch"),
    ("postgres_primary", "switch"),
    ("postgres_replica", "switch"),
    ("haproxy_stats", "master"),
)
STEPS = (
    10000,
    20000,
    30000,
    40000,
)  # 8545 is tried as 18545 first, then as 28545, ...: several labs can run side by side
GROUP = ".forward"  # cgroup beside those of the machines, whose names cannot begin with a dot
START_TIMEOUT = 10  # seconds
# Socket activation as a service manager does it: descriptor 3, with LISTEN_PID of this process.
_HAND_OVER = (
    'echo $$ > "$1/cgroup.procs"; exec 3<&"$2"; shift 2; ulimit -n 8192; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
)


class Target(NamedTuple):
    """Destination of a forwarded port: a key of plan:ports, address and port in the lab, and the namespace that connects."""

    name: str
    address: str
    port: int
    namespace: str


def targets(lab_name, plan):
    """Return the targets of a lab: the entries of SERVICES whose port its plan has."""
    spaces = {
        "switch": network.switch(lab_name),
        "master": network.namespace(lab_name, plans.master(plan)),
    }
    address, ports = plan["virtual_ip"]["address"], plan["ports"]
    return [Target(name, address, ports[name], spaces[via]) for name, via in SERVICES if name in ports]


def start(lab):
    """Start forwarding every service that is not forwarded yet; return {name: port on 127.0.0.1} of all.

    The lab's folder records the ports; a recorded port is used again while it is free.

    :raises LabError: when the lab has no network now, or a process does not start.
    """
    before = running(lab)
    return {
        target.name: before.get(target.name) or _start(lab, target) for target in targets(lab.name, lab.plan)
    }


def stop(lab):
    """End every forwarding process of a lab; the record of the ports stays. Harmless when there is none."""
    cgroup.kill(_group(lab.name))


def running(lab):
    """Return {name: port on 127.0.0.1} of the services whose process runs in the lab's present network."""
    ports = _remembered(lab)
    return {
        target.name: ports[target.name]
        for target in targets(lab.name, lab.plan)
        if target.name in ports and _serves(lab.name, target)
    }


def processes(lab_name, name):
    """Return a list with the pid of the process that forwards a service; empty without one."""
    try:
        return [int(pid) for pid in (_group(lab_name) / name / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _group(lab_name):
    return cgroup.path(lab_name, GROUP)


def _serves(lab_name, target):
    # A lab that was restored or rebooted has new namespaces; a leftover process keeps an old one alive.
    try:
        wanted = os.stat(f"/run/netns/{target.namespace}")
        held = [os.stat(f"/proc/{pid}/ns/net") for pid in processes(lab_name, target.name)]
    except OSError:
        return False
    return [space.st_ino for space in held] == [wanted.st_ino]


def _start(lab, target):
    if not Path(f"/run/netns/{target.namespace}").exists():
        raise LabError(
            f"The lab {lab.name!r} has no network now, so {target.name} cannot be forwarded. "
            f"Start the lab: sudo ./fanatico up{lab.option()}"
        )
    folder = _group(lab.name) / target.name
    cgroup.kill(folder)
    folder.mkdir(parents=True)
    with listen(target.port, _remembered(lab).get(target.name), _of_others(lab)) as listener:
        port = listener.getsockname()[1]
        _remember(lab, target.name, port)
        process = _spawn(lab, target, folder, listener)
    _wait(lab, target, process)
    return port


def _spawn(lab, target, folder, listener):
    nobody = pwd.getpwnam("nobody")
    command = [
        "nsenter", f"--net=/run/netns/{target.namespace}", f"--setgid={nobody.pw_gid}", f"--setuid={nobody.pw_uid}", "--",
        preflight.PROXY, f"{target.address}:{target.port}",
    ]  # fmt: skip
    with open(lab.folder / "forward.log", "ab") as log:
        return subprocess.Popen(
            ["bash", "-ec", _HAND_OVER, "forward", str(folder), str(listener.fileno()), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[listener.fileno()],
        )


def _wait(lab, target, process):
    """Wait until the process runs the proxy inside its namespace.

    :raises LabError: with the last line of its log, when it ends first or START_TIMEOUT is over.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while not (_serves(lab.name, target) and _program(process.pid) == Path(preflight.PROXY).name):
        if process.poll() is not None or time.monotonic() > deadline:
            cgroup.kill(_group(lab.name) / target.name)
            log = lab.folder / "forward.log"
            last = (log.read_text(errors="replace").splitlines() or ["nothing"])[-1]
            raise LabError(
                f"{target.name} of the lab {lab.name!r} could not be forwarded. Last line of {log}: {last}"
            )
        time.sleep(0.02)


def _program(pid):
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""


def listen(wanted, remembered=None, others=()):
    """Return a socket that listens on a free port of 127.0.0.1.

    :param wanted: the service's port, from which the ports to try are computed (STEPS).
    :param remembered: the port used last, tried first.
    :param others: ports of other labs, which may be off now and take them again.
    :raises LabError: when no port is free.
    """
    tries = [remembered] if remembered else []
    tries += [wanted + step for step in STEPS if wanted + step < 2**16 and wanted + step not in others]
    for port in [*tries, 0]:  # 0: any that is free
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((LOOPBACK, port))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise LabError(f"No port is free on {LOOPBACK}. List the listening sockets: ss -ltnp")


def _remembered(lab):
    return _read(lab.folder / "forward.json")


def _of_others(lab):
    paths = lab.folder.parent.glob("*/forward.json")
    return {port for path in paths if path.parent != lab.folder for port in _read(path).values()}


def _read(path):
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return {}


def _remember(lab, name, port):
    part = lab.folder / "forward.json.part"
    part.write_text(json.dumps({**_remembered(lab), name: port}))
    part.rename(lab.folder / "forward.json")
