"""A change in pillar: shown by a dry run, applied to the running cluster, and reverted."""

import pytest

from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough

CHANGED = {
    "plan": {"timing": {"patroni": {"ttl": 25}}},
    "postgresql": {"parameters": {"work_mem": "9MB"}},
}


def config(lab):
    return lab.salt("db1", "fanatico_patroni.config")["db1"]


def refresh(lab, target):
    """Let the minions that the setting is for read their pillar again: a second of processor time for each."""
    lab.salt(target, "saltutil.refresh_pillar", "wait=True")


def mentions(answers, *words):
    """Whether the changes of any minion contain all the words."""
    return any(all(word in str(changed) for word in words) for changed in labs.changes(answers).values())


def work_mem(lab):
    """{database node: work_mem in kB}."""
    ask = "select setting from pg_settings where name = 'work_mem'"
    return {
        node: int(rows[0]["setting"])
        for node, rows in lab.salt("db*", "fanatico_postgres.query", ask).items()
    }


@pytest.mark.parametrize("by", ["leader", pytest.param("db*", marks=pytest.mark.long)])
def test_what_lives_in_etcd_is_shown_changed_and_changed_back(healthy, by):
    """A timing of Patroni and a parameter of PostgreSQL: other tools write both only at bootstrap.

    The leader's highstate applies them for all nodes.
    """
    by = labs.leader(healthy) if by == "leader" else by
    before = config(healthy)["ttl"], work_mem(healthy)
    with labs.site(healthy, CHANGED):
        refresh(healthy, "db*")
        dry = labs.highstate(healthy, by, "test=True")
        assert mentions(dry, "ttl", "20", "25"), labs.changes(dry)
        assert mentions(dry, "work_mem", "9MB"), labs.changes(dry)
        assert (config(healthy)["ttl"], work_mem(healthy)) == before, "test=True changed the cluster"
        wet = labs.highstate(healthy, by)
        assert labs.failures(wet) == {}
        assert mentions(wet, "ttl", "20", "25"), labs.changes(wet)
        wait_until(lambda: config(healthy)["ttl"] == 25, 15, "Patroni to have read its new ttl")
        wait_until(
            lambda: set(work_mem(healthy).values()) == {9 * 1024}, 30, "the new work_mem on every server"
        )
    refresh(healthy, "db*")
    assert labs.failures(healthy.salt(by, "state.apply", "patroni", patience=60)) == {}
    wait_until(
        lambda: (config(healthy)["ttl"], work_mem(healthy)) == before, 30, "everything to be as before"
    )


def test_an_haproxy_setting_is_reloaded_not_restarted(healthy):
    pid = ["systemctl", "show", "-P", "MainPID", "haproxy"]
    before = healthy.exec("haproxy1", pid).stdout
    with labs.site(healthy, {"plan": {"timing": {"haproxy": {"inter_ms": 1500}}}}):
        refresh(healthy, "haproxy*")
        assert labs.failures(labs.highstate(healthy, "haproxy1")) == {}
        assert "1500" in healthy.exec("haproxy1", ["cat", "/etc/haproxy/haproxy.cfg"]).stdout
        assert healthy.exec("haproxy1", pid).stdout == before
    refresh(healthy, "haproxy*")
    assert labs.failures(healthy.salt("haproxy1", "state.apply", "haproxy", patience=60)) == {}
