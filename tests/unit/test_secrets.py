"""Secrets: strong, encrypted, never shown, never overwritten, and only where they belong."""

import collections
import logging
import os
import pathlib
import shutil
import string
import subprocess
import tempfile

import pytest
import salt.config
import salt.exceptions
import salt.loader
import salt.pillar
import yaml
from salt.exceptions import CommandExecutionError

import fanatico_pki
import fanatico_plan
import fanatico_secrets
from tests.support import MODULES, REPO, pillar, pki

NAMES = fanatico_plan.secret_names(fanatico_plan.ROLES)
STRONG = "k9.Wq~3xZ_b7Tn+Rv2"
PLANS = {
    path.stem: path for path in [REPO / "pillar" / "plan.sls", *(REPO / "tests" / "plans").glob("*.sls")]
}


# pure


def test_a_value_that_looks_like_a_placeholder_is_not_generated(monkeypatch):
    made = iter("4OmygrKEslt0sAXHupElZkTXXxXhIbpp" + "4OmygrKEslt0sAXHupElZkTXyxXhIbpp")
    monkeypatch.setattr(fanatico_secrets.secrets, "choice", lambda _: next(made))
    assert fanatico_secrets.generate() == "4OmygrKEslt0sAXHupElZkTXyxXhIbpp"


def test_generated_values_are_strong_and_differ():
    values = [fanatico_secrets.generate() for _ in range(200)]
    assert len(set(values)) == 200
    assert {len(value) for value in values} == {32}
    assert set("".join(values)) == set(string.ascii_letters + string.digits)
    assert [value for value in values if any(fanatico_secrets.weakness(name, value) for name in NAMES)] == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (STRONG, None),
        ("0a1b2c3d4e5f6071", None),
        (None, "is not text; put it in quotes"),
        (12345678901234567890, "is not text; put it in quotes"),
        (["x"], "is not text"),
        ("", "is empty"),
        ("   ", "is empty"),
        ("k9Wq3xZb7TnRv2L", "has 15 characters; use at least 16"),
        ("short", "has 5 characters; use at least 16"),
        ("change-me-please-now", "is a placeholder or a well-known word"),
        ("CHANGEME", "is a placeholder"),
        ("MyPassword2024xyzabc", "is a placeholder"),
        ("<the admin's value>", "a space"),
        ("<put-it-in-here-now>", "is a placeholder"),
        ("{{pillar.value.here}}", "is a placeholder"),
        ("your-own-value-k9Wq3x", "is a placeholder"),
        ("todo-k9Wq3xZb7TnRv2", "is a placeholder"),
        ("aaaaaaaaaaaaaaaaaaaa", "repeats a few characters"),
        ("k9Wq3xZb7TnRv2L8\n", "a space, a control character"),
        ("k9Wq3xZb7\x00TnRv2L8", "a space, a control character"),
        ("k9Wq3xZb7 TnRv2L8y", "a space"),
        ("k9Wq3xZb7éTnRv2L8y", "a letter outside ASCII; use printable ASCII"),
    ],
)
def test_weakness(value, said):
    found = fanatico_secrets.weakness("POSTGRES_ADMIN_PASSWORD", value)
    if said is None:
        assert found is None
    else:
        assert said in found
        assert not (isinstance(value, str) and len(value) > 5 and value in found)


@pytest.mark.parametrize("name", ["HAPROXY_STATS_PASSWORD", "KEEPALIVED_AUTH_PASS", "ETCD_CLUSTER_TOKEN"])
@pytest.mark.parametrize("character", list("#\"'$\\!%{};"))
def test_characters_that_a_configuration_file_would_not_keep(name, character):
    said = fanatico_secrets.weakness(name, STRONG + character)
    assert "._~+=@:/-" in said
    assert fanatico_secrets.weakness("POSTGRES_ADMIN_PASSWORD", STRONG + character) is None


