"""etcd: the decision about membership from the live state, and the states that carry it out."""

import base64
import json
import typing
from unittest.mock import Mock

import pytest
import yaml
from salt.exceptions import CommandExecutionError

import fanatico_etcd_plan as decision
import fanatico_etcd_users as users
from _modules import fanatico_etcd as module
from _modules import fanatico_etcd_members as membership
from _states import fanatico_etcd
from _states import fanatico_etcd_members as members
from _states import fanatico_etcd_users as access

URLS = {f"etcd{n}": f"https://10.0.3.{9 + n}:2380" for n in (1, 2, 3)}
STEADY = {"name": "etcd3", "initial-cluster-state": "existing", "heartbeat-interval": 100}


def member(node, ran=True):
    """An entry of the member list."""
    clients = [URLS[node].replace("2380", "2379")] if ran else []
    return {"id": node[-1], "peer_urls": [URLS[node]], "client_urls": clients, "started": ran}


def cluster(*nodes):
    return {node: member(node) for node in nodes}


class TestDecision:
    """The decision for a node without data."""

    def test_no_member_and_bootstrap_allowed(self):
        assert decision.decide("etcd1", URLS, None, [], True)["action"] == "found"

    def test_no_member_and_bootstrap_not_allowed(self):
        answer = decision.decide("etcd1", URLS, None, [], False)
        assert answer["action"] == "wait"
        assert "etcd1 has no etcd data" in answer["why"]
        assert "orch.deploy" in answer["why"]

    def test_a_member_that_lost_its_data_is_replaced(self):
        live = cluster("etcd1", "etcd2", "etcd3")
        assert decision.decide("etcd3", URLS, live, ["etcd1", "etcd2"], False)["action"] == "replace"

    def test_founding_is_never_preferred_to_a_cluster_that_answers(self):
        live = cluster("etcd1", "etcd2", "etcd3")
        assert decision.decide("etcd3", URLS, live, ["etcd1", "etcd2"], True)["action"] == "replace"

    def test_a_member_is_not_replaced_without_a_quorum_of_the_others(self):
        live = cluster("etcd1", "etcd2", "etcd3")
        answer = decision.decide("etcd3", URLS, live, ["etcd1"], False)
        assert answer["action"] == "wait"
        assert "healthy now: etcd1" in answer["why"]

    def test_an_unknown_node_is_added(self):
        assert (
            decision.decide("etcd3", URLS, cluster("etcd1", "etcd2"), ["etcd1", "etcd2"], False)["action"]
            == "add"
        )

    def test_growing_beyond_the_quorum_waits(self):
        five = {**URLS, "etcd4": "https://10.0.3.13:2380"}
        live = cluster("etcd1", "etcd2", "etcd3")
        assert decision.decide("etcd4", five, live, ["etcd1", "etcd2"], False)["action"] == "wait"
        assert decision.decide("etcd4", five, live, ["etcd1", "etcd2", "etcd3"], False)["action"] == "add"

    @pytest.mark.parametrize("healthy", [[], ["etcd1", "etcd2"]])
    def test_a_late_founder_starts(self, healthy):
        live = {**cluster("etcd1", "etcd2"), "etcd3": member("etcd3", ran=False)}
        assert decision.decide("etcd3", URLS, live, healthy, True)["action"] == "join"

    def test_a_foreign_cluster_is_refused(self):
        live = {
            "x": {
                "id": "1",
                "peer_urls": ["http://172.16.0.1:2380"],
                "client_urls": ["http://172.16.0.1:2379"],
            }
        }
        answer = decision.decide("etcd1", URLS, live, ["etcd2"], True)
        assert answer["action"] == "refuse"
        assert "another etcd cluster" in answer["why"]
        assert "x" in answer["why"]

    @pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
    def test_quorum(self, size, needed):
        assert decision.quorum(size) == needed


class TestFirstStart:
    """The configuration of etcd's first start."""

    def test_founders_are_the_plan(self):
        assert decision.initial_cluster("etcd1", URLS, None) == (
            "etcd1=https://10.0.3.10:2380,etcd2=https://10.0.3.11:2380,etcd3=https://10.0.3.12:2380"
        )

    def test_joining_names_the_existing_members(self):
        live = {"etcd1": member("etcd1"), "etcd3": member("etcd3", ran=False)}
        assert decision.initial_cluster("etcd3", URLS, live) == (
            "etcd1=https://10.0.3.10:2380,etcd3=https://10.0.3.12:2380"
        )

    def test_everything_else_stays_as_configured(self):
        first = decision.first_start(STEADY, "new", "etcd3=x", "token")
        assert first["initial-cluster-state"] == "new"
        assert first["heartbeat-interval"] == 100
        assert STEADY["initial-cluster-state"] == "existing"


