"""A restore of the whole cluster: where and when it begins, its steps, how it goes on, how it is undone."""

import pytest

import fanatico_restore_journal as journals
import fanatico_restore_scope as scopes
import fanatico_restore_steps as steps

TIMEOUTS = {"ready": 100, "apply": 300, "prepare": 300, "restore": 3000}
GIB = 1024**3
HOSTS = ("db1", "db2", "db3")
WHOLE = {
    "held": False,
    "restoring": False,
    "undo": [],
    "undone": [],
    "data": True,
    "configured": True,
    "free": 100 * GIB,
    "obstacle": "",
}
PRIMARY = {"running": True, "in_recovery": False, "timeline": 3, "lsn": 500}
REPLICA = {"running": True, "in_recovery": True, "timeline": 3, "lsn": 490}
PLAN = {
    "host": "ops1",
    "target": "2026-11-28 12:00:00+00",
    "kind": "time",
    "value": "1796054300.0",
    "timeline": 0,
    "moment": 1796054300.0,
    "backup": "20261127-020000F",
    "newest_timeline": 7,
    "bytes": GIB,
    "seconds": 60,
}


def states(**others):
    return {host: {**WHOLE, **others.get(host, {})} for host in HOSTS}


def ends(*found):
    return {host: end for host, end in zip(HOSTS, found, strict=True) if end is not None}


SERVING = ends(REPLICA, PRIMARY, REPLICA)


def stopped(timeline, lsn):
    return {"running": False, "in_recovery": None, "timeline": timeline, "lsn": lsn}


def scope(plan, found=SERVING, seen=None, journal=None, **options):
    return scopes.scope(plan, PLAN, journal or {}, seen or states(), found, **options)


def refusal(plan, *args, **kwargs):
    with pytest.raises(scopes.Refused) as raised:
        scope(plan, *args, **kwargs)
    text = str(raised.value)
    assert "Nothing was changed. Next: " in text
    return text


class TestScope:
    """What is decided before the first step."""

    def test_the_primary_is_restored_and_keeps_its_data(self, plan):
        found = scope(plan)
        assert (found["host"], found["leader"], found["undo"]) == ("db2", "db2", "db2")
        assert (found["before"], found["hosts"], found["phase"]) == (3, list(HOSTS), "begun")

    def test_without_a_primary_the_newest_data_is_kept(self, plan):
        found = scope(plan, ends(stopped(3, 900), stopped(4, 10), stopped(3, 800)))
        assert (found["host"], found["leader"], found["undo"], found["before"]) == ("db2", "", "db2", 4)

    def test_another_host_where_the_primary_has_no_room(self, plan):
        found = scope(plan, seen=states(db2={"free": GIB}))
        assert (found["host"], found["undo"]) == ("db1", "db2")

    def test_no_room_anywhere(self, plan):
        full = {"free": GIB}
        assert "1.2 GiB" in refusal(plan, seen=states(db1=full, db2=full, db3=full))

    def test_bare_hosts(self, plan):
        found = scope(plan, ends({}, {}, {}))
        assert (found["host"], found["undo"], found["before"]) == ("db1", "", 7), (
            "the timeline of the WAL in the repository"
        )

    def test_two_primaries(self, plan):
        assert "SPLIT-BRAIN: db1 and db2" in refusal(plan, ends(PRIMARY, PRIMARY, REPLICA))

    @pytest.mark.parametrize("answer", [None, "db3: no record of the WAL can be read"])
    def test_a_host_that_does_not_answer_may_have_the_newest_data(self, plan, answer):
        text = refusal(plan, ends(REPLICA, PRIMARY, answer))
        assert '"discard": ["db3"]' in text
        assert scope(plan, ends(REPLICA, PRIMARY, answer), discard=["db3"])["hosts"] == ["db1", "db2"]

    def test_a_directory_that_cannot_be_moved(self, plan):
        assert scope(plan, seen=states(db2={"obstacle": "/data is a mount point"}))["host"] == "db1"

    def test_data_of_an_earlier_restore_is_not_overwritten(self, plan):
        assert "/data.undo-1" in refusal(plan, seen=states(db3={"undo": ["/data.undo-1"]}))


