"""Which certificate opens which port: tried from every machine at every TLS port."""

import json
import shlex
from pathlib import Path

import pytest

import fanatico_pki
from tests.support import labs, pki, wait_until

pytestmark = pytest.mark.healthy_is_enough

# The attempts run on the machines. Each returns in one word how far it got.
PROBE = Path(__file__).parent / "files" / "knock.py"
FOLDER = "/run/fanatico-test-pki"
PYTHON = "/opt/salt/bin/python"

SHUT = "unreachable"  # stopped by the firewall, before TLS
REFUSED = "refused"  # refused in the TLS handshake

# door -> {source role -> {claim -> how far the attempt gets}}. A role that is not listed does not reach the port.
#   anonymous: no certificate · foreign: right names, another authority · other: a valid one of another role · right
#   ended: of the right authority, but expired
INSIDE = {"anonymous": REFUSED, "foreign": REFUSED, "other": REFUSED, "ended": REFUSED, "right": "in"}
READING = {
    **INSIDE,
    "anonymous": "in",
}  # any client may ask Patroni for the leader; a bad certificate is worse than none
CHANGING = {**INSIDE, "anonymous": "certificate required", "right": "password required"}
CHANGING_ELSEWHERE = {**CHANGING, "anonymous": "not from there", "right": "not from there"}
REPLICATING = {**INSIDE, "anonymous": "certificate required", "right": "password required"}
BALANCED = {**REPLICATING, "anonymous": "not from there", "right": "not from there"}
ASKED_FOR_NONE = dict.fromkeys(INSIDE, "password required")
TABLE = {
    "etcd": {"etcd": INSIDE, "patroni": INSIDE},
    "etcd-peer": {"etcd": INSIDE},
    "patroni": {"haproxy": READING, "patroni": READING, "master": READING},
    # The allow-list is checked first: from elsewhere no certificate is even checked.
    "patroni-change": {
        "patroni": CHANGING,
        "haproxy": CHANGING_ELSEWHERE,
        "master": CHANGING_ELSEWHERE,
    },
    "postgres": {"patroni": REPLICATING, "haproxy": BALANCED},
    "statistics": {"haproxy": ASKED_FOR_NONE, "master": ASKED_FOR_NONE},
    "edge-statistics": {"haproxy": ASKED_FOR_NONE, "master": ASKED_FOR_NONE},
    "metrics": {"master": INSIDE},
}
DOORS = {
    "etcd": ("etcd", 2379),
    "etcd-peer": ("etcd", 2380),
    "patroni": ("patroni", 8008),
    "patroni-change": ("patroni", 8008),
    "postgres": ("patroni", 5432),
    "statistics": ("haproxy", 8404),
    "edge-statistics": ("haproxy", 8406),
    "metrics": ("rpc", 9100),  # as on every host
}
# door -> (component with the right certificate, component of another role with a wrong one)
CLAIMS = {
    "etcd": ("db1:/etc/patroni/pki/etcd", "haproxy1:/etc/haproxy/pki/edge"),
    "etcd-peer": ("etcd1:/etc/etcd/pki/etcd-peer", "db1:/etc/patroni/pki/etcd"),
    "patroni": ("db1:/etc/patroni/pki/service", "haproxy1:/etc/haproxy/pki/edge"),
    "patroni-change": ("db1:/etc/patroni/pki/service", "etcd1:/etc/etcd/pki/etcd"),
    "postgres": ("db1:/etc/patroni/pki/service", "haproxy1:/etc/haproxy/pki/edge"),
    "statistics": ("db1:/etc/patroni/pki/service", "etcd1:/etc/etcd/pki/etcd"),
    "edge-statistics": ("db1:/etc/patroni/pki/service", "etcd1:/etc/etcd/pki/etcd"),
    "metrics": (
        "salt:/etc/prometheus-node-exporter/pki/monitor",
        "haproxy1:/etc/prometheus-node-exporter/pki/monitor",
    ),
}
AUTHORITY = {
    "etcd": "etcd",
    "etcd-peer": "etcd-peer",
    "statistics": "edge",
    "edge-statistics": "edge",
    "metrics": "monitor",
}  # else "service"


def put(lab, machine, path, text):
    """Write a file on a machine, readable by root only."""
    words = f"umask 077; mkdir -p {shlex.quote(str(Path(path).parent))}; cat > {shlex.quote(path)}"
    lab.machine(machine).exec(["sh", "-c", words], text_input=text)


def read(lab, machine, path):
    return lab.exec(machine, ["cat", path]).stdout