class TestExplain:
    """Known causes in etcd's log."""

    def test_the_last_sign_counts(self):
        journal = "bind: address already in use\nstarted\nrequest cluster ID mismatch\nclosed"
        assert "another etcd cluster" in decision.explain(journal)[0]

    def test_nothing_known(self):
        assert decision.explain("all is well") is None


@pytest.fixture
def configure_loader_modules(plan):
    dunders = {
        "__opts__": {"id": "etcd3", "test": False},
        "__pillar__": {"plan": plan, "secrets": {"ETCD_CLUSTER_TOKEN": "t" * 32}},
    }
    return dict.fromkeys((fanatico_etcd, members, access), dunders)


HEALTHY = {"healthy": True, "reason": ""}
SILENT = {"error": "connection refused"}


@pytest.fixture
def node(monkeypatch, tmp_path):
    """etcd3 without data, beside a simulated cluster of two members."""

    class Machine:
        def __init__(self):
            self.health = {"etcd1": HEALTHY, "etcd2": HEALTHY, "etcd3": SILENT}
            self.live = cluster("etcd1", "etcd2", "etcd3")
            self.told = []
            self.systemctl = []
            self.unit = {
                "ActiveState": "active",
                "UnitFileState": "enabled",
                "NeedDaemonReload": "no",
                "ExecMainStartTimestamp": "@4102444800",
            }
            self.data = tmp_path / "data"
            self.first = tmp_path / "run"
            self.holder = None
            self.enabled = "enabled"  # the result of enabling it

        def remove(self, name, timeout=5):
            self.told.append(("remove", name))
            del self.live[name]
            return self.live

        def add(self, name, learner=False, timeout=5):
            self.told.append(("add", name))
            self.live[name] = member(name, ran=False)
            return self.live

        def stdout(self, command, **_):
            assert command[:2] == ["systemctl", "show"]
            return "\n".join(f"{key}={value}" for key, value in self.unit.items())

        def run_all(self, command, **_):
            self.systemctl.append(command[1])
            if command[1] in ("start", "restart"):
                self.unit.update(ActiveState="active", ExecMainStartTimestamp="@4102444800")
                self.health["etcd3"] = HEALTHY
            return {"retcode": 0, "stderr": ""}

        def enable(self, name):
            self.systemctl.append("enable")
            self.unit["UnitFileState"] = self.enabled

        def lock(self, name, ttl=60, timeout=5):
            self.told.append(("lock", name))
            return {"lease": None if self.holder else 7, "holder": self.holder or "etcd3"}

        def present(self, **kwargs):
            return members.member_present("etcd3", str(self.data), timeout=0, **kwargs)

        def running(self):
            return fanatico_etcd.running("etcd", timeout=0)

        @property
        def configuration(self):
            return yaml.safe_load((self.first / "etcd.conf.yml").read_text())

    machine = Machine()
    steady = tmp_path / "etcd.conf.yml"
    steady.write_text(yaml.safe_dump(STEADY))
    monkeypatch.setattr(decision, "CONFIGURATION", str(steady))
    monkeypatch.setattr(fanatico_etcd, "READ_AT_START", (str(steady),))
    monkeypatch.setattr(decision, "FIRST_START", str(machine.first))
    salt = {
        "fanatico_etcd.health": Mock(spec=module.health, side_effect=lambda timeout=1: machine.health),
        "fanatico_etcd.members": Mock(
            spec=membership.members, side_effect=lambda timeout=5: dict(machine.live)
        ),
        "fanatico_etcd.status": Mock(
            spec=module.status, side_effect=lambda timeout=1: {"etcd1": {"cluster_id": "a"}, "etcd2": SILENT}
        ),
        "fanatico_etcd.member_add": Mock(spec=membership.member_add, side_effect=machine.add),
        "fanatico_etcd.member_remove": Mock(spec=membership.member_remove, side_effect=machine.remove),
        "fanatico_etcd.lock": Mock(spec=membership.lock, side_effect=machine.lock),
        "fanatico_etcd.unlock": Mock(
            spec=membership.unlock,
            side_effect=lambda lease, timeout=5: machine.told.append(("unlock", lease)),
        ),
        "fanatico.journal": lambda unit: "request cluster ID mismatch",
        "service.stop": lambda name: machine.systemctl.append("stop"),
        "service.enable": machine.enable,
        "service.systemctl_reload": lambda: machine.systemctl.append("daemon-reload"),
        "cmd.run_stdout": machine.stdout,
        "cmd.run_all": machine.run_all,
        "file.mkdir": lambda path, **_: machine.first.mkdir(exist_ok=True),
        "file.chown": lambda *_: None,
    }
    for one in (fanatico_etcd, members, access):
        monkeypatch.setattr(one, "__salt__", salt, raising=False)
    return machine


