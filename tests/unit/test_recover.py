"""What orch.recover_etcd decides from the state of the hosts, and which steps it takes."""

import pytest

import fanatico_recover as recover

TIMEOUTS = {"ready": 100, "apply": 300}
WHOLE = {"data_dir": True, "lost": "", "active": True, "member": True, "healthy": True, "clients": None}
EMPTY = {**WHOLE, "data_dir": False, "active": False, "member": None, "healthy": False}
ALONE = {**WHOLE, "healthy": False, "member": None}
PRIMARY = {"running": True, "in_recovery": False, "timeline": 3, "lsn": 500}
REPLICA = {"running": True, "in_recovery": True, "timeline": 3, "lsn": 490}
ETCD, DATABASES = ("etcd1", "etcd2", "etcd3"), ("db1", "db2", "db3")


def members(*states):
    return {node: state for node, state in zip(ETCD, states, strict=True) if state is not None}


def databases(*states):
    return {node: state for node, state in zip(DATABASES, states, strict=True) if state is not None}


SERVING = databases(REPLICA, PRIMARY, REPLICA)


def stopped(timeline, lsn):
    return {"running": False, "in_recovery": None, "timeline": timeline, "lsn": lsn}


def refusal(plan, *args):
    with pytest.raises(recover.Refused) as raised:
        recover.scope(plan, *args)
    text = str(raised.value)
    assert "Nothing was changed. Next: " in text
    return text


class TestEtcd:
    """The part of etcd."""

    def test_all_data_is_lost(self, plan):
        scope = recover.scope(plan, members(EMPTY, EMPTY, EMPTY), SERVING)
        assert scope["case"] == "rebuild"
        assert scope["primary"] == "db2"
        assert (scope["etcd"], scope["databases"]) == (list(ETCD), list(DATABASES))

    def test_the_data_of_two_of_three_is_lost(self, plan):
        scope = recover.scope(plan, members(EMPTY, ALONE, EMPTY), SERVING)
        assert scope["case"] == "rebuild"
        assert "the data of etcd2 is moved aside" in scope["why"]

    def test_damaged_data_counts_as_lost(self, plan):
        damaged = {**ALONE, "lost": "crc mismatch"}
        assert recover.scope(plan, members(damaged, damaged, ALONE), SERVING)["case"] == "rebuild"

    def test_data_that_suffices_for_a_quorum_is_never_discarded(self, plan):
        text = refusal(plan, members(ALONE, ALONE, EMPTY), SERVING)
        assert "etcd1, etcd2 still have their data" in text
        assert "systemctl start etcd" in text

    def test_unless_the_operator_gives_it_up(self, plan):
        states = members(ALONE, ALONE, EMPTY)
        assert recover.scope(plan, states, SERVING, ["etcd2"])["case"] == "rebuild"

    @pytest.mark.parametrize("rest", [(EMPTY, EMPTY), (WHOLE, EMPTY), (ALONE, None)])
    def test_a_quorum_is_left_alone(self, plan, rest):
        """A member that serves has a quorum behind it, whatever the other hosts report."""
        assert recover.scope(plan, members(WHOLE, *rest), SERVING)["case"] == "serves"

    def test_an_interrupted_recovery_is_finished(self, plan):
        half = {**WHOLE, "clients": ["db2"]}
        assert recover.scope(plan, members(half, half, WHOLE), SERVING)["case"] == "unfinished"

    def test_a_bootstrap_that_ended_on_one_host_is_repeated(self, plan):
        half = {**ALONE, "clients": []}
        assert recover.scope(plan, members(half, EMPTY, EMPTY), SERVING)["case"] == "rebuild"

    def test_a_silent_host_may_have_data(self, plan):
        text = refusal(plan, members(EMPTY, EMPTY, None), SERVING)
        assert "etcd3: no answer" in text
        assert '"discard": ["etcd3"]' in text
        assert recover.scope(plan, members(EMPTY, EMPTY, None), SERVING, ["etcd3"])["etcd"] == [
            "etcd1",
            "etcd2",
        ]

    def test_silent_hosts_that_could_form_the_former_quorum_are_not_given_up(self, plan):
        """Back again, they would be a second etcd, and a replica could lead there."""
        text = refusal(plan, members(EMPTY, None, None), SERVING, ["etcd2", "etcd3"])
        assert "start 1 of them" in text