def test_faults_names_all_at_once():
    values = {name: fanatico_secrets.generate() for name in NAMES}
    assert fanatico_secrets.faults(values, NAMES) == []
    del values["ETCD_CLUSTER_TOKEN"]
    values["HAPROXY_STATS_PASSWORD"] = "short"
    values["POSTGRES_ADMIN_PASSWORD"] = values["POSTGRES_REWIND_PASSWORD"]
    assert fanatico_secrets.faults(values, NAMES) == [
        "secrets:ETCD_CLUSTER_TOKEN: missing; run salt-run fanatico.secrets_init, or import a value of your own",
        "secrets:POSTGRES_REWIND_PASSWORD: has the same value as POSTGRES_ADMIN_PASSWORD; use a different value for each",
        "secrets:HAPROXY_STATS_PASSWORD: has 5 characters; use at least 16",
    ]


def test_the_key_of_tokens_is_rotated_with_a_password():
    assert fanatico_secrets.together(["ETCD_PATRONI_PASSWORD"]) == ["ETCD_PATRONI_PASSWORD", "ETCD_TOKEN_KEY"]
    assert fanatico_secrets.together(["HAPROXY_STATS_PASSWORD"]) == ["HAPROXY_STATS_PASSWORD"]
    assert fanatico_secrets.together(["ETCD_TOKEN_KEY", "ETCD_ROOT_PASSWORD"]) == [
        "ETCD_TOKEN_KEY",
        "ETCD_ROOT_PASSWORD",
    ]


def test_misplaced():
    given = {"rpc1": ["ETCD_CLUSTER_TOKEN"], "db1": ["ETCD_CLUSTER_TOKEN", "PATRONI_REST_PASSWORD"]}
    allowed = {"rpc1": [], "db1": ["PATRONI_REST_PASSWORD"]}
    assert fanatico_secrets.misplaced(given, allowed) == [
        "secrets:ETCD_CLUSTER_TOKEN: is in the pillar of rpc1, db1, which must not have it; keep it in pillar/secrets/<role>.sls"
    ]


# each node sees the secrets of its roles, and no other


@pytest.fixture(scope="module")
def gpg_home():
    """A short path: gpg-agent's socket lies in it."""
    home = tempfile.mkdtemp(prefix="gpg-", dir="/tmp")
    yield home
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def master(tmp_path, gpg_home):
    """Return a function that gives a master's options and its runners over a fresh pillar."""

    def make(plan=None, site=None):
        opts = salt.config.master_config(None)
        opts.update(
            root_dir=str(tmp_path),
            cachedir=str(tmp_path / "cache"),
            extension_modules=str(tmp_path / "extmods"),
            file_roots={"base": [str(REPO / "salt")]},
            pillar_roots={"base": [str(pillar.build(tmp_path / "pillar", plan, site, with_secrets=False))]},
            module_dirs=MODULES,
            gpg_keydir=gpg_home,
            pillar_dirs=[str(REPO / "_pillar")],
            ext_pillar=[
                {"fanatico_pki": str(tmp_path / "ca")},
                {"fanatico_apart": {}},
                {"fanatico_sound": str(REPO / "pillar" / "schema.json")},
            ],
        )
        runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
        return Master(opts, tmp_path / "pillar" / "secrets", runners)

    return make


Master = collections.namedtuple("Master", "opts directory runners")


def own_file(tmp_path, values):
    path = tmp_path / "mine.yml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return str(path)


def decrypted(master):
    """Return all secrets, the way Salt reads them."""
    everything = {}
    for role in fanatico_plan.SECRETS:
        path = str(master.directory / f"{role}.sls")
        rend = salt.loader.render(master.opts, {})
        everything |= salt.template.compile_template(path, rend, "yaml", [], [])["secrets"]
    return everything


def whose(name, plan):
    """Return the nodes to try: one for each combination of roles, by default all of the committed plan, in `full` all."""
    nodes, mode = plan["nodes"], os.environ.get("FANATICO_TEST")
    if mode == "full" or (name == "plan" and mode != "fast"):
        return nodes
    return {frozenset(one["roles"]): node for node, one in nodes.items()}.values()


@pytest.mark.parametrize("name", PLANS)
def test_each_node_is_given_its_roles_secrets_and_no_other(master, name):
    m = master(PLANS[name], pillar.SITE)
    m.runners["fanatico.secrets_init"]()
    everything = decrypted(m)
    plan = yaml.safe_load(PLANS[name].read_text())["plan"]
    for node in [*whose(name, plan), "stranger", "salt_master"]:
        compiled = salt.pillar.Pillar(m.opts, {"id": "db1"}, node, "base").compile_pillar()
        assert "_errors" not in compiled
        assert compiled.get("unsound") is None
        names = fanatico_plan.secret_names(fanatico_plan.roles(plan, node))
        assert compiled.get("secrets", {}) == {name: everything[name] for name in names}, node
        shown = str({key: value for key, value in compiled.items() if key != "secrets"})
        assert [name for name, value in everything.items() if value in shown] == []


