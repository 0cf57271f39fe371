"""
Patroni's REST API, as one node asks it.

Reading needs no password; what changes the cluster is sent with basic authentication. Dunders are given as arguments: here are
none, and a method may run in any thread.
"""

from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_plan

USER = "patroni"


class Rest:
    """
    The API of all members.

    pillar
        Of the node that asks, usually ``__pillar__``.
    me
        Its id.
    tls
        What it knows Patroni by and, on a database node, what Patroni knows it by.
    """

    def __init__(self, pillar, me, tls):
        self.pillar, self.me, self.tls = pillar, me, tls
        self.nodes = fanatico_plan.own_first(pillar["plan"], "patroni", me)

    def address(self, node):
        """Return the address of a Patroni node; raises for a node that is none."""
        if node not in self.nodes:
            raise CommandExecutionError(
                f"{node} is not a Patroni node of the plan: it has {', '.join(self.nodes)}"
            )
        return self.nodes[node]

    def url(self, address, path):
        """Return the URL of a path at one member."""
        return f"https://{address}:{fanatico_plan.setting(self.pillar, 'plan:ports:patroni_rest')}/{path}"

    def get(self, address, path, timeout):
        """Return (HTTP status, body) of what one member answers."""
        return fanatico_http.get(self.url(address, path), timeout, self.tls)

    def fetch(self, address, path, timeout):
        """Return what one member answers with status 200."""
        return fanatico_http.fetch("GET", self.url(address, path), timeout=timeout, tls=self.tls)

    def ask(self, path, timeout):
        """Return what the first member that answers says, this node's own before the others."""
        try:
            return fanatico_http.first(self.nodes, lambda address: self.fetch(address, path, timeout))[1]
        except CommandExecutionError as exc:
            raise CommandExecutionError(
                f"{self.me}: Patroni does not answer. {exc}. Next: systemctl status patroni"
            ) from exc

    def call(self, method, path, payload, timeout, node=None):
        """Send ``payload`` with authentication to ``node``, or to the first node that answers at all."""
        address = self.address(node) if node else self._alive()
        return fanatico_http.fetch(method, self.url(address, path), payload, self._auth(), timeout, self.tls)

    def _alive(self):
        """Return the address of the first node that answers; this one's, or the plan's first, where none does."""
        try:
            return fanatico_http.first(
                self.nodes, lambda address: (self.get(address, "liveness", 1), address)
            )[1][1]
        except CommandExecutionError:
            return next(iter(self.nodes.values()))

    def _auth(self):
        password = fanatico_plan.get(self.pillar, "secrets:PATRONI_REST_PASSWORD")
        if not password:
            raise CommandExecutionError(
                f"{self.me} has no PATRONI_REST_PASSWORD in its pillar, so Patroni takes no orders from it: "
                "run this on a node with the role patroni, or see `salt-run fanatico.secrets_init`"
            )
        return USER, password
