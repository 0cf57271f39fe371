"""
This node's firewall: derive the rules from the plan and load them with an automatic rollback.

Only the table ``inet fanatico`` is managed; other tables on the host are not touched.
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

CONFIRMED = "/etc/fanatico/firewall.nft"  # fanatico-firewall.service loads it at boot
WORK = "/run/fanatico-firewall"
# The rules as the kernel lists them; written after every load, here and by the unit.
LISTED = f"{WORK}/listed"
TIMER = "fanatico-firewall-rollback"
EMPTY = "table inet fanatico\ndelete table inet fanatico\n"
PUBLISH_PORT, MASTER_PORT = 4505, 4506
MASTER_CONFIG = "/etc/salt/master"
MINION_TIMEOUT = 8  # seconds for the minions to answer whether they reach the master


class _NotFound(CommandExecutionError):
    """The object of a command does not exist."""


def _me():
    return __opts__["id"]


def _plan():
    return fanatico_plan.complete(__pillar__["plan"])


def _settings():
    return fanatico_firewall.settings(__pillar__)


def flows() -> list[dict]:
    """
    Return all connections that the plan allows between hosts, ``[{"name", "protocol", "port", "to", "from"}]``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.flows
    """
    return fanatico_firewall.flows(_plan(), _settings())


def wanted() -> str:
    """
    Return this node's rules as the text of an nftables file.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.wanted
    """
    return fanatico_firewall.ruleset(_plan(), _settings(), _me())


def present() -> str:
    """
    Return the confirmed rules (loaded, and the master was still reachable) as text; empty if there are none.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.present
    """
    path = pathlib.Path(CONFIRMED)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def state() -> str:
    """
    Return the state of the firewall.

    ``in force``; ``none``: no rules were ever loaded; ``outdated``: the plan has changed since; ``touched``: the rules in the
    kernel differ from those that were loaded.

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


def blocked_addresses() -> list[str]:
    """
    Return the addresses that the rules in force block completely (``plan:evicted``); empty if the rules were changed by hand.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_firewall.blocked_addresses
    """
    return fanatico_firewall.blocked_addresses(present()) if _untouched() else []


def missing() -> str:
    """
    Return that our table was removed from the kernel, for example by ``nft flush ruleset``; empty if it is loaded or never was.

    Changed rules are reported by health (``node.firewall``), not restored.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_firewall.missing
    """
    if not present():
        return ""
    listed = fanatico_probe.run("nft", "list", "tables", "inet", timeout=5)
    if listed.returncode or "table inet fanatico\n" in listed.stdout:
        return ""
    return "the table inet fanatico is not loaded: this host has no firewall"


def load_again(timeout: float = 30) -> str:
    """
    Load the confirmed rules again and return what was done. ``fanatico_cure.apply`` probes before and after.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_firewall.load_again
    """
    fanatico_probe.run("systemctl", "restart", "fanatico-firewall", timeout=timeout)
    return "the confirmed rules loaded again"


def _untouched():
    """Return whether the rules in the kernel are those that were loaded."""
    listed = pathlib.Path(LISTED)
    return listed.exists() and listed.read_text(encoding="utf-8") == _listed()


