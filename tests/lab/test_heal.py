"""The first cure: what stops runs again without a hand, is written down, and never more often than is good."""

import json
import os
import subprocess

import pytest

from lab.machine import ENVIRONMENT
from tests.support import labs, wait_until

UNITS = [
    ("etcd", "etcd"),
    ("patroni", "patroni"),
    ("haproxy", "haproxy"),
    ("haproxy", "keepalived"),
    ("rpc", "fanatico-rpc"),
]


@pytest.fixture(autouse=True)
def forgotten(lab):
    """Each test begins with an untouched budget."""
    lab.exec(lab.master, ["rm", "-f", "/var/lib/fanatico/guard.json"])


def active(lab, node, unit):
    return lab.exec(node, ["systemctl", "is-active", unit], check=False).stdout.strip() == "active"


@pytest.mark.parametrize(("role", "unit"), UNITS)
def test_a_stopped_unit_runs_again_and_is_in_the_history(healthy, role, unit):
    node = labs.nodes(healthy, role)[-1]
    news = labs.News(healthy)
    healthy.exec(node, ["systemctl", "stop", unit])
    entry = news.wait("healed", node, f"{unit}.service")
    assert active(healthy, node, unit)
    assert entry["reason"]


# --- what is wrong although the units run


def replica_of(lab):
    return next(node for node in labs.nodes(lab, "patroni") if node != labs.leader(lab))


def etcd_follower_of(lab):
    leader = lab.salt("etcd1", "fanatico_etcd.leader")["etcd1"]
    return next(node for node in labs.nodes(lab, "etcd") if node != leader)


def stand_still(lab, node, unit):
    lab.exec(node, ["sh", "-ec", f"kill -STOP $(systemctl show -P MainPID {unit})"])


def change_address(lab, node, verb, address):
    """Give a node an address, or take it away, on the interface that it is in the plan with."""
    own = lab.plan["nodes"][node]["address"]
    script = f"ip address {verb} {address}/32 dev $(ip -o -4 address show to {own} | cut -d' ' -f2)"
    lab.exec(node, ["sh", "-ec", script])


def freeze_all(lab, node, unit):
    script = f'kill -STOP $(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup {unit})/cgroup.procs")'
    lab.exec(node, ["sh", "-ec", script])


def test_etcd_without_space_is_given_room(healthy):
    order = {"action": "ACTIVATE", "memberID": 0, "alarm": "NOSPACE"}
    news = labs.News(healthy)
    healthy.salt("etcd1", "fanatico_etcd.order", "/v3/maintenance/alarm", f"payload={json.dumps(order)}")
    entry = news.wait("healed", None, "etcd-full")
    assert "members defragmented" in entry["reason"]
    assert healthy.salt("etcd*", "fanatico_etcd.own_errors") == {
        node: [] for node in labs.nodes(healthy, "etcd")
    }


@pytest.mark.parametrize("who", ["replica", "leader"])
def test_a_patroni_that_hangs_is_ended_and_postgresql_goes_on(healthy, who):
    node, leading = (replica_of(healthy) if who == "replica" else labs.leader(healthy)), labs.leader(healthy)
    postmaster = ["sh", "-c", "head -1 /var/lib/postgresql/*/main/postmaster.pid"]
    before, news = healthy.exec(node, postmaster).stdout, labs.News(healthy)
    stand_still(healthy, node, "patroni")
    news.wait("healed", node, "patroni-hung")
    labs.wait_healthy(healthy)
    assert healthy.exec(node, postmaster).stdout == before
    assert labs.leader(healthy) == leading


def test_a_chain_node_that_hangs_is_restarted(healthy):
    node, news = labs.nodes(healthy, "rpc")[1], labs.News(healthy)
    stand_still(healthy, node, "fanatico-rpc")
    news.wait("healed", node, "rpc-hung", 60)


def test_haproxy_without_a_valid_configuration_gets_the_trees(healthy):
    node, news = labs.nodes(healthy, "haproxy")[-1], labs.News(healthy)
    healthy.exec(node, ["sh", "-c", "echo nonsense >/etc/haproxy/haproxy.cfg; systemctl stop haproxy"])
    news.wait("healed", node, "haproxy-unconfigured", 60)
    assert active(healthy, node, "haproxy")
    assert "nonsense" not in healthy.exec(node, ["cat", "/etc/haproxy/haproxy.cfg"]).stdout


def test_a_minion_that_hangs_is_started_anew(healthy):
    node = labs.nodes(healthy, "rpc")[0]
    stand_still(healthy, node, "salt-minion")
    wait_until(
        lambda: healthy.salt(node, "test.ping") == {node: True}, 150, f"the minion of {node} to answer again"
    )


