"""
The minions' keys: accepted where the host itself, asked over SSH, has the key that the master was sent in its name.
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
_POLL = 1  # seconds between looks at what has been sent
_SSH_TIMEOUT = 5  # seconds, beside Salt's own `timeout`, until a host counts as unreachable


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def accept_keys(timeout=60, ids=None):
    """
    Accept the waiting key of each host whose own key, read there over SSH, has the same fingerprint.

    SSH goes by the roster and by the known_hosts of the user who runs this; so what vouches for a minion's key is the
    host key that a person has checked. No key is accepted in another way, and accepted ones stay as they are. The master's
    firewall is brought up to the plan first (``fanatico.admit``): a new host could not send its key otherwise.

    timeout
        Seconds to wait for keys that were not sent yet.
    ids
        The minions meant, a list or one; all of the plan without them.

    Returns ``{"accepted": [ids], "refused": {id: why}, "missing": {id: why}}``: accepted just now, sent but not to be
    trusted, not sent at all. ``salt-run`` ends with 1 where any is refused or missing.

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
    result = {
        "accepted": accepted,
        "refused": {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, str)},
        "missing": {
            name: f"no key came within {timeout:g} s: is salt-minion installed there (salt-ssh {name} state.apply "
            "minion), is it running, does it reach this master's ports 4505 and 4506? The master's own firewall lets it in; "
            "look for another one on the way, then run this again"
            for name in wanted
            if name not in sent
        },
    }
    if result["refused"] or result["missing"]:
        result["retcode"] = __context__["retcode"] = 1
    return result


def renew_key(host, timeout=60):
    """
    Take a host's new key in place of the accepted one, if the host itself, asked over SSH, has that new one.

    As with ``accept_keys`` it is SSH that vouches: a host that was reinstalled is believed where its SSH host key is still the
    known one, put back by whatever reinstalled it or signed by an authority in known_hosts. Otherwise a person has to look.

    host
        A minion of the plan.
    timeout
        Seconds for its minion to come back and send the key once more.

    Returns what a cure does, ``{"acted", "running": whether its key is the accepted one now, "did", "code", "detail", "took"}``;
    ``code`` and ``detail`` say why nothing was done, or what is not well.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.renew_key db3
    """
    begun = time.monotonic()

    def told(acted, running, code="", detail=""):
        took = round(time.monotonic() - begun, 2)
        return {
            "acted": acted,
            "running": running,
            "did": "its new key accepted",
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
            next_step = "salt-run fanatico.accept_keys"
            return told(False, True, "key-not-accepted", f"no key of it is accepted any more: {next_step}")
        if held.keys() == {"minions"}:
            return told(False, True, "gone", "nobody has sent another key in its name")
        own, why = _own_fingers([host], masters)[host]
        if not own:
            next_step = "Next: docs/fleet.md, 'A reinstalled host'"
            detail = f"it could not be asked for its own key over SSH: {why}. {next_step}"
            return told(False, False, "key-not-vouched", detail)
        if own == _finger(held["minions"][host]):
            detail = "the accepted key is the host's own: somebody else uses its name"
            return told(False, True, "name-misused", detail)
        if not _replace(keys, host, own, begun + timeout):
            return told(
                False,
                False,
                "name-misused",
                f"the host's own key is {own}, and the master was not sent it within {timeout:g} s, but others in its name: "
                f"somebody else uses it. The accepted key stays. Next: find out who",
            )
    return told(True, True)


def denied(host):
    """
    See whether the master was really sent another key in a host's name, and have ``orch.heal`` decide. Called by the reactor.

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
    Accept the denied key with the fingerprint ``own`` in the place of the accepted one; tell whether it came in time.

    Never is there a moment without an accepted key: in it whoever sends one first would have his waiting for acceptance.
    """
    while True:
        denied = keys.key_str(host).get("minions_denied", {}).get(host, [])
        found = [one for one in ([denied] if isinstance(denied, str) else denied) if _finger(one) == own]
        if found:
            keys.cache.store(
                "denied_keys", host, found[:1]
            )  # Salt accepts the first of those that were denied
            keys.accept(match_dict={"minions_denied": [host]}, include_denied=True)
            # Whoever had the former key reads no job any more.
            salt.crypt.dropfile(__opts__["cachedir"], __opts__["user"], __opts__["id"])
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)


def _wait_sent(keys, wanted, timeout):
    """Return {id: {where it lies: public key}} of what the master was sent, once that is everything or time is over."""
    deadline = time.monotonic() + timeout
    while True:
        lying = {place: set(names) for place, names in keys.list_keys().items()}
        sent = [name for name in wanted if any(name in names for names in lying.values())]
        if len(sent) == len(wanted) or time.monotonic() >= deadline:
            return {name: {place: held[name] for place, held in keys.key_str(name).items()} for name in sent}
        time.sleep(_POLL)


def _own_fingers(names, masters):
    """Return {id: (fingerprint or "", why there is none)} of the keys that the hosts themselves hold."""
    own = {name: _local_finger() for name in names if name in masters}
    remote = [name for name in names if name not in masters]
    if not remote:
        return own
    read = ["cat", _OWN_KEY]
    if __opts__.get("roster_defaults", {}).get("sudo"):
        read = ["sudo", "-n", *read]  # a raw command runs as the user who logs in
    client = salt.client.ssh.client.SSHClient(mopts=dict(__opts__))
    options = {"tgt_type": "list", "raw_shell": True, "ssh_timeout": _SSH_TIMEOUT}
    answers = client.cmd(remote, read[0], read[1:], **options)
    return own | {name: _told_finger(answers.get(name)) for name in remote}


def _local_finger():
    try:
        return _finger(pathlib.Path(_OWN_KEY).read_text(encoding="ascii")), "no key in it"
    except OSError as exc:
        return "", f"{_OWN_KEY}: {exc.strerror}"


def _told_finger(answer):
    if not isinstance(answer, dict):
        return "", answer or "it is not in the plan"
    words = " ".join((answer.get("stderr") or answer.get("stdout") or "").split())
    finger = "" if answer.get("retcode") else _finger(answer.get("stdout", ""))
    return finger, words or f"exit code {answer.get('retcode')}"


def _verdict(name, held, own, why):
    """Return True for a key to accept, None where there is nothing to do, else why it is not accepted."""
    if not own:
        return f"the host could not be asked for its own key over SSH: {why}"
    fingers = {place: _finger(held[place]) for place in ("minions", "minions_pre") if place in held}
    if fingers.get("minions") == own:
        return None  # what was denied beside it is not the host's
    if fingers.get("minions_pre") == own:
        return True
    again = f"`salt-key -d {name}`, then `salt-run fanatico.accept_keys`"
    if "minions" in held:
        return (
            f"the host's own key is {own}, but {fingers['minions']} is accepted: "
            f"if the host was reinstalled, forget the old key and accept the new: {again}"
        )
    if "minions_pre" in held:
        return (
            f"the host's own key is {own}, but the master was sent {fingers['minions_pre']}: "
            f"somebody else uses its name. Find out who; then {again}"
        )
    return f"its key was rejected on this master before; if that was an error: {again}"


def _finger(key):
    """Return the fingerprint of a public key as `salt-call --local key.finger` prints it on the host; "" without one."""
    # `salt-key -f` of Salt 3008 hashes the lines around the key too: what it prints equals nothing printed elsewhere.
    found = re.search(r"-----BEGIN PUBLIC KEY-----\s+(\S.*?)-----END", key, re.DOTALL)
    return salt.utils.crypt.pem_finger(key="".join(f"{line}\n" for line in found[1].split())) if found else ""
