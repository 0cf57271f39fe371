"""The state that issues certificates, and their health check: real files, and a signer in place of the master."""

import getpass
import os
import pathlib
import stat
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_file
import fanatico_pki
from _modules import fanatico_pki as module
from _states import fanatico_pki as state
from tests.support import components, pki
from tests.support.pillar import shipped

NODE, ROLE = "db1", "patroni"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    components.without(monkeypatch, "node_exporter")  # every node has a certificate for it
    components.without(monkeypatch, "archive")
    components.with_pki(monkeypatch, ROLE, folder=str(tmp_path / "pki"), owner=getpass.getuser())
    return tmp_path / "pki"


@pytest.fixture
def authorities():
    return {name: pki.Authority(name) for name in ("etcd", "service")}


@pytest.fixture
def opts():
    return {"id": NODE, "test": False, "file_client": "remote"}


@pytest.fixture
def pillar(plan, authorities):
    facts = {name: fanatico_pki.facts(one.certificate) for name, one in authorities.items()}
    return {
        "plan": plan,
        "pki": {
            **shipped("pki"),
            "trust": {name: one.certificate for name, one in authorities.items()},
            "issuer": {name: found["id"] for name, found in facts.items()},
        },
    }


@pytest.fixture
def master(plan, authorities):
    """Sign as the master's minion does, with the content of the policy."""

    def sign(ca_server, signing_policy, public_key, days_valid):
        assert ca_server == "salt"
        name = signing_policy.rpartition(".")[2]
        wanted = {one["authority"]: one for one in fanatico_pki.certificates(plan, NODE)}[name]
        certificate, _ = authorities[name].issue(
            name=NODE, addresses=wanted["addresses"], uses=wanted["uses"], key=public_key, unit=name == "etcd"
        )
        return certificate

    return Mock(side_effect=sign)


@pytest.fixture
def configure_loader_modules(plan, opts, pillar, master, folder):
    keys = {}

    def new_key(algo, keysize):
        authority = pki.Authority("throwaway")
        keys[authority.key] = authority
        return authority.key

    salt = {
        "fanatico_pki.probe": module.probe,
        "fanatico_pki.wanted": module.wanted,
        "fanatico_pki.pinned": module.pinned,
        "x509.create_private_key": new_key,
        "x509.get_public_key": lambda key: key,
        "x509.create_certificate": master,
    }
    dunders = {"__opts__": opts, "__pillar__": pillar, "__salt__": salt}
    return {state: dunders, module: dunders}


def test_the_daemon_may_enter_the_directory_of_a_key_of_root(tmp_path, monkeypatch):
    users = {"root": SimpleNamespace(pw_uid=0, pw_gid=0), "etcd": SimpleNamespace(pw_uid=5, pw_gid=7)}
    chown, replace = Mock(), Mock()
    monkeypatch.setattr(state.pwd, "getpwnam", users.__getitem__)
    monkeypatch.setattr(state.os, "chown", chown)
    monkeypatch.setattr(fanatico_file, "replace", replace)
    path = tmp_path / "pki" / "etcd-health.key"
    state._write(path, "text", "root", "etcd", 0o600)
    chown.assert_called_once_with(path.parent, 0, 7)
    replace.assert_called_once_with(path, "text", 0o600, 0, 0)


def test_a_missing_certificate_is_issued_for_its_daemon_only(folder, master):
    answer = state.issued(ROLE)
    assert answer["result"] is True, answer
    assert sorted(answer["changes"]) == ["patroni/etcd", "patroni/service"]
    assert stat.S_IMODE((folder / "service.key").stat().st_mode) == 0o600
    assert module.checks()["node.certificates"]["status"] == "ok"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_no_request_to_the_master_while_all_is_valid(master):
    state.issued(ROLE)
    master.reset_mock()
    assert (state.issued(ROLE)["result"], state.issued(ROLE)["changes"]) == (True, {})
    assert not master.called


def test_a_dry_run_shows_the_changes_and_makes_none(opts, folder, master):
    opts["test"] = True
    answer = state.issued(ROLE)
    assert answer["result"] is None
    assert "missing" in str(answer["changes"])
    assert not folder.exists()
    assert not master.called


def test_no_answer_contains_a_key(folder):
    answer = state.issued(ROLE)
    assert (folder / "service.key").read_text().splitlines()[1] not in str(answer)