def test_a_chain_node_that_stands_still_behind_the_others_is_restarted(healthy):
    """What keeps it at the others' heels hangs: all units run, and nobody would notice."""
    node, news = labs.nodes(healthy, "rpc")[2], labs.News(healthy)
    stand_still(healthy, node, "fanatico-rpc-follow")
    assert "behind the others" in news.wait("healed", node, "rpc-behind", 120)["reason"]


def test_an_address_that_nobody_holds_is_taken_again(healthy):
    """Keepalived hangs on both balancers, and the address is gone: each looks like a well one that stands by."""
    balancers, news = labs.nodes(healthy, "haproxy"), labs.News(healthy)
    address = healthy.plan["virtual_ip"]["address"]
    (holder,) = labs.virtual_ip_holders(healthy)
    for node in balancers:
        freeze_all(healthy, node, "keepalived")
    change_address(healthy, holder, "del", address)
    for node in balancers:  # whichever of the two symptoms is seen first
        news.wait("healed", node, None, 60)
    labs.wait_healthy(healthy)
    assert len(labs.virtual_ip_holders(healthy)) == 1


def test_an_address_that_two_hold_is_settled(healthy):
    """By Keepalived itself or by the cure: what counts is that it is."""
    holders = labs.virtual_ip_holders(healthy)
    (spare,) = set(labs.nodes(healthy, "haproxy")) - set(holders)
    address = healthy.plan["virtual_ip"]["address"]
    change_address(healthy, spare, "add", address)
    assert len(labs.virtual_ip_holders(healthy)) == 2
    healthy.salt_run("fanatico.reconcile")
    healthy.salt_run("fanatico.reconcile")
    wait_until(lambda: len(labs.virtual_ip_holders(healthy)) == 1, 10, "one of the two to hold the address")
    labs.wait_healthy(healthy)


def test_a_keepalived_that_hangs_is_started_anew(healthy):
    """The other one takes the address meanwhile: two hold it until the first is started anew."""
    (holder,), news = labs.virtual_ip_holders(healthy), labs.News(healthy)
    freeze_all(healthy, holder, "keepalived")
    assert "has not asked HAProxy" in news.wait("healed", holder, "keepalived-hung", 60)["reason"]
    wait_until(lambda: len(labs.virtual_ip_holders(healthy)) == 1, 10, "one of the two to hold the address")
    labs.wait_healthy(healthy)


def test_a_full_disk_is_given_room(lab, healthy):
    """The lab's machines share one disk: so the limit is what is free now, and a package that was installed fills it up."""
    node, news = labs.nodes(lab, "rpc")[0], labs.News(lab)
    room = os.statvfs(lab.root(node))
    free = room.f_bavail * room.f_frsize / 1024**3
    archive = "/var/cache/apt/archives/filler_1_all.deb"
    lab.exec(node, ["sh", "-c", f"mkdir -p $(dirname {archive}); head -c 2G /dev/zero >{archive}"])
    with labs.site(lab, {"base": {"disk": {"full": {"percent": 100, "gib": free - 1}}}}):
        lab.salt(node, "saltutil.refresh_pillar")
        assert "MiB of packages" in news.wait("healed", node, "disk-full", 90)["reason"]
    assert not (lab.root(node) / archive.lstrip("/")).exists()
    lab.salt(node, "saltutil.refresh_pillar")
    labs.wait_healthy(lab)


def test_an_address_that_was_taken_away_comes_back(healthy):
    """By Keepalived itself or by the cure: what counts is that it does."""
    (node,) = labs.virtual_ip_holders(healthy)
    change_address(healthy, node, "del", healthy.plan["virtual_ip"]["address"])
    wait_until(lambda: len(labs.virtual_ip_holders(healthy)) == 1, 40, "the address to be held again")
    labs.wait_healthy(healthy)


def test_an_etcd_member_whose_data_was_deleted_votes_again(healthy):
    node = etcd_follower_of(healthy)
    news = labs.News(healthy)
    healthy.exec(node, ["sh", "-c", "rm -rf /var/lib/etcd/member"])
    news.wait("healed", node, "etcd-data-lost", 90)
    labs.wait_healthy(healthy)
    assert sorted(healthy.salt("etcd1", "fanatico_etcd.members")["etcd1"]) == labs.nodes(healthy, "etcd")


def test_an_etcd_member_whose_database_is_damaged_does_too(healthy):
    node = etcd_follower_of(healthy)
    news = labs.News(healthy)
    damage = "head -c 65536 /dev/urandom | dd of=/var/lib/etcd/member/snap/db bs=1k conv=notrunc status=none"
    healthy.exec(
        node,
        [
            "sh",
            "-c",
            f"systemctl kill -s KILL etcd; systemctl stop etcd; {damage}; systemctl start --no-block etcd",
        ],
    )
    news.wait("healed", node, "etcd-data-lost", 90)
    labs.wait_healthy(healthy)


