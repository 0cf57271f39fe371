"""Each minion has only the secrets of its roles; other users cannot read them, and no output shows them."""

import functools
import subprocess
import tempfile

import pytest

import fanatico_plan
from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough


@pytest.fixture(scope="module")
def pillars(lab):
    return lab.pillars()


def test_every_node_holds_exactly_its_roles_secrets(lab, pillars):
    held = {name: sorted(pillar.get("secrets", {})) for name, pillar in pillars.items()}
    due = {
        name: sorted(fanatico_plan.secret_names(node["roles"])) for name, node in lab.plan["nodes"].items()
    }
    assert held == due


def test_minions_are_given_the_same(lab, pillars):
    """The output of `pillar.items` on the minions: names only, because the values are masked."""
    answers = lab.salt("*", "pillar.items")
    assert {name: sorted(answer.get("secrets", {})) for name, answer in answers.items()} == {
        name: sorted(pillar.get("secrets", {})) for name, pillar in pillars.items()
    }


def test_secrets_are_strong_and_all_different(pillars):
    values = {}
    for pillar in pillars.values():
        values.update(pillar.get("secrets", {}))
    assert len(set(values.values())) == len(values) == 15
    assert {
        name for name, value in values.items() if len(value) < 20 and name != "KEEPALIVED_AUTH_PASS"
    } == set()


def test_they_are_encrypted_on_the_masters_disk(lab, pillars):
    values = [value for pillar in pillars.values() for value in pillar.get("secrets", {}).values()]
    for path in (lab.folder / "secrets").glob("*"):
        text = path.read_text()
        assert "-----BEGIN PGP MESSAGE-----" in text
        assert not any(value in text for value in values), path


# Files that may contain a secret in clear text: on its role's nodes, readable by the daemon only.
PLACES = {
    "PATRONI_REST_PASSWORD": ["/etc/patroni/patroni.yml"],
    "POSTGRES_SUPERUSER_PASSWORD": ["/etc/patroni/patroni.yml"],
    "POSTGRES_REPLICATOR_PASSWORD": ["/etc/patroni/patroni.yml", "/var/lib/postgresql/.pgpass_patroni"],
    "POSTGRES_REWIND_PASSWORD": ["/etc/patroni/patroni.yml"],
    "ETCD_PATRONI_PASSWORD": ["/etc/patroni/patroni.yml"],
    "ETCD_TOKEN_KEY": ["/etc/etcd/pki/token.key"],
    "HAPROXY_STATS_PASSWORD": ["/etc/haproxy/haproxy.cfg", "/etc/haproxy/edge.cfg"],
}
# All writable files, with caches, job results and databases (the tree itself is tested above).
SCAN = "grep -rlaF -f - /etc /home /opt /root /run /tmp /usr/local /var 2>/dev/null; true"


def files_with(lab, name, values):
    """Return the files of a node that contain one of these values (one per line)."""
    done = lab.machine(name).exec(["sh", "-c", SCAN], text_input=values, timeout=120)
    return done.stdout.splitlines()


def nothing_holds(lab, name, values):
    return not files_with(lab, name, values)


def values(pillars):
    return {
        secret: value for pillar in pillars.values() for secret, value in pillar.get("secrets", {}).items()
    }


def test_no_other_file_of_a_machine_contains_a_secret(lab, pillars):
    found = {}
    for name in labs.some_nodes(lab):
        node = lab.plan["nodes"][name]
        everything = "\n".join(values(pillars).values()) + "\n"
        files = files_with(lab, name, everything)
        due = {
            place for secret in fanatico_plan.secret_names(node["roles"]) for place in PLACES.get(secret, [])
        }
        if "patroni" in node["roles"]:
            assert "/etc/patroni/patroni.yml" in files, "the scan finds nothing"
        found[name] = sorted(set(files) - due)
    assert {name: files for name, files in found.items() if files} == {}


def test_no_process_shows_one(lab, pillars):
    for name in lab.plan["nodes"]:
        shown = lab.exec(
            name, ["sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '"], check=False
        ).stdout
        assert [secret for secret, value in values(pillars).items() if value in shown] == [], name


def test_no_log_shows_one(lab, pillars):
    for name in lab.plan["nodes"]:
        written = lab.exec(name, ["journalctl", "--no-pager", "-o", "cat"]).stdout
        written += lab.exec(
            name, ["sh", "-c", "cat /var/log/salt/* /var/log/fanatico/* 2>/dev/null"], check=False
        ).stdout
        assert [secret for secret, value in values(pillars).items() if value in written] == [], name


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("patroni", "/etc/patroni/patroni.yml"),
        ("haproxy", "/etc/haproxy/haproxy.cfg"),
        ("haproxy", "/etc/haproxy/edge.cfg"),
        ("haproxy", "/etc/keepalived/keepalived.conf"),
    ],
)
def test_files_with_a_secret_are_not_world_readable(lab, role, path):
    for name in labs.nodes(lab, role):
        assert lab.exec(name, ["stat", "-c", "%a", path]).stdout.strip()[-1] == "0", name


