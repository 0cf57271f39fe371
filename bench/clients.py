"""Hosts of a bench's own in a lab's network, from which its clients and its attackers ask."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from lab import network
from lab.drill.run import free_address

REPO = Path(__file__).parent.parent
SOURCES = [f"198.18.0.{number}" for number in range(1, 51)]  # for such measurements (RFC 2544), and nobody's
BEHIND = ("nice", "-n", "5")  # waits for a processor until nobody else wants one
AHEAD = ("chrt", "--rr", "1")  # waits for nobody: a host of its own would not wait for the lab's machines


class Client:
    """
    A host of its own in the lab's network, with further addresses.

    name
        Of its network namespace.
    before
        Names of the clients that have an address already.
    sources
        Further addresses, which the lab's switch leads to it.
    """

    def __init__(self, lab, name, before=("client",), sources=()):
        self.lab, self.name, self.sources = lab, name, sources
        nodes = dict(lab.plan["nodes"])
        for other in before:
            nodes[other] = {"address": free_address({**lab.plan, "nodes": nodes})}
        self.address = free_address({**lab.plan, "nodes": nodes})
        self.space = network.namespace(lab.name, name)

    def __enter__(self):
        network.detach(self.lab.name, self.name)
        network.attach(self.lab.name, self.lab.plan, self.name, self.address)
        network.batch(self.space, [f"addr add {one}/32 dev lo" for one in self.sources])
        ways = [f"route replace {one}/32 via {self.address}" for one in self.sources]
        network.batch(network.switch(self.lab.name), ways)
        return self

    def __exit__(self, *exception):
        network.batch(network.switch(self.lab.name), [f"route del {one}/32" for one in self.sources])
        network.detach(self.lab.name, self.name)

    @contextlib.contextmanager
    def running(self, program, *words, seconds, ahead=BEHIND):
        """Run a program of bench/ there; yields a dict that has, once the block is left, what it printed as JSON.

        seconds
            How long the program takes.
        ahead
            The command that starts it: ``BEHIND`` or ``AHEAD``.
        """
        found: dict = {}
        argv = [*ahead, "ip", "netns", "exec", self.space, sys.executable, "-m", program, *words]
        process = subprocess.Popen(list(map(str, argv)), cwd=REPO, stdout=subprocess.PIPE, text=True)
        try:
            yield found
            found.update(json.loads(process.communicate(timeout=seconds + 60)[0]))
        finally:
            process.kill()
            process.wait()
