"""Automatic failover: virtual IP and leaders move without help, and no acknowledged write is lost."""

import json
import secrets
import subprocess
import time
from pathlib import Path

import pytest

from lab.machines import Lab
from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough


def row(lab, statement, **values):
    """Run a statement through the virtual IP's port of the leader, as the application does."""
    address, port = lab.plan["virtual_ip"]["address"], lab.plan["ports"]["postgres_primary"]
    node = labs.nodes(lab, "patroni")[0]
    answer = lab.salt(
        node,
        "fanatico_postgres.query",
        statement,
        f"args={json.dumps(values or None)}",
        "dbname=fanatico",
        "user=fanatico",
        f"host={address}",
        f"port={port}",
        "timeout=3",
    )[node]
    assert isinstance(answer, list), answer
    return answer


def test_the_virtual_ip_leaves_a_stopped_balancer(healthy):
    (holder,) = labs.virtual_ip_holders(healthy)
    healthy.exec(holder, ["systemctl", "stop", "haproxy"])
    wait_until(
        lambda: labs.virtual_ip_holders(healthy) not in ([], [holder]),
        5,
        "the virtual IP on the other balancer",
        0.1,
    )


def test_the_virtual_ip_does_not_move_back_after_recovery(healthy):
    """nopreempt: every move of the virtual IP cuts connections, so it moves only when necessary."""
    (holder,) = labs.virtual_ip_holders(healthy)
    assert labs.virtual_ip_holders(healthy) == [holder]


def test_a_killed_primary_is_replaced_and_nothing_acknowledged_is_lost(healthy):
    token = secrets.token_hex(8)
    row(healthy, "create table if not exists kept (token text primary key)")
    row(healthy, "insert into kept values (%(token)s)", token=token)
    old = labs.leader(healthy)
    healthy.exec(old, ["sh", "-c", "kill -9 $(head -1 /var/lib/postgresql/*/main/postmaster.pid)"])
    wait_until(lambda: labs.leader(healthy) not in (None, old), 40, "another leader", interval=0.5)
    wait_until(
        lambda: row(
            healthy, "insert into kept values (%(token)s) returning token", token=secrets.token_hex(8)
        ),
        30,
        "a write through the virtual IP",
    )
    assert row(healthy, "select token from kept where token = %(token)s", token=token) == [{"token": token}]


def test_the_old_primary_follows_by_itself(healthy):
    assert len(healthy.salt("db1", "fanatico.proof")["db1"]) == 5


def test_a_member_of_etcd_that_is_restarted_gives_no_answer_that_costs_a_lease(healthy):
    """Without an answer Patroni asks another member; any other error counts as the loss of its lease."""
    program = (Path(__file__).parent / "files" / "keep_alive.py").read_text()
    node = labs.nodes(healthy, "etcd")[0]
    asking = subprocess.Popen(
        healthy.machine("db1").exec_argv(
            ["python3", "-c", program, healthy.plan["nodes"][node]["address"], "60"]
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(6):
        time.sleep(1)
        healthy.exec(node, ["systemctl", "restart", "etcd"])
    said, _ = asking.communicate(timeout=60)
    seen = json.loads(said)
    assert seen.pop("success") > 1000
    assert seen == {}


def stop(lab, holder):
    lab.exec(holder, ["systemctl", "stop", "haproxy"])


def start(lab, holder):
    lab.exec(holder, ["systemctl", "start", "haproxy"])


def power_on(lab, holder):
    lab.power_on(holder)
    lab.machine(holder).wait_booted()


@pytest.mark.parametrize(
    ("take_down", "bring_back"),
    [(stop, start), pytest.param(Lab.power_off, power_on, marks=pytest.mark.long)],
    ids=["stopped", "without power"],
)
def test_failover_needs_no_master(healthy, take_down, bring_back):
    healthy.exec(healthy.master, ["systemctl", "stop", "salt-master"])
    try:
        (holder,) = labs.virtual_ip_holders(healthy)
        take_down(healthy, holder)
        wait_until(
            lambda: labs.virtual_ip_holders(healthy) not in ([], [holder]),
            10,
            "the virtual IP elsewhere",
            0.1,
        )
        bring_back(healthy, holder)
    finally:
        healthy.exec(healthy.master, ["systemctl", "start", "salt-master"])
    labs.wait_healthy(healthy)
