"""
etcd: members and keys through python-etcd3, status and health through its JSON gateway.

python-etcd3 is imported only where it is used, and its client lives for one call: gRPC does not survive the
fork of a Salt job, and health must not depend on it. Learners are younger than python-etcd3, so their two
calls go through the gateway as well.
"""

import base64
import contextlib
import os
import pathlib

from salt.exceptions import CommandExecutionError

import fanatico_etcd_plan
import fanatico_http
import fanatico_plan
import fanatico_verdict
import fanatico_wait

UNIT = "etcd.service"


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _me():
    return __opts__["id"]


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _nodes():
    """Return ``{id: address}`` of the etcd nodes, this one first where it is one."""
    addresses = fanatico_plan.addresses(__pillar__["plan"], "etcd")
    return dict(sorted(addresses.items(), key=lambda item: item[0] != _me()))


def _url(address, path=""):
    return f"https://{address}:{_setting('plan:ports:etcd_client')}{path}"


def _peer_url(name):
    nodes = _nodes()
    if name not in nodes:
        raise CommandExecutionError(
            f"{name} is not an etcd node of the plan: it has {', '.join(sorted(nodes))}"
        )
    return f"https://{nodes[name]}:{_setting('plan:ports:etcd_peer')}"


def _tls():
    return __salt__["fanatico_pki.paths"]("etcd")


def _post(address, path, payload=None, timeout=1.0, tls=None, token=None):
    """Call the JSON gateway of one member."""
    return fanatico_http.fetch(
        "POST",
        _url(address, path),
        payload or {},
        timeout=timeout,
        tls=tls or _tls(),
        headers={"Authorization": token} if token else None,
    )


def _user():
    """Return (name, passwords) of the user this node is to etcd: root on its own nodes, Patroni on a database node.

    Two passwords while secrets are rotated: the new one and the one before.
    """
    for name, secret in (("root", "ETCD_ROOT_PASSWORD"), ("patroni", "ETCD_PATRONI_PASSWORD")):
        if _get(f"secrets:{secret}"):
            known = (_get(f"secrets:{secret}"), _get(f"secrets_former:{secret}"))
            return name, [one for one in known if one]
    raise CommandExecutionError(
        f"{_me()} has no password for etcd in its pillar: run this on a node with the role etcd or patroni, "
        "or see `salt-run fanatico.secrets_init`"
    )


# What etcd itself says, word for word: its gateway has one status for both, and for other faults.
_NO_USERS = "authentication is not enabled"
_WRONG_PASSWORD = "authentication failed"


class _NotAdmitted(CommandExecutionError):
    """etcd knows the user by another password, or not at all."""


def _token(address, timeout, tls=None, user=None):
    """Log in at one member and return the token, or None where etcd does not ask for one yet."""
    name, passwords = user or _user()
    url, tls = _url(address, "/v3/auth/authenticate"), tls or _tls()
    for password in passwords:
        payload = {"name": name, "password": password}
        code, body = fanatico_http.call("POST", url, payload, timeout=timeout, tls=tls)
        said = body.get("error") or body.get("message", "") if isinstance(body, dict) else str(body)
        if code == 200:
            return body["token"]
        if _NO_USERS in said:
            return None
        if _WRONG_PASSWORD not in said:
            raise CommandExecutionError(f"{url}: user {name}: {said or f'HTTP {code}'}")
    raise _NotAdmitted(f"{url}: user {name}: {said}")


# --- status and health, through the gateway


def _hex(number):
    """Return a member id as etcdctl shows it; the gateway sends it as a decimal string."""
    return f"{int(number):x}"


def _status_of(address, timeout, tls=None):
    answer = _post(address, "/v3/maintenance/status", timeout=timeout, tls=tls)
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


def _members_of(address, timeout, tls=None):
    """Return the member list by peer URL: a member that never started has no name yet."""
    token = _token(address, timeout, tls)
    names = {_peer_url(name): name for name in _nodes()}
    listed = {}
    for member in _post(address, "/v3/cluster/member/list", None, timeout, tls, token)["members"]:
        urls = member.get("peerURLs", [])
        name = member.get("name") or next((names[url] for url in urls if url in names), ",".join(urls))
        listed[name] = {
            "id": _hex(member["ID"]),
            "peer_urls": urls,
            "client_urls": member.get("clientURLs", []),
            "started": bool(member.get("name")),
            "learner": bool(member.get("isLearner", False)),
        }
    return listed


