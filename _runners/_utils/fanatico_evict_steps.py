"""
Decide which steps ``orch.evict`` takes for a host. Pure.

A step is ``(title, kind, arguments)``, as ``fanatico_orch`` writes them into an SLS.
"""

from fanatico_host_steps import runner


def refused(reason):
    """Return the only step of an eviction that must not begin: it fails with ``reason``."""
    return [runner("Check whether the host can be evicted", "fanatico.evict_refused", reason=str(reason))]


def isolate(host, hosts, timeout):
    """
    Return the steps that cut a host off from the network.

    They come first and wait for no host: a host that does not answer fails them only after all others have blocked ``host``.

    host
        The minion id.
    hosts
        The ids of all nodes of the plan.
    timeout
        Seconds for the firewalls.
    """
    reject = runner(f"Reject the minion key of {host}", "fanatico.evict_key", host=host, acts=True)
    block = {"tgt": hosts, "tgt_type": "list", "sls": "firewall", "queue": True, "timeout": timeout}
    return [reject, (f"Block {host} in every firewall", "state", block)]


def replace(scope, etcd_host, timeouts):
    """
    Return the steps after the isolation: remove the host from the clusters, and replace what it knew.

    An interrupted rotation is finished first: the host may know its new values, or a new authority may have signed for the host.
    Then everything that the host knew is replaced once more.

    scope
        What ``fanatico.evict_scope`` returned.
    etcd_host
        The node that is asked for the quorum of etcd.
    timeouts
        ``orch:timeouts``, in seconds.
    """
    host, unsettled = scope["host"], scope["unsettled"]
    steps = [
        (
            "Sync the modules of every host",
            "runner",
            {"name": "fanatico.sync_modules", "timeout": timeouts["modules"]},
        )
    ]
    if {"etcd", "patroni"} & set(scope["roles"]):
        quorum = {"name": "fanatico_etcd.wait_quorum", "tgt": etcd_host, "timeout": timeouts["ready"]}
        steps.append(("Wait for the quorum of etcd", "function", quorum))
        # A leader that is cut off cannot refuse: its key is deleted, and a replica is promoted.
        steps.append(
            runner(f"Remove {host} from etcd and Patroni", "fanatico.evict_forget", host=host, acts=True)
        )
    steps.append(_orchestration(f"Deploy without {host}", "deploy"))
    if scope["secrets"]:
        if unsettled["secrets"]:
            steps.append(_orchestration("Finish the interrupted rotation of secrets", "rotate_secrets"))
        pillar = {"rotate": scope["secrets"]}
        steps.append(
            _orchestration(f"Replace every secret that {host} knew", "rotate_secrets", pillar=pillar)
        )
    if scope["certificates"]:
        if unsettled["authorities"]:
            steps.append(_orchestration("Finish the interrupted rotation of certificates", "rotate_certs"))
        steps.append(_orchestration("Replace every certificate and authority", "rotate_certs"))
    return [*steps, runner(f"Prove that {host} is evicted", "fanatico.evicted", host=host)]


def result(scope):
    """Return what was done, for the history."""
    certificates = " and all certificates" if scope["certificates"] else ""
    return f"evicted, {len(scope['secrets'])} secrets{certificates} replaced"


def _orchestration(title, name, **arguments):
    return title, "orchestration", {"name": f"orch.{name}", **arguments}
