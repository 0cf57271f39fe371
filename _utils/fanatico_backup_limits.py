"""
Validate the settings of the backups: those that are incomplete or contradict each other. Pure; see ``fanatico_validate``.
"""

import ipaddress

import fanatico_plan

_get = fanatico_plan.present
_NEEDED = ("endpoint", "region", "bucket")


def s3_faults(pillar):
    """Yield ``(path, text)`` for a repository in S3 that could not be used. Any key of ``pillar`` may be missing."""
    found = _get(pillar, "backup:s3", {})
    given = [name for name in _NEEDED if found.get(name)]
    if not given:
        return
    for name in _NEEDED:
        if found.get(name) == "":
            yield (
                ["backup", "s3", name],
                f"empty, but {given[0]} is set; a repository in S3 needs endpoint, region and bucket",
            )
    nodes = _get(pillar, "plan:nodes", {})
    if nodes and not any(fanatico_plan.held(node.get("roles", ()), "backup") for node in nodes.values()):
        text = "no node has the role backup, and only such a host talks to S3"
        yield ["backup", "s3", "bucket"], f"{text}; give the role to a node, or remove backup:s3"
    yield from _endpoint_faults(pillar, found)


def _endpoint_faults(pillar, found):
    endpoint = str(found.get("endpoint", ""))
    if found.get("ca") and found.get("verify") is False:
        text = "false, but ca is set: the certificate would not be compared with it"
        yield ["backup", "s3", "verify"], f"{text}; remove one of the two"
    if found.get("uri_style") == "host" and _is_address(endpoint):
        text = f"host, but {endpoint} is an address: there is no name {found.get('bucket')}.{endpoint}"
        yield ["backup", "s3", "uri_style"], f"{text}; use path"
    if found.get("uri_style") == "host" and "." in str(found.get("bucket", "")) and found.get("verify"):
        text = f"host, but a certificate for *.{endpoint} does not match the bucket's name with a dot"
        yield ["backup", "s3", "uri_style"], f"{text}; use path, or another bucket"
    node = next(
        (name for name, node in _get(pillar, "plan:nodes", {}).items() if node.get("address") == endpoint),
        None,
    )
    opened = _get(pillar, "firewall:allow")
    if node and opened is not None and found.get("port") not in [extra.get("port") for extra in opened]:
        text = f"{endpoint} is {node}, whose firewall lets nobody connect to port {found.get('port')}"
        yield ["backup", "s3", "endpoint"], f"{text}; add the port to firewall:allow"


def _is_address(text):
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def space_faults(pillar):
    """Yield ``(path, text)`` for limits of the remaining time in the wrong order."""
    early, late = _get(pillar, "backup:wal_left"), _get(pillar, "backup:wal_left_critical")
    if early is not None and late is not None and late >= early:
        text = f"{late} is not less than backup:wal_left, so health would never be degraded before it is critical"
        yield ["backup", "wal_left_critical"], f"{text}; use at most {early - 1}"


CHECKS = (s3_faults, space_faults)