def test_new_authorities_are_trusted_before_they_sign(pillar, folder, master):
    state.issued(ROLE)
    before = (folder / "service.crt").read_text()
    pin = pathlib.Path(module.pinned(str(folder / "service-ca.crt")))
    master.reset_mock()
    pillar["pki"]["trust"]["service"] += pki.Authority("next").certificate
    assert module.checks()["node.certificates"]["status"] == "degraded"
    assert list(state.issued(ROLE)["changes"]) == ["patroni/service"]
    assert not master.called
    assert (folder / "service.crt").read_text() == before
    now = pathlib.Path(module.pinned(str(folder / "service-ca.crt")))
    assert now != pin, "daemons that go by the name see another"
    assert now.read_text() == (folder / "service-ca.crt").read_text()
    assert pin.exists(), "and the name in their present configuration still leads somewhere"


def test_a_master_that_does_not_sign(master, folder):
    master.side_effect = CommandExecutionError("ca_server did not respond.")
    answer = state.issued(ROLE, timeout=0)
    assert answer["result"] is False
    for word in (NODE, "salt", "did not respond", "test.ping"):
        assert word in answer["comment"]
    assert not (folder / "service.key").exists(), (
        "a key without its certificate would be a pair that does not fit"
    )


def test_a_full_disk(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    answer = state.issued(ROLE)
    assert answer["result"] is False
    for word in (NODE, str(folder), "No space left on device"):
        assert word in answer["comment"]
    assert [path.name for path in folder.iterdir()] == []


def test_a_master_without_authorities(pillar, folder):
    pillar["pki"]["trust"].clear()
    answer = state.issued(ROLE)
    assert answer["result"] is False
    assert "secrets_init" in answer["comment"]


def test_an_expired_certificate_is_critical(folder, authorities):
    state.issued(ROLE)
    certificate, key = authorities["service"].issue(name=NODE, addresses=["10.0.2.10", "10.0.0.100"], days=-1)
    (folder / "service.crt").write_text(certificate)
    (folder / "service.key").write_text(key)
    check = module.checks()["node.certificates"]
    assert (check["status"], check["value"]) == ("critical", ["patroni/service"])
    assert "expired" in check["detail"]


# --- a balancer, which trusts an authority without having a certificate of it


@pytest.fixture
def balancer(tmp_path, monkeypatch, opts, pillar, authorities, master):
    components.with_pki(monkeypatch, "haproxy", folder=str(tmp_path / "balancer"), owner=getpass.getuser())
    opts["id"] = "haproxy1"
    authorities["edge"] = pki.Authority("edge")
    pillar["pki"]["trust"]["edge"] = authorities["edge"].certificate
    pillar["pki"]["issuer"]["edge"] = fanatico_pki.facts(authorities["edge"].certificate)["id"]

    def sign(ca_server, signing_policy, public_key, days_valid):
        assert signing_policy == "haproxy1.haproxy.edge"
        addresses = ["10.0.0.10", "10.0.0.100"]
        return authorities["edge"].issue("haproxy1", addresses, ["serverAuth"], key=public_key)[0]

    master.side_effect = sign
    return tmp_path / "balancer"


def test_a_trusted_authority_needs_no_certificate(balancer, authorities):
    answer = state.issued("haproxy")
    assert answer["result"] is True, answer
    assert sorted(answer["changes"]) == ["haproxy/edge", "haproxy/service"]
    assert (balancer / "service-ca.crt").read_text() == authorities["service"].certificate
    assert not (balancer / "service.crt").exists()
    check = module.checks()["node.certificates"]
    assert (check["status"], check["detail"].partition(",")[0]) == ("ok", "1 valid")
    assert state.issued("haproxy")["changes"] == {}


def test_trusted_authorities_follow_the_master(balancer, pillar, master):
    state.issued("haproxy")
    master.reset_mock()
    pillar["pki"]["trust"]["service"] += pki.Authority("next").certificate
    assert module.checks()["node.certificates"]["status"] == "degraded"
    assert list(state.issued("haproxy")["changes"]) == ["haproxy/service"]
    assert not master.called
    assert (balancer / "service-ca.crt").read_text() == pillar["pki"]["trust"]["service"]