def test_a_node_has_the_faults_of_its_pillar(master, tmp_path):
    """A highstate stops at that (salt/base/validated.sls)."""
    plan = yaml.safe_load(PLANS["plan"].read_text())
    plan["plan"]["nodes"]["rpc2"]["address"] = plan["plan"]["nodes"]["rpc1"]["address"]
    path = tmp_path / "broken.sls"
    path.write_text(yaml.safe_dump(plan))
    m = master(path, pillar.SITE)
    (m.directory.parent / "secrets").mkdir(exist_ok=True)
    for node, missing in (("rpc1", 0), ("haproxy1", 2)):  # secrets_init was not run yet
        found = salt.pillar.Pillar(m.opts, {}, node, "base").compile_pillar()["unsound"]
        assert len([line for line in found if line.startswith("secrets:")]) == missing, found
        assert any("plan:nodes:rpc2:address: " in line for line in found)
    assert "unsound" not in salt.pillar.Pillar(m.opts, {}, "stranger", "base").compile_pillar()


def test_which_secrets_each_role_gets():
    database = [name for name in NAMES if name.startswith(("PATRONI", "POSTGRES"))]
    assert sorted(fanatico_plan.secret_names(["patroni"])) == sorted([*database, "ETCD_PATRONI_PASSWORD"])
    assert fanatico_plan.secret_names(["haproxy"]) == ["HAPROXY_STATS_PASSWORD", "KEEPALIVED_AUTH_PASS"]
    assert fanatico_plan.secret_names(["etcd"]) == sorted(
        (name for name in NAMES if name.startswith("ETCD")), key=list(fanatico_plan.SECRETS["etcd"]).index
    )
    assert fanatico_plan.secret_names(["rpc"]) == []
    assert fanatico_plan.secret_names(["master"]) == ["MASTER_BACKUP_PASSPHRASE"]


# secrets_init


def test_init_generates_missing_secrets_and_keeps_the_rest(master):
    m = master()
    first = m.runners["fanatico.secrets_init"]()
    assert sorted(first["created"]) == sorted(NAMES)
    assert first["kept"] == []
    values = decrypted(m)
    assert fanatico_secrets.faults(values, NAMES) == []

    (m.directory / "haproxy.sls").unlink()
    second = m.runners["fanatico.secrets_init"]()
    assert sorted(second["created"]) == ["HAPROXY_STATS_PASSWORD", "KEEPALIVED_AUTH_PASS"]
    assert second["key"] == first["key"]
    again = decrypted(m)
    assert {name for name in NAMES if again[name] != values[name]} == set(second["created"])

    before = {path: path.read_bytes() for path in m.directory.iterdir()}
    third = m.runners["fanatico.secrets_init"]()
    assert third["created"] == []
    assert {path: path.read_bytes() for path in m.directory.iterdir()} == before


def test_files_are_encrypted_and_private(master, gpg_home):
    m = master()
    answer = m.runners["fanatico.secrets_init"]()
    values = decrypted(m)
    assert sorted(path.name for path in m.directory.iterdir()) == [
        f"{role}.sls" for role in sorted(fanatico_plan.SECRETS)
    ]
    for path in m.directory.iterdir():
        text = path.read_text()
        assert text.startswith("#!gpg|yaml\n")
        assert text.count("-----BEGIN PGP MESSAGE-----") == 1
        assert [name for name, value in values.items() if value in text] == []
        assert path.stat().st_mode & 0o777 == 0o640
    assert pathlib.Path(gpg_home).stat().st_mode & 0o777 == 0o700
    assert [value for value in values.values() if value in str(answer)] == []


