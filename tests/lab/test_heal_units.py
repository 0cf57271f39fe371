"""Stopped units are restarted automatically and recorded in the history, within the limits."""

import pytest

from tests.support import faults, labs, wait_until

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("untouched_budget")]


UNITS = [
    ("etcd", "etcd"),
    ("patroni", "patroni"),
    ("haproxy", "haproxy"),
    ("haproxy", "haproxy-edge"),
    ("haproxy", "keepalived"),
    ("rpc", "fanatico-rpc"),
    ("rpc", "prometheus-node-exporter"),
]


@pytest.mark.parametrize(("role", "unit"), UNITS)
def test_a_stopped_unit_runs_again_and_is_in_the_history(healthy, role, unit):
    node = labs.nodes(healthy, role)[-1]
    news = labs.News(healthy)
    healthy.exec(node, ["systemctl", "stop", unit])
    entry = news.wait("healed", node, f"{unit}.service")
    assert faults.active(healthy, node, unit)
    assert entry["reason"]


def test_people_read_lines(healthy):
    assert "fanatico-rpc.service" in healthy.salt_run("fanatico.history").stdout


def test_a_killed_unit_is_systemds_business(healthy):
    """systemd's restart policy is faster than an event; the reactor has nothing to do."""
    node = labs.nodes(healthy, "haproxy")[-1]
    for unit in ("haproxy", "haproxy-edge"):
        healthy.exec(node, ["systemctl", "kill", "--signal=KILL", unit])
        wait_until(lambda unit=unit: faults.active(healthy, node, unit), 20, f"{unit} to run again")


def test_a_foreign_unit_is_not_started(healthy):
    done = healthy.salt_run("fanatico.heal", "etcd1", "cron.service", "roles=[etcd]", "--out=json")
    assert '"refused"' in done.stdout


@pytest.mark.long
def test_a_unit_that_does_not_stay_up_is_reported(healthy):
    """There is no cure, and systemd restarts it forever: the history has the unit's own log line."""
    dropin = "/run/systemd/system/fanatico-rpc.service.d/broken.conf"
    rpc = "rpc3"
    settings = {"heal": {"timeout": 8}}  # for the cure, instead of 30
    with labs.site(healthy, settings), faults.impatient(healthy, rpc, repeat=12, loops=2):
        news = labs.News(healthy)
        break_it = (
            f"mkdir -p {dropin.rpartition('/')[0]}; printf '[Service]\nExecStartPre=/bin/false\n' > {dropin}"
        )
        try:
            healthy.exec(
                rpc, ["sh", "-c", f"{break_it}; systemctl daemon-reload; systemctl kill -s KILL fanatico-rpc"]
            )
            entry = news.wait("failed", rpc, "fanatico-rpc.service", timeout=180)
        finally:
            mend = f"rm -f {dropin}; systemctl daemon-reload; systemctl restart fanatico-rpc"
            healthy.exec(rpc, ["sh", "-c", mend])
    assert "restarted" in entry["why"]
    assert "journal" in entry["reason"]
    labs.wait_healthy(healthy)