def apply(timeout: float = 10) -> bool:
    """
    Load this node's rules and return True. The old rules are restored unless the master can be reached through the new ones.

    timeout
        Seconds in which a new connection to the master must succeed.

    On the master itself, every connected host that could open a new connection before must be able to afterwards.

    A systemd timer restores the old rules if this process or the minion dies before the new rules are confirmed. Raises
    ``CommandExecutionError``, with the old rules in force, if nftables refuses the new rules, if they would cut off a running
    ssh session, or if the master cannot be reached through them.

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
    # The kernel's listing can be loaded too, but is listed slightly differently afterwards.
    before = present() if _untouched() else ""
    rollback.write_text(before or EMPTY + _listed(), encoding="utf-8")
    _nft("-c", "-f", str(candidate))
    reachable = _hosts_reaching_master()
    _arm(rollback, timeout + 20 + 2 * MINION_TIMEOUT)
    try:
        _nft("-f", str(candidate))
        lost = reachable - _hosts_reaching_master() if reachable else set()
        if lost:
            raise CommandExecutionError(
                f"{_me()}: rolled back to the old firewall rules: with the new rules {', '.join(sorted(lost))} could not open a "
                f"new connection to this master within {MINION_TIMEOUT} s. "
                f"Next: compare `salt-call --local fanatico_firewall.wanted` with the addresses of these hosts"
            )
        unreachable = _unreachable_masters(timeout)
        if unreachable:
            raise CommandExecutionError(
                f"{_me()}: rolled back to the old firewall rules: with the new rules the master at {', '.join(unreachable)} "
                f"could not be reached within {timeout} s. "
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
    """Save the rules for the next boot, and how the kernel lists them."""
    target = pathlib.Path(CONFIRMED)
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = target.with_suffix(".new")
    new.write_text(rules, encoding="utf-8")
    new.chmod(0o644)
    new.replace(target)
    pathlib.Path(LISTED).write_text(_listed(), encoding="utf-8")


def _nft(*arguments):
    return _run(["nft", *arguments])


def _listed():
    """Return our table without its counters; empty if it is not loaded."""
    try:
        return _nft("--stateless", "list", "table", "inet", "fanatico")
    except _NotFound:
        return ""


def _run(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CommandExecutionError(f"{_me()}: `{argv[0]}` could not be run: {exc}") from exc
    if done.returncode:
        # The text of ENOENT: nft has one exit code for all errors.
        kind = _NotFound if "No such file or directory" in done.stderr else CommandExecutionError
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
    )  # no timer: nothing to stop


def _unreachable_masters(timeout):
    """Return the masters' addresses that accept no new connection, without this node's own."""
    plan = __pillar__["plan"]
    if __opts__.get("file_client") == "local":
        return []  # without a master: no connection to lose
    masters = {address for name, address in fanatico_plan.addresses(plan, "master").items() if name != _me()}

    def check():
        unreachable = sorted(address for address in masters if not _connects(address, MASTER_PORT))
        return not unreachable, unreachable

    done, unreachable = fanatico_wait.until(check, timeout, interval=0.5)
    return [] if done else unreachable


def _connects(address, port, timeout=2):
    try:
        socket.create_connection((address, port), timeout).close()
    except OSError:
        return False
    return True


def _refuse_to_lock_out():
    """Raise if the new rules would block a running ssh session, or the port that sshd listens on."""
    settings, plan = _settings(), _plan()
    if _me() not in plan["nodes"]:
        return  # wanted() has refused it
    port = settings["ssh_port"]
    listening = fanatico_firewall.sshd_ports(_run(["ss", "-Htlnp"]))
    if listening and not listening & fanatico_firewall.open_ports(plan, settings, _me()):
        raise CommandExecutionError(
            f"{_me()}: sshd listens on port {', '.join(map(str, sorted(listening)))}, but the firewall would allow ssh only on "
            f"port {port}; nothing was changed. Next: set firewall:ssh_port in the pillar"
        )
    connections = _run(["ss", "-Htnp", "state", "established"])
    sessions = fanatico_firewall.sessions_of(connections, [port])
    lost = sorted(set(fanatico_firewall.lost_sessions(plan, settings, _me(), sessions)))
    if lost:
        who = ", ".join(f"{peer} (to port {there})" for _, there, peer in lost)
        raise CommandExecutionError(
            f"{_me()}: the firewall would block the running ssh session from {who}: it allows ssh on port {port} from the master "
            "and from firewall:admin, over IPv4; nothing was changed. Next: add that network to firewall:admin or set "
            "firewall:ssh_port in the pillar, or end the session"
        )


def _hosts_reaching_master():
    """
    Return the other hosts of the plan that can open a new connection to this master; empty if this node is no master.

    Only connected hosts are tested: a host that is down cannot be lost.
    """
    plan = _plan()
    address = plan["nodes"].get(_me(), {}).get("address")
    masters = fanatico_plan.addresses(plan, "master")
    if __opts__.get("file_client") == "local" or _me() not in masters:
        return set()
    connections = _run(["ss", "-Htn", "state", "established", f"sport = :{PUBLISH_PORT}"])
    connected = {peer for _, _, peer in fanatico_firewall.sessions_of(connections, [PUBLISH_PORT])}
    ids = [name for name, node in plan["nodes"].items() if name != _me() and node["address"] in connected]
    opts = salt.config.client_config(MASTER_CONFIG)
    answers = fanatico_sweep.fanout(
        opts, ids, "network.connect", [address, MASTER_PORT], timeout=MINION_TIMEOUT
    )
    return {
        name for name, answer in answers.items() if isinstance(answer, dict) and answer.get("result") is True
    }