def _health_of(address, timeout, tls=None):
    _, body = fanatico_http.get(_url(address, "/health"), timeout, tls or _tls())
    if not isinstance(body, dict):
        raise CommandExecutionError(f"{_url(address, '/health')}: no JSON in the answer")
    return {"healthy": str(body.get("health")).lower() == "true", "reason": body.get("reason", "")}


def _everywhere(ask, timeout):
    """
    Ask every member of the plan at once: ``{id: answer}``, with ``{"error": reason}`` where there is none.
    """
    tls = _tls()  # not in the threads, which know no dunders
    probes = {
        name: (lambda address=address: ask(address, timeout, tls)) for name, address in _nodes().items()
    }
    answers = fanatico_wait.gather(probes, timeout * 1.5)
    return {
        name: {"error": str(error)} if error is not None else value
        for name, (value, error) in sorted(answers.items())
    }


def status(timeout=1):
    """
    Return the status of every member of the plan, ``{id: {...}}``; ``{"error": reason}`` for one without an
    answer.

    timeout
        Seconds, for each member; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.status
    """
    return _everywhere(_status_of, timeout)


def health(timeout=1):
    """
    Return what every member of the plan says to ``GET /health``, ``{id: {"healthy": bool, "reason": text}}``.

    timeout
        Seconds, for each member; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.health
    """
    return _everywhere(_health_of, timeout)


def leader(timeout=1):
    """
    Return the id of the node that leads, or None where the members that answer know no leader.

    timeout
        Seconds, for each member; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.leader
    """
    return _leader_of(status(timeout))


def _leader_of(statuses):
    """Return the node that a member of the same term, and the newest one, calls leader."""
    answers = {name: one for name, one in statuses.items() if "error" not in one}
    ids = {one["member_id"]: name for name, one in answers.items()}
    newest = max((one["term"] for one in answers.values()), default=0)
    leaders = {one["leader_id"] for one in answers.values() if one["term"] == newest} - {"0"}
    return ids.get(leaders.pop()) if len(leaders) == 1 else None


def local_state():
    """
    Return what this node holds: ``{"data_dir": bool, "active": bool, "member": bool or None}``.

    ``data_dir``: etcd has written data here. ``active``: its unit runs. ``member``: the cluster lists this
    node; None where no member anywhere could be asked. A deploy decides from this between bootstrap and
    rejoin.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.local_state
    """
    directory = pathlib.Path(_setting("etcd:data_dir"))
    return {
        "data_dir": (directory / "member").is_dir(),
        "active": __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"] == "active",
        "member": _listed(),
    }


def _listed(timeout=1):
    """Tell whether any member that answers lists this node; None where none answers."""
    answers = _everywhere(_members_of, timeout)
    views = [one for one in answers.values() if "error" not in one]
    return any(_me() in one for one in views) if views else None


# --- members and keys, through python-etcd3


def _etcd3():
    # python-etcd3's generated code needs protobuf's Python implementation, and says so with a TypeError.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    try:
        import etcd3
    except Exception as exc:  # what protobuf raises depends on its version
        raise CommandExecutionError(
            f"{_me()}: python-etcd3 cannot be used: {type(exc).__name__}: {exc}"
        ) from exc
    if not hasattr(etcd3, "Etcd3Client"):
        raise CommandExecutionError(f"{_me()}: the module etcd3 here is etcd3-py, not python-etcd3")
    return etcd3


