"""What a client on this machine needs to be let in and to be sure of the server: files in the lab's folder, for root."""

import os
from pathlib import Path
from typing import NamedTuple

ROLE = "fanatico"  # of PostgreSQL: the application's
STATISTICS_USER = "admin"  # of HAProxy's statistics


class Files(NamedTuple):
    """Paths: the authorities of PostgreSQL and of HAProxy's statistics, and passwords as libpq and curl read them."""

    authority: Path
    edge: Path
    passfile: Path
    netrc: Path


def files(lab):
    """Return the paths of a lab's client files, whether they are there or not."""
    folder = lab.folder / "client"
    return Files(folder / "service-ca.crt", folder / "edge-ca.crt", folder / "pgpass", folder / "netrc")


def psql(lab, replica=False):
    """Return (command line, environment) of a psql on a database machine of the lab, as the application.

    :param replica: ask a replica, not the primary.
    :raises LabError: when the master, which knows the password, is off.
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
    # In an environment, unlike in arguments, only root and the process itself can read it.
    password = pillar["secrets"]["POSTGRES_FANATICO_PASSWORD"]
    return ["psql", " ".join(f"{key}={value}" for key, value in words.items())], {"PGPASSWORD": password}


def write_files(lab):
    """Write a lab's client files as the master's pillar is now; return the name of the application's database.

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
    """Return a field of libpq's password file, which gives the colon and the backslash a meaning."""
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _write_private(path, text):
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.rename(path)