def authority(lab, name):
    """The master's authority, as with a stolen key."""
    stolen = pki.Authority()
    stolen.key = read(lab, lab.master, f"/etc/fanatico/ca/{name}.key")
    stolen.certificate = read(lab, lab.master, f"/etc/fanatico/ca/{name}.crt")
    return stolen


def test_no_balancer_holds_what_a_client_of_postgresql_would_believe(lab):
    """Verify every certificate on the machine against the authority that clients get."""
    trust = read(lab, lab.master, "/etc/fanatico/ca/service.crt")
    for machine in lab.nodes("haproxy"):
        held = lab.exec(machine, ["sh", "-c", "cat $(ls /etc/haproxy/pki/*.crt | grep -v -- -ca)"]).stdout
        (certificate,) = held.split("-----BEGIN")[1:]
        assert not fanatico_pki.signed(f"-----BEGIN{certificate}", trust)


@pytest.fixture(scope="module")
def claims(lab):
    """{door: {claim: (certificate, key) or None}}."""
    found = {}
    for door, (right, other) in CLAIMS.items():
        real = {
            claim: tuple(read(lab, machine, f"{path}.{end}") for end in ("crt", "key"))
            for claim, (machine, _, path) in (
                ("right", right.partition(":")),
                ("other", other.partition(":")),
            )
        }
        named = {"name": "db1", "addresses": ["10.0.2.10"]}
        found[door] = {
            "anonymous": None,
            "foreign": pki.Authority("fanatico etcd").issue(**named),
            "ended": authority(lab, AUTHORITY.get(door, "service")).issue(**named, days=-1),
            **real,
        }
    return found


@pytest.fixture(scope="module")
def knocking(lab, claims):
    """Prepare every machine for all attempts."""
    program = PROBE.read_text()
    for machine in lab.plan["nodes"]:
        files = {"knock.py": program}
        for door, of_door in claims.items():
            for claim, pair in of_door.items():
                if claim == "right" and door == "etcd-peer" and machine.startswith("etcd"):
                    # Its own certificate: members check the address in it too, so another member's would be refused.
                    pair = tuple(
                        read(lab, machine, f"/etc/etcd/pki/etcd-peer.{end}") for end in ("crt", "key")
                    )
                if pair:
                    files |= {f"{door}.{claim}.pem": "".join(pair)}
                    files |= {
                        f"{door}.{claim}.{end}": text for end, text in zip(("crt", "key"), pair, strict=True)
                    }
        put_all(lab, machine, files)
    yield
    for machine in lab.plan["nodes"]:
        lab.exec(machine, ["rm", "-rf", FOLDER])


def put_all(lab, machine, files):
    """Write files into FOLDER on a machine, readable by root only, with one command: there are thirty on each machine."""
    program = (
        "import json, os, pathlib, sys\n"
        "os.umask(0o077)\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "folder.mkdir(exist_ok=True)\n"
        "for name, text in json.load(sys.stdin).items(): (folder / name).write_text(text)\n"
    )
    lab.machine(machine).exec([PYTHON, "-c", program, FOLDER], text_input=json.dumps(files))


def tried(lab, source, doors=DOORS):
    """Return {door: {target: {claim: how far}}} of a machine's attempts."""
    attempts = [
        [door, node["address"], port, claim]
        for door, (role, port) in doors.items()
        for target, node in lab.plan["nodes"].items()
        if role in node["roles"] and target != source
        for claim in INSIDE
    ]
    said = lab.machine(source).exec(
        [PYTHON, f"{FOLDER}/knock.py", FOLDER], text_input=json.dumps(attempts), timeout=120
    )
    names = {node["address"]: name for name, node in lab.plan["nodes"].items()}
    found = {}
    for (door, address, _, claim), far in zip(attempts, json.loads(said.stdout), strict=True):
        found.setdefault(door, {}).setdefault(names[address], {})[claim] = far
    return found


def expected(lab, source):
    (own,) = lab.plan["nodes"][source]["roles"]
    shut = dict.fromkeys(INSIDE, SHUT)
    return {
        door: {
            target: TABLE[door].get(own, shut)
            for target, node in lab.plan["nodes"].items()
            if role in node["roles"] and target != source
        }
        for door, (role, _) in DOORS.items()
    }


@pytest.mark.parametrize(
    "source",
    [
        *labs.ONE_OF_EACH,
        *(
            pytest.param(one, marks=pytest.mark.long)
            for one in ("haproxy2", "rpc2", "rpc3", "db2", "db3", "etcd2", "etcd3")
        ),
    ],
)
def test_who_gets_in_is_what_the_table_says(lab, knocking, source):
    assert tried(lab, source) == expected(lab, source)