def test_no_value_on_a_command_line_or_in_a_log(master, monkeypatch, caplog):
    m = master()
    lines = []
    run = subprocess.run

    def watched(argv, **kwargs):
        lines.append(" ".join(argv))
        return run(argv, **kwargs)

    monkeypatch.setattr(subprocess, "run", watched)
    with caplog.at_level(logging.DEBUG):
        m.runners["fanatico.secrets_init"]()
    monkeypatch.undo()
    seen = "\n".join(lines) + caplog.text
    assert "--encrypt" in seen
    assert [name for name, value in decrypted(m).items() if value in seen] == []


def test_init_completes_a_file_with_a_block_for_each_value(master, gpg_home):
    """Files in the other common form (renderer yaml|gpg) are read too, and their values kept."""
    m = master()
    m.runners["fanatico.secrets_init"]()
    argv = ["gpg", "--homedir", gpg_home, "--batch", "--armor", "--trust-model", "always"]
    argv += ["--default-recipient-self", "--encrypt"]
    block = subprocess.run(argv, input=STRONG, text=True, capture_output=True, check=True).stdout
    indented = "".join(f"    {line}\n" for line in block.splitlines())
    (m.directory / "haproxy.sls").write_text(f"#!yaml|gpg\nsecrets:\n  HAPROXY_STATS_PASSWORD: |\n{indented}")
    answer = m.runners["fanatico.secrets_init"]()
    assert answer["created"] == ["KEEPALIVED_AUTH_PASS"]
    assert decrypted(m)["HAPROXY_STATS_PASSWORD"] == STRONG


def refused(call, *args, **kwargs):
    with pytest.raises(salt.exceptions.CommandExecutionError) as caught:
        call(*args, **kwargs)
    # what makes salt-run show the sentence and not a traceback
    assert isinstance(caught.value, salt.exceptions.NotImplemented)
    return str(caught.value)


def test_init_without_the_key_touches_nothing(master, tmp_path):
    m = master()
    m.runners["fanatico.secrets_init"]()
    before = {path: path.read_bytes() for path in m.directory.iterdir()}
    other = tempfile.mkdtemp(prefix="gpg-", dir="/tmp")
    opts = dict(m.opts, gpg_keydir=other)
    try:
        runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
        said = refused(runners["fanatico.secrets_init"])
    finally:
        subprocess.run(["gpgconf", "--homedir", other, "--kill", "all"], check=False)
        shutil.rmtree(other, ignore_errors=True)
    assert "cannot be decrypted (decryption failed: No secret key)" in said
    assert str(other) in said
    assert "PGP MESSAGE" not in said
    assert {path: path.read_bytes() for path in m.directory.iterdir()} == before


def test_init_into_a_place_that_cannot_be_written(master):
    m = master()
    m.directory.rmdir()
    said = refused(m.runners["fanatico.secrets_init"])
    assert said.startswith(f"{m.directory} is not a directory that root can write to")
    assert said.endswith("Nothing was changed.")


def test_no_plan_in_the_pillar_roots(master, tmp_path):
    m = master()
    (tmp_path / "empty").mkdir()
    opts = dict(m.opts, pillar_roots={"base": [str(tmp_path / "empty")]})
    runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
    said = refused(runners["fanatico.secrets_init"])
    assert said.startswith(f"No plan.sls in {tmp_path}/empty")


# secrets_import


def test_import_then_init(master, tmp_path):
    m = master()
    mine = own_file(tmp_path, {"POSTGRES_ADMIN_PASSWORD": STRONG, "KEEPALIVED_AUTH_PASS": STRONG[::-1]})
    answer = m.runners["fanatico.secrets_import"](mine)
    assert sorted(answer["created"]) == ["KEEPALIVED_AUTH_PASS", "POSTGRES_ADMIN_PASSWORD"]
    m.runners["fanatico.secrets_init"]()
    values = decrypted(m)
    assert values["POSTGRES_ADMIN_PASSWORD"] == STRONG
    assert values["KEEPALIVED_AUTH_PASS"] == STRONG[::-1]
    assert fanatico_secrets.faults(values, NAMES) == []


def test_import_keeps_every_character(master, tmp_path):
    """Quotes, backslashes, colons and what YAML would take for something else come back as they were."""
    m = master()
    odd = "".join(chr(code) for code in [*range(33, 127, 2), *range(34, 127, 2)])
    m.runners["fanatico.secrets_import"](own_file(tmp_path, {"secrets": {"POSTGRES_ADMIN_PASSWORD": odd}}))
    m.runners["fanatico.secrets_init"]()
    assert decrypted(m)["POSTGRES_ADMIN_PASSWORD"] == odd


