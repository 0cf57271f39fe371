"""Salt's own client, kept running on the master's machine.

A call need not start the program `salt`, whose imports alone take most of a second of processor time.
"""

import json
import selectors
import subprocess
import threading
import time

from lab.errors import LabError
from lab.machine import ENVIRONMENT

# Reads a request a line, writes an answer a line, until its standard input ends.
PROGRAM = """
import json, sys
import salt.client, salt.config
from salt.utils.args import parse_input
opts = salt.config.client_config("/etc/salt/master")
answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    asked = json.loads(line)
    try:
        with salt.client.LocalClient(mopts=opts) as client:
            found = {"answers": client.cmd(
                asked["target"], asked["function"], arg=parse_input(asked["arguments"]),
                timeout=asked["timeout"], tgt_type=asked["target_type"],
            )}
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
    :param patience: seconds after which Salt asks the minions whether they still work on it.
    :param timeout: seconds for the whole call.
    :raises LabError: where the master does not answer.
    """
    with _guard:
        client = _clients.get(machine.lab)
        if client is None or not client.serves(machine):
            client = _clients[machine.lab] = Client(machine)
    return client.call(
        {
            "target": target,
            "target_type": target_type,
            "function": function,
            "arguments": list(arguments),
            "timeout": patience,
        },
        timeout,
    )


class Client:
    """One such process."""

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
        """Whether the process runs, on this boot of the machine."""
        return self._process.poll() is None and self._leader == machine.leader()

    def call(self, request, timeout):
        """Send one request and return its answers; see `call` above."""
        with self._turn:
            try:
                self._asks.write(json.dumps(request).encode() + b"\n")
                line = self._line(time.monotonic() + timeout)
            except OSError as error:
                raise LabError(f"The Salt client on the master ended: {error}") from error
        found = (
            json.loads(line)
            if line.endswith(b"\n")
            else {"error": "the client ended, or had no answer in time"}
        )
        if "error" in found:
            self._process.kill()
            what = f"{request['function']} on {request['target']}"
            raise LabError(f"`{what}` was not answered within {timeout} s: {found['error']}")
        return found["answers"]

    def _line(self, deadline):
        """Return a line of the process, or what there is of it when the time is over."""
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