def test_a_member_takes_no_other_members_certificate(lab, knocking):
    """A certificate stolen from etcd1 and used by etcd2 is of the right authority, but refused."""
    for end in ("crt", "key"):
        put(lab, "etcd2", f"{FOLDER}/stolen.{end}", read(lab, "etcd1", f"/etc/etcd/pki/etcd-peer.{end}"))
    words = f"cd {FOLDER}; cat stolen.crt stolen.key > etcd-peer.other.pem"
    lab.exec("etcd2", ["sh", "-c", words])
    assert tried(lab, "etcd2", {"etcd-peer": DOORS["etcd-peer"]})["etcd-peer"]["etcd3"]["other"] == REFUSED


def test_a_server_with_a_foreign_certificate_is_trusted_by_no_client(healthy):
    """A fake server instead of db2's Patroni: the balancers must not send a session there."""
    node = next(name for name in labs.nodes(healthy, "patroni") if name != labs.leader(healthy))
    address = healthy.plan["nodes"][node]["address"]
    certificate, key = pki.Authority("fanatico service").issue(name=node, addresses=[address])
    kept = {end: read(healthy, node, f"/etc/patroni/pki/service.{end}") for end in ("crt", "key")}
    healthy.salt_run("fanatico.freeze", "a test puts a foreign certificate on a database", "5m")

    def lay(pair):
        for end, text in pair.items():
            words = f"cat > /etc/patroni/pki/service.{end}"
            healthy.machine(node).exec(["sh", "-c", words], text_input=text)
        healthy.exec(node, ["systemctl", "reload", "patroni"])

    def down():
        backends = healthy.salt("haproxy*", "fanatico_haproxy.backends")
        return all(node in one["postgres_replica"]["down"] for one in backends.values())

    try:
        lay({"crt": certificate, "key": key})
        wait_until(down, 30, f"both balancers to take {node} for down")
        assert "node.certificates" in labs.ailing(labs.health(healthy, node))[node]
    finally:
        lay(kept)
        healthy.salt_run("fanatico.unfreeze")


# --- protocol and ciphers


@pytest.mark.parametrize(
    ("door", "role"), [(door, role) for door, (role, _) in DOORS.items() if door != "patroni-change"]
)
def test_old_protocols_and_weak_ciphers_are_refused(lab, knocking, door, role):
    known = {"etcd": "etcd2", "etcd-peer": "etcd2", "metrics": "salt"}
    source = known.get(door, "haproxy2" if role == "haproxy" else "db2")
    target = next(name for name in labs.nodes(lab, role) if name != source)
    argv = [
        PYTHON,
        f"{FOLDER}/knock.py",
        FOLDER,
        "offers",
        door,
        lab.plan["nodes"][target]["address"],
        str(DOORS[door][1]),
    ]
    offers = json.loads(lab.exec(source, argv, timeout=120).stdout)
    newest = door == "metrics"
    assert set(offers["protocols"]) == ({"TLSv1.3"} if newest else {"TLSv1.2", "TLSv1.3"})
    assert bool(offers["ciphers"]) is not newest, "those of TLS 1.2"
    weak = [
        name
        for name in offers["ciphers"]
        if not (name.startswith("ECDHE") and ("GCM" in name or "CHACHA" in name))
    ]
    assert weak == []


# --- renewal


SERVED = """
import socket, ssl, sys
door, address, port = sys.argv[1:]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
raw = socket.create_connection((address, int(port)), 5)
if door == "postgres":
    raw.sendall(bytes([0, 0, 0, 8, 4, 210, 22, 47]))
    raw.recv(1)
print(ssl.DER_cert_to_PEM_cert(tls.wrap_socket(raw).getpeercert(True)))
"""


def served(lab, door, target):
    """Return the facts of the certificate that a port presents."""
    role, port = DOORS[door]
    source = {"etcd": "etcd3", "patroni": "db3", "haproxy": "salt"}[role]
    address = lab.plan["nodes"][target]["address"]
    return fanatico_pki.facts(lab.exec(source, [PYTHON, "-c", SERVED, door, address, str(port)]).stdout)


