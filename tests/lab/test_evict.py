"""An evicted host loses all access: every port is tried with all its credentials, from itself and from another host.

In this order: a database leader that has added its own user to etcd, then a chain node, then an etcd member. Each takes
minutes, and the lab is destroyed afterwards.
"""

import contextlib
import json
import subprocess

import pytest

from tests.lab.test_certificates import put_all
from tests.support import REPO, labs, orchestrations, wait_until

pytestmark = pytest.mark.long

PROGRAM = (REPO / "tests" / "lab" / "files" / "old_keys.py").read_text()
PYTHON, FOLDER = "/opt/salt/bin/python", "/run/fanatico-test-pki"
BACKDOOR = "backdoor", "a-word-nobody-else-knows"
PAIRS = {
    "db3": {"etcd": "/etc/patroni/pki/etcd", "service": "/etc/patroni/pki/service"},
    "etcd3": {"etcd": "/etc/etcd/pki/etcd", "etcd-peer": "/etc/etcd/pki/etcd-peer"},
    "rpc2": {},
}


def evict(lab, host, timeout=900):
    return orchestrations.orchestrate(
        lab, "orch.evict", f"pillar={json.dumps({'host': host})}", timeout=timeout
    )


def evictions(lab):
    return [entry for entry in labs.history(lab) if entry["kind"] == "evict"]


def moving(host):
    """The operator's change of the plan."""

    def change(content):
        plan = content["plan"]
        plan.setdefault("evicted", {})[host] = plan["nodes"].pop(host)

    return change


def etcdctl(lab, *words, password):
    """Run etcdctl as root of etcd on etcd1; the password is passed through a pipe."""
    script = '. /etc/profile.d/etcdctl.sh; read -r ETCDCTL_PASSWORD; export ETCDCTL_PASSWORD; exec etcdctl --user root "$@"'
    argv = ["sh", "-c", script, "etcdctl", *words]
    return lab.machine("etcd1").exec(argv, text_input=password + "\n").stdout


def taken_along(lab, host):
    """Everything that root on a host can copy: secrets, certificates and keys."""
    pillar = lab.pillars(host)[host]
    files = {
        f"{name}.{end}": lab.exec(host, ["cat", f"{path}.{end}"]).stdout
        for name, path in PAIRS[host].items()
        for end in ("crt", "key")
    }
    minion = {
        name: lab.exec(host, ["cat", f"/etc/salt/pki/minion/{name}"]).stdout
        for name in ("minion.pem", "minion.pub", "minion_master.pub")
    }
    return {"secrets": pillar.get("secrets", {}), "files": files, "minion": minion}


def attempts(lab, old):
    """Every port on other hosts that the host's credentials open."""
    nodes, secrets = lab.plan["nodes"], old["secrets"]
    virtual, found = lab.plan["virtual_ip"]["address"], []
    databases = [nodes[name]["address"] for name in ("db1", "db2")]
    for address in (nodes["etcd1"]["address"], nodes["etcd2"]["address"]):
        for user, secret in (("root", "ETCD_ROOT_PASSWORD"), ("patroni", "ETCD_PATRONI_PASSWORD")):
            if secret in secrets:
                found.append({"door": "etcd", "port": 2379, "user": user, "password": secrets[secret]})
                found[-1] |= {"address": address, "cert": f"{FOLDER}/etcd"}
        if "ETCD_PATRONI_PASSWORD" in secrets:
            found.append({"door": "etcd", "port": 2379, "user": BACKDOOR[0], "password": BACKDOOR[1]})
            found[-1] |= {"address": address, "cert": f"{FOLDER}/etcd"}
        if "ETCD_ROOT_PASSWORD" in secrets:
            # A member's certificate names its address, and is accepted only from there.
            found.append(
                {"door": "etcd-peer", "port": 2380, "address": address, "cert": f"{FOLDER}/etcd-peer"}
            )
    if "PATRONI_REST_PASSWORD" in secrets:
        service = {"cert": f"{FOLDER}/service"}
        for address in databases:
            password = secrets["PATRONI_REST_PASSWORD"]
            found.append(
                {"door": "patroni", "address": address, "port": 8008, "password": password, **service}
            )
            for user in ("replicator", "rewind"):
                password = secrets[f"POSTGRES_{user.upper()}_PASSWORD"]
                found.append({"door": "postgres", "address": address, "port": 5432, "user": user, **service})
                found[-1] |= {"database": "postgres", "password": password}
        for user, database in (
            ("fanatico", "fanatico"),
            ("admin", "postgres"),
            ("fanatico_proof", "fanatico_proof"),
        ):
            secret = f"POSTGRES_{user.removeprefix('fanatico_').upper()}_PASSWORD"
            for port in (5432, 5433):
                found.append({"door": "postgres", "address": virtual, "port": port, "user": user})
                found[-1] |= {"database": database, "password": secrets[secret]}
    return found


