"""
This node's firewall: the rules that follow from the plan, loaded so that nobody is locked out by them.

Only the table ``inet fanatico`` is ours; other tables on the host stay as they are.
"""

import pathlib
import socket
import subprocess

import salt.config
from salt.exceptions import CommandExecutionError

import fanatico_firewall
import fanatico_plan
import fanatico_probe
import fanatico_sweep
import fanatico_wait

CONFIRMED = "/etc/fanatico/firewall.nft"  # what fanatico-firewall.service loads at boot
WORK = "/run/fanatico-firewall"
# As the kernel lists the rules it was given; written after every load, here and by the unit.
LISTED = f"{WORK}/listed"
TIMER = "fanatico-firewall-rollback"
EMPTY = "table inet fanatico\ndelete table inet fanatico\n"
PUBLISH_PORT, MASTER_PORT = 4505, 4506
MASTER_CONFIG = "/etc/salt/master"
ASKED = 8  # seconds for the minions to answer whether they reach the master


class _NotThere(CommandExecutionError):
    """A program does not find what it was asked for."""


def _me():
    return __opts__["id"]


def _plan():
    return fanatico_plan.complete(__pillar__["plan"])


def _settings():
    return fanatico_firewall.settings(__pillar__)


def flows():
    """
    Return every connection the plan allows between hosts, ``[{"name", "protocol", "port", "to", "from"}]``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.flows
    """
    return fanatico_firewall.flows(_plan(), _settings())


def wanted():
    """
    Return this node's rules as the text of an nftables file.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.wanted
    """
    return fanatico_firewall.ruleset(_plan(), _settings(), _me())


def present():
    """
    Return the rules that were loaded last and proved harmless, as text; empty where there were none.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.present
    """
    path = pathlib.Path(CONFIRMED)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def state():
    """
    Return how the firewall is: ``in force``; ``none`` (never loaded), ``outdated`` (the plan wants others by now),
    ``touched`` (the kernel does not hold what was loaded).

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_firewall.state
    """
    confirmed = present()
    if not confirmed:
        return "none"
    if confirmed != wanted():
        return "outdated"
    return "in force" if _untouched() else "touched"


def barred():
    """
    Return the addresses that the rules in force shut out altogether, those under ``plan:evicted``; none where other rules are.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_firewall.barred
    """
    return fanatico_firewall.blocked_addresses(present()) if _untouched() else []


def gone():
    """
    Return that somebody has flushed nftables, by hand or by its own unit; empty where our table is there, or never was.

    Rules that were changed are shown by health, not undone.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_firewall.gone
    """
    if not present():
        return ""
    listed = fanatico_probe.run("nft", "list", "tables", "inet", timeout=5)
    if listed.returncode or "table inet fanatico\n" in listed.stdout:
        return ""
    return "the table inet fanatico is not in the kernel: this host has no firewall"


def load_again(timeout=30):
    """
    Load the rules again that were in force, and return what was done. ``fanatico_cure.apply`` looks before and after.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.load_again
    """
    fanatico_probe.run("systemctl", "restart", "fanatico-firewall", timeout=timeout)
    return "the confirmed rules loaded again"


def _untouched():
    """Tell whether the kernel lists our rules as it did when they were loaded."""
    listed = pathlib.Path(LISTED)
    return listed.exists() and listed.read_text(encoding="utf-8") == _listed()


def apply(timeout=10):
    """
    Load this node's rules; return True. What was loaded before comes back by itself unless the master answers.

    timeout
        Seconds in which a new connection to the master must succeed.

    On the master itself, each host of the plan that is connected and can make a new connection before must be able to after.

    A timer of systemd puts the old rules back should this process, or the whole minion, not live to say that all is
    well. Raises ``CommandExecutionError`` with the old rules in force: where nftables refuses the new ones, where they
    would cut off somebody who is logged in by ssh, and where the master could not be reached through them.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.apply
    """
    rules = wanted()
    _refuse_to_lock_out()
    work = pathlib.Path(WORK)
    work.mkdir(mode=0o700, exist_ok=True)
    candidate, rollback = work / "candidate.nft", work / "rollback.nft"
    candidate.write_text(rules, encoding="utf-8")
    # The kernel's own listing can be loaded as well, but reads a little differently after that.
    before = present() if _untouched() else ""
    rollback.write_text(before or EMPTY + _listed(), encoding="utf-8")
    _nft("-c", "-f", str(candidate))
    before_through = _through()
    _arm(rollback, timeout + 20 + 2 * ASKED)
    try:
        _nft("-f", str(candidate))
        lost = before_through - _through() if before_through else set()
        if lost:
            raise CommandExecutionError(
                f"{_me()}: with the new firewall rules {', '.join(sorted(lost))} could make no new connection to this master "
                f"within {ASKED} s, so the old ones are back in force. "
                f"Next: compare `salt-call --local fanatico_firewall.wanted` with the addresses these hosts have"
            )
        unreachable = _unreachable_masters(timeout)
        if unreachable:
            raise CommandExecutionError(
                f"{_me()}: with the new firewall rules the master at {', '.join(unreachable)} could not be reached "
                f"within {timeout} s, so the old ones are back in force. "
                f"Next: compare `salt-call --local fanatico_firewall.wanted` with the plan's addresses"
            )
    except CommandExecutionError:
        _nft("-f", str(rollback))
        raise
    finally:
        _disarm()
    _confirm(rules)
    return True