class TestAgain:
    """A restore that is open."""

    def journal(self, plan, phase):
        return {**scope(plan), "phase": phase}

    def test_the_same_goes_on(self, plan):
        assert scope(plan, journal=self.journal(plan, "begun"))["leader"] == "db2"

    def test_patroni_is_not_paused_again_once_it_is_held(self, plan):
        seen = states(db1={"held": True}, db2={"held": True})
        assert scope(plan, seen=seen, journal=self.journal(plan, "begun"))["leader"] == ""

    def test_a_host_that_is_lost_meanwhile_takes_no_part(self, plan):
        found = scope(plan, journal=self.journal(plan, "begun"), discard=["db3"])
        assert (found["hosts"], "db3" in found["order"]) == (["db1", "db2"], False)
        assert "the data of before" in refusal(plan, journal=self.journal(plan, "begun"), discard=["db2"])

    @pytest.mark.parametrize("phase", ["looking", "served", "undoing", "undone"])
    def test_it_has_to_be_accepted_or_undone_first(self, plan, phase):
        text = refusal(plan, journal=self.journal(plan, phase))
        assert scopes.ACCEPT in text
        assert scopes.UNDO in text

    def test_another_target(self, plan):
        journal = {**self.journal(plan, "begun"), "target": "latest"}
        assert "latest is open" in refusal(plan, journal=journal)


def functions(found):
    return [arguments.get("name") or arguments["sls"] for _, _, arguments in found]


def hosts(found, function):
    return [arguments["tgt"] for _, _, arguments in found if arguments.get("name") == function]


class TestRestore:
    """The order of its steps."""

    def steps(self, plan, **options):
        return steps.restore(scope(plan, **options), states(), TIMEOUTS)

    def test_nothing_is_moved_before_all_is_stopped_and_the_newest_data_is_known(self, plan):
        order = functions(self.steps(plan))
        moved = order.index("fanatico_restore.set_aside")
        assert order.index("fanatico.restore_stopped") < moved < order.index("fanatico_restore.start")
        assert order.count("fanatico_restore.stop") == 2
        assert all(index < moved for index, name in enumerate(order) if name in ("fanatico_restore.stop",))

    def test_failover_is_off_before_anything_stops(self, plan):
        order = functions(self.steps(plan))
        first = [
            "fanatico.restore_begin",
            "fanatico_patroni.pause",
            "fanatico_restore.wait_paused",
            "fanatico_restore.hold",
        ]
        assert order[:4] == first

    def test_the_primary_stops_before_the_replicas_which_get_all_of_it(self, plan):
        assert hosts(self.steps(plan), "fanatico_restore.stop") == [["db2"], ["db1", "db3"]]

    def test_without_a_leader_there_is_no_pause(self, plan):
        order = functions(self.steps(plan, found=ends({}, {}, {})))
        assert "fanatico_patroni.pause" not in order
        assert "fanatico_restore.hold" in order

    def test_the_restored_host_leads_alone_before_the_replicas_are_cloned(self, plan):
        found = self.steps(plan)
        order = functions(found)
        assert order.index("fanatico_etcd.forget_cluster") < order.index("fanatico_restore.release")
        assert order.index("fanatico_patroni.register") < order.index("fanatico_restore.rejoin")
        assert hosts(found, "fanatico_restore.release") == [["db2"]]
        assert hosts(found, "fanatico_restore.rejoin") == [["db1", "db3"]]

    def test_it_ends_with_a_proof_and_a_full_backup(self, plan):
        order = functions(self.steps(plan))
        assert order[-4:] == [
            "fanatico.proof",
            "fanatico.restore_served",
            "fanatico_backup.check",
            "fanatico.restore_backup",
        ]

    def test_a_look_stops_before_anything_serves(self, plan):
        found = self.steps(plan, look=True)
        assert functions(found)[-1] == "fanatico.restore_note"
        assert "fanatico_etcd.forget_cluster" not in functions(found)
        (start,) = (
            arguments for _, _, arguments in found if arguments.get("name") == "fanatico_restore.start"
        )
        assert start["kwarg"]["look"] is True

    def test_the_only_copy_of_the_newest_data_is_not_replaced(self, plan):
        """The restored host is another one: the former primary stays as it is until the restore is accepted."""
        found = self.steps(plan, seen=states(db2={"free": GIB}))
        assert hosts(found, "fanatico_restore.set_aside") == [["db1"]]
        assert hosts(found, "fanatico_restore.rejoin") == [["db3"]]
        (wait,) = (
            arguments
            for _, _, arguments in found
            if arguments.get("name") == "fanatico_patroni.wait_streaming"
        )
        assert wait["kwarg"]["members"] == ["db1", "db3"]

    def test_new_hosts_are_configured_before_patroni_starts_there(self, plan):
        bare = {"data": False, "configured": False}
        seen = states(db1=bare, db2=bare, db3=bare)
        found = steps.restore(scope(plan, found=ends({}, {}, {}), seen=seen), seen, TIMEOUTS)
        order = functions(found)
        assert order.index("archive") < order.index("fanatico_restore.start")
        first, second = (index for index, name in enumerate(order) if name == "patroni.configured")
        leads = order.index("fanatico_patroni.register")
        assert (
            first
            < order.index("fanatico_restore.release")
            < leads
            < second
            < order.index("fanatico_restore.rejoin")
        )

    def test_an_interruption_after_it_began_to_serve(self, plan):
        journal = {**scope(plan), "phase": "serving"}
        assert "fanatico_etcd.forget_cluster" not in functions(steps.restore(journal, states(), TIMEOUTS))
        still = states(db2={"restoring": True})
        assert "fanatico_etcd.forget_cluster" in functions(steps.restore(journal, still, TIMEOUTS))


