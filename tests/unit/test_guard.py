"""What may be healed, when not, and what is said about it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanatico_guard as guard
from fanatico_components import EVERY
from tests.support.pillar import shipped

CONF = shipped("heal")
NOW = 1_000_000


def refusal(state=None, unit="etcd.service", roles=("etcd",), now=NOW, **conf):
    return guard.refusal(now, "etcd1", unit, roles, state or {}, {**CONF, **conf})


def attempted(times, state=None):
    for when in times:
        state = guard.attempted(state or {}, "etcd1", "etcd.service", when, CONF["window"])
    return state


def test_a_unit_of_the_node_may_be_started():
    assert refusal() == ""


def test_a_unit_of_another_role_may_not():
    assert "neither a unit that etcd1 has to keep running nor a fault" in refusal(unit="patroni.service")


def test_an_unknown_host_has_no_roles_and_gets_nothing():
    assert refusal(roles=())


def test_a_node_with_two_roles_keeps_the_units_of_both():
    assert guard.units(["etcd", "haproxy"]) == [
        *("etcd.service", "haproxy.service", "haproxy-edge.service", "keepalived.service")
    ]


def test_the_units_of_every_node_are_healed_on_each():
    unit = "prometheus-node-exporter.service"
    assert guard.units(["etcd", EVERY]) == ["etcd.service", unit]
    assert refusal(unit=unit) == ""
    assert guard.units(["etcd", EVERY], {EVERY: []}) == ["etcd.service"]
    assert unit in refusal(unit=unit, units={EVERY: []})
    assert guard.believed({"nodes": {"rpc1": {"roles": ["rpc"]}}}, "rpc1", {unit: "stopped"}) == {
        unit: "stopped"
    }


def test_pillar_replaces_the_units_of_a_role():
    assert guard.units(["rpc"], {"rpc": ["geth.service"]}) == ["geth.service"]
    assert refusal(unit="geth.service", roles=["rpc"], units={"rpc": ["geth.service"]}) == ""


@pytest.mark.parametrize(
    ("settings", "extra"),
    [
        ({"rpc": {"ws": "native", "follow": False}}, []),
        ({"rpc": {"ws": "proxy", "follow": False}}, ["fanatico-rpc-ws.service"]),
        ({"rpc": {"ws": "native", "follow": True}}, ["fanatico-rpc-follow.service"]),
        ({"rpc": {}}, []),
        ({}, []),
    ],
)
def test_a_chain_node_keeps_the_units_that_its_settings_make(settings, extra):
    always = ["fanatico-rpc.service", "fanatico-rpc-agent.socket", "fanatico-rpc-agent.service"]
    assert guard.units(["rpc"], settings=settings) == [*always, *extra]


def test_who_does_not_know_the_settings_takes_every_unit_for_possible():
    assert set(guard.units(["rpc"], settings={})) < set(guard.units(["rpc"]))
    assert refusal(unit="fanatico-rpc-ws.service", roles=["rpc"]) == ""


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


def test_an_hour_has_a_budget_for_the_whole_cluster():
    state = {"attempts": {f"rpc{n}/fanatico-rpc.service": [NOW - 60 * n] for n in range(30)}}
    assert "heal:budget" in refusal(state)
    assert refusal(state, now=NOW + 3601) == ""
    assert refusal(state, budget=31) == ""


@pytest.mark.parametrize(
    ("fault", "roles", "fits"),
    [
        ("etcd-full", ["etcd"], True),
        ("etcd-full", ["patroni"], False),
        ("replica-lost", ["patroni"], True),
        ("disk-full", ["rpc"], True),
        ("disk-full", [], False),
        ("no-such-fault", ["etcd"], False),
    ],
)
def test_faults_are_those_of_the_roles(fault, roles, fits):
    assert ("neither a unit" in refusal(unit=fault, roles=roles)) != fits


def test_a_switchover_is_a_persons_unless_the_plan_allows_it():
    asked = {"unit": "writes-stall", "roles": ["patroni"]}
    assert "heal:switchover is not set" in refusal(**asked)
    assert refusal(**asked, switchover=True) == ""


@pytest.mark.parametrize(
    ("nodes", "spared"), [({"db1": "leader", "db2": "ok"}, True), ({"db1": "leader", "db2": "bad"}, False)]
)
def test_the_lead_is_handed_over_only_where_somebody_can_take_it(nodes, spared):
    assert (
        guard.lacking("writes-stall", "db1", guard.view(PLAN, "patroni", answers(**nodes))) == ""
    ) is spared


@pytest.mark.parametrize(
    ("host", "role", "nodes", "word"),
    [
        ("db3", "patroni", {"db1": "leader", "db2": "bad"}, ""),
        ("db3", "patroni", {"db1": "bad", "db2": "ok"}, "db1 leads and is not well"),
        ("db1", "patroni", {"db1": "leader", "db2": "ok"}, "not beyond doubt"),
        ("etcd3", "etcd", {"etcd1": True, "etcd2": True}, ""),
        ("etcd3", "etcd", {"etcd1": True}, "a majority is 2"),
        ("etcd3", "etcd", {}, "a majority is 2"),
    ],
)
def test_a_bare_host_is_built_where_there_is_somebody_to_join(host, role, nodes, word):
    lacking = guard.lacking("bare", host, guard.view(PLAN, role, answers(**nodes)))
    assert (word in lacking) if word else lacking == ""


def test_of_a_host_with_several_roles_all_are_looked_at():
    assert guard.peers("bare", ["master", "etcd", "patroni"]) == ["etcd", "patroni"]
    assert guard.peers("replica-lost", ["etcd", "patroni"]) == ["patroni"]
    assert guard.peers("etcd-full", ["etcd"]) == []


def test_no_beacon_looks_for_what_no_node_can_tell():
    assert "writes-stall" in guard.possible(["patroni"])
    assert "writes-stall" not in guard.own(["patroni"])


def test_what_may_be_meant_has_to_last():
    state = guard.told({}, "etcd1", "patroni-paused", NOW)
    asked = {"unit": "patroni-paused", "roles": ["patroni"]}
    assert "it has lasted for 0 s, and is ours after 3600 s" in refusal(state, **asked)
    for minutes in range(1, 61):
        state = guard.told(state, "etcd1", "patroni-paused", NOW + 60 * minutes)
    assert refusal(state, now=NOW + 3600, **asked) == ""
    assert refusal(state, now=NOW + 60, paused=60, **asked) == ""


def test_what_was_gone_for_a_while_begins_anew():
    state = guard.told({}, "db1", "patroni-paused", NOW)
    state = guard.told(state, "db1", "patroni-paused", NOW + guard.FORGOTTEN)
    assert state["seen"]["db1/patroni-paused"] == [NOW + guard.FORGOTTEN] * 2


def test_what_is_remembered_of_sightings_does_not_grow():
    state = {}
    for number in range(1000):
        state = guard.told(state, f"host{number}", "disk-full", NOW + number)
    assert len(state["seen"]) <= guard.FORGOTTEN


def test_whoever_takes_a_node_out_waits_for_the_last_one_to_be_back():
    state = guard.attempted({}, "etcd1", "etcd-data-lost", NOW, 600)
    asked = {"unit": "replica-lost", "roles": ["patroni"]}
    assert "one node at a time: etcd-data-lost on etcd1 was 30 s ago" in refusal(state, now=NOW + 30, **asked)
    assert refusal(state, now=NOW + 60, **asked) == ""
    assert refusal(state, now=NOW + 1) == "", "a start takes nobody out"


PLAN = {
    "nodes": {
        f"{role}{n}": {"roles": [full]}
        for role, full in (("db", "patroni"), ("etcd", "etcd"))
        for n in (1, 2, 3)
    }
}


def answers(**nodes):
    """Health of database nodes: db1="leader", db2="ok", db3="bad"; and of etcd's: True or False."""
    found = {}
    for name, state in nodes.items():
        if name.startswith("etcd"):
            found[name] = {"checks": {"etcd.serving": {"status": "ok" if state else "critical", "value": ""}}}
        else:
            found[name] = {
                "checks": {
                    "patroni.state": {"status": "critical" if state == "bad" else "ok", "value": ""},
                    "patroni.leader": {"status": "ok", "value": "db1"},
                }
            }
    return found


