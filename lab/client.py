"""Credentials and CA certificates with which a client on this machine connects: files in the lab's folder, for root."""

import os
from pathlib import Path
from typing import NamedTuple

ROLE = "fanatico"  # of PostgreSQL: the application's
STATISTICS_USER = "admin"  # of HAProxy's statistics


class Files(NamedTuple):
    """Paths: the CA certificates of PostgreSQL and of HAProxy's statistics, and the password files of libpq and curl."""

    authority: Path
    edge: Path
    passfile: Path
    netrc: Path


def files(lab):
    """Return the paths of a lab's client files, whether or not they exist."""
    folder = lab.folder / "client"
    return Files(folder / "service-ca.crt", folder / "edge-ca.crt", folder / "pgpass", folder / "netrc")


def psql(lab, replica=False):
    """Return (command line, environment) of psql on a database machine of the lab, as the application user.

    :param replica: connect to a replica, not to the leader.
    :raises LabError: when the master, which has the password, is off.
    """
    node = lab.nodes("patroni")[0]
    pillar = lab.pillars(node)[node]
    port = lab.plan["ports"]["postgres_replica" if replica else "postgres_primary"]
    words = {
        "host": lab.plan["virtual_ip"]["address"],
        "port": port,
        "dbname": pillar["postgresql"]["database"],
        "user": ROLE,
        "sslmode": "verify-full",
        "sslrootcert": "/etc/patroni/pki/service-ca.crt",
    }
    # Every user can read the arguments of a process; only root and its owner can read its environment.
    password = pillar["secrets"]["POSTGRES_FANATICO_PASSWORD"]
    return ["psql", " ".join(f"{key}={value}" for key, value in words.items())], {"PGPASSWORD": password}


def write_files(lab):
    """Write a lab's client files from the master's present pillar; return the name of the application's database.

    :raises LabError: when the master is off.
    """
    node, balancer = lab.nodes("patroni")[0], lab.nodes("haproxy")[0]
    pillars = lab.pillars(node, balancer)
    mine, paths = pillars[node], files(lab)
    paths.authority.parent.mkdir(exist_ok=True)
    paths.authority.write_text(mine["pki"]["trust"]["service"])
    paths.edge.write_text(pillars[balancer]["pki"]["trust"]["edge"])
    name = mine["postgresql"]["database"]
    password = mine["secrets"]["POSTGRES_FANATICO_PASSWORD"]
    _write_private(paths.passfile, f"*:*:{escaped(name)}:{ROLE}:{escaped(password)}\n")
    password = pillars[balancer]["secrets"]["HAPROXY_STATS_PASSWORD"]
    address = lab.plan["virtual_ip"]["address"]
    _write_private(paths.netrc, f"machine {address} login {STATISTICS_USER} password {password}\n")
    return name


def escaped(text):
    """Escape a field of libpq's password file, where colon and backslash are special."""
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _write_private(path, text):
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.rename(path)