class TestMemberPresent:
    """The state of the membership."""

    def test_a_node_with_data_is_a_member(self, node):
        (node.data / "member" / "wal").mkdir(parents=True)
        answer = node.present()
        assert answer["result"] is True
        assert answer["changes"] == {}
        assert node.told == []

    def test_a_member_without_data_is_removed_before_it_is_added(self, node):
        answer = node.present()
        assert answer["result"] is True
        assert answer["changes"] == {"etcd3": {"old": None, "new": "replace"}}
        assert node.told == [("remove", "etcd3"), ("add", "etcd3")]
        assert node.configuration["initial-cluster-state"] == "existing"
        assert node.configuration["initial-cluster"].count("https://") == 3
        assert "stop" in node.systemctl

    def test_founding(self, node):
        node.health = dict.fromkeys(URLS, SILENT)
        answer = node.present(bootstrap=True)
        assert answer["changes"] == {"etcd3": {"old": None, "new": "found"}}
        assert node.told == []
        assert node.configuration["initial-cluster-state"] == "new"
        assert "t" * 32 not in str(node.configuration)
        assert (node.first / "environment").read_text() == f"ETCD_CONFIG={node.first}/etcd.conf.yml\n"
        assert (node.first / "etcd.conf.yml").stat().st_mode & 0o777 == 0o640

    def test_no_bootstrap_without_permission(self, node):
        node.health = dict.fromkeys(URLS, SILENT)
        answer = node.present()
        assert answer["result"] is False
        assert answer["changes"] == {}
        assert not node.first.exists()

    def test_no_quorum_among_the_others_changes_nothing(self, node):
        node.health["etcd2"] = SILENT
        answer = node.present()
        assert answer["result"] is False
        assert "healthy now: etcd1" in answer["comment"]
        assert node.told == []

    def test_a_dry_run_changes_nothing(self, node):
        fanatico_etcd.__opts__["test"] = True
        answer = node.present()
        assert answer["result"] is None
        assert answer["changes"] == {"etcd3": {"old": None, "new": "replace"}}
        assert node.told == []
        assert not node.first.exists()

    def test_the_answer_does_not_contain_the_token(self, node):
        node.health = dict.fromkeys(URLS, SILENT)
        assert "t" * 32 not in json.dumps(node.present(bootstrap=True))

    def test_no_token(self, node):
        del fanatico_etcd.__pillar__["secrets"]
        answer = node.present()
        assert answer["result"] is False
        assert "secrets_init" in answer["comment"]

    def test_a_refusal_of_etcd_is_reported(self, node):
        fanatico_etcd.__salt__["fanatico_etcd.member_add"].side_effect = CommandExecutionError(
            "unhealthy cluster"
        )
        answer = node.present()
        assert answer["result"] is False
        assert "unhealthy cluster" in answer["comment"]
        assert answer["changes"] == {"etcd3": {"old": None, "new": "removed"}}, "what was done is said"

    def test_a_member_list_without_the_node_is_a_failure(self, node):
        add = members.__salt__["fanatico_etcd.member_add"]
        add.side_effect = lambda name, learner=False, timeout=5: dict(node.live)
        answer = node.present()
        assert answer["result"] is False
        assert f"expected {URLS['etcd3']}, found {URLS['etcd1']}, {URLS['etcd2']}" in answer["comment"]
        assert not node.first.exists()