@pytest.mark.parametrize(
    ("target", "path", "doors"),
    [
        pytest.param("etcd2", "/etc/etcd/pki/etcd", ["etcd"], marks=pytest.mark.long),
        pytest.param("etcd2", "/etc/etcd/pki/etcd-peer", ["etcd-peer"], marks=pytest.mark.long),
        ("db2", "/etc/patroni/pki/service", ["patroni", "postgres"]),
        ("haproxy2", "/etc/haproxy/pki/edge", ["statistics"]),
    ],
)
def test_an_expiring_certificate_is_renewed_and_loaded(healthy, target, path, doors):
    old = [served(healthy, door, target)["key"] for door in doors]
    soon = let_end_soon(healthy, target, path)
    # HAProxy, too, runs with another certificate than the one on disk.
    running = (
        {"haproxy.certificates", "edge.certificates"} if target in labs.nodes(healthy, "haproxy") else set()
    )
    assert labs.ailing(labs.health(healthy, target))[target].keys() == {"node.certificates", *running}
    # The minion's nightly job.
    answers = healthy.salt(target, "state.apply", "roles.certified")[target]
    assert all(one["result"] for one in answers.values()), answers
    for door, key in zip(doors, old, strict=True):
        wait_renewed(healthy, door, target, (key, soon))
    assert labs.ailing(labs.health(healthy, target)) == {}


def test_healing_renews_a_certificate_that_the_nightly_job_has_missed(healthy):
    target, news = "haproxy2", labs.News(healthy)
    soon = let_end_soon(healthy, target, "/etc/haproxy/pki/edge")
    for _ in range(2):  # the master's job of every two minutes
        healthy.salt_run("fanatico.reconcile")
    assert "edge in 9 days" in news.wait("healed", target, "certificate-ending", 60)["reason"]
    wait_renewed(healthy, "statistics", target, (soon,))


def let_end_soon(lab, target, path):
    """Write a certificate that expires in ten days, without loading it into a daemon; return the facts of its key."""
    name = path.rpartition("/")[2]
    addresses = [lab.plan["nodes"][target]["address"]]
    if name in ("service", "edge"):
        addresses.append(lab.plan["virtual_ip"]["address"])
    uses = ("serverAuth",) if target == "haproxy2" else ("serverAuth", "clientAuth")
    soon = authority(lab, name).issue(
        name=target, addresses=addresses, uses=uses, days=10, unit=name == "etcd"
    )
    for end, text in zip(("crt", "key"), soon, strict=True):
        lab.machine(target).exec(["sh", "-c", f"cat > {path}.{end}"], text_input=text)
    return fanatico_pki.facts(soon[0])["key"]


def wait_renewed(lab, door, target, keys):
    """Wait until a port presents a certificate with none of these keys."""
    wait_until(
        lambda: served(lab, door, target)["key"] not in keys,
        20,
        f"{door} of {target} to show its new certificate",
    )


def test_that_happens_every_night(lab):
    listed = lab.salt("*", "schedule.list", "return_yaml=False")
    assert {name for name, jobs in listed.items() if "certificates" in jobs} == set(lab.plan["nodes"])


# --- rotation


def orchestrate(lab, *words, timeout=400):
    said = lab.salt_run("state.orchestrate", *words, timeout=timeout, check=False)
    assert said.returncode == 0, said.stdout[-4000:]


@pytest.fixture(scope="module")
def rotated(lab, knocking):
    """Rotate every certificate and authority under a session that writes; return that session's result."""
    labs.wait_healthy(lab)
    before = {"leader": labs.leader(lab), "id": read(lab, lab.master, "/etc/fanatico/ca/service.crt")}
    with labs.writing(lab, "db2") as writer:
        orchestrate(lab, "orch.rotate_certs")
    return {**before, "session": writer}


@pytest.mark.long
def test_rotating_everything_cuts_no_session_and_moves_no_leader(lab, rotated):
    labs.assert_not_cut(lab, rotated["session"])
    assert rotated["session"]["written"] > 100
    assert labs.leader(lab) == rotated["leader"]
    assert read(lab, lab.master, "/etc/fanatico/ca/service.crt") != rotated["id"]
    labs.wait_healthy(lab)


@pytest.mark.long
@pytest.mark.parametrize("source", ["salt", "haproxy1", "db1", "etcd1"])
def test_what_was_right_before_is_refused_now(lab, rotated, source):
    """Rotation revokes certificates: the authority is replaced, and the former one is no longer trusted."""
    found = tried(lab, source)
    reached = {
        (door, target, far["right"])
        for door, of_door in found.items()
        for target, far in of_door.items()
        if door not in ("statistics", "edge-statistics")  # they ask for no certificate
    }
    assert {far for _, _, far in reached} <= {REFUSED, SHUT}
    assert REFUSED in {far for _, _, far in reached}
