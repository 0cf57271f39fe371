"""
Validate PostgreSQL's parameters and connection limits: contradictions, lost writes, parameters with no effect. No I/O.

Each check gets a pillar that matches the schema; any key may be missing.
"""

import fanatico_capacity
import fanatico_plan

_PARAMETERS_ELSEWHERE = {
    "port": "the port is plan:ports:postgres",
    "listen_addresses": "PostgreSQL listens on the address in plan:nodes",
    "cluster_name": "Patroni sets it",
    "data_directory": "set postgresql:data_dir instead",
    "hba_file": "the rules derive from the plan's networks",
    "hot_standby": "Patroni sets it to on",
    "primary_conninfo": "Patroni sets it",
    "synchronous_standby_names": "Patroni sets it, see patroni:dynamic:synchronous_mode",
}
# PostgreSQL's defaults, for parameters that the pillar does not set.
_LIMITS = {
    "max_connections": 100,
    "superuser_reserved_connections": 3,
    "reserved_connections": 0,
    "max_wal_senders": 10,
    "max_replication_slots": 10,
}
# Connections for the cluster's own roles, besides the reserved ones: canaries of the database hosts, a proof, a drill, operators.
_OWN_CONNECTIONS = 14
_OWN_DATABASES = ("fanatico_proof", "postgres", "template0", "template1")
_NO = ("off", "false", "no", "0")
_PARAMETERS_THAT_LOSE_WRITES = {"fsync": _NO, "full_page_writes": _NO, "synchronous_commit": (*_NO, "local")}


def _postgresql_faults(pillar):
    for name, value in fanatico_plan.present(pillar, "postgresql:parameters", {}).items():
        path = ["postgresql", "parameters", name]
        if name in _PARAMETERS_ELSEWHERE:
            yield path, f"has no effect here; {_PARAMETERS_ELSEWHERE[name]}"
        elif str(value).lower() in _PARAMETERS_THAT_LOSE_WRITES.get(name, ()):
            yield path, f"{value} would lose acknowledged writes in a crash; remove the parameter"


def application_connections(pillar):
    """
    Return the connection limit of the application's role: the value in the pillar, or the rest of max_connections.

    pillar
        With ``postgresql:application:connections`` and ``postgresql:parameters``; both are optional.
    """
    wanted = fanatico_plan.present(pillar, "postgresql:application:connections")
    return wanted if wanted is not None else max(1, _limits(pillar)["max_connections"] - _kept(pillar))


def _limits(pillar):
    """Return the limits that PostgreSQL will use; a value that is not a number counts as PostgreSQL's default."""
    given = fanatico_plan.present(pillar, "postgresql:parameters", {})
    return {
        name: int(given[name]) if str(given.get(name)).isdecimal() else own for name, own in _LIMITS.items()
    }


def _kept(pillar):
    """Return the number of connections that the application cannot use."""
    limits = _limits(pillar)
    return limits["superuser_reserved_connections"] + limits["reserved_connections"] + _OWN_CONNECTIONS


def _connection_faults(pillar):
    """Yield contradictory limits, with which the cluster's own roles could not connect."""
    if fanatico_plan.present(pillar, "postgresql") is None:
        return
    limits, kept, wanted = _limits(pillar), _kept(pillar), application_connections(pillar)
    parameters, where = ["postgresql", "parameters"], ["postgresql", "application", "connections"]
    if limits["max_connections"] <= kept:
        text = f"{limits['max_connections']} leaves no connection for the application: {kept} belong to the cluster's own roles"
        yield [*parameters, "max_connections"], f"{text}; use at least {kept + 1}"
    elif wanted + kept > limits["max_connections"]:
        text = f"{wanted} and the {kept} of the cluster's own roles are more than max_connections ({limits['max_connections']})"
        most = limits["max_connections"] - kept
        yield (
            where,
            f"{text}; use at most {most}, null for that, or raise postgresql:parameters:max_connections",
        )
    # The pillar of a database node has no settings of the balancers.
    maxconn = fanatico_plan.present(pillar, "haproxy:maxconn", 1 << 20)
    port = fanatico_capacity.databases(maxconn)["port"]
    needed = wanted + _OWN_CONNECTIONS
    if port < needed:
        text = (
            f"{maxconn} leaves each port of the databases {port} connections, less than the application's {wanted} "
            f"and {_OWN_CONNECTIONS} of the cluster's own roles: proofs could not connect"
        )
        yield (
            ["haproxy", "maxconn"],
            f"{text}; use at least {needed * fanatico_capacity.PORTS}, or lower {':'.join(where)}",
        )
    members = len(_members(pillar))
    for name, least, why in (
        ("max_wal_senders", members + 1, "the other members stream, and a clone uses two"),
        ("max_replication_slots", members, "each member uses one"),
    ):
        if limits[name] < least:
            yield (
                [*parameters, name],
                f"{limits[name]} is too few for {members} members: {why}; use at least {least}",
            )


def _database_faults(pillar):
    name = fanatico_plan.present(pillar, "postgresql:database")
    if name in _OWN_DATABASES:
        yield (
            ["postgresql", "database"],
            f"{name} is reserved for the cluster; use another name for the application",
        )


def _members(pillar):
    nodes = fanatico_plan.present(pillar, "plan:nodes", {})
    return [name for name, node in nodes.items() if "patroni" in node.get("roles", ())]


CHECKS = (_postgresql_faults, _database_faults, _connection_faults)