def knocked(lab, machine, doors):
    said = lab.machine(machine).exec(
        [PYTHON, f"{FOLDER}/old_keys.py"], text_input=json.dumps(doors), timeout=240
    )
    return json.loads(said.stdout)


def connections(lab, host, lost=()):
    """Ports to which a host of this role may connect, on hosts that are not evicted."""
    nodes = {name: node for name, node in lab.plan["nodes"].items() if name not in lost}
    (role,) = nodes[host]["roles"]
    found = [(nodes[lab.master]["address"], port) for port in (4505, 4506)]
    found += [(lab.plan["virtual_ip"]["address"], port) for port in (8545, 5432)]
    if role == "rpc":
        found += [(nodes[name]["address"], 8545) for name in ("rpc1", "rpc3")]
    return [{"door": "any", "address": address, "port": port} for address, port in found]


def status(lab):
    done = lab.salt_run("fanatico.status", "--out=json", timeout=60, check=False)
    return json.loads(done.stdout)


def calls_itself(lab, machine, host, keys):
    """Run `salt-call` on a machine with a compromised host's name and minion key; return (exit code, output)."""
    folder = "/run/fanatico-test-minion"
    settings = {
        "id": host,
        "master": lab.plan["nodes"][lab.master]["address"],
        "pki_dir": f"{folder}/pki",
        "cachedir": f"{folder}/cache",
        "sock_dir": f"{folder}/sock",
        "log_file": f"{folder}/log",
        "auth_tries": 1,
        "auth_timeout": 10,
    }
    script = 'rm -rf "$0"; umask 077; mkdir -p "$0/pki"; cat > "$0/minion"'
    lab.machine(machine).exec(["sh", "-c", script, folder], text_input=json.dumps(settings))
    for name, text in keys.items():
        lab.machine(machine).exec(
            ["sh", "-c", 'umask 077; cat > "$0"', f"{folder}/pki/{name}"], text_input=text
        )
    argv = ["timeout", "60", "salt-call", "-c", folder, "-l", "error", "--out=json", "pillar.items"]
    done = lab.exec(machine, argv, timeout=90, check=False)
    return done.returncode, done.stdout + done.stderr