# --- rotation


@pytest.fixture(scope="module")
def rotated(lab, pillars):
    """Rotate all secrets under a session that writes; return the former values and that session's result."""
    labs.wait_healthy(lab)
    before = {"values": values(pillars), "leader": labs.leader(lab)}
    listen = lab.machine(lab.master).exec_argv(["timeout", "400", "salt-run", "state.event", "pretty=True"])
    with tempfile.TemporaryFile("w+") as heard:
        events = subprocess.Popen(listen, stdout=heard, stderr=subprocess.STDOUT)
        try:
            with labs.writing(lab, "db2") as writer:
                said = lab.salt_run("state.orchestrate", "orch.rotate_secrets", timeout=400, check=False)
                assert said.returncode == 0, said.stdout[-4000:]
        finally:
            events.terminate()
            events.wait(30)
        heard.seek(0)
        return {
            **before,
            "session": writer,
            "pillars": lab.pillars(),
            "events": heard.read(),
            "said": said.stdout,
        }


def test_rotating_all_cuts_no_session_and_moves_no_leader(lab, rotated):
    labs.assert_not_cut(lab, rotated["session"])
    assert rotated["session"]["written"] > 50
    assert labs.leader(lab) == rotated["leader"]
    labs.wait_healthy(lab)


def test_every_value_has_changed_and_the_old_ones_are_gone(lab, rotated):
    now = values(rotated["pillars"])
    assert set(now) == set(rotated["values"])
    kept = {name for name in now if now[name] == rotated["values"][name]}
    assert kept == set(fanatico_plan.LASTING)
    assert not {now[name] for name in now if name not in kept} & set(rotated["values"].values())
    assert all("secrets_former" not in pillar for pillar in rotated["pillars"].values())
    text = "".join(f"{value}\n" for name, value in rotated["values"].items() if name not in kept)
    found = {name: files_with(lab, name, text) for name in labs.some_nodes(lab)}
    # Patroni rewrites the former password, and the new one as soon as the connection changes (tested below).
    for name in set(labs.nodes(lab, "patroni")) & set(found):
        found[name] = sorted(set(found[name]) - {"/var/lib/postgresql/.pgpass_patroni"})
    assert {name: files for name, files in found.items() if files} == {}


def test_the_old_password_opens_nothing(lab, rotated):
    address, password = lab.plan["virtual_ip"]["address"], rotated["values"]["POSTGRES_FANATICO_PASSWORD"]
    script = (
        f"read -r PGPASSWORD; export PGPASSWORD; exec psql -h {address} -U fanatico -d fanatico -c 'select 1'"
    )
    done = lab.machine("db1").exec(["sh", "-c", script], text_input=password + "\n", check=False)
    assert "password authentication failed" in done.stderr


def test_a_replica_that_reconnects_is_authenticated(lab, rotated):
    count = "select count(*) from pg_stat_replication where state = 'streaming'"
    assert lab.sql(rotated["leader"], count).strip() == "2"
    cut = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_replication"
    assert lab.sql(rotated["leader"], cut).strip() == "2"
    wait_until(lambda: lab.sql(rotated["leader"], count).strip() == "2", 30, "both replicas to stream again")
    labs.wait_healthy(lab)
    # By now Patroni has written the new password for the replica, and the former one is gone.
    text = "\n".join(rotated["values"].values()) + "\n"
    for name in set(labs.nodes(lab, "patroni")) - {rotated["leader"]}:
        wait_until(
            functools.partial(nothing_holds, lab, name, text),
            30,
            f"the former values to be gone from {name}",
        )


def test_no_event_and_no_answer_tells_one(rotated):
    """The master's event bus sends every job's arguments and results to all subscribers."""
    assert "orch.rotate_secrets" in rotated["events"]
    assert "salt/job/" in rotated["events"]
    both = [*rotated["values"].items(), *values(rotated["pillars"]).items()]
    assert [name for name, value in both if value in rotated["events"] + rotated["said"]] == []


def test_no_log_shows_the_new_ones_either(lab, rotated):
    for name in lab.plan["nodes"]:
        written = lab.exec(name, ["journalctl", "--no-pager", "-o", "cat"]).stdout
        assert [secret for secret, value in values(rotated["pillars"]).items() if value in written] == [], (
            name
        )


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "also"), [("HAPROXY_STATS_PASSWORD", []), ("ETCD_ROOT_PASSWORD", ["ETCD_TOKEN_KEY"])]
)
def test_a_single_secret_can_be_rotated(lab, rotated, name, also):
    before = values(lab.pillars())
    done = lab.salt_run(
        "state.orchestrate",
        "orch.rotate_secrets",
        f'pillar={{"rotate": ["{name}"]}}',
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    now = values(lab.pillars())
    assert {secret for secret in now if now[secret] != before[secret]} == {name, *also}
    assert labs.leader(lab) == rotated["leader"]
    labs.wait_healthy(lab)
