"""Every command line of docs/operations.md, run on its host."""

import re
import subprocess

import pytest

from tests.support import REPO, labs, wait_until

pytestmark = pytest.mark.healthy_is_enough

SECTION = "## The tools' own commands"
LINE = re.compile(r"^root@(?P<host>[a-z0-9]+):~# (?P<command>.+)$", re.MULTILINE)
# The operator's input: answers for patronictl, passwords (names of secrets, and a node that has them).
SWITCHOVER, REINIT = " switchover ", " reinit "
PASSWORDS = {
    "--user root": ("etcd1", "ETCD_ROOT_PASSWORD"),
    "-u admin": ("haproxy1", "HAPROXY_STATS_PASSWORD"),
}
PG_VERSION = "/var/lib/postgresql/17/main/PG_VERSION"  # a file that each data directory generates itself
CHANGES = (SWITCHOVER, REINIT)
ENDLESS = "tcpdump"
# Part of a line -> a part of its output. The first match counts.
SHOWS = {
    "endpoint health": r"(https://\S+ is healthy.*\n){3}",
    "member list": r"(\S+, started, etcd\d, .*\n){3}",
    "endpoint status": r"ENDPOINT.*IS LEADER",
    "user list": r"health\npatroni\nroot\n",
    ":2381/metrics": r"etcd_server_has_leader 1",
    "patroni.yml list": r"Leader .*running",
    "/primary": r'"role": "primary"',
    "/replica": r'"role": "replica"',
    ":8008/metrics": r"patroni_primary\S* 1",
    ":8008/": r'"patroni": \{"version"',
    "haproxy -c": r"",  # the exit code is enough
    "/stats": r"Statistics Report for HAProxy",
    ":8404/metrics": r"haproxy_process_uptime_seconds",
    ":8406/metrics": r"haproxy_process_uptime_seconds",
    "ip addr": r"inet 10\.0\.0\.100/",
    "tcpdump": r"VRRPv3, Advertisement",
    "jq": r"^3\n",
    "/health": r'"status":"ok"',
    "journalctl": r"(systemd\[1\]|etcd\[|patroni\[|haproxy\[|keepalived|Keepalived)",
}
# The commands of the original design's runbook.
RUNBOOK = [
    "etcdctl endpoint health --cluster",
    "etcdctl member list",
    "etcdctl endpoint status --cluster -w table",
    "patronictl -c /etc/patroni/patroni.yml list",
    "patronictl -c /etc/patroni/patroni.yml switchover",
    "patronictl -c /etc/patroni/patroni.yml reinit",
    "curl http://10.0.0.100:8545/health",
    *("https://10.0.0.100:8404/stats", "https://10.0.0.100:8404/metrics"),
    *(":8008/\n", ":8008/primary", ":8008/replica", ":8008/metrics", ":2381/metrics"),
    *("haproxy -c -f /etc/haproxy/haproxy.cfg", "haproxy -c -f /etc/haproxy/edge.cfg"),
    *("journalctl -u ", "ip addr show", "tcpdump -i eth0 vrrp"),
]


def documented():
    """[(host, command)] of the section, in its order."""
    text = (REPO / "docs" / "operations.md").read_text().split(f"\n{SECTION}\n")[1].split("\n## ")[0]
    return [(found["host"], found["command"]) for found in LINE.finditer(text)]


LOOKING = [line for line in documented() if not any(word in line[1] for word in (*CHANGES, ENDLESS))]


def leader(lab):
    """The database node that accepts writes, according to PostgreSQL."""
    asked = {name: lab.sql(name, "SELECT pg_is_in_recovery()").strip() for name in labs.nodes(lab, "patroni")}
    (found,) = [name for name, recovers in asked.items() if recovers == "f"]
    return found


def words(lab):
    """{name in the page: present name} of the leader, the replicas and the holder of the virtual IP."""
    first = leader(lab)
    replicas = [name for name in labs.nodes(lab, "patroni") if name != first]
    (holder,) = labs.virtual_ip_holders(lab)
    (standby,) = [name for name in labs.nodes(lab, "haproxy") if name != holder]
    return dict(zip(["db1", "db2", "db3"], [first, *replicas], strict=True)) | {
        "haproxy1": holder,
        "haproxy2": standby,
    }