@contextlib.contextmanager
def _client(timeout=5):
    """Yield a client of the first member that answers, tried out first so that nothing is sent twice."""
    etcd3, tls = _etcd3(), _tls()
    failures = []
    for name, address in _nodes().items():
        try:
            token = _token(address, timeout, tls)
        except CommandExecutionError as exc:
            failures.append(f"{name} {exc}")
            continue
        client = etcd3.client(
            host=address,
            port=_setting("plan:ports:etcd_client"),
            timeout=timeout,
            ca_cert=tls["ca"],
            cert_cert=tls["cert"],
            cert_key=tls["key"],
        )
        # python-etcd3 would log in itself, and cannot where users are not in force yet.
        client.metadata = (("token", token),) if token else None
        try:
            client.status()
        except etcd3.Etcd3Exception as exc:
            failures.append(f"{name} {type(exc).__name__}")
            client.close()
            continue
        try:
            yield client
        except etcd3.Etcd3Exception as exc:
            raise CommandExecutionError(
                f"{_me()}: etcd member {name}: {type(exc).__name__} {exc}".rstrip()
            ) from exc
        finally:
            client.close()
        return
    raise CommandExecutionError(
        f"{_me()}: no etcd member answers ({', '.join(failures)}). "
        "Next: salt 'etcd*' fanatico_etcd.local_state"
    )


def members(timeout=5):
    """
    Return the member list, ``{id: {"id", "peer_urls", "client_urls", "started"}}``.

    A member that was added and has not started yet goes by its node in the plan.

    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.members
    """
    with _client(timeout) as client:
        return _members(client)


def _members(client):
    names = {_peer_url(name): name for name in _nodes()}
    found = {}
    for member in client.members:
        urls = list(member.peer_urls)
        name = member.name or next((names[url] for url in urls if url in names), ",".join(urls))
        found[name] = {
            "id": f"{member.id:x}",
            "peer_urls": urls,
            "client_urls": list(member.client_urls),
            "started": bool(member.name),
        }
    return found


def member_add(name, learner=False, timeout=5):
    """
    Add a node of the plan to the cluster; return the member list, unchanged where it is in already.

    name
        The id of an etcd node of the plan.
    learner
        Without a vote until ``member_promote``.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.member_add etcd2
    """
    url = _peer_url(name)
    with _client(timeout) as client:
        if not any(url in one["peer_urls"] for one in _members(client).values()):
            if learner:
                _order("/v3/cluster/member/add", {"peerURLs": [url], "isLearner": True}, timeout)
            else:
                client.add_member([url])
        return _members(client)


def member_remove(name, timeout=5):
    """
    Remove a node from the cluster; return the member list, unchanged where it is not in it.

    name
        The id of the member, or its peer URL.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.member_remove etcd2
    """
    with _client(timeout) as client:
        member = _members(client).get(name)
        if member:
            client.remove_member(int(member["id"], 16))
        return _members(client)


def member_promote(name, timeout=5):
    """
    Give a learner its vote; etcd refuses while it has not caught up.

    name
        The id of the member.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.member_promote etcd2
    """
    with _client(timeout) as client:
        member = _members(client).get(name)
        if member is None:
            raise CommandExecutionError(
                f"{name} is not a member of the etcd cluster: fanatico_etcd.member_add"
            )
        _order("/v3/cluster/member/promote", {"ID": str(int(member["id"], 16))}, timeout)
        return _members(client)


def order(path, payload=None, timeout=5):
    """
    Call the JSON gateway of the first member that answers, as the user this node is, and return the answer.

    path
        For example ``/v3/auth/user/list``.
    payload
        A dict; bytes in it base64, as the gateway wants them.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.order /v3/auth/user/list
    """
    return _order(path, payload or {}, timeout)


def access(timeout=5):
    """
    Return who may do what: ``{"enforced": bool, "users": {name: [roles]}, "roles": {name: [[type, key, end], ...]}}``.

    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.access
    """

    def ask(path, payload=None):
        return _order(f"/v3/auth/{path}", payload or {}, timeout)

    def text(value):
        return base64.b64decode(value or "").decode("utf-8", "replace")

    users = {
        name: ask("user/get", {"name": name}).get("roles", []) for name in ask("user/list").get("users", [])
    }
    grants = {
        name: ask("role/get", {"role": name}).get("perm", []) for name in ask("role/list").get("roles", [])
    }
    return {
        "enforced": _enforced(timeout),
        "users": users,
        "roles": {
            name: [
                [one.get("permType", "READ"), text(one.get("key")), text(one.get("range_end"))]
                for one in found
            ]
            for name, found in grants.items()
            if name != "root"  # may do everything, by its name alone
        },
    }