class TestAccept:
    """The data of before is deleted."""

    def accept(self, plan, phase, **seen):
        return steps.accept({**scope(plan, **seen), "phase": phase}, states(), TIMEOUTS)

    def test_what_was_looked_at_serves_first(self, plan):
        order = functions(self.accept(plan, "looking"))
        assert order[0] == "fanatico_restore.finish"
        assert order.index("fanatico.proof") < order.index("fanatico_restore.discard")
        assert order[-1] == "fanatico.restore_close"

    @pytest.mark.parametrize("phase", ["served", "undone"])
    def test_what_serves_is_left_alone(self, plan, phase):
        order = ["fanatico.restore_note", "fanatico_restore.discard", "fanatico.restore_close"]
        assert functions(self.accept(plan, phase)) == order

    def test_the_host_that_kept_the_newest_data_is_cloned_then(self, plan):
        found = self.accept(plan, "served", seen=states(db2={"free": GIB}))
        assert hosts(found, "fanatico_restore.rejoin") == [["db2"]]
        assert functions(found)[-2:] == ["fanatico_restore.discard", "fanatico.restore_close"]

    @pytest.mark.parametrize("phase", ["begun", "undoing"])
    def test_what_has_not_ended(self, plan, phase):
        with pytest.raises(scopes.Refused, match="has not ended"):
            self.accept(plan, phase)

    def test_nothing(self):
        with pytest.raises(scopes.Refused, match="no restore is open"):
            steps.accept({}, {}, TIMEOUTS)


