"""
Accept the keys of minions: a key that the master was sent is compared with the host's own, read over SSH.
"""

import pathlib
import re
import time

import salt.client.ssh.client
import salt.crypt
import salt.key
import salt.utils.crypt

import fanatico_master
import fanatico_plan

__virtualname__ = "fanatico"

_OWN_KEY = "/etc/salt/pki/minion/minion.pub"  # on every host
_POLL = 1  # seconds between two checks of the keys that were sent
_SSH_TIMEOUT = 5  # seconds, in addition to Salt's own `timeout`, until a host counts as unreachable


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def accept_keys(timeout=60, ids=None):
    """
    Accept the pending key of each host whose own key, read on the host over SSH, has the same fingerprint.

    SSH uses the roster and the known_hosts of the user who runs this: a minion's key is trusted because an operator has verified
    the SSH host key. No key is accepted in another way, and accepted keys are not changed. The master's firewall is updated to
    the plan first (``fanatico.admit``): a new host could not send its key otherwise.

    timeout
        Seconds to wait for keys that were not sent yet.
    ids
        A minion or a list of minions; all of the plan without it.

    Returns ``{"accepted": [ids], "refused": {id: why}, "missing": {id: why}}``: accepted now, sent but not trusted, not sent.
    ``salt-run`` ends with exit code 1 where any is refused or missing.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.accept_keys
        salt-run fanatico.accept_keys ids='[rpc4]'
    """
    plan = fanatico_master.plan(__opts__)
    wanted = fanatico_master.known(plan, ids or plan["nodes"])
    __salt__["fanatico.admit"]()
    with salt.key.Key(__opts__) as keys:
        sent = _wait_sent(keys, wanted, timeout)
        doubtful = {name: held for name, held in sent.items() if held.keys() - {"minions"}}
        own = _own_fingers(doubtful, fanatico_plan.nodes(plan, "master"))
        verdicts = {name: _verdict(name, held, *own[name]) for name, held in doubtful.items()}
        accepted = [name for name, verdict in verdicts.items() if verdict is True]
        if accepted:
            keys.accept(match_dict={"minions_pre": accepted})
    if accepted:
        __salt__["fanatico.master_changed"]()
    result = {
        "accepted": accepted,
        "refused": {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, str)},
        "missing": {
            name: f"no key arrived within {timeout:g} s. Next: check on the host that salt-minion is installed (salt-ssh {name} "
            "state.apply minion) and running, and reaches this master's ports 4505 and 4506. The master's own firewall allows "
            "it: check any other in between, then run salt-run fanatico.accept_keys again"
            for name in wanted
            if name not in sent
        },
    }
    if result["refused"] or result["missing"]:
        result["retcode"] = __context__["retcode"] = 1
    return result


def renew_key(host, timeout=60):
    """
    Replace the accepted key of a host by its new key, where the host's own key, read over SSH, is the new one.

    As with ``accept_keys``, SSH proves the key. A reinstalled host is trusted where its SSH host key is still the known one
    (the installation has restored it), or where an authority in known_hosts signed it. Otherwise an operator has to decide.

    host
        A minion of the plan.
    timeout
        Seconds for its minion to send the key again.

    Returns what a cure returns, ``{"acted", "running": whether its key is the accepted one now, "did", "code", "detail",
    "took"}``; ``code`` and ``detail``: why nothing was done, or what is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.renew_key db3
    """
    begun = time.monotonic()

    def result(acted, running, code="", detail=""):
        took = round(time.monotonic() - begun, 2)
        return {
            "acted": acted,
            "running": running,
            "did": "accepted its new key",
            "code": code,
            "detail": detail,
            "took": took,
        }

    plan = fanatico_master.plan(__opts__)
    (host,) = fanatico_master.known(plan, host)
    masters = fanatico_plan.nodes(plan, "master")
    with salt.key.Key(__opts__) as keys:
        held = keys.key_str(host)
        if host not in held.get("minions", {}):
            detail = f"{host} has no accepted key. Next: salt-run fanatico.accept_keys"
            return result(False, True, "key-not-accepted", detail)
        if held.keys() == {"minions"}:
            return result(False, True, "gone", "no other key was sent in its name")
        own, why = _own_fingers([host], masters)[host]
        if not own:
            detail = (
                f"its own key could not be read over SSH: {why}. Next: docs/fleet.md, 'A reinstalled host'"
            )
            return result(False, False, "key-not-vouched", detail)
        if own == _finger(held["minions"][host]):
            detail = f"the accepted key is the host's own: another host sends keys as {host}"
            return result(False, True, "name-misused", detail)
        if not _replace(keys, host, own, begun + timeout):
            detail = (
                f"the host's own key is {own}, but within {timeout:g} s the master was sent only other keys in its name: another "
                f"host sends keys as {host}. The accepted key stays. Next: find that host"
            )
            return result(False, False, "name-misused", detail)
    __salt__["fanatico.master_changed"]()
    return result(True, True)