@pytest.mark.parametrize(
    ("host", "nodes", "word"),
    [
        ("db3", {"db1": "leader", "db2": "ok", "db3": "bad"}, ""),
        ("db1", {"db1": "leader", "db2": "ok", "db3": "ok"}, "db1 leads: its data is never thrown away"),
        ("db3", {"db1": "leader", "db2": "bad", "db3": "bad"}, "no other replica is well"),
        ("db3", {"db1": "leader", "db3": "bad"}, "no other replica is well"),
        ("db3", {"db1": "bad", "db2": "ok", "db3": "bad"}, "db1 leads and is not well"),
        ("db3", {}, "not beyond doubt who leads"),
    ],
)
def test_a_replica_is_copied_anew_only_where_it_can_be_spared(host, nodes, word):
    lacking = guard.lacking("replica-lost", host, guard.view(PLAN, "patroni", answers(**nodes)))
    assert (word in lacking) if word else lacking == ""


def test_two_that_name_different_leaders_are_not_believed():
    seen = answers(db1="leader", db2="ok", db3="bad")
    seen["db2"]["checks"]["patroni.leader"]["value"] = "db2"
    assert "beyond doubt" in guard.lacking("replica-lost", "db3", guard.view(PLAN, "patroni", seen))


@given(
    st.sampled_from(["etcd1", "etcd2", "etcd3"]),
    st.dictionaries(st.sampled_from(["etcd1", "etcd2", "etcd3"]), st.booleans()),
)
def test_no_cure_ever_costs_a_majority(host, state):
    refused = guard.lacking("etcd-data-lost", host, guard.view(PLAN, "etcd", answers(**state)))
    left = sum(well for node, well in state.items() if node != host)
    assert bool(refused) == (left < 2)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50),
            st.sampled_from(["db1", "db2", "db3"]),
            st.sampled_from(["replica-lost", "patroni-hung", "patroni.service"]),
        ),
        max_size=80,
    )
)
def test_whatever_is_said_no_two_nodes_are_out_at_once_and_no_budget_is_passed(storm):
    """Events in any order, true or forged: what is done keeps calm, attempts and budget."""
    conf, now, state, acted = {**CONF, "budget": 10}, NOW, {}, []
    for pause, host, what in storm:
        now += pause
        state = guard.told(state, host, what, now)
        if not guard.refusal(now, host, what, ["patroni"], state, conf):
            state = guard.attempted(state, host, what, now, conf["window"])
            acted.append((now, host, what))
    disturbing = [when for when, _, what in acted if guard.spares(what)]
    assert all(later - earlier >= conf["calm"] for earlier, later in itertools.pairwise(disturbing))
    for when, host, what in acted:
        assert sum(when - guard.HOUR < other <= when for other, _, _ in acted) <= conf["budget"]
        same = [
            other
            for other, *subject in acted
            if subject == [host, what] and when - conf["window"] < other <= when
        ]
        assert len(same) <= conf["attempts"]


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
    assert (
        len(state.get("attempts", {}).get("etcd1/etcd.service", []))
        <= guard.HOUR / CONF["window"] * CONF["attempts"]
    )


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


