"""A Salt client process that keeps running on the master's machine.

It saves starting the program `salt` for each call, whose imports alone take most of a second of CPU time.
"""

import json
import selectors
import subprocess
import threading
import time

from lab.errors import LabError
from lab.machine import ENVIRONMENT

# Reads requests and writes answers, one JSON line each, until its standard input ends.
PROGRAM = """
import json, sys
import salt.client, salt.config, salt.pillar
from salt.utils.args import parse_input

def call(asked):
    arguments = parse_input(asked["arguments"])
    with salt.client.LocalClient(mopts=salt.config.client_config("/etc/salt/master")) as client:
        return client.cmd(
            asked["target"], asked["function"], arg=arguments, timeout=asked["timeout"], tgt_type=asked["target_type"],
            gather_job_timeout=min(10, asked["timeout"]),
        )

def pillars(asked):
    opts = salt.config.master_config("/etc/salt/master")
    opts["file_client"] = "local"
    return {
        node: salt.pillar.Pillar(opts, {"id": node}, node, "base").compile_pillar() for node in asked["nodes"]
    }

answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    asked = json.loads(line)
    try:
        found = {"answers": {"call": call, "pillars": pillars}[asked["what"]](asked)}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(found, default=repr) + "\\n")
    answers.flush()
"""
_clients: dict[str, "Client"] = {}  # by lab
_guard = threading.Lock()


def call(machine, target, function, arguments=(), target_type="glob", patience=10, timeout=120):
    """Call a function on minions and return {minion: result}. Minions that do not answer are missing or False.

    :param machine: the Salt master's Machine.
    :param patience: seconds after which Salt asks the minions whether the job still runs, and at most how long it waits for that.
    :param timeout: seconds for the whole call.
    :raises LabError: when the master does not answer.
    """
    request = {
        "what": "call",
        "target": target,
        "target_type": target_type,
        "function": function,
        "arguments": list(arguments),
        "timeout": patience,
    }
    return _client(machine).ask(request, timeout, f"`{function}` on {target}")


def pillars(machine, nodes, timeout=120):
    """Return {node: pillar} as the master compiles it for each node, secrets unmasked.

    :param machine: the Salt master's Machine.
    :param timeout: seconds for all nodes together.
    """
    request = {"what": "pillars", "nodes": list(nodes)}
    return _client(machine).ask(request, timeout, f"the pillar of {', '.join(nodes)}")


def _client(machine):
    with _guard:
        client = _clients.get(machine.lab)
        if client is None or not client.serves(machine):
            client = _clients[machine.lab] = Client(machine)
        return client


class Client:
    """One client process."""

    def __init__(self, machine):
        self._leader = machine.leader()
        argv = machine.exec_argv(["/opt/salt/bin/python", "-c", PROGRAM])
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=ENVIRONMENT,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._asks, self._answers = self._process.stdin, self._process.stdout
        self._turn = threading.Lock()

    def serves(self, machine):
        """Whether the process runs, in the machine's present boot."""
        return self._process.poll() is None and self._leader == machine.leader()

    def ask(self, request, timeout, what):
        """Send one request and return its answers.

        :param timeout: seconds.
        :param what: description of the request, for messages.
        :raises LabError: when there is no answer in time, or the request failed.
        """
        with self._turn:
            try:
                self._asks.write(json.dumps(request).encode() + b"\n")
                line = self._line(time.monotonic() + timeout)
            except OSError as error:
                raise LabError(f"The Salt client on the master ended: {error}") from error
        if not line.endswith(b"\n"):
            self._process.kill()  # a late answer would be read as that to the next request
            raise LabError(f"{what}: no answer from the Salt client on the master within {timeout} s.")
        found = json.loads(line)
        if "error" in found:
            raise LabError(f"{what}: {found['error']}")
        return found["answers"]

    def _line(self, deadline):
        """Return the next line of the process, or a part of it at the deadline."""
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if not selector.select(max(0, deadline - time.monotonic())):
                    break
                part = self._answers.read(1 << 20)
                if not part:
                    break
                said += part
        return said
