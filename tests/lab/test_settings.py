"""What an operator changes in pillar is shown first, then done to the running cluster, and undone again."""

import pytest

from tests.support import labs, wait_until

TTL = {"plan": {"timing": {"patroni": {"ttl": 25}}}}
WORK_MEM = {"postgresql": {"parameters": {"work_mem": "9MB"}}}


def config(lab):
    return lab.salt("db1", "fanatico_patroni.config")["db1"]


def refresh(lab):
    lab.salt("*", "saltutil.refresh_pillar", "wait=True")


@pytest.fixture(autouse=True, scope="module")
def as_committed(lab):
    yield
    lab.site_write({})
    refresh(lab)
    labs.highstate(lab)


def mentions(answers, *words):
    """Whether the changes of any minion name all the words."""
    return any(all(word in str(changed) for word in words) for changed in labs.changes(answers).values())


def test_ttl_is_shown_changed_and_changed_back(healthy):
    assert config(healthy)["ttl"] == 20
    with labs.site(healthy, TTL):
        refresh(healthy)
        dry = labs.highstate(healthy, "db*", "test=True")
        assert mentions(dry, "ttl", "20", "25"), labs.changes(dry)
        assert config(healthy)["ttl"] == 20, "test=True changed the cluster"
        wet = labs.highstate(healthy, "db*")
        assert labs.failures(wet) == {}
        assert mentions(wet, "ttl", "20", "25"), labs.changes(wet)
        wait_until(lambda: config(healthy)["ttl"] == 25, 15, "Patroni to have read its new ttl")
        assert labs.changes(labs.highstate(healthy, "db*")) == {}
    refresh(healthy)
    labs.highstate(healthy, "db*")
    wait_until(lambda: config(healthy)["ttl"] == 20, 15, "Patroni to have read its old ttl")


def test_a_postgresql_parameter_reaches_every_server(healthy):
    ask = ("fanatico_postgres.query", "select setting from pg_settings where name = 'work_mem'")
    before = healthy.salt("db*", *ask)
    with labs.site(healthy, WORK_MEM):
        refresh(healthy)
        assert mentions(labs.highstate(healthy, "db*", "test=True"), "work_mem", "9MB")
        assert healthy.salt("db*", *ask) == before
        assert labs.failures(labs.highstate(healthy, "db*")) == {}
        wanted = [{"setting": str(9 * 1024)}]  # kB
        wait_until(
            lambda: all(answer == wanted for answer in healthy.salt("db*", *ask).values()),
            30,
            "every server to have read its new work_mem",
        )


def test_an_haproxy_setting_is_reloaded_not_restarted(healthy):
    pid = ["systemctl", "show", "-P", "MainPID", "haproxy"]
    before = healthy.exec("haproxy1", pid).stdout
    with labs.site(healthy, {"plan": {"timing": {"haproxy": {"inter_ms": 1500}}}}):
        refresh(healthy)
        assert labs.failures(labs.highstate(healthy, "haproxy1")) == {}
        assert "1500" in healthy.exec("haproxy1", ["cat", "/etc/haproxy/haproxy.cfg"]).stdout
        assert healthy.exec("haproxy1", pid).stdout == before
    refresh(healthy)
    labs.highstate(healthy, "haproxy1")
