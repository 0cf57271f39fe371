"""Whether a node belongs to the running cluster, and the cluster settings."""

import copy
import json
from unittest.mock import Mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError

import fanatico_diff
import fanatico_patroni_plan
from _modules import (
    fanatico_etcd,
    fanatico_etcd_members,
    fanatico_patroni,
    fanatico_patroni_admin,
    fanatico_postgres,
)
from _states import fanatico_patroni as state
from tests.support import pillar

KEY = "/service/fanatico-l1/initialize"
SECRETS = {
    "POSTGRES_SUPERUSER_PASSWORD": "s" * 20,
    "POSTGRES_REPLICATOR_PASSWORD": "r" * 20,
    "POSTGRES_REWIND_PASSWORD": "w" * 20,
}
CONFIGURED = {
    "postgresql": {
        "authentication": {
            "superuser": {"username": "postgres", "password": "s" * 20},
            "replication": {"username": "replicator", "password": "r" * 20},
            "rewind": {"username": "rewind", "password": "w" * 20},
        }
    }
}
WANTED = {
    "ttl": 20,
    "synchronous_mode": "quorum",
    "postgresql": {"use_slots": True, "parameters": {"max_connections": 200, "jit": "off"}},
}


class TestJudgement:
    """The verdict from local data, the key in etcd, and the leader."""

    @pytest.mark.parametrize(
        ("initialize", "local", "leader", "verdict"),
        [
            (None, None, None, "ok"),  # nothing anywhere: a first deploy
            (None, "7", None, "ok"),  # etcd was rebuilt: the data comes back into it
            ("7", "7", None, "ok"),  # everything was off
            ("7", None, "db1", "ok"),  # a wiped replica
            ("", None, "db1", "ok"),
            ("7", None, None, "wait"),
            ("", None, None, "wait"),  # another node is founding it right now
            ("7", "8", None, "foreign"),
            ("7", "8", "db1", "foreign"),
        ],
    )
    def test_verdict(self, initialize, local, leader, verdict):
        assert fanatico_patroni_plan.judge("db2", KEY, initialize, local, leader)[0] == verdict

    def test_a_refusal_names_host_cause_and_next_step(self):
        _, why = fanatico_patroni_plan.judge("db2", KEY, "7", "8", None)
        assert why.startswith("db2: ")
        assert "system identifiers 8 and 7" in why
        assert "etcdctl del --prefix /service/fanatico-l1/" in why

    def test_no_deletion_is_suggested_under_a_leader(self):
        _, why = fanatico_patroni_plan.judge("db2", KEY, "7", "8", "db1")
        assert "etcdctl del" not in why
        assert "salt db1 fanatico_patroni.status" in why

    def test_system_identifier(self):
        text = "pg_control version number:            1700\nDatabase system identifier:           7553\n"
        assert fanatico_patroni_plan.system_identifier(text) == "7553"
        assert fanatico_patroni_plan.system_identifier("") is None

    @pytest.mark.parametrize("configuration", [None, {}, {"postgresql": None}])
    def test_no_passwords(self, configuration):
        assert fanatico_patroni_plan.passwords(configuration) == {}


def apply(patch, present):
    """Apply a PATCH as Patroni does: merge, and remove keys with None."""
    merged = copy.deepcopy(present)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = apply(value, merged[key])
        else:
            merged[key] = value
    return merged


values = st.one_of(
    st.booleans(), st.integers(0, 999), st.sampled_from(["on", "off", "true", "1GB", "quorum"])
)
configurations = st.fixed_dictionaries(
    {},
    optional={
        "ttl": values,
        "loop_wait": values,
        "pause": values,
        "slots": st.dictionaries(st.sampled_from("ab"), values),
        "postgresql": st.fixed_dictionaries(
            {},
            optional={
                "use_slots": values,
                "parameters": st.dictionaries(st.sampled_from(["jit", "work_mem"]), values),
            },
        ),
    },
)


