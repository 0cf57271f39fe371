"""
Client of etcd's JSON gateway: the members of the plan, login, and queries.

It gets Salt's dunders as arguments, so a method may run in any thread.
"""

import contextlib

from salt.exceptions import CommandExecutionError

import fanatico_etcd_plan
import fanatico_http
import fanatico_plan
import fanatico_wait

# etcd's error messages, verbatim: its gateway has the same HTTP status for these and other errors.
_NO_USERS = "authentication is not enabled"
_WRONG_PASSWORD = "authentication failed"
_USERS = (("root", "ETCD_ROOT_PASSWORD"), ("patroni", "ETCD_PATRONI_PASSWORD"))


class AuthenticationFailed(CommandExecutionError):
    """etcd refused user and password."""

    code = "authentication-failed"


class Gateway:
    """
    The gateways of all members of the plan.

    pillar
        The pillar of the calling node, usually ``__pillar__``.
    me
        Its id.
    tls
        Its certificates for etcd, as ``fanatico_pki.paths`` returns them.
    """

    def __init__(self, pillar, me, tls):
        self.pillar, self.me, self.tls = pillar, me, tls
        self.nodes = fanatico_plan.own_first(pillar["plan"], "etcd", me)

    def url(self, address, path=""):
        """Return the URL of a path at one member."""
        return f"https://{address}:{self.port()}{path}"

    def port(self):
        """Return etcd's client port."""
        return fanatico_plan.setting(self.pillar, "plan:ports:etcd_client")

    def peer_urls(self):
        """Return the peer URLs of the plan's members, ``{id: URL}``."""
        return {name: self.peer_url(name) for name in self.nodes}

    def peer_url(self, name):
        """Return the peer URL of a member of the plan; raises ``CommandExecutionError`` for any other node."""
        if name not in self.nodes:
            raise CommandExecutionError(
                f"{name} is not an etcd node of the plan. The etcd nodes are {', '.join(sorted(self.nodes))}"
            )
        return f"https://{self.nodes[name]}:{fanatico_plan.setting(self.pillar, 'plan:ports:etcd_peer')}"

    def post(self, address, path, payload=None, timeout=1.0, token=None):
        """Call the gateway of one member and return its response; ``timeout`` in seconds."""
        headers = {"Authorization": token} if token else None
        return fanatico_http.fetch(
            "POST", self.url(address, path), payload or {}, timeout=timeout, tls=self.tls, headers=headers
        )

    def user(self):
        """
        Return (name, passwords) of this node's etcd user: root on etcd nodes, patroni on database nodes.

        During a rotation of secrets there are two passwords: the new one and the former one.
        """
        for name, secret in _USERS:
            if self._secret(secret):
                known = (self._secret(secret), self._secret(secret, "secrets_former"))
                return name, [password for password in known if password]
        raise CommandExecutionError(
            f"{self.me} has no etcd password in its pillar. Next: run this on a node with the role etcd or patroni, "
            "or create the secrets: salt-run fanatico.secrets_init"
        )

    def _secret(self, name, where="secrets"):
        return fanatico_plan.get(self.pillar, f"{where}:{name}")

    def token(self, address, timeout, user=None):
        """Log in at one member and return the token; None if authentication is not enabled."""
        name, passwords = user or self.user()
        url = self.url(address, "/v3/auth/authenticate")
        for password in passwords:
            payload = {"name": name, "password": password}
            code, body = fanatico_http.call("POST", url, payload, timeout=timeout, tls=self.tls)
            error = body.get("error") or body.get("message", "") if isinstance(body, dict) else str(body)
            if code == 200:
                return body["token"]
            if _NO_USERS in error:
                return None
            if _WRONG_PASSWORD not in error:
                raise CommandExecutionError(f"{url}: user {name}: {error or f'HTTP {code}'}")
        raise AuthenticationFailed(f"{url}: user {name}: {error}")

    # --- all members

    def first(self, ask):
        """Return ``(id, ask(address))`` of the first member that answers; this node's own member is asked first."""
        try:
            return fanatico_http.first(self.nodes, ask)
        except CommandExecutionError as exc:
            raise CommandExecutionError(
                f"{self.me}: no etcd endpoint reachable: {exc}. Next: salt 'etcd*' fanatico_etcd.local_state"
            ) from exc

    def call(self, path, payload=None, timeout=5):
        """Call the gateway of the first member that authenticates this node; an error of that call is not retried elsewhere."""
        _, (address, token) = self.first(lambda address: (address, self.token(address, min(timeout, 2))))
        return self.post(address, path, payload, timeout, token)

    def everywhere(self, ask, timeout):
        """Ask all members in parallel. Return ``{id: ask(address, timeout)}``, with ``{"error": reason}`` for an error."""
        probes = {
            name: (lambda address=address: ask(address, timeout)) for name, address in self.nodes.items()
        }
        answers = fanatico_wait.gather(probes, timeout * 1.5)
        return {
            name: {"error": str(error)} if error is not None else value
            for name, (value, error) in sorted(answers.items())
        }

    # --- one member

    def status(self, address, timeout):
        """Return the status of a member."""
        answer = self.post(address, "/v3/maintenance/status", timeout=timeout)
        return {
            "cluster_id": _hex(answer["header"]["cluster_id"]),
            "member_id": _hex(answer["header"]["member_id"]),
            "version": answer.get("version"),
            "leader_id": _hex(answer.get("leader", 0)),
            "term": int(answer.get("raftTerm", 0)),
            "index": int(answer.get("raftIndex", 0)),
            "db_size": int(answer.get("dbSize", 0)),
            "db_in_use": int(answer.get("dbSizeInUse", 0)),
            "learner": bool(answer.get("isLearner", False)),
            "errors": answer.get("errors", []),
        }

    def members(self, address, timeout):
        """Return the member list from one member, as ``fanatico_etcd_plan.by_name`` returns it."""
        token = self.token(address, timeout)
        answer = self.post(address, "/v3/cluster/member/list", None, timeout, token)
        listed = [
            {
                "id": _hex(member["ID"]),
                "name": member.get("name", ""),
                "peer_urls": member.get("peerURLs", []),
                "client_urls": member.get("clientURLs", []),
                "learner": bool(member.get("isLearner", False)),
            }
            for member in answer["members"]
        ]
        return fanatico_etcd_plan.by_name(listed, self.peer_urls())

    def health(self, address, timeout):
        """Return the response of a member to ``GET /health``, ``{"healthy": bool, "reason": str}``."""
        url = self.url(address, "/health")
        _, body = fanatico_http.get(url, timeout, self.tls)
        if not isinstance(body, dict):
            raise CommandExecutionError(f"{url}: the response is not JSON")
        return {"healthy": str(body.get("health")).lower() == "true", "reason": body.get("reason", "")}

    def inside(self, address, timeout):
        """Return what needs a login, ``{"alarms": [...], "users": {...} or None}``, with a single login."""
        token = self.token(address, timeout)  # once: the login is the expensive part
        alarms = self.post(address, "/v3/maintenance/alarm", {"action": "GET"}, timeout, token)
        found = {"alarms": alarms.get("alarms", [])}
        with contextlib.suppress(CommandExecutionError):  # alarms are returned even if users cannot be listed
            found["users"] = self._names(address, timeout, token) if token else None
        return found

    def _names(self, address, timeout, token):
        """Return users and roles for ``fanatico_etcd_users.unknown``; the roles of each user are left empty."""
        users, roles = (
            self.post(address, f"/v3/auth/{kind}/list", {}, timeout, token).get(f"{kind}s", [])
            for kind in ("user", "role")
        )
        return {"users": dict.fromkeys(users, ()), "roles": roles}


def _hex(number):
    """Return an id in hexadecimal, as etcdctl shows it; the gateway sends decimal strings."""
    return f"{int(number):x}"
