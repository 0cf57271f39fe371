"""
etcd's JSON gateway, as one node asks it: the members of the plan, the login, and what each member says.

Dunders are given as arguments: here are none, and a method may run in any thread.
"""

import contextlib

from salt.exceptions import CommandExecutionError

import fanatico_etcd_plan
import fanatico_http
import fanatico_plan
import fanatico_wait

# What etcd itself says, word for word: its gateway has one status for both, and for other faults.
_NO_USERS = "authentication is not enabled"
_WRONG_PASSWORD = "authentication failed"
_USERS = (("root", "ETCD_ROOT_PASSWORD"), ("patroni", "ETCD_PATRONI_PASSWORD"))


class AuthenticationFailed(CommandExecutionError):
    """etcd knows the user by another password, or not at all."""


class Gateway:
    """
    The gateways of all members.

    pillar
        Of the node that asks, usually ``__pillar__``.
    me
        Its id.
    tls
        What it knows etcd by, and etcd it, as ``fanatico_pki.paths`` returns it.
    """

    def __init__(self, pillar, me, tls):
        self.pillar, self.me, self.tls = pillar, me, tls
        self.nodes = fanatico_plan.own_first(pillar["plan"], "etcd", me)

    def url(self, address, path=""):
        """Return the URL of a path at one member."""
        return f"https://{address}:{self.port()}{path}"

    def port(self):
        """Return the port that clients of etcd use."""
        return fanatico_plan.setting(self.pillar, "plan:ports:etcd_client")

    def peer_urls(self):
        """Return ``{id: URL}``: where the members of the plan are to each other."""
        return {name: self.peer_url(name) for name in self.nodes}

    def peer_url(self, name):
        """Return where a member of the plan is to its peers; raises for a node that is none."""
        if name not in self.nodes:
            raise CommandExecutionError(
                f"{name} is not an etcd node of the plan: it has {', '.join(sorted(self.nodes))}"
            )
        return f"https://{self.nodes[name]}:{fanatico_plan.setting(self.pillar, 'plan:ports:etcd_peer')}"

    def post(self, address, path, payload=None, timeout=1.0, token=None):
        """Call the gateway of one member and return its answer."""
        headers = {"Authorization": token} if token else None
        return fanatico_http.fetch(
            "POST", self.url(address, path), payload or {}, timeout=timeout, tls=self.tls, headers=headers
        )

    def user(self):
        """
        Return (name, passwords) of the user this node is to etcd: root on its own nodes, Patroni on a database node.

        Two passwords while secrets are rotated: the new one and the one before.
        """
        for name, secret in _USERS:
            if self._secret(secret):
                known = (self._secret(secret), self._secret(secret, "secrets_former"))
                return name, [one for one in known if one]
        raise CommandExecutionError(
            f"{self.me} has no password for etcd in its pillar: run this on a node with the role etcd or patroni, "
            "or see `salt-run fanatico.secrets_init`"
        )

    def _secret(self, name, where="secrets"):
        return fanatico_plan.get(self.pillar, f"{where}:{name}")

    def token(self, address, timeout, user=None):
        """Log in at one member and return the token, or None where etcd does not ask for one yet."""
        name, passwords = user or self.user()
        url = self.url(address, "/v3/auth/authenticate")
        for password in passwords:
            payload = {"name": name, "password": password}
            code, body = fanatico_http.call("POST", url, payload, timeout=timeout, tls=self.tls)
            said = body.get("error") or body.get("message", "") if isinstance(body, dict) else str(body)
            if code == 200:
                return body["token"]
            if _NO_USERS in said:
                return None
            if _WRONG_PASSWORD not in said:
                raise CommandExecutionError(f"{url}: user {name}: {said or f'HTTP {code}'}")
        raise AuthenticationFailed(f"{url}: user {name}: {said}")

    # --- all members

    def first(self, ask):
        """Return ``(id, ask(address))`` of the first member that answers, this node's own before the others."""
        try:
            return fanatico_http.first(self.nodes, ask)
        except CommandExecutionError as exc:
            raise CommandExecutionError(
                f"{self.me}: no etcd member answers: {exc}. Next: salt 'etcd*' fanatico_etcd.local_state"
            ) from exc

    def call(self, path, payload=None, timeout=5):
        """Call the gateway of the first member that lets this node in; what that one then refuses is not sent to another."""
        _, (address, token) = self.first(lambda address: (address, self.token(address, min(timeout, 2))))
        return self.post(address, path, payload, timeout, token)

    def everywhere(self, ask, timeout):
        """Ask every member at once: ``{id: ask(address, timeout)}``, with ``{"error": reason}`` where there is no answer."""
        probes = {
            name: (lambda address=address: ask(address, timeout)) for name, address in self.nodes.items()
        }
        answers = fanatico_wait.gather(probes, timeout * 1.5)
        return {
            name: {"error": str(error)} if error is not None else value
            for name, (value, error) in sorted(answers.items())
        }

    # --- what one member says

    def status(self, address, timeout):
        """Return what a member says of itself."""
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
        """Return the member list that a member has, as ``fanatico_etcd_plan.by_name`` gives it."""
        token = self.token(address, timeout)
        answer = self.post(address, "/v3/cluster/member/list", None, timeout, token)
        listed = [
            {
                "id": _hex(one["ID"]),
                "name": one.get("name", ""),
                "peer_urls": one.get("peerURLs", []),
                "client_urls": one.get("clientURLs", []),
                "learner": bool(one.get("isLearner", False)),
            }
            for one in answer["members"]
        ]
        return fanatico_etcd_plan.by_name(listed, self.peer_urls())

    def health(self, address, timeout):
        """Return what a member says to ``GET /health``."""
        url = self.url(address, "/health")
        _, body = fanatico_http.get(url, timeout, self.tls)
        if not isinstance(body, dict):
            raise CommandExecutionError(f"{url}: no JSON in the answer")
        return {"healthy": str(body.get("health")).lower() == "true", "reason": body.get("reason", "")}

    def inside(self, address, timeout):
        """Return what a member tells its users alone: ``{"alarms": [...], "users": {...} or None}``, with one login."""
        token = self.token(address, timeout)  # once: a login is what costs most here
        alarms = self.post(address, "/v3/maintenance/alarm", {"action": "GET"}, timeout, token)
        found = {"alarms": alarms.get("alarms", [])}
        with contextlib.suppress(CommandExecutionError):  # an alarm is said also where nobody can be listed
            found["users"] = self._names(address, timeout, token) if token else None
        return found

    def _names(self, address, timeout, token):
        """Return users and roles as ``fanatico_etcd_users.unknown`` takes them, with no role told of any user."""
        users, roles = (
            self.post(address, f"/v3/auth/{kind}/list", {}, timeout, token).get(f"{kind}s", [])
            for kind in ("user", "role")
        )
        return {"users": dict.fromkeys(users, ()), "roles": roles}


def _hex(number):
    """Return an id as etcdctl shows it; the gateway sends it as a decimal string."""
    return f"{int(number):x}"
