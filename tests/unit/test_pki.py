"""Certificates of the nodes and their replacement; the authorities on the master's disk."""

import datetime
import ssl
import stat
import time

import pytest
import salt.utils.x509 as x509util

import fanatico_authority
import fanatico_pki
from tests.support import pki

DAY = 86400


def test_every_certificate_is_valid_for_its_own_node_only(plan):
    for node, settings in plan["nodes"].items():
        for one in fanatico_pki.certificates(plan, node):
            assert one["names"] == [node]
            assert set(one["addresses"]) <= {settings["address"], plan["virtual_ip"]["address"]}
            assert bool(one["addresses"]) == ("serverAuth" in one["uses"])


def test_a_node_has_certificates_only_of_authorities_it_uses(plan):
    held = {
        node: sorted(one["authority"] for one in fanatico_pki.certificates(plan, node))
        for node in plan["nodes"]
    }
    assert held["etcd1"] == ["etcd", "etcd", "etcd-peer", "monitor"]
    assert held["db1"] == ["backup", "etcd", "monitor", "service"]
    assert held["ops1"] == ["backup", "monitor"]
    assert held["haproxy1"] == ["edge", "monitor"]
    assert held["rpc1"] == held["salt"] == ["monitor"]


def test_a_balancers_certificate_authenticates_nowhere(plan):
    """Nor can it impersonate PostgreSQL, whose clients trust `service` and connect to the virtual IP."""
    (one,) = fanatico_pki.certificates(plan, "haproxy1", "haproxy")
    assert (one["authority"], one["uses"]) == ("edge", ["serverAuth"])
    assert fanatico_pki.paths(plan, "haproxy1", "service")["cert"] is None


def test_the_virtual_ip_is_in_the_certificates_that_serve_there(plan):
    vip = plan["virtual_ip"]["address"]
    named = {
        (node, one["authority"])
        for node in plan["nodes"]
        for one in fanatico_pki.certificates(plan, node)
        if vip in one["addresses"]
    }
    assert {authority for node, authority in named if node.startswith("db")} == {"service"}
    assert {authority for node, authority in named if node.startswith("haproxy")} == {"edge"}


def test_a_balancer_verifies_patroni_without_a_certificate_of_its_own(plan):
    (known,) = fanatico_pki.trusts(plan, "haproxy1")
    assert (known["name"], known["ca"]) == ("haproxy/service", "/etc/haproxy/pki/service-ca.crt")
    assert fanatico_pki.authorities(["haproxy"]) == ["edge", "monitor", "service"]
    assert fanatico_pki.trusts(plan, "db1") == []
    assert fanatico_pki.paths(plan, "haproxy1", "service")["ca"] == known["ca"]


def test_the_health_users_certificate_is_for_etcd_only(plan):
    """Its common name is the user; no daemon and none of our calls uses its key."""
    (one,) = [one for one in fanatico_pki.certificates(plan, "etcd1") if one["name"] == "etcd/etcd-health"]
    assert (one["subject"], one["uses"]) == ("CN=health", ["clientAuth"])
    assert (one["owner"], one["daemon"]) == ("root", "etcd")
    assert (one["ca"], one["key"]) == ("/etc/etcd/pki/etcd-ca.crt", "/etc/etcd/pki/etcd-health.key")
    assert fanatico_pki.paths(plan, "etcd1", "etcd")["cert"] == "/etc/etcd/pki/etcd.crt"
    others = [fanatico_pki.certificates(plan, node) for node in ("db1", "haproxy1", "rpc1")]
    assert not [one for held in others for one in held if "health" in one["subject"]]


def test_paths_belong_to_the_permitted_role(plan):
    assert fanatico_pki.paths(plan, "db1", "etcd")["key"] == "/etc/patroni/pki/etcd.key"
    assert fanatico_pki.paths(plan, "etcd1", "etcd")["ca"] == "/etc/etcd/pki/etcd-ca.crt"
    assert fanatico_pki.paths(plan, "rpc1", "etcd") is None