class TestRunning:
    """The state of the service."""

    def test_nothing_to_do(self, node):
        node.health["etcd3"] = HEALTHY
        answer = node.running()
        assert (answer["result"], answer["changes"], node.systemctl) == (True, {}, [])

    def test_a_start_waits_for_health_and_removes_the_first_start(self, node):
        node.unit.update(ActiveState="inactive", UnitFileState="disabled", NeedDaemonReload="yes")
        node.first.mkdir()
        (node.first / "environment").write_text("x")
        answer = node.running()
        assert answer["result"] is True
        assert set(answer["changes"]) == {"enabled", "running"}
        assert node.systemctl == ["enable", "daemon-reload", "start"]
        assert list(node.first.iterdir()) == []

    def test_a_partial_change_is_a_failure_that_reports_both(self, node):
        node.unit.update(ActiveState="inactive", UnitFileState="disabled")
        node.enabled = "masked"
        answer = node.running()
        assert answer["result"] is False
        assert set(answer["changes"]) == {"running"}
        assert "enabled: expected True, found False" in answer["comment"]

    def test_a_running_boot_is_no_change(self, node):
        node.unit["ActiveState"] = "activating"
        node.health["etcd3"] = HEALTHY
        assert node.running()["changes"] == {}

    def test_the_journal_explains_a_foreign_cluster(self, node):
        answer = node.running()
        assert answer["result"] is False
        assert "another etcd cluster" in answer["comment"]
        assert "etcd3" in answer["comment"]

    def test_two_clusters_are_reported(self, node):
        node.health["etcd3"] = HEALTHY
        fanatico_etcd.__salt__["fanatico_etcd.status"].side_effect = lambda timeout=1: {
            "etcd1": {"cluster_id": "a"},
            "etcd3": {"cluster_id": "b"},
        }
        answer = node.running()
        assert answer["result"] is False
        assert "different etcd clusters (cluster a: etcd1; cluster b: etcd3)" in answer["comment"]

    def test_a_new_configuration_restarts_in_turn(self, node):
        node.health["etcd3"] = HEALTHY
        node.unit["ExecMainStartTimestamp"] = "@1"
        answer = node.running()
        assert answer["result"] is True
        assert answer["changes"] == {"restarted for": [decision.CONFIGURATION]}
        assert node.systemctl == ["restart"]
        assert node.told == [("lock", "restart-etcd"), ("unlock", 7)]

    def test_no_restart_while_another_member_is_unhealthy(self, node):
        node.health.update(etcd2=SILENT, etcd3=HEALTHY)
        node.unit["ExecMainStartTimestamp"] = "@1"
        answer = node.running()
        assert answer["result"] is False
        assert answer["changes"] == {}
        assert "etcd2" in answer["comment"]
        assert node.systemctl == []

    def test_no_restart_while_another_node_holds_the_lock(self, node):
        node.health["etcd3"] = HEALTHY
        node.unit["ExecMainStartTimestamp"] = "@1"
        node.holder = "etcd1"
        answer = node.running()
        assert answer["result"] is False
        assert "etcd1" in answer["comment"]
        assert node.systemctl == []

    def test_the_lock_is_released_if_a_member_becomes_unhealthy(self, node):
        node.health["etcd3"] = HEALTHY
        node.unit["ExecMainStartTimestamp"] = "@1"
        take = node.lock

        def lock(name, ttl=60, timeout=5):
            node.health["etcd1"] = SILENT
            return take(name, ttl, timeout)

        fanatico_etcd.__salt__["fanatico_etcd.lock"].side_effect = lock
        answer = node.running()
        assert answer["result"] is False
        assert node.systemctl == []
        assert node.told == [("lock", "restart-etcd"), ("unlock", 7)]

    def test_a_dry_run_shows_the_restart(self, node):
        fanatico_etcd.__opts__["test"] = True
        node.unit["ExecMainStartTimestamp"] = "@1"
        answer = node.running()
        assert answer["result"] is None
        assert answer["changes"] == {"restarted for": [decision.CONFIGURATION]}
        assert node.systemctl == []