def _enforced(timeout):
    """Tell whether etcd asks for a user: the first member that answers does, or does not."""
    failures = []
    for address in _nodes().values():
        try:
            return _token(address, timeout) is not None
        except CommandExecutionError as exc:
            failures.append(str(exc))
    raise CommandExecutionError(f"{_me()}: no etcd member answers: {'; '.join(failures)}")


def admits(user, secret, timeout=5):
    """
    Tell whether etcd lets ``user`` in with the password that is the secret of this name in the pillar.

    user
        A user of etcd.
    secret
        For example ``ETCD_PATRONI_PASSWORD``.
    timeout
        Seconds.

    Raises ``CommandExecutionError`` where users are not in force yet, or etcd does not answer.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.admits patroni ETCD_PATRONI_PASSWORD
    """
    address = next(iter(_nodes().values()))
    try:
        token = _token(address, timeout, user=(user, [_get(f"secrets:{secret}")]))
    except _NotAdmitted:
        return False
    if token is None:
        raise CommandExecutionError(f"{_me()}: etcd asks nobody for a password yet")
    return True


def _order(path, payload, timeout):
    """Call the gateway of the first member that answers."""
    failures = []
    for address in _nodes().values():
        try:
            token = _token(address, min(timeout, 2))
        except CommandExecutionError as exc:
            failures.append(str(exc))
            continue
        return _post(address, path, payload, timeout, token=token)
    raise CommandExecutionError(f"{_me()}: no etcd member takes orders: {'; '.join(failures)}")


def own_errors(timeout=1):
    """
    Return what this node's member itself calls wrong, a list of texts, such as alarms; empty where all is well.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.own_errors
    """
    return _status_of(_nodes()[_me()], timeout, _tls())["errors"]


def make_room(timeout=15):
    """
    Give up etcd's history, give back the space of every member that answers, one after the other, and end the alarm NOSPACE.

    timeout
        Seconds, for each call.

    Returns a sentence with the sizes before and after. Raises ``CommandExecutionError`` where the alarm cannot be ended.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.make_room
    """
    before, nodes = status(), _nodes()
    # Any key at all: the answer says which revision is the newest.
    newest = _order(
        "/v3/kv/range", {"key": "AA==", "range_end": "AA==", "limit": 1, "keys_only": True}, timeout
    )
    revision = newest["header"]["revision"]
    with contextlib.suppress(CommandExecutionError):  # refused where it was compacted so far already
        _order("/v3/kv/compaction", {"revision": revision, "physical": True}, timeout)
    leader = _leader_of(before)
    answering = [name for name, one in before.items() if "error" not in one]
    for name in sorted(answering, key=lambda name: name == leader):
        _post(nodes[name], "/v3/maintenance/defragment", timeout=timeout, token=_token(nodes[name], timeout))
    _order("/v3/maintenance/alarm", {"action": "DEACTIVATE", "memberID": 0, "alarm": "NOSPACE"}, timeout)
    sizes = [
        max((one["db_size"] for one in seen.values() if "db_size" in one), default=0) / 1024**2
        for seen in (before, status())
    ]
    return f"compacted at revision {revision}, {len(answering)} members defragmented: {sizes[0]:.1f} MiB, now {sizes[1]:.1f}"


def stand_apart(timeout=5):
    """
    Hand etcd's lead over where this node leads it and Patroni's leader shares its host or failure domain.

    Run by the minions of such nodes themselves (``_pillar/fanatico_apart.py``), with or without a master.

    timeout
        Seconds, for each call.

    Returns ``{"moved": node or None, "why": text}``. Raises ``CommandExecutionError`` where etcd does not answer or refuses.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.stand_apart
    """
    plan, statuses = __pillar__["plan"], status(timeout)
    leader = _leader_of(statuses)
    if leader != _me():
        return {"moved": None, "why": f"{leader or 'nobody'} leads etcd, not {_me()}"}
    key = f"/service/{plan['name']}/leader"
    held = _order("/v3/kv/range", {"key": base64.b64encode(key.encode()).decode()}, timeout).get("kvs")
    primary = base64.b64decode(held[0]["value"]).decode() if held else None
    successor, why = fanatico_etcd_plan.stand_apart(plan, leader, primary, statuses)
    if successor:
        member = str(int(statuses[successor]["member_id"], 16))
        address = _nodes()[leader]  # only the leader takes this order
        token = _token(address, timeout)
        _post(address, "/v3/maintenance/transfer-leadership", {"targetID": member}, timeout, token=token)
    return {"moved": successor, "why": why}