def test_a_policy_fixes_every_value_of_a_request(plan):
    now = datetime.datetime(2026, 11, 25, 17, 30, tzinfo=datetime.UTC)
    policies = fanatico_pki.policies(plan, "/ca", 90, now)
    assert len(policies) == 3 * 3 + 3 * 3 + 2 + 1 + len(plan["nodes"])
    db1 = policies["db1.patroni.service"]
    assert db1["minions"] == "db1"
    assert db1["subject"] == "CN=db1"
    assert policies["db1.patroni.etcd"]["subject"] == "OU=db1", "etcd would take a CN for a user"
    assert db1["subjectAltName"] == ["DNS:db1", "IP:10.0.2.10", "IP:10.0.0.100"]
    assert db1["signing_private_key"] == "/ca/service.key"
    assert all(policy[key] is None for policy in policies.values() for key in ("not_after", "copypath"))
    for policy in policies.values():
        assert (policy["digest"], policy["serial_number"], policy["csr"]) == ("sha256", None, None)
        # Every extension that Salt would put into a certificate: the policy's, or none.
        assert set(x509util.CERT_EXTS) <= set(policy)
    # Valid on a host whose clock is a day behind.
    assert {policy["not_before"] for policy in policies.values()} == {"2026-11-24 00:00:00"}


# --- replacement


@pytest.fixture
def authority():
    return pki.Authority("ours")


@pytest.fixture
def wanted(plan):
    return next(one for one in fanatico_pki.certificates(plan, "db1") if one["authority"] == "service")


def why(wanted, authority, now=None, issuer=None, other_key=None, **given):
    given = {"name": "db1", "addresses": ["10.0.2.10", "10.0.0.100"]} | given
    certificate, key = authority.issue(**given)
    return fanatico_pki.reasons(
        wanted,
        fanatico_pki.facts(certificate),
        fanatico_pki.key_hash(other_key or key),
        issuer or fanatico_pki.facts(authority.certificate)["id"],
        now or time.time(),
        30,
    )


def test_a_valid_certificate_stays(wanted, authority):
    assert why(wanted, authority) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"unit": True}, "subject OU=db1 instead of CN=db1"),
        ({"addresses": ["10.0.2.10"]}, "addresses 10.0.2.10 instead of 10.0.0.100, 10.0.2.10"),
        ({"uses": ("serverAuth",)}, "uses serverAuth instead of clientAuth, serverAuth"),
        ({"days": 29}, "expires in 29 days"),
        ({"days": -1}, "expired"),
        ({"issuer": "beef"}, "signed by a former authority"),
    ],
)
def test_an_invalid_certificate_is_replaced(wanted, authority, given, said):
    assert why(wanted, authority, **given) == [said]


def test_another_name(wanted, authority):
    assert why(wanted, authority, name="db2") == [
        "names db2 instead of db1",
        "subject CN=db2 instead of CN=db1",
    ]


def test_a_key_that_does_not_match_is_found(wanted, authority):
    assert why(wanted, authority, other_key=pki.Authority("x").key) == ["the private key does not match"]


def test_a_signature_is_verified(authority):
    """The key id in a certificate is chosen by its creator."""
    certificate, _ = authority.issue(name="db1", addresses=["10.0.2.10"])
    other = pki.Authority("ours").certificate
    assert fanatico_pki.signed(certificate, other + authority.certificate)
    assert not fanatico_pki.signed(certificate, other)
    der = bytearray(ssl.PEM_cert_to_DER_cert(certificate))
    der[-1] ^= 1
    assert not fanatico_pki.signed(ssl.DER_cert_to_PEM_cert(bytes(der)), authority.certificate)


def test_an_unsigned_certificate_is_replaced(wanted, authority):
    certificate, key = authority.issue(name="db1", addresses=["10.0.2.10", "10.0.0.100"])
    told, held = fanatico_pki.facts(certificate), fanatico_pki.key_hash(key)
    said = fanatico_pki.reasons(wanted, told, held, told["authority"], time.time(), 30, proven=False)
    assert said == ["invalid signature"]