class TestUsers:
    """The remaining steps until etcd authenticates its own users only."""

    GRANT: typing.ClassVar = ["READWRITE", "/service/fanatico/", "/service/fanatico0"]
    DONE: typing.ClassVar = {
        "enforced": True,
        "users": {"root": ["root"], "patroni": ["patroni"], "health": ["health"]},
        "roles": {"patroni": [GRANT], "health": [["READ", "health", ""]]},
    }

    def test_one_node_manages_them(self, node, monkeypatch):
        """etcd1 answers: etcd3, where this runs, changes nothing."""
        answer = access.users_present("fanatico", timeout=0)
        assert (answer["result"], answer["changes"]) == (True, {})
        assert "etcd1" in answer["comment"]

    def test_the_next_node_if_the_first_is_down(self, node):
        ordered = []
        seen = {
            "enforced": False,
            "users": {"patroni": ["patroni"], "root": ["root"], "health": ["health"]},
            "roles": {"patroni": [], "health": [["READ", "health", ""]]},
        }

        def order(path, payload, timeout=5):
            ordered.append(path)
            seen.update(self.DONE)

        fanatico_etcd.__salt__.update(
            {
                "fanatico_etcd.status": lambda timeout=1: {"etcd1": SILENT, "etcd2": SILENT, "etcd3": {}},
                "fanatico_etcd.access": lambda timeout=5: dict(seen),
                "fanatico_etcd.password_valid": lambda user, secret, timeout=5: True,
                "fanatico_etcd.gateway_call": order,
            }
        )
        answer = access.users_present("fanatico", timeout=1)
        assert answer["result"] is True, answer
        assert ordered == ["/v3/auth/role/grant", "/v3/auth/enable"]

    def test_no_member_answers(self, node):
        fanatico_etcd.__salt__["fanatico_etcd.status"] = lambda timeout=1: {"etcd1": SILENT, "etcd2": SILENT}
        answer = access.users_present("fanatico", timeout=0)
        assert answer["result"] is False
        assert "etcd3: no etcd member answers" in answer["comment"]

    def steps(self, admitted=None, renewing=False, kept=(), **seen):
        return users.access_steps(self.DONE | seen, "fanatico", admitted or {}, renewing, kept)

    STRANGERS: typing.ClassVar = {"backdoor": ["root"], "backup": ["reader"]}

    def strange(self, renewing=True, **more):
        roles = {"reader": [["READ", "", "\0"]], "other": []}
        return self.steps(
            renewing=renewing,
            users=self.DONE["users"] | self.STRANGERS,
            roles=self.DONE["roles"] | roles,
            **more,
        )

    def test_unknown_users_stay_while_a_removal_would_block_patroni(self):
        """Seen in the lab: after a change of users Patroni 4.0.7 could not write a failover key until its token had ended."""
        assert self.strange(renewing=False) == []

    def test_unknown_users_are_removed(self):
        assert [(path.removeprefix("/v3/auth/"), payload) for _, path, payload in self.strange()] == [
            ("user/delete", {"name": "backdoor"}),
            ("user/delete", {"name": "backup"}),
            ("role/delete", {"role": "other"}),
            ("role/delete", {"role": "reader"}),
        ]

    def test_listed_users_and_their_roles_stay(self):
        steps = self.strange(kept=["backup"])
        assert [payload for _, _, payload in steps] == [{"name": "backdoor"}, {"role": "other"}]

    def test_unknown_users_are_removed_before_authentication_is_enabled(self):
        steps = self.steps(enforced=False, users={"backdoor": ["root"]}, roles={})
        paths = [path.removeprefix("/v3/auth/") for _, path, _ in steps]
        assert (paths[0], paths[-1]) == ("user/delete", "enable")

    def test_root_has_only_its_own_role(self):
        steps = self.steps(users=self.DONE["users"] | {"root": ["patroni", "root"]})
        assert [payload for _, _, payload in steps] == [{"name": "root", "role": "patroni"}]

    def test_the_name_of_an_unknown_user_is_escaped(self):
        steps = self.steps(renewing=True, users=self.DONE["users"] | {"a\n\x1b[2J" + "x" * 500: ["root"]})
        assert steps[0][0] == "user a??[2J" + "x" * 58 + " is removed"
        assert steps[0][2]["name"].startswith("a\n"), "etcd is given the name as it is"

    @pytest.fixture
    def invaded(self, node):
        """A cluster with unknown users, and the remaining names."""
        seen = self.DONE | {"users": self.DONE["users"] | self.STRANGERS}

        def order(path, payload, timeout=5):
            seen["users"] = {name: had for name, had in seen["users"].items() if name != payload["name"]}

        fanatico_etcd.__salt__.update(
            {
                "fanatico_etcd.status": lambda timeout=1: {"etcd1": SILENT, "etcd2": SILENT, "etcd3": {}},
                "fanatico_etcd.access": lambda timeout=5: dict(seen),
                "fanatico_etcd.password_valid": lambda user, secret, timeout=5: True,
                "fanatico_etcd.gateway_call": order,
            }
        )
        return seen

    def test_the_state_names_users_removed_by_a_rotation(self, invaded):
        fanatico_etcd.__pillar__["secrets_former"] = {"ETCD_TOKEN_KEY": "the old one"}
        answer = access.users_present("fanatico", keep=["backup"], timeout=1)
        assert answer["result"] is True, answer
        assert answer["comment"].startswith("user backdoor is removed: ")
        assert set(invaded["users"]) == {*self.DONE["users"], "backup"}

    @pytest.mark.parametrize("test", [True, False])
    def test_without_a_rotation_unknown_users_are_reported(self, invaded, test):
        fanatico_etcd.__opts__["test"] = test
        answer = access.users_present("fanatico", keep=["backup"], timeout=1)
        assert answer["result"] is (None if test else True)
        assert bool(answer["changes"]) is test, "the drift of every night shows it"
        assert "user backdoor is removed with the next orch.rotate_secrets" in answer["comment"]
        assert "backdoor" in invaded["users"]

    def test_no_steps_if_everything_is_configured(self):
        assert self.steps({"root": True, "patroni": True}) == []

    def test_authentication_is_enabled_last(self):
        steps = self.steps(enforced=False, users={}, roles={})
        assert [path.removeprefix("/v3/auth/") for _, path, _ in steps] == [
            *["user/add"] * 3,
            *["role/add", "role/grant"] * 2,
            *["user/grant"] * 3,
            "enable",
        ]
        assert [payload for _, _, payload in steps][2] == {"name": "health", "options": {"no_password": True}}
        assert not any("password" in payload for _, _, payload in steps), "whoever knows it puts it in"

    def test_patroni_gets_its_own_keys_and_loses_all_others(self):
        wide = ["READWRITE", "/", "0"]
        steps = self.steps(roles=self.DONE["roles"] | {"patroni": [wide]})
        assert [path for _, path, _ in steps] == ["/v3/auth/role/revoke", "/v3/auth/role/grant"]
        assert base64.b64decode(steps[1][2]["perm"]["key"]) == b"/service/fanatico/"
        assert base64.b64decode(steps[1][2]["perm"]["range_end"]) == b"/service/fanatico0"

    def test_an_extra_role_is_revoked(self):
        for user in ("patroni", "health"):
            steps = self.steps(users=self.DONE["users"] | {user: [user, "root"]})
            assert [(path, payload) for _, path, payload in steps] == [
                ("/v3/auth/user/revoke", {"name": user, "role": "root"})
            ]

    def test_the_health_user_reads_its_key_and_loses_all_others(self):
        steps = self.steps(roles=self.DONE["roles"] | {"health": [["READWRITE", "/", "0"]]})
        assert [path for _, path, _ in steps] == ["/v3/auth/role/revoke", "/v3/auth/role/grant"]
        permission = steps[1][2]["perm"]
        assert (permission["permType"], base64.b64decode(permission["key"])) == ("READ", b"health")
        assert permission["range_end"] == "", "one key, no range"

    def test_an_older_cluster_gets_the_health_user_in_a_rotation(self):
        """After a change of users only, etcd would refuse Patroni 4.0 until its token has expired."""
        before = {
            "users": {"root": ["root"], "patroni": ["patroni"]},
            "roles": {"patroni": [self.GRANT]},
        }
        assert self.steps(**before) == []
        assert [path.removeprefix("/v3/auth/") for _, path, _ in self.steps(renewing=True, **before)] == [
            *("user/add", "role/add", "role/grant", "user/grant")
        ]

    def test_the_health_user_is_created_without_a_password(self, node):
        fanatico_etcd.__pillar__.setdefault("secrets", {})["ETCD_ROOT_PASSWORD"] = "a password of root"
        complete = access._with_password
        assert complete("/v3/auth/user/add", {"name": "root"})["password"] == "a password of root"
        without = {"name": "health", "options": {"no_password": True}}
        assert complete("/v3/auth/user/add", without) == without

    def test_a_different_password_is_replaced(self):
        steps = self.steps({"root": True, "patroni": False})
        assert [(path, payload) for _, path, payload in steps] == [
            ("/v3/auth/user/changepw", {"name": "patroni"})
        ]