def get(key, timeout=5):
    """
    Return the value of a key as text, or None where there is none.

    key
        The whole key.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.get /service/fanatico/leader
    """
    with _client(timeout) as client:
        value, _ = client.get(key)
    return None if value is None else value.decode("utf-8", "replace")


def keys(prefix="/", timeout=5):
    """
    Return the keys that begin with ``prefix``, sorted.

    prefix
        For example ``/service/``.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.keys /service/
    """
    with _client(timeout) as client:
        return sorted(
            meta.key.decode("utf-8", "replace") for _, meta in client.get_prefix(prefix, keys_only=True)
        )


def evict(host, timeout=5):
    """
    Make etcd and Patroni forget a host that the plan does not have any more. A step of ``orch.evict``, on one etcd node.

    Removed are: members of etcd that stand at no address of the plan, one at a time, which etcd itself refuses where its quorum
    would be lost; Patroni's keys of members that the plan does not have, the lead where one of them holds it, an order to
    hand the lead over that names one; locks of one of them, or that nothing would ever end.

    host
        What was its minion id.
    timeout
        Seconds, for each call.

    Returns ``{"members": [names], "keys": [keys]}``: what was removed. Raises ``CommandExecutionError`` where the plan still
    has the host, and where etcd refuses.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.evict db2
    """
    plan = __pillar__["plan"]
    if host in plan["nodes"]:
        raise CommandExecutionError(f"{host} is a node of the plan: move its line to plan:evicted first")
    urls = {name: _peer_url(name) for name in _nodes()}
    ours = fanatico_plan.nodes(plan, "patroni")
    prefix = f"/service/{plan['name']}/"
    with _client(timeout) as client:
        members = [
            {"id": one.id, "name": one.name or f"{one.id:x}", "peer_urls": list(one.peer_urls)}
            for one in client.members
        ]
        try:
            leaving = fanatico_etcd_plan.leaving(urls, members)
        except ValueError as exc:
            raise CommandExecutionError(f"{_me()}: {exc}: nothing was removed") from exc
        for one in leaving:
            client.remove_member(one["id"])
        held = [
            (meta.key.decode("utf-8", "replace"), value.decode("utf-8", "replace"), meta.lease_id)
            for start in (prefix, "/fanatico/lock/")
            for value, meta in client.get_prefix(start)
        ]
        # Members before the lead: who wants to lead next asks each member how far it is, and waits for one that is cut off.
        gone = fanatico_etcd_plan.forgotten(prefix, ours, list(plan["nodes"]), held)
        for key in gone:
            client.delete(key)
    named = fanatico_etcd_plan.named
    return {"members": [named([one["name"]]) for one in leaving], "keys": [named([key]) for key in gone]}


# --- waiting and checking


def wait_quorum(timeout=60):
    """
    Wait until a majority of the plan's members serve and agree on a leader; return ``{"leader", "members"}``.

    timeout
        Seconds; then ``CommandExecutionError`` with what was seen and the last lines of the journal.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.wait_quorum timeout=30
    """

    def look():
        statuses = status(timeout=1)
        healths = health(timeout=1)
        serving = sorted(name for name, one in healths.items() if one.get("healthy"))
        now = _leader_of(statuses)
        done = (
            now is not None
            and len(serving) > len(healths) // 2
            and (_me() in serving or _me() not in healths)
        )
        return done, {"leader": now, "members": serving}

    done, seen = fanatico_wait.until(look, timeout)
    if done:
        return seen
    unit = "etcd" if _me() in _nodes() else ""
    journal = __salt__["fanatico.journal"](unit) if unit else ""
    raise CommandExecutionError(fanatico_wait.ran_out(_me(), "etcd's quorum", timeout, seen, unit, journal))