def test_a_replica_whose_data_was_deleted_is_copied_anew(healthy):
    node, news = replica_of(healthy), labs.News(healthy)
    healthy.exec(node, ["sh", "-c", "rm -rf /var/lib/postgresql/*/main/*"])
    labs.wait_healthy(healthy, 120)
    assert not news.decided("failed"), "Patroni does it by itself, or the cure does"


def test_a_replica_whose_postgresql_does_not_start_is_copied_anew(healthy):
    node, news = replica_of(healthy), labs.News(healthy)
    script = "cd /var/lib/postgresql/*/main; rm global/pg_filenode.map; kill -KILL $(head -1 postmaster.pid)"
    healthy.exec(node, ["sh", "-ec", script])
    news.wait("healed", node, "replica-lost", 120)
    labs.wait_healthy(healthy)


ITS_OWN_WAY = """
    data=$(echo /var/lib/postgresql/*/main) bin=$(echo /usr/lib/postgresql/*/bin)
    as_postgres() { runuser -u postgres -- "$@" >/dev/null 2>&1 </dev/null; }
    systemctl stop patroni
    [ $0 = promoted ] || rm -f $data/standby.signal
    as_postgres $bin/pg_ctl -D $data -w start -o "-c synchronous_standby_names="
    [ $0 != promoted ] || as_postgres $bin/pg_ctl -D $data -w promote
    as_postgres $bin/psql -Xq -c "CREATE TABLE nobody_else_has_this AS SELECT generate_series(1, 1000)"
    for _ in 1 2 3; do as_postgres $bin/psql -Xq -c "SELECT pg_switch_wal()"; as_postgres $bin/psql -Xq -c CHECKPOINT; done
    as_postgres $bin/pg_ctl -D $data -w stop -m fast
    ls -d $data/pg_wal/0000000*[0-9A-F] | sort | head -n -1 | xargs rm -f
    systemctl start patroni
"""


@pytest.mark.parametrize("how", ["promoted", "no standby"])
def test_a_replica_that_went_its_own_way_and_cannot_be_rewound_is_copied_anew(healthy, how):
    """It was opened for writing behind everybody's back, and the log that leads back to the others is gone."""
    node = replica_of(healthy)
    healthy.salt_run("fanatico.freeze", "a test takes a replica away", "5m")
    try:
        healthy.exec(node, ["bash", "-c", ITS_OWN_WAY, how], timeout=90)
    finally:
        healthy.salt_run("fanatico.unfreeze")
    labs.wait_healthy(healthy, 120)
    asked = "SELECT count(*) FROM pg_tables WHERE tablename = 'nobody_else_has_this'"
    assert healthy.sql(node, asked).strip() == "0"


def test_a_postgresql_that_stands_still_is_found_by_a_canary(lab, healthy):
    """Patroni sees nothing wrong with it: its sessions go on, new ones are not let in."""
    old, news = labs.leader(lab), labs.News(lab)
    postmaster = "$(head -1 /var/lib/postgresql/*/main/postmaster.pid)"
    lab.exec(old, ["sh", "-ec", f"kill -STOP {postmaster}"])
    try:
        lab.salt_run("fanatico.reconcile")
        lab.salt_run("fanatico.reconcile")
        assert "heal:switchover" in news.wait("refused", old, "writes-stall")["reason"]
        # What a test before had cured may be written down only now: no calm to wait for.
        with labs.site(lab, {"heal": {"switchover": True, "calm": 1}}):
            said = lab.salt_run("fanatico.reconcile").stdout
            assert f"{old}/writes-stall" in said
            news.wait("healed", old, "writes-stall", 90)
        assert labs.leader(lab) != old
    finally:
        lab.exec(old, ["sh", "-c", f"kill -CONT {postmaster}"], check=False)
    labs.wait_healthy(lab)


def test_a_forgotten_pause_ends(lab, healthy):
    with labs.site(lab, {"heal": {"paused": 15}}):
        news = labs.News(lab)
        lab.salt("db1", "fanatico_patroni.pause")
        try:
            first = news.wait("refused", None, "patroni-paused")
            assert "that may be meant" in first["reason"]
            news.wait("healed", None, "patroni-paused", 120)
        finally:
            lab.salt("db1", "fanatico_patroni.resume")
    labs.wait_healthy(lab)


