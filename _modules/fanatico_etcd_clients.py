"""
Which hosts may connect to etcd on this node while ``orch.recover_etcd`` rebuilds it: at first none, then the primary alone.

The rules are an nftables table of their own, before the firewall's. They are stored, so a reboot does not open etcd too early.
"""

import pathlib
import pwd
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_file
import fanatico_firewall
import fanatico_plan
import fanatico_probe

__virtualname__ = "fanatico_etcd"

RULES = "/etc/fanatico/etcd-clients.nft"  # fanatico-firewall.service loads it at boot


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def restrict_clients(admitted: list[str] | None = None) -> list[str]:
    """
    Let only the etcd hosts, and the hosts in ``admitted``, connect to etcd on this node, until ``allow_clients``.

    admitted
        Ids of database hosts of the plan.

    Returns ``admitted``. Raises ``CommandExecutionError`` for a host that is not in the plan, and if nftables refuses the rules.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.restrict_clients '[db1]'
    """
    plan, admitted = __pillar__["plan"], list(admitted or [])
    unknown = [node for node in admitted if node not in plan["nodes"]]
    if unknown:
        raise CommandExecutionError(f"{_me()}: {', '.join(unknown)}: not in plan:nodes. Nothing was changed")
    etcd = fanatico_plan.addresses(plan, "etcd").values()
    sources = [*etcd, *(fanatico_plan.address(plan, node) for node in admitted)]
    local = None if _me() in admitted else _postgres()
    rules = fanatico_firewall.etcd_clients(plan["ports"]["etcd_client"], sources, local, admitted)
    fanatico_file.replace(RULES, rules, 0o600)
    _nft("-f", RULES)
    return admitted


def allow_clients() -> bool:
    """
    Remove the rules of ``restrict_clients``: the firewall alone decides again. Returns whether there were any.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.allow_clients
    """
    restricted = clients() is not None
    table = f"table inet {fanatico_firewall.ETCD_TABLE}"
    _nft(f"{table}; delete {table}")  # the first part creates a missing table, so that there is one to delete
    pathlib.Path(RULES).unlink(missing_ok=True)
    return restricted


def clients() -> list[str] | None:
    """
    Return the database hosts that may connect to etcd on this node; None if no rules of ``restrict_clients`` exist.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_etcd.clients
    """
    try:
        return fanatico_firewall.admitted(pathlib.Path(RULES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _postgres():
    """Return the user id of Patroni on this host; None if it has none."""
    try:
        return pwd.getpwnam("postgres").pw_uid
    except KeyError:
        return None


def _nft(*arguments):
    try:
        done = fanatico_probe.run("nft", *arguments)
    except (OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{_me()}: nft {' '.join(arguments)}: {exc}") from exc
    if done.returncode:
        raise CommandExecutionError(f"{_me()}: nft {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