class TestDifference:
    """Differences between wanted and present settings."""

    def test_the_same_is_no_difference(self):
        assert fanatico_diff.patroni(WANTED, copy.deepcopy(WANTED)) == ({}, {})

    def test_old_and_new_by_path(self):
        present = {
            **WANTED,
            "ttl": 30,
            "postgresql": {"use_slots": True, "parameters": {"max_connections": 100}},
        }
        changes, patch = fanatico_diff.patroni(WANTED, present)
        assert changes == {
            "ttl": {"old": 30, "new": 20},
            "postgresql.parameters.max_connections": {"old": 100, "new": 200},
            "postgresql.parameters.jit": {"old": None, "new": "off"},
        }
        assert patch == {"ttl": 20, "postgresql": {"parameters": {"max_connections": 200, "jit": "off"}}}

    def test_a_setting_that_is_no_longer_listed_is_removed(self):
        present = copy.deepcopy(WANTED)
        present["loop_wait"] = 5
        present["postgresql"]["parameters"]["work_mem"] = "1GB"
        changes, patch = fanatico_diff.patroni(WANTED, present)
        assert changes["loop_wait"] == {"old": 5, "new": None}
        assert patch == {"loop_wait": None, "postgresql": {"parameters": {"work_mem": None}}}

    @pytest.mark.parametrize(
        "key", ["callbacks", "create_replica_methods", "pre_promote", "bin_name", "recovery_conf"]
    )
    def test_commands_that_patroni_would_execute_are_removed(self, key):
        """An attacker on one database host could have set it for all of them."""
        present = copy.deepcopy(WANTED)
        present["postgresql"][key] = {"on_reload": "/tmp/x"}
        changes, patch = fanatico_diff.patroni(WANTED, present)
        assert list(changes) == [f"postgresql.{key}"]
        assert patch == {"postgresql": {key: None}}

    @pytest.mark.parametrize(
        "foreign",
        [{"pause": True}, {"slots": {"cdc": {"type": "logical"}}}, {"standby_cluster": {"host": "x"}}],
    )
    def test_settings_of_others_stay(self, foreign):
        assert fanatico_diff.patroni(WANTED, {**WANTED, **foreign}) == ({}, {})

    @pytest.mark.parametrize(
        ("one", "other"),
        [(True, "on"), (False, "off"), ("true", "on"), (100, "100"), (0.9, "0.9"), ("no", False)],
    )
    def test_equal_values_in_other_units(self, one, other):
        assert fanatico_diff.same(one, other)

    @pytest.mark.parametrize(("one", "other"), [(1, True), ("1GB", "1024MB"), (None, "off"), (0, False)])
    def test_different_values(self, one, other):
        assert not fanatico_diff.same(one, other)

    @given(wanted=configurations, present=configurations)
    def test_the_patch_changes_only_the_differences(self, wanted, present):
        changes, patch = fanatico_diff.patroni(wanted, present)
        after = apply(patch, present)
        assert fanatico_diff.patroni(wanted, after) == ({}, {})
        assert bool(changes) == bool(patch)
        for key in ("pause", "slots"):
            if key not in wanted:
                assert after.get(key) == present.get(key)


@pytest.mark.parametrize(
    ("wanted", "version", "understood"),
    [
        ("quorum", "4.0.7-1", "quorum"),
        ("quorum", "1:4.1.4-2", "quorum"),
        ("quorum", "3.3.6-1.pgdg12+1", True),
        ("quorum", "1:3.0-1", True),
        ("quorum", "", "quorum"),  # not installed yet
        (False, "3.3.6-1", False),
    ],
)
def test_a_patroni_without_quorum_commit_gets_the_closest_mode(wanted, version, understood):
    assert fanatico_patroni_plan.synchronous_mode(wanted, version) == understood


def test_settings_that_depend_on_the_version_of_postgresql():
    shipped = {name: pillar.shipped(name) for name in ("patroni", "postgresql")}
    own = fanatico_patroni_plan.postgresql(shipped)
    assert (own["data_dir"], own["bin_dir"]) == ("/var/lib/postgresql/17/main", "/usr/lib/postgresql/17/bin")
    shipped["postgresql"].update(version=15, parameters={"jit": None, "reserved_connections": 3, "port": 1})
    own = fanatico_patroni_plan.postgresql(shipped)
    assert (own["data_dir"], own["bin_dir"]) == ("/var/lib/postgresql/15/main", "/usr/lib/postgresql/15/bin")
    assert own["parameters"] == {"port": 1}, "the one is PostgreSQL's to choose, the other is new in 16"
    shipped["postgresql"]["data_dir"] = "/data"
    assert fanatico_patroni_plan.postgresql(shipped)["data_dir"] == "/data"
    config = fanatico_patroni_plan.dynamic(shipped, {"ttl": 20}, "3.3.6-1")
    assert (config["ttl"], config["synchronous_mode"]) == (20, True)
    assert config["postgresql"] == {"use_pg_rewind": True, "use_slots": True, "parameters": {"port": 1}}
    assert fanatico_patroni_plan.completed(shipped)["postgresql"]["data_dir"] == "/data"
    assert fanatico_patroni_plan.completed({}) == {}


