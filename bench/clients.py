"""Additional hosts in a lab's network, on which a benchmark runs its clients and attackers."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from lab import network
from lab.drill.run import free_address

REPO = Path(__file__).parent.parent
SOURCES = [f"198.18.0.{number}" for number in range(1, 51)]  # reserved for benchmarks (RFC 2544)
BEHIND = ("nice", "-n", "5")  # lower priority than the lab's machines
AHEAD = ("chrt", "--rr", "1")  # real-time priority: a separate host would not wait for the lab's machines


class Client:
    """
    An additional host in the lab's network, as a context manager.

    name
        Name of its network namespace.
    before
        Names of the clients that already have an address.
    sources
        Additional addresses, which the lab's switch routes to it.
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
        network.batch(self.space, [f"addr add {source}/32 dev lo" for source in self.sources])
        routes = [f"route replace {source}/32 via {self.address}" for source in self.sources]
        network.batch(network.switch(self.lab.name), routes)
        return self

    def __exit__(self, *exception):
        network.batch(network.switch(self.lab.name), [f"route del {source}/32" for source in self.sources])
        network.detach(self.lab.name, self.name)

    @contextlib.contextmanager
    def running(self, program, *words, seconds, ahead=BEHIND):
        """Run a program of bench/ on the host; yields a dict that gets the program's JSON output when the block ends.

        seconds
            Duration of the program.
        ahead
            Command that sets its priority: ``BEHIND`` or ``AHEAD``.
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
