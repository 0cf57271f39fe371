"""
Client of Patroni's REST API.

Reads need no password; changes use basic authentication. It gets Salt's dunders as arguments, so a method may run in any thread.
"""

from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_plan

USER = "patroni"


class Rest:
    """
    The REST API of all members of the plan.

    pillar
        The pillar of the calling node, usually ``__pillar__``.
    me
        Its id.
    tls
        Its certificates for Patroni, as ``fanatico_pki.paths`` returns them.
    """

    def __init__(self, pillar, me, tls):
        self.pillar, self.me, self.tls = pillar, me, tls
        self.nodes = fanatico_plan.own_first(pillar["plan"], "patroni", me)

    def address(self, node):
        """Return the address of a Patroni node; raises ``CommandExecutionError`` for any other node."""
        if node not in self.nodes:
            raise CommandExecutionError(
                f"{node} is not a Patroni node of the plan. The Patroni nodes are {', '.join(self.nodes)}"
            )
        return self.nodes[node]

    def url(self, address, path):
        """Return the URL of a path at one member."""
        return f"https://{address}:{fanatico_plan.setting(self.pillar, 'plan:ports:patroni_rest')}/{path}"

    def get(self, address, path, timeout):
        """Return (HTTP status, body) of one member's response."""
        return fanatico_http.get(self.url(address, path), timeout, self.tls)

    def fetch(self, address, path, timeout):
        """Return the body of one member's response; raises ``CommandExecutionError`` if the status is not 2xx."""
        return fanatico_http.fetch("GET", self.url(address, path), timeout=timeout, tls=self.tls)

    def ask(self, path, timeout):
        """Return the response of the first member that answers; this node's own member is asked first."""
        try:
            return fanatico_http.first(self.nodes, lambda address: self.fetch(address, path, timeout))[1]
        except CommandExecutionError as exc:
            raise CommandExecutionError(
                f"{self.me}: no Patroni endpoint reachable: {exc}. Next: systemctl status patroni"
            ) from exc

    def call(self, method, path, payload, timeout, node=None):
        """Send ``payload`` with authentication to ``node``, or to the first node that answers; return the response body."""
        address = self.address(node) if node else self._alive()
        return fanatico_http.fetch(method, self.url(address, path), payload, self._auth(), timeout, self.tls)

    def _alive(self):
        """Return the address of the first node that answers; if none does, this node's or the first of the plan."""
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
                f"{self.me} has no PATRONI_REST_PASSWORD in its pillar, so Patroni accepts no changes from it. "
                "Next: run this on a node with the role patroni, or create the secrets: salt-run fanatico.secrets_init"
            )
        return USER, password