@pytest.fixture
def configure_loader_modules(plan):
    plan = copy.deepcopy(plan)
    plan["timing"] = {"patroni": {"loop_wait": 0}}
    return {
        state: {
            "__opts__": {"id": "db3", "test": False},
            "__pillar__": {"plan": plan, "secrets": dict(SECRETS)},
        }
    }


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """db3 beside a cluster that db1 leads."""

    class Cluster:
        def __init__(self):
            self.leader = "db1"
            self.state = "streaming"
            self.initialize = "7"
            self.etcd_down = False
            self.etcd = "3.5.16"
            self.refuses = ()
            self.asked = []
            self.stored = copy.deepcopy(WANTED)
            self.ignores = ()
            self.pending = ()
            self.clock = 100
            self.configuration = tmp_path / "patroni.yml"
            self.configuration.write_text(yaml.safe_dump(CONFIGURED))
            self.data = tmp_path / "main"

        def status(self, node=None, timeout=2):
            if self.state is None:
                raise CommandExecutionError("connection refused")
            self.clock += 1
            return {
                "state": self.state,
                "dcs_last_seen": self.clock,
                **({"pending_restart": True} if node in self.pending else {}),
            }

        def get(self, key, timeout=5):
            if self.etcd_down:
                raise CommandExecutionError("db3: no etcd member answers")
            assert key == KEY
            return self.initialize

        def query(self, sql, args=None, dbname="postgres", user="postgres", host=None, **_):
            self.asked.append((user, host))
            if user in self.refuses:
                raise fanatico_postgres._PasswordRefused(f"db3: PostgreSQL at {host}: refused")
            return [{"one": 1}]

        def patch(self, settings, timeout=5):
            kept = {key: value for key, value in settings.items() if key not in self.ignores}
            self.stored = apply(kept, self.stored)
            return self.stored

        def accepted(self):
            return state.accepted("fanatico-l1", str(self.data), "/bin", timeout=0)

        def settings(self, settings=WANTED):
            return state.settings_present("fanatico-l1", settings, timeout=0)

    it = Cluster()
    monkeypatch.setattr(state, "CONFIGURATION", str(it.configuration))
    leader = Mock(spec=fanatico_patroni.leader, side_effect=lambda timeout=2: it.leader)
    salt = {
        "fanatico_patroni.status": Mock(spec=fanatico_patroni.status, side_effect=it.status),
        "fanatico_patroni.leader": leader,
        "fanatico_patroni.config": Mock(
            spec=fanatico_patroni.config, side_effect=lambda timeout=2: copy.deepcopy(it.stored)
        ),
        "fanatico_patroni.patch_config": Mock(spec=fanatico_patroni_admin.patch_config, side_effect=it.patch),
        "fanatico_etcd.status": Mock(
            spec=fanatico_etcd.status, side_effect=lambda timeout=1: {"etcd1": {"version": it.etcd}}
        ),
        "pkg.version": lambda name: "4.0.5-1",
        "fanatico_etcd.get": Mock(spec=fanatico_etcd_members.get, side_effect=it.get),
        "fanatico_postgres.query": Mock(spec=fanatico_postgres.query, side_effect=it.query),
        "cmd.run_stdout": lambda command, **_: "Database system identifier:  8\n",
    }
    monkeypatch.setattr(state, "__salt__", salt, raising=False)
    return it