@contextlib.contextmanager
def held(lab, host):
    """Open a session from the host to a replica; yields a function that returns whether the session still works."""
    machine, address = lab.machine(host), lab.plan["virtual_ip"]["address"]
    argv = [PYTHON, f"{FOLDER}/old_keys.py", address, "5433", "/etc/patroni/pki/service-ca.crt"]
    pipe = subprocess.PIPE
    with subprocess.Popen(machine.exec_argv(argv), stdin=pipe, stdout=pipe, text=True) as process:
        process.stdin.write(labs.secret(lab, host, "POSTGRES_FANATICO_PASSWORD") + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "open\n"

        def lives():
            said, _ = process.communicate("\n", timeout=30)
            return said.strip()

        yield lives


@pytest.fixture(scope="module")
def gone(lab):
    """Plans in which one host after the other is evicted, for the duration of the file."""
    with contextlib.ExitStack() as plans:
        yield lambda host: plans.enter_context(labs.plan(lab, moving(host)))


@pytest.fixture(scope="module")
def leader(lab, gone):
    """Evict db3, which leads and has its own etcd user and a session at a replica; return its credentials and the results."""
    labs.wait_healthy(lab)
    lab.salt("db3", "fanatico_patroni.switchover", "db3")
    wait_until(lambda: labs.leader(lab) == "db3", 60, "db3 to lead")
    labs.wait_healthy(lab)
    root = labs.secret(lab, "etcd1", "ETCD_ROOT_PASSWORD")
    etcdctl(lab, "user", "add", ":".join(BACKDOOR), password=root)
    etcdctl(lab, "user", "grant-role", BACKDOOR[0], "root", password=root)
    old = taken_along(lab, "db3")
    for machine in ("db3", "db1"):
        put_all(lab, machine, {"old_keys.py": PROGRAM, **old["files"]})
    doors = attempts(lab, old)
    old |= {
        "doors": doors,
        "before": knocked(lab, "db3", doors + connections(lab, "db3")),
        "history": [evictions(lab)],
        "refusal": evict(lab, "db3"),
    }
    old["history"].append(evictions(lab))
    with held(lab, "db3") as lives:
        gone("db3")
        old["done"] = evict(lab, "db3")
        # An attacker who is root there can remove our rules.
        lab.exec("db3", ["nft", "delete", "table", "inet", "fanatico"], check=False)
        old["session"] = lives()
    return old


def test_all_of_it_opened_a_door_before(leader):
    """Precondition of the tests below."""
    assert leader["before"] == ["in"] * len(leader["before"])


def test_it_was_refused_while_the_plan_had_it(leader):
    said = labs.said(leader["refusal"].stdout + leader["refusal"].stderr)
    assert leader["refusal"].returncode == 1
    assert "db3: {address: 10.0.2.12, roles: [patroni]}" in said
    before, after = leader["history"]
    assert before == after


def test_it_was_evicted(leader):
    assert leader["done"].returncode == 0, leader["done"].stdout[-5000:]
    assert "11 of 11 hosts drop every packet of 10.0.2.12" in leader["done"].stdout


def test_no_packet_of_it_comes_through(lab, leader):
    doors = leader["doors"] + connections(lab, "db3")
    assert knocked(lab, "db3", doors) == ["unreachable"] * len(doors)


def test_a_session_that_it_had_is_dead(leader):
    assert leader["session"] in ("no answer", "cut")


def test_what_it_knew_opens_nothing_elsewhere(lab, leader):
    """From db1, which every firewall accepts: not only the address is blocked."""
    assert knocked(lab, "db1", leader["doors"]) == ["refused"] * len(leader["doors"])


def test_its_passwords_open_nothing_with_a_certificate_that_is_right(lab, leader):
    """Not only the certificate is refused."""
    now = {"etcd": "/etc/patroni/pki/etcd", "service": "/etc/patroni/pki/service"}
    doors = [
        {**one, "cert": now[one["cert"].rpartition("/")[2]]} for one in leader["doors"] if one.get("cert")
    ]
    assert knocked(lab, "db1", doors) == ["refused"] * len(doors)


def test_its_name_and_minion_key_get_nothing_from_the_master(lab, leader):
    code, said = calls_itself(lab, "db1", "db3", leader["minion"])
    assert code != 0
    assert "POSTGRES" not in said
    keys = json.loads(lab.exec(lab.master, ["salt-key", "--out=json", "-L"]).stdout)
    assert [place for place, names in keys.items() if "db3" in names] == ["minions_rejected"]


def test_the_rest_is_well_and_takes_writes(lab, leader):
    seen = wait_until(lambda: (one := status(lab))["status"] == "ok" and one, 60, "the rest to be well")
    assert sorted(seen["nodes"]) == sorted(name for name in lab.plan["nodes"] if name != "db3")
    assert labs.leader(lab) in ("db1", "db2")
    with labs.writing(lab, "db1") as writer:
        assert len(lab.salt("db1", "fanatico.proof")["db1"]) == 5
    assert writer["error"] is None
    assert writer["written"] > 0


def test_etcd_lets_in_its_own_alone(lab, leader):
    assert sorted(lab.salt("etcd1", "fanatico_etcd.access")["etcd1"]["users"]) == [
        "health",
        "patroni",
        "root",
    ]


def test_the_history_has_it_and_healing_ignores_the_host(lab, leader):
    finished, entries = evictions(lab)[0], labs.history(lab)
    assert (finished["decision"], finished["host"]) == ("finished", "db3")
    since = [one for one in entries if one["time"] > finished["time"]]
    lab.salt_run("fanatico.reconcile")
    lab.salt_run("fanatico.reconcile")
    since += [one for one in labs.history(lab) if one["time"] > finished["time"]]
    assert [one for one in since if one.get("host") == "db3" and one["kind"] == "heal"] == []


# --- a chain node


@pytest.fixture(scope="module")
def chain_node(lab, leader, gone):
    old = taken_along(lab, "rpc2")
    for machine in ("rpc2", "db1"):
        put_all(lab, machine, {"old_keys.py": PROGRAM})
    old |= {"before": knocked(lab, "rpc2", connections(lab, "rpc2", ["db3"]))}
    gone("rpc2")
    return old | {"done": evict(lab, "rpc2")}


def test_a_chain_node_is_evicted(lab, chain_node):
    assert chain_node["before"] == ["in"] * len(chain_node["before"])
    assert chain_node["done"].returncode == 0, chain_node["done"].stdout[-5000:]
    lab.exec("rpc2", ["nft", "delete", "table", "inet", "fanatico"], check=False)
    doors = connections(lab, "rpc2", ["db3"])
    assert knocked(lab, "rpc2", doors) == ["unreachable"] * len(doors)
    assert calls_itself(lab, "db1", "rpc2", chain_node["minion"])[0] != 0
    wait_until(lambda: status(lab)["status"] == "ok", 60, "the rest to be well")


# --- a member of etcd


@pytest.fixture(scope="module")
def member(lab, chain_node, gone):
    old = taken_along(lab, "etcd3")
    for machine in ("etcd3", "etcd1", "db1"):
        put_all(lab, machine, {"old_keys.py": PROGRAM, **old["files"]})
    doors = [one for one in attempts(lab, old) if one.get("user") != BACKDOOR[0]]
    old |= {
        "doors": doors,
        "before": knocked(lab, "etcd3", doors + connections(lab, "etcd3", ["db3", "rpc2"])),
    }
    gone("etcd3")
    return old | {"done": evict(lab, "etcd3")}


def test_a_member_of_etcd_is_evicted(lab, member):
    assert member["before"] == ["in"] * len(member["before"])
    assert member["done"].returncode == 0, member["done"].stdout[-5000:]
    lab.exec("etcd3", ["nft", "delete", "table", "inet", "fanatico"], check=False)
    doors = member["doors"] + connections(lab, "etcd3", ["db3", "rpc2"])
    assert knocked(lab, "etcd3", doors) == ["unreachable"] * len(doors)
    assert knocked(lab, "etcd1", member["doors"]) == ["refused"] * len(member["doors"])
    assert sorted(lab.salt("etcd1", "fanatico_etcd.members")["etcd1"]) == ["etcd1", "etcd2"]
    wait_until(lambda: status(lab)["status"] == "ok", 60, "the rest to be well")


def test_evicting_another_member_is_refused_without_quorum(lab, member, gone):
    gone("etcd2")
    done = evict(lab, "etcd2")
    assert done.returncode == 1
    assert "role etcd" in labs.said(done.stdout + done.stderr)
    assert sorted(lab.salt("etcd1", "fanatico_etcd.members")["etcd1"]) == ["etcd1", "etcd2"]
