"""Cures of etcd members without space, without data, with corrupt data."""

import json

import pytest

from tests.support import faults, labs

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("untouched_budget")]


def test_etcd_without_space_is_given_room(healthy):
    order = {"action": "ACTIVATE", "memberID": 0, "alarm": "NOSPACE"}
    news = labs.News(healthy)
    healthy.salt(
        "etcd1", "fanatico_etcd.gateway_call", "/v3/maintenance/alarm", f"payload={json.dumps(order)}"
    )
    entry = news.wait("healed", None, "etcd-full")
    assert "MiB" in entry["reason"]
    assert healthy.salt("etcd*", "fanatico_etcd.alarms") == {node: [] for node in labs.nodes(healthy, "etcd")}


def test_an_etcd_member_whose_data_was_deleted_votes_again(healthy):
    node = faults.etcd_follower_of(healthy)
    news = labs.News(healthy)
    healthy.exec(node, ["sh", "-c", "rm -rf /var/lib/etcd/member"])
    news.wait("healed", node, "etcd-data-lost", 90)
    labs.wait_healthy(healthy)
    assert sorted(healthy.salt("etcd1", "fanatico_etcd.members")["etcd1"]) == labs.nodes(healthy, "etcd")


@pytest.mark.long
def test_an_etcd_member_whose_database_is_damaged_does_too(healthy):
    node = faults.etcd_follower_of(healthy)
    news = labs.News(healthy)
    damage = "head -c 65536 /dev/urandom | dd of=/var/lib/etcd/member/snap/db bs=1k conv=notrunc status=none"
    healthy.exec(
        node,
        [
            "sh",
            "-c",
            f"systemctl kill -s KILL etcd; systemctl stop etcd; {damage}; systemctl start --no-block etcd",
        ],
    )
    news.wait("healed", node, "etcd-data-lost", 90)
    labs.wait_healthy(healthy)