# --- what a minion says

HOSTILE = st.recursive(
    st.text() | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = st.text() | st.sampled_from(
    ["etcd-full", "etcd.service", "address-doubled", "bare", "rpc-hung", "a b.service"]
)
TWO = {"nodes": {"etcd1": {"roles": ["etcd"]}, "rpc1": {"roles": ["rpc"]}}}


@given(host=st.text() | st.just("etcd1"), answer=HOSTILE | st.dictionaries(NAMES, HOSTILE))
def test_of_what_a_minion_says_little_is_believed(host, answer):
    for what, why in guard.believed(TWO, host, answer).items():
        assert host == "etcd1"
        assert what in guard.own(["etcd"]) or what.endswith(
            (".service", ".socket", ".timer", ".mount", ".path")
        )
        assert why.isprintable()
        assert len(what) <= 110
        assert len(why) <= 300


def test_a_true_answer_is_believed():
    answer = {"etcd.service": "stopped", "etcd-full": "alarm NOSPACE"}
    assert guard.believed(TWO, "etcd1", answer) == answer


def test_not_more_than_a_host_can_have():
    answer = {f"aunit{number}.service": "down" for number in range(10_000)} | {"etcd.service": "stopped"}
    assert len(guard.believed(TWO, "etcd1", answer)) <= 3
    assert "etcd.service" in guard.believed(TWO, "etcd1", answer)


def test_who_reports_what_is_not_there_is_not_asked_for_a_while():
    state = {}
    for number in range(guard.MISTAKES):
        assert not guard.distrusted(state, "rpc1", NOW + number)
        state = guard.mistaken(state, "rpc1", NOW + number, 600)
    assert guard.distrusted(state, "rpc1", NOW + 100)
    assert not guard.distrusted(state, "rpc2", NOW + 100)
    assert not guard.distrusted(state, "rpc1", NOW + 700)
    assert len(guard.mistaken(state, "rpc1", NOW + 9000, 600)["mistaken"]["rpc1"]) == 1


@pytest.mark.parametrize(
    "what", ["x\\n.service", "-x.service", "../x.service", "x.service\\n", "x" * 200 + ".service"]
)
def test_what_is_no_name_of_a_unit_is_not(what):
    assert guard.believed(TWO, "etcd1", {what.encode().decode("unicode_escape"): "down"}) == {}


# --- fair shares


def test_a_host_that_has_used_up_its_share_takes_nothing_from_the_others():
    state, share = {}, int(CONF["budget"] * guard.SHARE)
    for number in range(share):
        state = guard.attempted(state, "rpc1", f"unit{number}.service", NOW - 1, CONF["window"])
    assert "its share of heal:budget" in guard.refusal(NOW, "rpc1", "rpc-hung", ["rpc"], state, CONF)
    assert refusal(state) == ""
    assert guard.refusal(NOW, "rpc10", "rpc-hung", ["rpc"], state, CONF) == "", (
        "another name that begins the same"
    )


def test_a_cure_that_takes_long_is_tried_less_often():
    state = {}
    for when in (NOW - 3000, NOW - 2000, NOW - 1000):
        state = guard.attempted(state, "db1", "replica-lost", when, CONF["window"])
    said = guard.refusal(NOW, "db1", "replica-lost", ["patroni"], state, CONF)
    assert "already treated 3 times in 60 minutes" in said


def test_refusals_are_forgotten():
    state = {}
    for number in range(1000):
        state, _ = guard.refused(state, "rpc1", f"u{number}.service", NOW + number, "no", 60)
    assert len(state["refused"]) <= 61