def look(timeout=2):
    """
    Look at etcd on this node and at its peers once: ``{"facts": {...}, "checks": {name: check}}``. Never
    raises.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.look
    """
    nodes, tls = _nodes(), _tls()
    mine = nodes[_me()]

    def alarms(token):
        return _post(mine, "/v3/maintenance/alarm", {"action": "GET"}, timeout, tls, token).get("alarms", [])

    def users(token):
        def names(kind):
            return _post(mine, f"/v3/auth/{kind}/list", {}, timeout, tls, token).get(f"{kind}s", [])

        return {"users": dict.fromkeys(names("user"), ()), "roles": names("role")} if token else None

    def inside():
        token = _token(mine, timeout, tls)  # once: a login is what costs most here
        found = {"alarms": alarms(token)}
        with contextlib.suppress(CommandExecutionError):  # an alarm is said also where nobody can be listed
            found["users"] = users(token)
        return found

    probes = {
        "health": lambda: _health_of(mine, timeout, tls),
        "members": lambda: _members_of(mine, timeout, tls),
        "inside": inside,
    }
    for name, address in nodes.items():
        probes[f"status {name}"] = lambda address=address: _status_of(address, timeout, tls)
    answers = fanatico_wait.gather(probes, timeout * 1.5)
    facts = {
        "status": {},
        "errors": {name: str(error) for name, (_, error) in answers.items() if error is not None},
    }
    for name, (value, error) in answers.items():
        if name.startswith("status "):
            facts["status"][name.removeprefix("status ")] = (
                {"error": str(error)} if error is not None else value
            )
        elif error is None:
            facts |= value if name == "inside" else {name: value}
    checks = _judge(facts, _me(), _setting("etcd:quota_backend_bytes"))
    if facts.get("users"):
        checks["etcd.users"] = _judge_users(facts["users"], _setting("etcd:users"))
    return {"facts": facts, "checks": checks}


def checks(timeout=2):
    """
    Return the checks of etcd on this node, ``{name: check}``.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.checks
    """
    return look(timeout)["checks"]


def _judge(facts, me, quota):
    """Return the checks for what the members said; ``quota`` is the limit of the database, in bytes."""
    mine, health = facts["status"][me], facts.get("health")
    found = {"etcd.quorum": _judge_quorum(facts["status"])}
    journal = "systemctl status etcd; journalctl -u etcd -n 50"
    if "error" in mine or health is None:
        reason = mine.get("error") or facts["errors"]["health"]
        return {"etcd.serving": fanatico_verdict.critical(None, reason, journal), **found}
    if health["healthy"]:
        found["etcd.serving"] = fanatico_verdict.ok(
            mine["version"], f"etcd {mine['version']} takes reads and writes"
        )
    else:
        found["etcd.serving"] = fanatico_verdict.critical(
            mine["version"], f"etcd says it is not healthy: {health['reason'] or 'no reason given'}", journal
        )
    found["etcd.member"] = _judge_member(facts, me)
    alarms = [alarm.get("alarm", "?") for alarm in facts.get("alarms", [])]
    if alarms:
        found["etcd.alarms"] = fanatico_verdict.critical(
            alarms,
            f"alarm {', '.join(sorted(set(alarms)))}: no more writes are taken",
            "NOSPACE: compact, defragment, then `etcdctl alarm disarm`. CORRUPT: replace the member named",
        )
    elif "alarms" in facts:
        found["etcd.alarms"] = fanatico_verdict.ok([], "no alarm")
    used = round(100 * mine["db_size"] / quota)
    size = f"{mine['db_size'] / 1024**2:.1f} MiB of {quota / 1024**2:.0f} ({used} %)"
    if used >= 80:
        hint = "etcdctl compact and defrag; see what fills it: fanatico_etcd.keys /"
        found["etcd.space"] = fanatico_verdict.degraded(used, size, hint)
    else:
        found["etcd.space"] = fanatico_verdict.ok(used, size)
    return found