def test_import_refuses_all_at_once_and_repeats_no_value(master, tmp_path):
    m = master()
    values = {
        "POSTGRES_ADMIN_PASWORD": STRONG,
        "POSTGRES_REWIND_PASSWORD": "change-me-please",
        "PATRONI_REST_PASSWORD": "k9Wq3xZ",
        "ETCD_CLUSTER_TOKEN": STRONG + "#",
        "HAPROXY_STATS_PASSWORD": STRONG,
    }
    said = refused(m.runners["fanatico.secrets_import"], own_file(tmp_path, values))
    assert said.splitlines() == [
        "These secrets are refused, nothing was changed:",
        "  - POSTGRES_ADMIN_PASWORD: unknown; did you mean POSTGRES_ADMIN_PASSWORD?",
        "  - POSTGRES_REWIND_PASSWORD: is a placeholder or a well-known word; use a random value",
        "  - PATRONI_REST_PASSWORD: has 7 characters; use at least 16",
        "  - ETCD_CLUSTER_TOKEN: contains a character with a meaning in its configuration file; "
        "use letters, digits and ._~+=@:/-",
    ]
    assert list(m.directory.iterdir()) == []


def test_import_does_not_replace_unless_told(master, tmp_path):
    m = master()
    m.runners["fanatico.secrets_init"]()
    before = decrypted(m)
    mine = own_file(tmp_path, {"POSTGRES_ADMIN_PASSWORD": STRONG})
    said = refused(m.runners["fanatico.secrets_import"], mine)
    assert "POSTGRES_ADMIN_PASSWORD: " in said
    assert "replace=True" in said
    assert decrypted(m) == before
    m.runners["fanatico.secrets_import"](mine, replace=True)
    assert decrypted(m) == before | {"POSTGRES_ADMIN_PASSWORD": STRONG}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory."),
        ("a: [", "is not valid YAML"),
        ("just text", "contains no names and values"),
        ("", "contains no names and values"),
        ("secrets: {}", "contains no names and values"),
    ],
)
def test_import_of_something_else(master, tmp_path, content, said):
    m = master()
    path = tmp_path / "mine.yml"
    if content is not None:
        path.write_text(content)
    assert said in refused(m.runners["fanatico.secrets_import"], str(path))


# rotating


def former(master):
    path = str(master.directory / "haproxy.sls")
    return salt.template.compile_template(path, salt.loader.render(master.opts, {}), "yaml", [], []).get(
        "secrets_former", {}
    )


def test_a_rotation_keeps_the_former_values_until_it_is_complete(master):
    m = master()
    m.runners["fanatico.secrets_init"]()
    before = decrypted(m)
    assert m.runners["fanatico.secrets_rotate"](["HAPROXY_STATS_PASSWORD"]) == {
        "rotated": ["HAPROXY_STATS_PASSWORD"]
    }
    after = decrypted(m)
    assert {name for name in before if before[name] != after[name]} == {"HAPROXY_STATS_PASSWORD"}
    assert former(m) == {"HAPROXY_STATS_PASSWORD": before["HAPROXY_STATS_PASSWORD"]}
    # Started again after a failure: the values generated before are deployed.
    assert m.runners["fanatico.secrets_rotate"]() == {"rotated": ["HAPROXY_STATS_PASSWORD"]}
    assert decrypted(m) == after
    m.runners["fanatico.secrets_init"]()
    assert former(m) != {}
    assert m.runners["fanatico.secrets_unsettled"]() == ["HAPROXY_STATS_PASSWORD"]
    assert m.runners["fanatico.secrets_finish_rotation"]() == {"forgotten": ["HAPROXY_STATS_PASSWORD"]}
    assert m.runners["fanatico.secrets_unsettled"]() == []
    assert (decrypted(m), former(m)) == (after, {})