def _confirm(rules):
    """Make the rules those of the next boot, and remember how the kernel lists them."""
    target = pathlib.Path(CONFIRMED)
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = target.with_suffix(".new")
    new.write_text(rules, encoding="utf-8")
    new.chmod(0o644)
    new.replace(target)
    pathlib.Path(LISTED).write_text(_listed(), encoding="utf-8")


def _nft(*words):
    return _run(["nft", *words])


def _listed():
    """Return our table without its counters, empty where it is not loaded."""
    try:
        return _nft("--stateless", "list", "table", "inet", "fanatico")
    except _NotThere:
        return ""


def _run(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CommandExecutionError(f"{_me()}: `{argv[0]}` could not be run: {exc}") from exc
    if done.returncode:
        # The kernel's words for ENOENT; nft has one exit code for all that it cannot do.
        kind = _NotThere if "No such file or directory" in done.stderr else CommandExecutionError
        raise kind(f"{_me()}: `{' '.join(argv)}` failed: {done.stderr.strip()[:600]}")
    return done.stdout


def _arm(rollback, seconds):
    _disarm()
    _run(
        [
            "systemd-run",
            "--quiet",
            f"--unit={TIMER}",
            f"--on-active={seconds}",
            "--timer-property=AccuracySec=1s",
            "/usr/sbin/nft",
            "-f",
            str(rollback),
        ]
    )


def _disarm():
    subprocess.run(
        ["systemctl", "stop", f"{TIMER}.timer"], capture_output=True, timeout=20, check=False
    )  # not there: nothing to stop


def _unreachable_masters(timeout):
    """Return the masters' addresses that take no new connection; this node's own do not count."""
    plan = __pillar__["plan"]
    if __opts__.get("file_client") == "local":
        return []  # no master put these rules here, so none can be lost with them
    masters = {address for name, address in fanatico_plan.addresses(plan, "master").items() if name != _me()}

    def look():
        silent = sorted(address for address in masters if not _connects(address, MASTER_PORT))
        return not silent, silent

    done, silent = fanatico_wait.until(look, timeout, interval=0.5)
    return [] if done else silent


def _connects(address, port, timeout=2):
    try:
        socket.create_connection((address, port), timeout).close()
    except OSError:
        return False
    return True


def _refuse_to_lock_out():
    """Raise where a person is logged in by ssh who could not come in again through the new rules."""
    settings, plan = _settings(), _plan()
    if _me() not in plan["nodes"]:
        return  # which wanted() has refused
    port = settings["ssh_port"]
    doors = fanatico_firewall.sshd_ports(_run(["ss", "-Htlnp"]))
    if doors and not doors & fanatico_firewall.open_ports(plan, settings, _me()):
        raise CommandExecutionError(
            f"{_me()}: sshd listens at port {', '.join(map(str, sorted(doors)))}, and the firewall would take ssh at port {port} "
            "alone; nothing was changed. Next: set firewall:ssh_port in the pillar"
        )
    told = _run(["ss", "-Htnp", "state", "established"])
    sessions = fanatico_firewall.sessions_of(told, [port])
    lost = sorted(set(fanatico_firewall.lost_sessions(plan, settings, _me(), sessions)))
    if lost:
        who = ", ".join(f"{peer} (to port {there})" for _, there, peer in lost)
        raise CommandExecutionError(
            f"{_me()}: somebody is logged in by ssh from {who}, whom the firewall would shut out: it takes ssh at port {port} "
            "from the master and from firewall:admin, by IPv4; nothing was changed. Next: add their network to firewall:admin, "
            "or the port as firewall:ssh_port, in the pillar, or end that session"
        )


def _through():
    """
    Return the other hosts of the plan that make a new connection to this master; empty where this is none.

    Only those that have one now are asked: a host that is down cannot be lost.
    """
    plan = _plan()
    address = plan["nodes"].get(_me(), {}).get("address")
    masters = fanatico_plan.addresses(plan, "master")
    if __opts__.get("file_client") == "local" or _me() not in masters:
        return set()
    told = _run(["ss", "-Htn", "state", "established", f"sport = :{PUBLISH_PORT}"])
    connected = {peer for _, _, peer in fanatico_firewall.sessions_of(told, [PUBLISH_PORT])}
    ids = [name for name, node in plan["nodes"].items() if name != _me() and node["address"] in connected]
    opts = salt.config.client_config(MASTER_CONFIG)
    answers = fanatico_sweep.fanout(opts, ids, "network.connect", [address, MASTER_PORT], timeout=ASKED)
    return {name for name, told in answers.items() if isinstance(told, dict) and told.get("result") is True}