def test_drift_is_shown_and_put_right_as_far_as_the_plan_allows(lab, healthy):
    node, news = labs.nodes(lab, "rpc")[0], labs.News(lab)
    path = lab.root(node) / "etc/sysctl.d/60-fanatico.conf"
    before = path.read_text()
    lab.exec(node, ["sh", "-c", f"echo '# by hand' >>/{path.relative_to(lab.root(node))}"])
    done = lab.salt_run("fanatico.drift", f"nodes=[{node}]", check=False)
    assert done.returncode == 1
    assert "files" in done.stdout
    assert "by hand" in path.read_text()
    with labs.site(lab, {"heal": {"correct": ["files"]}}):
        lab.salt(node, "saltutil.refresh_pillar", "wait=True")
        lab.salt_run("fanatico.drift", f"nodes=[{node}]", check=False)
        news.wait("healed", node, "drift", 60)
    lab.salt(node, "saltutil.refresh_pillar")
    assert path.read_text() == before
    assert lab.salt_run("fanatico.drift", f"nodes=[{node}]", check=False).returncode == 0


def test_a_killed_unit_is_systemds_business(healthy):
    """Its restart policy is quicker than any event; nothing is left for the reactor."""
    node = labs.nodes(healthy, "haproxy")[-1]
    healthy.exec(node, ["systemctl", "kill", "--signal=KILL", "haproxy"])
    wait_until(lambda: active(healthy, node, "haproxy"), 20, "haproxy to run again")


def test_the_fourth_time_is_refused(healthy):
    node, unit = labs.nodes(healthy, "rpc")[-1], "fanatico-rpc"
    for _ in range(3):
        news = labs.News(healthy)
        healthy.exec(node, ["systemctl", "stop", unit])
        news.wait("healed", node, f"{unit}.service")
        wait_until(lambda: active(healthy, node, unit), 20, f"{unit} to be active")
    news = labs.News(healthy)
    healthy.exec(node, ["systemctl", "stop", unit])
    try:
        entry = news.wait("refused", node, f"{unit}.service")
        assert "3 times" in entry["reason"]
        assert not active(healthy, node, unit)
    finally:
        healthy.exec(node, ["systemctl", "start", unit])


def test_nothing_is_healed_while_a_deploy_runs(healthy):
    node, unit = labs.nodes(healthy, "rpc")[-1], "fanatico-rpc"
    machine = healthy.machine(healthy.master)
    # A deploy that holds the lock until its standard input ends.
    program = (
        "import sys; sys.path.insert(0, '/srv/fanatico')\n"
        "from _utils import fanatico_lock\n"
        "print(fanatico_lock.acquire('/var/lib/fanatico', 'deploy'), flush=True); sys.stdin.read()"
    )
    argv = machine.exec_argv(["/opt/salt/bin/python", "-c", program])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes, text=True, env=ENVIRONMENT) as holder:
        assert "True" in holder.stdout.readline()
        news = labs.News(healthy)
        try:
            healthy.exec(node, ["systemctl", "stop", unit])
            entry = news.wait("refused", node, f"{unit}.service")
            assert "deploy" in entry["reason"]
            assert not active(healthy, node, unit)
        finally:
            holder.stdin.close()
            healthy.exec(node, ["systemctl", "start", unit])


def test_a_frozen_cluster_is_left_alone(healthy):
    node, unit = labs.nodes(healthy, "rpc")[0], "fanatico-rpc"
    healthy.salt_run("fanatico.freeze", "a test", "2m")
    news = labs.News(healthy)
    try:
        healthy.exec(node, ["systemctl", "stop", unit])
        entry = news.wait("refused", node, f"{unit}.service")
        assert "frozen" in entry["reason"]
    finally:
        healthy.salt_run("fanatico.unfreeze")
        healthy.exec(node, ["systemctl", "start", unit])


def test_a_unit_of_somebody_else_is_not_ours_to_start(healthy):
    done = healthy.salt_run("fanatico.heal", "etcd1", "cron.service", "roles=[etcd]", "--out=json")
    assert '"refused"' in done.stdout


def test_people_read_lines(healthy):
    assert "fanatico-rpc.service" in healthy.salt_run("fanatico.history").stdout


def test_a_unit_that_does_not_stay_up_is_said_so(healthy):
    """No cure is known for it, and systemd starts it for ever: whoever is on call reads what it says itself."""
    dropin = "/run/systemd/system/fanatico-rpc.service.d/broken.conf"
    news, rpc = labs.News(healthy), "rpc3"
    break_it = (
        f"mkdir -p {dropin.rpartition('/')[0]}; printf '[Service]\nExecStartPre=/bin/false\n' > {dropin}"
    )
    try:
        healthy.exec(
            rpc, ["sh", "-c", f"{break_it}; systemctl daemon-reload; systemctl kill -s KILL fanatico-rpc"]
        )
        entry = news.wait("failed", rpc, "fanatico-rpc.service", timeout=180)
    finally:
        mend = f"rm -f {dropin}; systemctl daemon-reload; systemctl restart fanatico-rpc"
        healthy.exec(rpc, ["sh", "-c", mend])
    assert "restarted" in entry["why"]
    assert "journal ends with" in entry["reason"]
    labs.wait_healthy(healthy)
