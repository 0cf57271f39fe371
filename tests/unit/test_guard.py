"""What may be healed, when not, and what is said about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _utils import fanatico_guard as guard

CONF = guard.settings()
NOW = 1_000_000


def refusal(state=None, unit="etcd.service", roles=("etcd",), now=NOW, **conf):
    return guard.refusal(now, "etcd1", unit, roles, state or {}, guard.settings(conf))


def attempted(times, state=None):
    for when in times:
        state = guard.attempted(state or {}, "etcd1", "etcd.service", when, CONF["window"])
    return state


def test_a_unit_of_the_node_may_be_started():
    assert refusal() == ""


def test_a_unit_of_another_role_may_not():
    assert "not a unit that etcd1 has to keep running" in refusal(unit="patroni.service")


def test_an_unknown_host_has_no_roles_and_gets_nothing():
    assert refusal(roles=())


def test_a_node_with_two_roles_keeps_the_units_of_both():
    assert guard.units(["etcd", "haproxy"]) == ["etcd.service", "haproxy.service", "keepalived.service"]


def test_pillar_replaces_the_units_of_a_role():
    assert guard.units(["rpc"], {"rpc": ["geth.service"]}) == ["geth.service"]
    assert refusal(unit="geth.service", roles=["rpc"], units={"rpc": ["geth.service"]}) == ""


def test_three_times_in_ten_minutes_and_no_more():
    state = attempted([NOW - 500, NOW - 300])
    assert refusal(state) == ""
    state = attempted([NOW - 100], state)
    assert "already started 3 times in 10 minutes" in refusal(state)
    assert refusal(state, now=NOW + 101) == "", "the first is older than ten minutes now"


def test_attempts_are_counted_for_each_unit_of_each_host():
    state = attempted([NOW - 3, NOW - 2, NOW - 1])
    assert guard.refusal(NOW, "etcd2", "etcd.service", ["etcd"], state, CONF) == ""
    assert guard.refusal(NOW, "etcd1", "haproxy.service", ["haproxy"], state, CONF) == ""


def test_no_attempts_at_all_switches_healing_off():
    assert "heal:attempts is 0" in refusal(attempts=0)


def test_frozen_until_it_ends_by_itself():
    state = guard.frozen({}, NOW, 60, "new disks")
    assert "new disks" in refusal(state)
    assert "another 30 s" in refusal(state, now=NOW + 30)
    assert refusal(state, now=NOW + 60) == ""
    assert refusal(guard.thawed(state)) == ""


def test_freezing_forgets_nothing():
    state = attempted([NOW - 3, NOW - 2, NOW - 1])
    assert "already started" in refusal(guard.thawed(guard.frozen(state, NOW, 60, "work")))


@given(st.lists(st.integers(0, 100_000), max_size=60).map(sorted))
def test_never_more_than_the_limit_in_any_window(moments):
    """Whatever comes when: the actions taken keep the limit, and what is remembered does not grow."""
    state, acted = {}, []
    for now in moments:
        if not refusal(state, now=now):
            state = attempted([now], state)
            acted.append(now)
    for now in acted:
        assert sum(now - CONF["window"] < other <= now for other in acted) <= CONF["attempts"]
    assert len(state.get("attempts", {}).get("etcd1/etcd.service", [])) <= CONF["attempts"]


def test_the_same_refusal_is_news_once_in_a_while():
    state, news = guard.refused(
        {}, "etcd1", "etcd.service", NOW, "a deploy (pid 1) has been running for 3 s", 600
    )
    assert news
    state, news = guard.refused(
        state, "etcd1", "etcd.service", NOW + 60, "a deploy (pid 1) has been running for 63 s", 600
    )
    assert not news
    state, news = guard.refused(state, "etcd1", "etcd.service", NOW + 90, "healing is frozen: work", 600)
    assert news, "another reason"
    assert guard.refused(state, "etcd1", "etcd.service", NOW + 700, "healing is frozen: work", 600)[1], (
        "later"
    )
    assert guard.refused(state, "etcd2", "etcd.service", NOW + 91, "healing is frozen: work", 600)[1], (
        "elsewhere"
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90), ("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400)]
)
def test_times_people_write(text, seconds):
    assert guard.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "0", "-5m", "1.5h", "soon", None])
def test_times_nobody_understands(text):
    with pytest.raises(ValueError, match="write for example"):
        guard.seconds(text)