def _judge_quorum(statuses):
    """Return the check of the majority: how many members answer, and do they agree on a leader."""
    missing = sorted(name for name, one in statuses.items() if "error" in one)
    total, answering = len(statuses), len(statuses) - len(missing)
    value, now = f"{answering}/{total}", _leader_of(statuses)
    where = f"no answer from {', '.join(missing)}" if missing else "all members answer"
    hint = f"salt -L {','.join(missing)} fanatico_etcd.local_state" if missing else ""
    if answering <= total // 2:
        return fanatico_verdict.critical(value, f"no quorum: {where}", hint)
    if now is None:
        return fanatico_verdict.critical(
            value, f"the members agree on no leader; {where}", "journalctl -u etcd -n 50"
        )
    if missing:
        return fanatico_verdict.degraded(value, f"{where}; {now} leads", hint)
    return fanatico_verdict.ok(value, f"{where}; {now} leads")


def _judge_member(facts, me):
    """Return the check of the member list: this node votes in it, and nobody is in it by mistake."""
    if "members" not in facts:
        return fanatico_verdict.unknown(None, facts["errors"]["members"])
    listed = facts["members"]
    names = sorted(listed)
    if not listed.get(me, {}).get("started"):
        return fanatico_verdict.critical(
            names, f"{me} is not a started member", f"salt-call fanatico_etcd.member_add {me}"
        )
    if listed[me]["learner"]:
        return fanatico_verdict.degraded(
            names, f"{me} is a learner without a vote", f"salt-call fanatico_etcd.member_promote {me}"
        )
    strangers = [name for name in names if name not in facts["status"]]
    if strangers:
        return fanatico_verdict.degraded(
            names,
            f"members that are not in the plan: {', '.join(strangers)}",
            f"salt-call fanatico_etcd.member_remove {strangers[0]}",
        )
    idle = [name for name in facts["status"] if not listed.get(name, {}).get("started")]
    if idle:
        return fanatico_verdict.degraded(
            names, f"not a started member: {', '.join(idle)}", f"salt {idle[0]} fanatico_etcd.local_state"
        )
    return fanatico_verdict.ok(names, f"members: {', '.join(names)}")


def _judge_users(seen, kept):
    """Return the check of who is let in; a role may be one of a user that is kept, so of roles the state alone judges then."""
    users, roles = fanatico_etcd_plan.strangers(seen, kept)
    strange = users + [f"role {role}" for role in roles if not kept]
    if not strange:
        return fanatico_verdict.ok(sorted(seen["users"]), "etcd lets in its users alone")
    names = fanatico_etcd_plan.named(strange)
    return fanatico_verdict.degraded(
        names,
        f"etcd lets in who is neither ours nor named in etcd:users: {names}",
        """salt-run state.orchestrate orch.rotate_secrets pillar='{"rotate": ["ETCD_ROOT_PASSWORD"]}' removes them""",
    )


def lock(name, ttl=60, timeout=5):
    """
    Take a lock that every node sees, so that one node at a time does what endangers a quorum.

    name
        What is done, for example ``restart-etcd``.
    ttl
        Seconds after which the lock is free again, whatever became of this node.
    timeout
        Seconds, for each call.

    Returns ``{"lease": id, "holder": this node}``; ``lease`` is None where another node, ``holder``, has it.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.lock restart-etcd
    """
    key = f"/fanatico/lock/{name}"
    with _client(timeout) as client:
        lease = client.lease(ttl)
        of = client.transactions
        taken, answers = client.transaction(
            compare=[of.create(key) == 0], success=[of.put(key, _me(), lease)], failure=[of.get(key)]
        )
        if taken:
            return {"lease": lease.id, "holder": _me()}
        lease.revoke()
        holders = [value.decode("utf-8", "replace") for value, _ in answers[0]]
        return {"lease": None, "holder": holders[0] if holders else "unknown"}


def unlock(lease, timeout=5):
    """
    Give back a lock.

    lease
        What ``lock`` returned.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.unlock 7587886218451432452
    """
    with _client(timeout) as client:
        client.revoke_lease(int(lease))
    return True