class TestUndo:
    """The data of before serves again."""

    KEPT = states(db1={"undo": ["/d.undo-1"]}, db2={"undo": ["/d.undo-1"]}, db3={"undo": ["/d.undo-1"]})

    def undo(self, plan, phase, seen=None, found=SERVING, **facts):
        journal = {**scope(plan), "phase": phase, **facts}
        return steps.undo(journal, seen or self.KEPT, found, TIMEOUTS)

    def test_before_it_served(self, plan):
        found = self.undo(plan, "looking")
        assert "fanatico_restore.reopen" not in functions(found)
        first, others = (
            arguments for _, _, arguments in found if arguments.get("name") == "fanatico_restore.put_back"
        )
        assert (first["tgt"], others["tgt"]) == (["db2"], ["db1", "db3"])
        assert others["kwarg"] == {"clone": False}

    def test_after_it_served_a_timeline_of_its_own(self, plan):
        """The repository has the timeline of the restored cluster: Patroni would choose the same number."""
        found = self.undo(plan, "served")
        order = functions(found)
        assert order.index("fanatico_restore.put_back") < order.index("fanatico_restore.reopen")
        assert order.index("fanatico_restore.reopen") < order.index("fanatico_patroni.register")
        assert order[-1] == "fanatico.restore_backup"
        note = found[0][2]
        assert (note["served"], note["restored_timeline"]) == (True, 3)

    def test_an_interrupted_one_goes_on(self, plan):
        found = self.undo(plan, "undoing", seen=states(), served=True)
        assert "fanatico_restore.reopen" in functions(found)
        assert "restored_timeline" not in found[0][2]

    def test_without_the_data_nothing_is_touched(self, plan):
        with pytest.raises(scopes.Refused, match="has no data of before"):
            self.undo(plan, "served", seen=states())

    def test_a_host_that_does_not_answer(self, plan):
        with pytest.raises(scopes.Refused, match="db2, which has the data of before, does not answer"):
            self.undo(
                plan, "served", seen={host: state for host, state in self.KEPT.items() if host != "db2"}
            )

    @pytest.mark.parametrize("facts", [{"phase": "undone"}, {"phase": "served", "undo": ""}])
    def test_what_cannot_be_undone(self, plan, facts):
        with pytest.raises(scopes.Refused, match="Nothing was changed"):
            self.undo(plan, **facts)

    def test_the_former_primary_that_kept_its_data_leads_again(self, plan):
        """Another host was restored: the data of before was never moved, and db2 is held in a cluster that serves."""
        seen = states(db1={"undo": ["/d.undo-1"]}, db2={"held": True}, db3={"undo": ["/d.undo-1"]})
        journal = {**scope(plan, seen=states(db2={"free": GIB})), "phase": "served"}
        serving = ends(PRIMARY, stopped(3, 500), REPLICA)
        found = steps.undo(journal, seen, serving, TIMEOUTS)
        assert hosts(found, "fanatico_patroni.pause") == [["db1"]], (
            "the leader is paused before it is stopped"
        )
        assert hosts(found, "fanatico_restore.reopen") == [["db2"]]
        assert hosts(found, "fanatico_patroni.register") == [["db2"]]

    def test_once_the_data_of_before_leads_nothing_is_stopped_again(self, plan):
        found = self.undo(plan, "undoing", seen=states(), served=True, back=True)
        assert not {"fanatico_restore.hold", "fanatico_restore.put_back"} & set(functions(found))
        assert functions(found)[-1] == "fanatico.restore_backup"

    @pytest.mark.parametrize("phase", ["begun", "looking"])
    def test_new_hosts_without_data_of_before_can_take_another_target(self, plan, phase):
        found = self.undo(plan, phase, undo="")
        assert functions(found)[1:] == ["fanatico_restore.wipe", "fanatico.restore_undone"]

    def test_not_while_the_data_is_being_deleted(self, plan):
        with pytest.raises(scopes.Refused, match="is accepted"):
            self.undo(plan, "accepted")


class TestJournal:
    """The record of an open restore."""

    @pytest.fixture
    def home(self, tmp_path, plan):
        journals.begin(tmp_path, {**scope(plan), "asked": PLAN["target"], "began": 1})
        return tmp_path

    def test_a_second_one_does_not_replace_it(self, home):
        journals.begin(home, {"phase": "begun", "target": "other"})
        assert journals.read(home)["target"] == PLAN["target"]

    @pytest.mark.parametrize(("phase", "closed"), [("looking", True), ("serving", True), ("served", False)])
    def test_other_changes_wait_while_clients_see_no_database(self, home, phase, closed):
        journals.change(home, phase=phase)
        assert bool(journals.objection(home, "deploy")) is closed
        assert journals.objection(home, "restore_undo") == ""

    def test_a_damaged_one_stops_everything(self, home):
        journals.path(home).write_text("{")
        with pytest.raises(ValueError, match="damaged"):
            journals.objection(home, "deploy")

    def test_restores_are_remembered_once(self, home):
        for _ in range(2):
            journals.record(home, {"at": 2, "moment": 1, "before": 3})
        assert journals.recorded(home) == [{"at": 2, "moment": 1, "before": 3}]

    def test_closed(self, home):
        journals.close(home)
        assert journals.read(home) == {}
        assert journals.objection(home, "deploy") == ""

    @pytest.mark.parametrize(
        "phase", ["begun", "looking", "serving", "served", "accepted", "undoing", "undone"]
    )
    def test_each_phase_has_a_next_step(self, home, phase):
        journals.change(home, phase=phase)
        assert steps.next_steps(journals.read(home))
