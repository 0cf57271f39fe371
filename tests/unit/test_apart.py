"""Separation of the leaders of etcd and Patroni: the new etcd leader, and the nodes on which the job runs."""

import pytest
import yaml

from _pillar import fanatico_apart
from fanatico_etcd_plan import enforce_leader_separation
from tests.support import REPO

COLOCATED = yaml.safe_load((REPO / "tests" / "plans" / "colocated.sls").read_text())["plan"]
WELL = {f"data{number}": {"learner": False} for number in (1, 2, 3)}
ROOMS = {
    "nodes": {
        "etcd1": {"roles": ["etcd"], "failure_domain": "a"},
        "etcd2": {"roles": ["etcd"], "failure_domain": "a"},
        "etcd3": {"roles": ["etcd"], "failure_domain": "b"},
        "db1": {"roles": ["patroni"], "failure_domain": "a"},
        "db2": {"roles": ["patroni"], "failure_domain": "b"},
    }
}


class TestDecision:
    """The new leader of etcd."""

    def test_separated_leaders_stay(self):
        assert enforce_leader_separation(COLOCATED, "data1", "data2", WELL)[0] is None

    def test_on_one_host_another_member_takes_over(self):
        assert enforce_leader_separation(COLOCATED, "data1", "data1", WELL) == (
            "data2",
            "both leaders are on the host data1",
        )

    def test_in_one_room_a_member_elsewhere_takes_over(self):
        there = {name: {"learner": False} for name in ("etcd1", "etcd2", "etcd3")}
        assert enforce_leader_separation(ROOMS, "etcd1", "db1", there)[0] == "etcd3"
        assert enforce_leader_separation(ROOMS, "etcd3", "db1", there)[0] is None

    def test_a_host_without_postgresql_is_preferred(self):
        plan = {"nodes": {**COLOCATED["nodes"], "witness": {"roles": ["etcd"]}}}
        assert enforce_leader_separation(plan, "data1", "data1", {**WELL, "witness": {}})[0] == "witness"

    @pytest.mark.parametrize(("leader", "primary"), [(None, "data1"), ("data1", None)])
    def test_without_a_leader_nothing_moves(self, leader, primary):
        assert enforce_leader_separation(COLOCATED, leader, primary, WELL)[0] is None

    def test_with_a_member_missing_nothing_moves(self):
        successor, why = enforce_leader_separation(
            COLOCATED, "data1", "data1", {**WELL, "data3": {"error": "timed out"}}
        )
        assert successor is None
        assert "data3" in why

    def test_a_learner_does_not_lead(self):
        assert (
            enforce_leader_separation(COLOCATED, "data1", "data1", {**WELL, "data3": {"learner": True}})[0]
            is None
        )

    def test_without_a_candidate_the_reason_is_returned(self):
        plan = {
            "nodes": {name: {**node, "failure_domain": "one"} for name, node in COLOCATED["nodes"].items()}
        }
        assert "failure domain one" in enforce_leader_separation(plan, "data1", "data2", WELL)[1]


class TestWhere:
    """On which nodes the job runs."""

    def scheduled(self, plan):
        return {node for node in plan["nodes"] if fanatico_apart.ext_pillar(node, {"plan": plan})}

    def test_on_separate_hosts_the_job_does_not_run(self, plan):
        assert self.scheduled(plan) == set()

    def test_on_shared_hosts_the_job_runs(self):
        assert self.scheduled(COLOCATED) == {"data1", "data2", "data3"}

    def test_in_a_shared_failure_domain_the_job_runs(self):
        nodes = {name: dict(node) for name, node in ROOMS["nodes"].items()}
        nodes["db2"]["failure_domain"] = "c"
        assert self.scheduled({"nodes": nodes}) == {"etcd1", "etcd2"}

    @pytest.mark.parametrize("broken", [None, [], {}, {"nodes": None}, {"nodes": {"etcd1": 1}}])
    def test_an_invalid_plan_yields_nothing(self, broken):
        assert fanatico_apart.ext_pillar("etcd1", {"plan": broken}) == {}