def denied(host):
    """
    Check whether the master was sent another key in a host's name, and start ``orch.heal`` if so. Called by the reactor.

    host
        A minion of the plan.

    Returns whether it was.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.denied db3
    """
    (host,) = fanatico_master.known(fanatico_master.plan(__opts__), host)
    with salt.key.Key(__opts__) as keys:
        held = keys.key_str(host)
    sent = "minions" in held and bool(held.keys() - {"minions"})
    if sent:
        why = "its minion has another key than the accepted one"
        event = {"host": host, "what": "key-denied", "why": why}
        __salt__["state.orchestrate"]("orch.heal", pillar={"event": event})
    return sent


def _replace(keys, host, own, deadline):
    """
    Accept the denied key with the fingerprint ``own`` in place of the accepted key; return whether it arrived in time.

    There is always an accepted key. Without one, the next key that any host sends in this name would become the pending key.
    """
    while True:
        denied = keys.key_str(host).get("minions_denied", {}).get(host, [])
        found = [key for key in ([denied] if isinstance(denied, str) else denied) if _finger(key) == own]
        if found:
            keys.cache.store("denied_keys", host, found[:1])  # Salt accepts the first of the denied keys
            keys.accept(match_dict={"minions_denied": [host]}, include_denied=True)
            # A host with the former key can read no further job.
            salt.crypt.dropfile(__opts__["cachedir"], __opts__["user"], __opts__["id"])
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)


def _wait_sent(keys, wanted, timeout):
    """Return ``{id: {state: public key}}`` of the keys that the master was sent, once all are there or ``timeout`` is over."""
    deadline = time.monotonic() + timeout
    while True:
        listed = {place: set(names) for place, names in keys.list_keys().items()}
        sent = [name for name in wanted if any(name in names for names in listed.values())]
        if len(sent) == len(wanted) or time.monotonic() >= deadline:
            return {name: {place: held[name] for place, held in keys.key_str(name).items()} for name in sent}
        time.sleep(_POLL)


def _own_fingers(names, masters):
    """Return ``{id: (fingerprint or "", why there is none)}`` of the hosts' own keys."""
    own = {name: _local_finger() for name in names if name in masters}
    remote = [name for name in names if name not in masters]
    if not remote:
        return own
    read = ["cat", _OWN_KEY]
    if __opts__.get("roster_defaults", {}).get("sudo"):
        read = ["sudo", "-n", *read]  # a raw command runs as the login user
    client = salt.client.ssh.client.SSHClient(mopts=dict(__opts__))
    options = {"tgt_type": "list", "raw_shell": True, "ssh_timeout": _SSH_TIMEOUT}
    answers = client.cmd(remote, read[0], read[1:], **options)
    return own | {name: _remote_finger(answers.get(name)) for name in remote}


def _local_finger():
    try:
        return _finger(pathlib.Path(_OWN_KEY).read_text(encoding="ascii")), f"{_OWN_KEY} contains no key"
    except OSError as exc:
        return "", f"{_OWN_KEY}: {exc.strerror}"


def _remote_finger(answer):
    if not isinstance(answer, dict):
        return "", answer or "it is not in the roster"
    words = " ".join((answer.get("stderr") or answer.get("stdout") or "").split())
    finger = "" if answer.get("retcode") else _finger(answer.get("stdout", ""))
    return finger, words or f"exit code {answer.get('retcode')}"


def _verdict(name, held, own, why):
    """Return True for a key to accept, None where nothing is to be done, else why the key is not accepted."""
    if not own:
        return f"the host's own key could not be read over SSH: {why}"
    fingers = {place: _finger(held[place]) for place in ("minions", "minions_pre") if place in held}
    if fingers.get("minions") == own:
        return None  # a key that was denied is not the host's
    if fingers.get("minions_pre") == own:
        return True
    again = f"salt-key -d {name}, then salt-run fanatico.accept_keys"
    if "minions" in held:
        return (
            f"the host's own key is {own}, but {fingers['minions']} is accepted. If the host was reinstalled, replace the "
            f"accepted key: {again}"
        )
    if "minions_pre" in held:
        return (
            f"the host's own key is {own}, but the master was sent {fingers['minions_pre']}: another host sends keys as {name}. "
            f"Next: find that host; then {again}"
        )
    return f"its key was rejected on this master. If that was an error: {again}"


def _finger(key):
    """Return the fingerprint of a public key as `salt-call --local key.finger` prints it on the host; "" without a key."""
    # `salt-key -f` of Salt 3008 also hashes the lines around the key, so its output differs from all others.
    found = re.search(r"-----BEGIN PUBLIC KEY-----\s+(\S.*?)-----END", key, re.DOTALL)
    return salt.utils.crypt.pem_finger(key="".join(f"{line}\n" for line in found[1].split())) if found else ""