def test_a_missing_certificate_is_created(wanted):
    assert fanatico_pki.reasons(wanted, None, None, "", time.time(), 30) == ["missing"]


def test_an_expiring_certificate_is_replaced(wanted, authority):
    assert why(wanted, authority, now=time.time() + 60.5 * DAY) == ["expires in 29 days"]


# --- the authorities

NAMES, OWNER = ["etcd", "service"], "test"


def read(directory):
    return fanatico_authority.read(directory, NAMES)


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "ca"
    assert fanatico_authority.ensure(folder, NAMES, OWNER) == NAMES
    return folder


def test_authorities_are_created_once_and_for_root_only(directory):
    before = read(directory)
    assert fanatico_authority.ensure(directory, NAMES, OWNER) == []
    assert read(directory) == before
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.glob("*.key")} == {0o600}


def test_trust_overlaps_during_a_replacement(directory):
    """At each step every node trusts all authorities that signed certificates in use."""
    old = read(directory)
    assert fanatico_authority.prepare(directory, NAMES, OWNER) == NAMES
    both = read(directory)
    assert both["issuer"] == old["issuer"]
    assert all(old["trust"][name] in both["trust"][name] for name in NAMES)
    assert {len(fanatico_pki.bundle_facts(both["trust"][name])) for name in NAMES} == {2}
    assert fanatico_authority.switch(directory, NAMES) == NAMES
    switched = read(directory)
    assert switched["trust"] == both["trust"], "no daemon restarts for this step"
    assert not set(switched["issuer"].values()) & set(old["issuer"].values())
    assert fanatico_authority.retire(directory, NAMES) == NAMES
    new = read(directory)
    assert all(old["trust"][name] not in new["trust"][name] for name in NAMES)
    assert new["issuer"] == switched["issuer"]
    assert not list(directory.glob("*.next.*")) + list(directory.glob("*.former.*"))


def test_every_step_can_be_repeated(directory):
    fanatico_authority.prepare(directory, NAMES, OWNER)
    assert fanatico_authority.prepare(directory, NAMES, OWNER) == []
    fanatico_authority.switch(directory, NAMES)
    after = read(directory)
    assert fanatico_authority.switch(directory, NAMES) == []
    assert read(directory) == after


def test_an_interrupted_switch_is_completed(directory, monkeypatch):
    fanatico_authority.prepare(directory, NAMES, OWNER)
    due = fanatico_pki.facts((directory / "etcd.next.crt").read_text())
    (directory / "etcd.next.key").replace(directory / "etcd.key")  # as far as it came
    fanatico_authority.switch(directory, NAMES)
    assert read(directory)["issuer"]["etcd"] == due["id"]
    assert fanatico_pki.key_hash((directory / "etcd.key").read_text()) == due["key"]


def test_an_imported_authority_is_used(tmp_path, directory):
    own = pki.Authority("our company")
    assert fanatico_authority.add(tmp_path / "new", "etcd", own.key, own.certificate) is True
    assert fanatico_authority.add(directory, "etcd", own.key, own.certificate) is False
    assert own.certificate.strip() in read(directory)["trust"]["etcd"]
    fanatico_authority.prepare(directory, NAMES, OWNER)
    fanatico_authority.switch(directory, NAMES)
    assert read(directory)["issuer"]["etcd"] == fanatico_pki.facts(own.certificate)["id"]


def test_an_unusable_authority_is_refused(directory):
    own, other = pki.Authority("our company"), pki.Authority("another")
    leaf, key = own.issue()
    for pair, said in (
        ((other.key, own.certificate), "does not match"),
        ((key, leaf), "basicConstraints"),
        (("rubbish", own.certificate), "cannot be read"),
    ):
        with pytest.raises(ValueError, match=said):
            fanatico_authority.add(directory, "etcd", *pair)
    assert read(directory)["stage"] == {"etcd": "", "service": ""}
