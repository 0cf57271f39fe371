"""Which steps an eviction takes, by the roles of the host and by what an earlier rotation left."""

import pytest

import fanatico_evict_steps as evict

TIMEOUTS = {"modules": 1, "ready": 2}


def scope(roles, secrets=(), certificates=True, unsettled=(False, False)):
    return {
        "host": "x1",
        "roles": roles,
        "secrets": list(secrets),
        "certificates": certificates,
        "unsettled": dict(zip(("secrets", "authorities"), unsettled, strict=True)),
    }


def names(**options):
    return [arguments["name"] for _, _, arguments in evict.replace(scope(**options), "etcd1", TIMEOUTS)]


def test_the_key_and_the_network_come_first():
    (reject, block) = evict.isolate("x1", ["etcd1", "db1"], 9)
    assert reject == (
        "Reject the minion key of x1",
        "runner",
        {"name": "fanatico.evict_key", "host": "x1", "acts": True},
    )
    title, kind, arguments = block
    assert (title, kind, arguments["sls"]) == ("Block x1 in every firewall", "state", "firewall")
    assert (arguments["tgt"], arguments["tgt_type"], arguments["timeout"]) == (["etcd1", "db1"], "list", 9)


@pytest.mark.parametrize(
    ("roles", "removed"), [(["etcd"], True), (["patroni"], True), (["haproxy"], False), (["rpc"], False)]
)
def test_members_are_removed_before_the_deploy(roles, removed):
    removal = ["fanatico_etcd.wait_quorum", "fanatico.evict_forget"] if removed else []
    assert names(roles=roles, certificates=False) == [
        "fanatico.sync_modules",
        *removal,
        "orch.deploy",
        "fanatico.evicted",
    ]


@pytest.mark.parametrize(
    ("options", "rotations"),
    [
        ({"certificates": False}, []),
        ({"certificates": False, "unsettled": (True, True)}, []),
        ({}, ["orch.rotate_certs"]),
        ({"unsettled": (True, True)}, ["orch.rotate_certs"] * 2),
        ({"secrets": ["A"]}, ["orch.rotate_secrets", "orch.rotate_certs"]),
        (
            {"secrets": ["A"], "unsettled": (True, False)},
            ["orch.rotate_secrets", "orch.rotate_secrets", "orch.rotate_certs"],
        ),
    ],
)
def test_only_what_the_host_knew_is_replaced(options, rotations):
    """After an interrupted rotation of the same kind."""
    assert names(roles=["rpc"], **options)[2:-1] == rotations


def test_the_last_rotation_names_the_secrets_of_the_host():
    steps = evict.replace(scope(["haproxy"], secrets=["A", "B"], unsettled=(True, False)), "etcd1", TIMEOUTS)
    interrupted, own = [arguments for _, _, arguments in steps if arguments["name"] == "orch.rotate_secrets"]
    assert "pillar" not in interrupted
    assert own["pillar"] == {"rotate": ["A", "B"]}


def test_the_history_gets_the_result():
    assert (
        evict.result(scope(["haproxy"], secrets=["A", "B"]))
        == "evicted, 2 secrets and all certificates replaced"
    )
    assert evict.result(scope(["rpc"], certificates=False)) == "evicted, 0 secrets replaced"


def test_a_refusal_is_the_only_step():
    ((_, kind, arguments),) = evict.refused('no host: "of"\nthe plan')
    assert (kind, arguments) == (
        "runner",
        {"name": "fanatico.evict_refused", "reason": 'no host: "of"\nthe plan'},
    )