class TestAccepted:
    """The check before patroni.yml is replaced."""

    def test_a_running_member_is_accepted_without_a_query(self, cluster):
        answer = cluster.accepted()
        assert answer["result"] is True
        assert cluster.asked == []

    def test_a_wiped_node_logs_in_at_the_leader(self, cluster):
        cluster.state = None
        assert cluster.accepted()["result"] is True
        assert cluster.asked == [("replicator", "10.0.2.10"), ("rewind", "10.0.2.10")]

    def test_other_secrets_are_refused_before_anything_is_written(self, cluster):
        state.__pillar__["secrets"]["POSTGRES_REPLICATOR_PASSWORD"] = "another one, quite new"
        cluster.refuses = ("replicator",)
        answer = cluster.accepted()
        assert answer["result"] is False
        assert answer["changes"] == {}
        assert answer["comment"].startswith("db3: the leader db1 refuses replicator ")
        assert "another one, quite new" not in answer["comment"]
        assert "\n" not in answer["comment"]

    def test_new_secrets_that_the_cluster_already_has_are_accepted(self, cluster):
        state.__pillar__["secrets"]["POSTGRES_REPLICATOR_PASSWORD"] = "another one, quite new"
        assert cluster.accepted()["result"] is True

    def test_a_starting_leader_is_no_reason_to_refuse(self, cluster):
        cluster.state = None
        state.__salt__["fanatico_postgres.query"].side_effect = CommandExecutionError("connection refused")
        assert cluster.accepted()["result"] is True

    def test_the_founder(self, cluster):
        cluster.state = cluster.leader = cluster.initialize = None
        assert cluster.accepted()["result"] is True

    def test_a_stale_key(self, cluster):
        cluster.state = cluster.leader = None
        answer = cluster.accepted()
        assert answer["result"] is False
        assert KEY in answer["comment"]
        assert "waited 0 s" in answer["comment"]

    def test_a_foreign_key(self, cluster):
        cluster.state = cluster.leader = None
        (cluster.data / "global").mkdir(parents=True)
        (cluster.data / "global" / "pg_control").touch()
        answer = cluster.accepted()
        assert answer["result"] is False
        assert "system identifiers 8 and 7" in answer["comment"]

    def test_an_incompatible_etcd(self, cluster):
        cluster.etcd = "3.5.28"
        answer = cluster.accepted()
        assert answer["result"] is False
        assert "etcd 3.5.28" in answer["comment"]

    def test_no_etcd(self, cluster):
        cluster.state = cluster.leader = None
        cluster.etcd_down = True
        answer = cluster.accepted()
        assert answer["result"] is False
        assert "no etcd member answers" in answer["comment"]

    def test_a_missing_secret_is_named(self, cluster):
        del state.__pillar__["secrets"]["POSTGRES_REWIND_PASSWORD"]
        answer = cluster.accepted()
        assert answer["result"] is False
        assert "POSTGRES_REWIND_PASSWORD" in answer["comment"]


class TestSettings:
    """The settings in etcd, managed by the leader."""

    def test_another_node_leads(self, cluster):
        cluster.stored = {}
        answer = cluster.settings()
        assert (answer["result"], answer["changes"]) == (True, {})
        assert cluster.stored == {}

    def test_nothing_to_do(self, cluster):
        cluster.leader = "db3"
        answer = cluster.settings()
        assert (answer["result"], answer["changes"]) == (True, {})
        state.__salt__["fanatico_patroni.patch_config"].assert_not_called()

    def test_a_change_with_old_and_new(self, cluster):
        cluster.leader = "db3"
        cluster.stored["ttl"] = 30
        answer = cluster.settings()
        assert answer["result"] is True
        assert answer["changes"] == {"ttl": {"old": 30, "new": 20}}
        assert cluster.stored == WANTED
        assert "without a restart" in answer["comment"]

    def test_a_dry_run_shows_the_changes_and_makes_none(self, cluster):
        cluster.leader = "db3"
        cluster.stored["ttl"] = 30
        state.__opts__["test"] = True
        answer = cluster.settings()
        assert answer["result"] is None
        assert answer["changes"] == {"ttl": {"old": 30, "new": 20}}
        assert cluster.stored["ttl"] == 30

    def test_members_that_need_a_restart_are_named(self, cluster):
        cluster.leader = "db3"
        cluster.stored["postgresql"]["parameters"]["max_connections"] = 100
        cluster.pending = ("db3", "db1")
        answer = cluster.settings()
        assert answer["result"] is True
        assert "restart of PostgreSQL is needed on db1, db3" in answer["comment"]

    def test_a_setting_that_was_not_accepted_is_a_failure(self, cluster):
        cluster.leader = "db3"
        cluster.stored.update(ttl=30, synchronous_mode="off")
        cluster.ignores = ("ttl",)
        answer = cluster.settings()
        assert answer["result"] is False
        assert answer["comment"].startswith("db3: Patroni did not accept ttl. ")
        assert answer["changes"] == {"synchronous_mode": {"old": "off", "new": "quorum"}}

    def test_no_leader(self, cluster):
        cluster.leader = None
        answer = cluster.settings()
        assert answer["result"] is False
        assert "db3" in answer["comment"]

    def test_answers_contain_no_secret(self, cluster):
        cluster.leader = "db3"
        for answer in (cluster.settings(), cluster.accepted()):
            assert not any(secret in json.dumps(answer) for secret in SECRETS.values())