class TestPrimary:
    """The database that leads in the new etcd."""

    LOST = members(EMPTY, EMPTY, EMPTY)

    def chosen(self, plan, *states, discard=()):
        return recover.scope(plan, self.LOST, databases(*states), discard)["primary"]

    def test_the_running_primary_whatever_else_is_newer(self, plan):
        assert self.chosen(plan, {**REPLICA, "lsn": 900}, PRIMARY, None) == "db2"

    @pytest.mark.parametrize(
        ("states", "newest"),
        [
            ((stopped(3, 10), stopped(3, 30), stopped(3, 20)), "db2"),
            (
                (stopped(3, 90), stopped(4, 30), stopped(3, 20)),
                "db2",
            ),  # a timeline is newer than any position before
            ((stopped(3, 10), {**REPLICA, "lsn": 30}, stopped(3, 20)), "db2"),
            (
                ({**REPLICA, "lsn": 30}, stopped(3, 30), stopped(3, 20)),
                "db2",
            ),  # its last record starts at the other's end
            (({}, stopped(3, 30), {}), "db2"),
        ],
    )
    def test_the_newest_data_where_none_runs(self, plan, states, newest):
        assert self.chosen(plan, *states) == newest

    def test_two_primaries(self, plan):
        assert "SPLIT-BRAIN: db1 and db2" in refusal(plan, self.LOST, databases(PRIMARY, PRIMARY, None))

    def test_a_primary_on_a_host_that_is_given_up_still_leads(self, plan):
        assert self.chosen(plan, REPLICA, PRIMARY, REPLICA, discard=["db2"]) == "db2"

    @pytest.mark.parametrize("unclear", [None, "db3: PostgreSQL runs, but cannot be asked"])
    def test_without_a_primary_every_host_has_to_answer(self, plan, unclear):
        states = databases(stopped(3, 10), stopped(3, 20), unclear)
        assert "the newest data may be on db3" in refusal(plan, self.LOST, states)
        assert recover.scope(plan, self.LOST, states, ["db3"])["primary"] == "db2"

    def test_not_all_databases_are_given_up(self, plan):
        assert "discard" not in refusal(plan, self.LOST, databases(None, None, {}))

    def test_data_that_is_given_up_does_not_lead(self, plan):
        assert self.chosen(plan, stopped(3, 10), stopped(3, 20), stopped(3, 15), discard=["db2"]) == "db3"

    def test_no_data_at_all(self, plan):
        assert "orch.deploy" in refusal(plan, self.LOST, databases({}, {}, {}))


class TestSteps:
    """The order of the steps."""

    def steps(self, plan, *states):
        return recover.steps(recover.scope(plan, members(*states), SERVING), "x1", TIMEOUTS)

    def functions(self, plan, *states):
        return [arguments.get("name") or arguments["sls"] for _, _, arguments in self.steps(plan, *states)]

    REST = ("fanatico_patroni.register", "fanatico_patroni.wait_streaming", "patroni.settings")

    def test_a_rebuild(self, plan):
        assert self.functions(plan, EMPTY, EMPTY, EMPTY) == [
            "fanatico_etcd.restrict_clients",
            "fanatico_etcd_cure.set_aside",
            "etcd",
            "fanatico_etcd.wait_quorum",
            "fanatico_etcd.restrict_clients",
            "fanatico_patroni.register",
            "fanatico_etcd.allow_clients",
            *self.REST,
        ]

    def test_the_rest_of_an_interrupted_one_moves_no_data(self, plan):
        half = {**WHOLE, "clients": []}
        functions = self.functions(plan, half, half, half)
        assert functions[0] == "etcd"
        assert "fanatico_etcd_cure.set_aside" not in functions

    def test_an_etcd_that_serves_is_not_touched(self, plan):
        assert self.functions(plan, WHOLE, WHOLE, WHOLE) == ["fanatico_patroni.register", *self.REST]

    def test_the_primary_alone_is_admitted_first(self, plan):
        steps = self.steps(plan, EMPTY, EMPTY, EMPTY)
        closed, opened = (s for s in steps if s[2].get("name") == "fanatico_etcd.restrict_clients")
        assert "kwarg" not in closed[2]
        assert opened[2]["kwarg"] == {"admitted": ["db2"]}
        assert closed[2]["tgt"] == opened[2]["tgt"] == list(ETCD)
        (bootstrap,) = (step[2] for step in steps if step[2].get("sls") == "etcd")
        assert bootstrap["pillar"] == {"etcd": {"bootstrap": "x1"}}

    def test_the_replicas_follow(self, plan):
        first, second = (s for s in self.steps(plan, EMPTY, EMPTY, EMPTY) if s[2].get("name") == self.REST[0])
        assert (first[2]["tgt"], first[2]["kwarg"]["leads"]) == (["db2"], True)
        assert (second[2]["tgt"], second[2]["kwarg"]["leads"]) == (["db1", "db3"], False)


def test_the_history_says_what_was_done(plan):
    scope = recover.scope(plan, members(EMPTY, ALONE, EMPTY), SERVING)
    assert recover.result(scope).startswith("etcd was bootstrapped again with db2 as primary")
