"""What may be healed, when not, and what is said about it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanatico_faults as faults
import fanatico_guard as guard
from fanatico_components import EVERY
from tests.support.pillar import shipped

CONF = shipped("heal")
NOW = 1_000_000


def code(found):
    """The code of a refusal, empty for none."""
    return found.code if found else ""


def refusal(state=None, unit="etcd.service", roles=("etcd",), now=NOW, **conf):
    return code(guard.refusal(now, "etcd1", unit, roles, state or {}, {**CONF, **conf}))


def attempted(times, state=None):
    for when in times:
        state = guard.record_attempt(state or {}, "etcd1", "etcd.service", when, CONF["window"])
    return state


def test_a_unit_of_the_node_may_be_started():
    assert refusal() == ""


def test_a_unit_of_another_role_may_not():
    assert refusal(unit="patroni.service") == "unknown-fault"


def test_an_unknown_host_has_no_roles_and_gets_nothing():
    assert refusal(roles=()) == "unknown-fault"


def test_a_node_with_two_roles_keeps_the_units_of_both():
    assert guard.units(["etcd", "haproxy"]) == [
        *("etcd.service", "haproxy.service", "haproxy-edge.service", "keepalived.service"),
        *guard.units_of(EVERY),
    ]


def test_the_units_of_every_node_are_healed_on_each():
    unit = "prometheus-node-exporter.service"
    assert guard.units(["etcd"]) == ["etcd.service", unit]
    assert refusal(unit=unit) == ""
    assert guard.units(["etcd"], {EVERY: []}) == ["etcd.service"]
    assert refusal(unit=unit, units={EVERY: []}) == "unknown-fault"
    assert guard.accepted({"nodes": {"rpc1": {"roles": ["rpc"]}}}, "rpc1", {unit: "stopped"}) == {
        unit: "stopped"
    }


def test_pillar_replaces_the_units_of_a_role():
    assert guard.units(["rpc"], {"rpc": ["geth.service"]}) == ["geth.service", *guard.units_of(EVERY)]
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
    assert guard.units(["rpc"], settings=settings) == [*always, *extra, *guard.units_of(EVERY)]


def test_who_does_not_know_the_settings_takes_every_unit_for_possible():
    assert set(guard.units(["rpc"], settings={})) < set(guard.units(["rpc"]))
    assert refusal(unit="fanatico-rpc-ws.service", roles=["rpc"]) == ""


def test_three_times_in_ten_minutes_and_no_more():
    state = attempted([NOW - 500, NOW - 300])
    assert refusal(state) == ""
    state = attempted([NOW - 100], state)
    assert refusal(state) == "attempts-spent"
    assert refusal(state, now=NOW + 101) == "", "the first is older than ten minutes now"


def test_attempts_are_counted_for_each_unit_of_each_host():
    state = attempted([NOW - 3, NOW - 2, NOW - 1])
    assert guard.refusal(NOW, "etcd2", "etcd.service", ["etcd"], state, CONF) is None
    assert guard.refusal(NOW, "etcd1", "haproxy.service", ["haproxy"], state, CONF) is None


def test_no_attempts_at_all_switches_healing_off():
    assert refusal(attempts=0) == "switched-off"


def test_frozen_until_it_ends_by_itself():
    state = guard.freeze({}, NOW, 60, "new disks")
    assert refusal(state) == refusal(state, now=NOW + 59) == "frozen"
    text = guard.refusal(NOW + 30, "etcd1", "etcd.service", ["etcd"], state, CONF).text
    assert "30 s" in text, "for how long"
    assert "new disks" in text, "and why"
    assert refusal(state, now=NOW + 60) == ""
    assert refusal(guard.thaw(state)) == ""


def test_an_hour_has_a_budget_for_the_whole_cluster():
    state = {"attempts": {f"rpc{n}/fanatico-rpc.service": [NOW - 60 * n] for n in range(30)}}
    assert refusal(state) == "budget-spent"
    assert refusal(state, now=NOW + 3601) == ""
    assert refusal(state, max_actions_per_hour=31) == ""


@pytest.mark.parametrize(
    ("fault", "roles", "fits"),
    [
        ("etcd-full", ["etcd"], True),
        ("etcd-full", ["patroni"], False),
        ("replica-unusable", ["patroni"], True),
        ("disk-full", ["rpc"], True),
        ("disk-full", [], False),
        ("no-such-fault", ["etcd"], False),
    ],
)
def test_faults_are_those_of_the_roles(fault, roles, fits):
    assert (refusal(unit=fault, roles=roles) == "unknown-fault") != fits


def test_a_switchover_is_a_persons_unless_the_plan_allows_it():
    asked = {"unit": "writes-stalled", "roles": ["patroni"]}
    assert refusal(**asked) == "not-opted-in"
    assert refusal(**asked, switchover=True) == ""


@pytest.mark.parametrize(
    ("nodes", "spared"), [({"db1": "leader", "db2": "ok"}, True), ({"db1": "leader", "db2": "bad"}, False)]
)
def test_the_lead_is_handed_over_only_where_somebody_can_take_it(nodes, spared):
    missing_redundancy = guard.missing_redundancy(
        "writes-stalled", "db1", guard.view(PLAN, "patroni", answers(**nodes))
    )
    assert code(missing_redundancy) == ("" if spared else "no-successor")


@pytest.mark.parametrize(
    ("host", "role", "nodes", "refused"),
    [
        ("db3", "patroni", {"db1": "leader", "db2": "bad"}, ""),
        ("db3", "patroni", {"db1": "bad", "db2": "ok"}, "leader-unhealthy"),
        ("db1", "patroni", {"db1": "leader", "db2": "ok"}, "leader-ambiguous"),
        ("etcd3", "etcd", {"etcd1": True, "etcd2": True}, ""),
        ("etcd3", "etcd", {"etcd1": True}, "no-majority"),
        ("etcd3", "etcd", {}, "no-majority"),
    ],
)
def test_a_bare_host_is_built_where_there_is_somebody_to_join(host, role, nodes, refused):
    missing_redundancy = guard.missing_redundancy(
        "unprovisioned", host, guard.view(PLAN, role, answers(**nodes))
    )
    assert code(missing_redundancy) == refused


def test_of_a_host_with_several_roles_all_are_looked_at():
    assert guard.peers("unprovisioned", ["master", "etcd", "patroni"]) == ["etcd", "patroni"]
    assert guard.peers("replica-unusable", ["etcd", "patroni"]) == ["patroni"]
    assert guard.peers("etcd-full", ["etcd"]) == []


def test_no_beacon_looks_for_what_no_node_can_tell():
    assert "writes-stalled" in faults.of_roles(["patroni"])
    assert "writes-stalled" not in faults.of_node(["patroni"])


def test_what_may_be_meant_has_to_last():
    state = guard.record_seen({}, "etcd1", "patroni-paused", NOW)
    asked = {"unit": "patroni-paused", "roles": ["patroni"]}
    assert refusal(state, **asked) == "below-threshold"
    for minutes in range(1, 61):
        state = guard.record_seen(state, "etcd1", "patroni-paused", NOW + 60 * minutes)
    assert refusal(state, now=NOW + 3600, **asked) == ""
    assert refusal(state, now=NOW + 60, max_pause=60, **asked) == ""


def test_what_was_gone_for_a_while_begins_anew():
    state = guard.record_seen({}, "db1", "patroni-paused", NOW)
    state = guard.record_seen(state, "db1", "patroni-paused", NOW + guard.SEEN_TIMEOUT)
    assert state["seen"]["db1/patroni-paused"] == [NOW + guard.SEEN_TIMEOUT] * 2


def test_what_is_remembered_of_sightings_does_not_grow():
    state = {}
    for number in range(1000):
        state = guard.record_seen(state, f"host{number}", "disk-full", NOW + number)
    assert len(state["seen"]) <= guard.SEEN_TIMEOUT


def test_whoever_takes_a_node_out_waits_for_the_last_one_to_be_back():
    state = guard.record_attempt({}, "etcd1", "etcd-data-lost", NOW, 600)
    asked = {"unit": "replica-unusable", "roles": ["patroni"]}
    assert refusal(state, now=NOW + 30, **asked) == "cooldown"
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
    ("host", "nodes", "refused"),
    [
        ("db3", {"db1": "leader", "db2": "ok", "db3": "bad"}, ""),
        ("db1", {"db1": "leader", "db2": "ok", "db3": "ok"}, "host-is-leader"),
        ("db3", {"db1": "leader", "db2": "bad", "db3": "bad"}, "no-other-replica"),
        ("db3", {"db1": "leader", "db3": "bad"}, "no-other-replica"),
        ("db3", {"db1": "bad", "db2": "ok", "db3": "bad"}, "leader-unhealthy"),
        ("db3", {}, "leader-ambiguous"),
    ],
)
def test_a_replica_is_copied_anew_only_where_it_can_be_spared(host, nodes, refused):
    missing_redundancy = guard.missing_redundancy(
        "replica-unusable", host, guard.view(PLAN, "patroni", answers(**nodes))
    )
    assert code(missing_redundancy) == refused


def test_two_that_name_different_leaders_are_not_believed():
    seen = answers(db1="leader", db2="ok", db3="bad")
    seen["db2"]["checks"]["patroni.leader"]["value"] = "db2"
    missing_redundancy = guard.missing_redundancy(
        "replica-unusable", "db3", guard.view(PLAN, "patroni", seen)
    )
    assert code(missing_redundancy) == "leader-ambiguous"


@given(
    st.sampled_from(["etcd1", "etcd2", "etcd3"]),
    st.dictionaries(st.sampled_from(["etcd1", "etcd2", "etcd3"]), st.booleans()),
)
def test_no_cure_ever_costs_a_majority(host, state):
    refused = guard.missing_redundancy("etcd-data-lost", host, guard.view(PLAN, "etcd", answers(**state)))
    left = sum(well for node, well in state.items() if node != host)
    assert bool(refused) == (left < 2)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50),
            st.sampled_from(["db1", "db2", "db3"]),
            st.sampled_from(["replica-unusable", "patroni-hung", "patroni.service"]),
        ),
        max_size=80,
    )
)
def test_whatever_is_said_no_two_nodes_are_out_at_once_and_no_budget_is_passed(storm):
    """Events in any order, true or forged: what is done keeps cooldown, attempts and budget."""
    conf, now, state, acted = {**CONF, "max_actions_per_hour": 10}, NOW, {}, []
    for pause, host, what in storm:
        now += pause
        state = guard.record_seen(state, host, what, now)
        if not guard.refusal(now, host, what, ["patroni"], state, conf):
            state = guard.record_attempt(state, host, what, now, conf["window"])
            acted.append((now, host, what))
    disturbing = [when for when, _, what in acted if faults.needs(what)]
    assert all(later - earlier >= conf["cooldown"] for earlier, later in itertools.pairwise(disturbing))
    for when, host, what in acted:
        assert sum(when - guard.HOUR < other <= when for other, _, _ in acted) <= conf["max_actions_per_hour"]
        same = [
            other
            for other, *subject in acted
            if subject == [host, what] and when - conf["window"] < other <= when
        ]
        assert len(same) <= conf["attempts"]


def test_freezing_forgets_nothing():
    state = attempted([NOW - 3, NOW - 2, NOW - 1])
    assert refusal(guard.thaw(guard.freeze(state, NOW, 60, "work"))) == "attempts-spent"


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
    state, news = guard.record_refusal({}, "etcd1", "etcd.service", NOW, "deploy-running", 600)
    assert news
    state, news = guard.record_refusal(state, "etcd1", "etcd.service", NOW + 60, "deploy-running", 600)
    assert not news
    state, news = guard.record_refusal(state, "etcd1", "etcd.service", NOW + 90, "frozen", 600)
    assert news, "another reason"
    assert guard.record_refusal(state, "etcd1", "etcd.service", NOW + 700, "frozen", 600)[1], "later"
    assert guard.record_refusal(state, "etcd2", "etcd.service", NOW + 91, "frozen", 600)[1], "elsewhere"


# --- what a minion says

HOSTILE = st.recursive(
    st.text() | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = st.text() | st.sampled_from(
    ["etcd-full", "etcd.service", "vip-duplicate", "unprovisioned", "rpc-hung", "a b.service"]
)
TWO = {"nodes": {"etcd1": {"roles": ["etcd"]}, "rpc1": {"roles": ["rpc"]}}}


@given(host=st.text() | st.just("etcd1"), answer=HOSTILE | st.dictionaries(NAMES, HOSTILE))
def test_of_what_a_minion_says_little_is_believed(host, answer):
    for what, why in guard.accepted(TWO, host, answer).items():
        assert host == "etcd1"
        assert what in faults.of_node(["etcd"]) or what.endswith(
            (".service", ".socket", ".timer", ".mount", ".path")
        )
        assert why.isprintable()
        assert len(what) <= 110
        assert len(why) <= 300


def test_a_true_answer_is_believed():
    answer = {"etcd.service": "stopped", "etcd-full": "alarm NOSPACE"}
    assert guard.accepted(TWO, "etcd1", answer) == answer


def test_not_more_than_a_host_can_have():
    answer = {f"aunit{number}.service": "down" for number in range(10_000)} | {"etcd.service": "stopped"}
    assert len(guard.accepted(TWO, "etcd1", answer)) <= 3
    assert "etcd.service" in guard.accepted(TWO, "etcd1", answer)


def test_who_reports_what_is_not_there_is_not_asked_for_a_while():
    state = {}
    for number in range(guard.MAX_FALSE_REPORTS):
        assert not guard.reports_ignored(state, "rpc1", NOW + number)
        state = guard.record_false_report(state, "rpc1", NOW + number, 600)
    assert guard.reports_ignored(state, "rpc1", NOW + 100)
    assert not guard.reports_ignored(state, "rpc2", NOW + 100)
    assert not guard.reports_ignored(state, "rpc1", NOW + 700)
    assert len(guard.record_false_report(state, "rpc1", NOW + 9000, 600)["mistaken"]["rpc1"]) == 1


@pytest.mark.parametrize(
    "what", ["x\\n.service", "-x.service", "../x.service", "x.service\\n", "x" * 200 + ".service"]
)
def test_what_is_no_name_of_a_unit_is_not(what):
    assert guard.accepted(TWO, "etcd1", {what.encode().decode("unicode_escape"): "down"}) == {}


# --- fair shares


def test_a_host_that_has_used_up_its_share_takes_nothing_from_the_others():
    state, share = {}, int(CONF["max_actions_per_hour"] * guard.HOST_SHARE)
    for number in range(share):
        state = guard.record_attempt(state, "rpc1", f"unit{number}.service", NOW - 1, CONF["window"])
    assert code(guard.refusal(NOW, "rpc1", "rpc-hung", ["rpc"], state, CONF)) == "share-spent"
    assert refusal(state) == ""
    another = guard.refusal(NOW, "rpc10", "rpc-hung", ["rpc"], state, CONF)
    assert another is None, "another name that begins the same"


def test_a_cure_that_takes_long_is_tried_less_often():
    state = {}
    for when in (NOW - 3000, NOW - 2000, NOW - 1000):
        state = guard.record_attempt(state, "db1", "replica-unusable", when, CONF["window"])
    assert code(guard.refusal(NOW, "db1", "replica-unusable", ["patroni"], state, CONF)) == "attempts-spent"
    assert guard.refusal(NOW + 700, "db1", "replica-unusable", ["patroni"], state, CONF) is None


def test_refusals_are_forgotten():
    state = {}
    for number in range(1000):
        state, _ = guard.record_refusal(state, "rpc1", f"u{number}.service", NOW + number, "no", 60)
    assert len(state["refused"]) <= 61