def now(lab, host, command):
    """Return the line with the present names."""
    names = words(lab)
    return names.get(host, host), re.sub(r"\b[a-z]+\d\b", lambda word: names.get(word[0], word[0]), command)


def shows(command):
    return next(text for part, text in SHOWS.items() if part in command)


def typed(lab, host, command, answers=""):
    """(exit code, standard output, standard error) of a line in a login shell of root."""
    argv = ["bash", "-l", "-c", command]
    done = lab.machine(host).exec(argv, text_input=answers, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_page_has_every_command_of_the_runbook():
    lines = [command + "\n" for _, command in documented()]
    assert [command for command in RUNBOOK if not any(command in line for line in lines)] == []


@pytest.mark.parametrize(("host", "command"), LOOKING, ids=[f"{host}: {line}" for host, line in LOOKING])
def test_a_command_that_only_reads(lab, host, command):
    host, command = now(lab, host, command)
    asked = next((secret for part, secret in PASSWORDS.items() if part in command), None)
    code, out, err = typed(lab, host, command, labs.secret(lab, *asked) + "\n" if asked else "")
    assert code == 0, err
    assert re.search(shows(command), out, re.MULTILINE), out[-2000:] + err[-2000:]
    assert "PermissionDenied" not in err
    assert '"level":"warn"' not in err


def test_the_line_that_runs_until_it_is_ended(lab):
    (line,) = [line for line in documented() if ENDLESS in line[1]]
    host, command = now(lab, *line)
    argv = lab.machine(host).exec_argv(["bash", "-l", "-c", command])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            first = process.stdout.readline()
        finally:
            lab.exec(host, ["pkill", "-INT", "-x", ENDLESS])
    assert re.search(shows(command), first), first


def test_switchover(healthy):
    (line,) = [line for line in documented() if SWITCHOVER in line[1]]
    names = words(healthy)
    host, command = now(healthy, *line)
    code, out, err = typed(healthy, host, command, "now\ny\n")
    assert code == 0, out + err
    assert f'Successfully switched over to "{names["db2"]}"' in out
    wait_until(
        lambda: leader(healthy) == names["db2"], 60, "the other one to lead and the former leader to follow"
    )
    labs.wait_healthy(healthy)


def test_reinit(healthy):
    (line,) = [line for line in documented() if REINIT in line[1]]
    target = words(healthy)["db3"]
    host, command = now(healthy, *line)
    before = healthy.exec(target, ["stat", "-c", "%i", PG_VERSION]).stdout
    code, out, err = typed(healthy, host, command, "y\n")
    assert code == 0, out + err
    assert f"Success: reinitialize for member {target}" in out

    def copied():
        return healthy.exec(target, ["stat", "-c", "%i", PG_VERSION]).stdout != before

    wait_until(copied, 60, f"{target} to be copied from the leader")
    labs.wait_healthy(healthy)


def test_the_health_user_may_do_nothing_else(lab):
    for command in ("get / --prefix", "put health 1", "get healthy", "user list", "member remove 1"):
        code, _, err = typed(lab, "etcd1", f"etcdctl {command}")
        assert code != 0, command
        assert "permission denied" in err, command


def test_the_health_users_key_is_roots(lab):
    for node in labs.nodes(lab, "etcd"):
        shown = lab.exec(node, ["stat", "-c", "%U %a", "/etc/etcd/pki/etcd-health.key"]).stdout.split()
        assert shown == ["root", "600"]


def test_the_statistics_are_found_at_the_old_place_too(lab):
    command = "curl -su admin -L --cacert /etc/haproxy/pki/edge-ca.crt https://10.0.0.100:8404/"
    code, out, err = typed(
        lab, "haproxy1", command, labs.secret(lab, "haproxy1", "HAPROXY_STATS_PASSWORD") + "\n"
    )
    assert code == 0, err
    assert "Statistics Report for HAProxy" in out