def test_a_rotation_of_everything_replaces_every_value(master):
    m = master()
    m.runners["fanatico.secrets_init"]()
    before = decrypted(m)
    m.runners["fanatico.secrets_rotate"]()
    after = decrypted(m)
    assert set(before) == set(after)
    kept = {name for name in before if before[name] == after[name]}
    assert kept == set(fanatico_plan.LASTING), "what a lasting secret encrypts stays readable"
    assert not {before[name] for name in before if name not in kept} & set(after.values())
    shared = [read_role(m, role)["ETCD_PATRONI_PASSWORD"] for role in ("etcd", "patroni")]
    assert shared[0] == shared[1], "one secret in two files is one secret"


def read_role(master, role):
    path = str(master.directory / f"{role}.sls")
    return salt.template.compile_template(path, salt.loader.render(master.opts, {}), "yaml", [], [])[
        "secrets"
    ]


def test_a_secret_that_others_issue_is_imported_only(master, tmp_path):
    m = master()
    m.runners["fanatico.secrets_init"]()
    assert "BACKUP_S3_KEY" not in decrypted(m)
    m.runners["fanatico.secrets_import"](own_file(tmp_path, {"BACKUP_S3_KEY": STRONG}))
    m.runners["fanatico.secrets_rotate"]()
    m.runners["fanatico.secrets_finish_rotation"]()
    assert decrypted(m)["BACKUP_S3_KEY"] == STRONG
    with pytest.raises(CommandExecutionError, match="BACKUP_S3_KEY cannot be generated"):
        m.runners["fanatico.secrets_rotate"](["BACKUP_S3_KEY"])


def test_a_rotation_of_what_is_not_there_is_refused(master):
    m = master()
    m.runners["fanatico.secrets_init"]()
    before = decrypted(m)
    with pytest.raises(CommandExecutionError, match="no secret NONE"):
        m.runners["fanatico.secrets_rotate"](["NONE"])
    assert decrypted(m) == before


# the authorities


def test_the_authorities_are_generated_with_the_secrets(master):
    m = master()
    made = m.runners["fanatico.secrets_init"]()
    assert made["authorities"] == ["backup", "edge", "etcd", "etcd-peer", "monitor", "service"]
    assert m.runners["fanatico.secrets_init"]()["authorities"] == []
    keys = [path.read_text() for path in (m.directory.parent.parent / "ca").glob("*.key")]
    assert len(keys) == 6
    plan = yaml.safe_load((REPO / "pillar" / "plan.sls").read_text())["plan"]
    for node in plan["nodes"]:
        compiled = salt.pillar.Pillar(m.opts, {"id": "db1"}, node, "base").compile_pillar()
        assert not any(key.strip() in str(compiled) for key in keys), node
        due = fanatico_pki.authorities(plan["nodes"][node]["roles"])
        assert sorted(compiled["pki"]["trust"]) == sorted(due), node
        assert ("x509_signing_policies" in compiled) == ("master" in plan["nodes"][node]["roles"]), node


def test_an_authority_of_the_operator(master, tmp_path):
    m = master()
    own = pki.Authority("our company")
    (tmp_path / "k").write_text(own.key)
    (tmp_path / "c").write_text(own.certificate)
    m.runners["fanatico.secrets_init"]()
    said = m.runners["fanatico.ca_import"]("service", str(tmp_path / "k"), str(tmp_path / "c"))
    assert "orch.rotate_certs" in said
    assert m.runners["fanatico.ca_status"]()["service"] == "next is trusted"
    assert own.certificate.strip() in m.runners["fanatico.ca_trust"]("service")
    assert m.runners["fanatico.ca_prepare"]() == ["backup", "edge", "etcd", "etcd-peer", "monitor"]
    assert m.runners["fanatico.ca_switch"]() == ["backup", "edge", "etcd", "etcd-peer", "monitor", "service"]
    assert m.runners["fanatico.ca_prepare"]() == [], "begun again, nobody changes hands twice"
    m.runners["fanatico.ca_retire"]()
    assert set(m.runners["fanatico.ca_status"]().values()) == {"signs"}
    with pytest.raises(CommandExecutionError, match="no authority"):
        m.runners["fanatico.ca_import"]("web", str(tmp_path / "k"), str(tmp_path / "c"))
    with pytest.raises(CommandExecutionError, match="cannot be read"):
        m.runners["fanatico.ca_import"]("etcd", str(tmp_path / "none"), str(tmp_path / "c"))
