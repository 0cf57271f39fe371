"""kitchen.yml by the rules of the real tools: the upload, and errors."""

import copy
import os
import subprocess

import pytest
import yaml

from lab import image
from lab.errors import LabError
from tests.kitchen import upload, verify
from tests.support import REPO

SUITES = upload.suites()
PLANS = {
    name: yaml.safe_load((REPO / suite["provisioner"]["pillars_from_files"]["plan.sls"]).read_text())["plan"]
    for name, suite in SUITES.items()
}


def provisioner(suite="etcd", without=(), **changed):
    """The settings of a suite of kitchen.yml, some removed, some changed."""
    settings = {**copy.deepcopy(SUITES[suite]["provisioner"]), **changed}
    return {key: value for key, value in settings.items() if key not in without}


@pytest.fixture
def repo(tmp_path):
    """A small checkout."""
    files = {
        "salt/top.sls": "top",
        "salt/app/init.sls": "app",
        "salt/app/__pycache__/a.pyc": "",
        "_modules/a.py": "a",
        "_modules/__pycache__/a.pyc": "",
        "pillar/top.sls": "committed",
        "pillar/secrets/etcd.sls": "real secret",
        "lock.txt": "locked",
    }
    for path, text in files.items():
        (tmp_path / "repo" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / path).write_text(text)
    (tmp_path / "repo/salt/_modules").symlink_to("../_modules")
    return tmp_path / "repo"


def laid_out(tmp_path, repo, **settings):
    """{path below ROOT: text} of the upload with these settings from a small checkout."""
    sandbox = tmp_path / "sandbox"
    common = {"local_salt_root": ".", "state_top_from_file": True, "salt_copy_filter": ["__pycache__"]}
    upload.lay_out({**common, **settings}, sandbox, repo)
    return {str(path.relative_to(sandbox)): path.read_text() for path in sandbox.rglob("*") if path.is_file()}


# --- kitchen.yml as it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_can_be_uploaded(tmp_path, suite):
    upload.lay_out(provisioner(suite), tmp_path)
    lock = tmp_path / "srv/salt/minion/files/requirements.txt"
    assert lock.read_text() == (REPO / "requirements/salt.txt").read_text()
    assert yaml.safe_load((tmp_path / "srv/pillar/plan.sls").read_text())["plan"] == PLANS[suite]
    assert (tmp_path / "srv/pillar/top.sls").read_text() == (REPO / "pillar/top.sls").read_text()


def test_without_its_cache_command_the_lock_file_is_a_link_to_nothing(tmp_path):
    link = r"minion/files/requirements\.txt would be uploaded as a link to \.\./\.\./\.\./requirements/salt\.txt, where nothing"
    with pytest.raises(LabError, match=link):
        upload.lay_out(provisioner(without=["cache_commands"]), tmp_path)


def test_without_pillars_the_real_tool_crashes(tmp_path):
    with pytest.raises(
        LabError, match=r"pillars_from_files and without pillars .*undefined method `each' for nil"
    ):
        upload.lay_out(provisioner("minion", without=["pillars"]), tmp_path)


def test_without_its_directory_the_pillar_stays_here(tmp_path):
    upload.lay_out(provisioner(without=["pillars_from_directories"]), tmp_path)
    found = {
        str(path.relative_to(tmp_path / "srv/pillar")) for path in (tmp_path / "srv/pillar").rglob("*.sls")
    }
    assert found == {"plan.sls", "secrets/etcd.sls", "site/init.sls", "site/lab.sls"}


def test_what_a_checkout_keeps_for_its_own_installation_stays_here(tmp_path, repo):
    (repo / "pillar/site").mkdir()
    (repo / "pillar/site/mine.sls").write_text("mine")
    settings = SUITES["etcd"]["provisioner"]
    names = ("salt_copy_filter", "pillars_from_directories")
    found = laid_out(
        tmp_path, repo, pillars={"secrets/etcd.sls": {}}, **{name: settings[name] for name in names}
    )
    assert found["srv/pillar/secrets/etcd.sls"] == "{}\n"
    assert not {"real secret", "mine"} & set(found.values())
    assert found["srv/pillar/top.sls"] == "committed"


@pytest.mark.parametrize("suite", SUITES)
def test_a_machine_is_looked_for_at_its_address_in_the_plan(suite):
    node = PLANS[suite]["nodes"][SUITES[suite]["provisioner"]["salt_minion_id"]]
    assert SUITES[suite]["driver"]["host"] == node["address"]


def test_behind_haproxy_is_no_machine_of_another_suite():
    others = {suite["driver"]["host"] for name, suite in SUITES.items() if name != "haproxy"}
    nodes = PLANS["haproxy"]["nodes"].values()
    behind = {node["address"] for node in nodes if set(node["roles"]) & {"rpc", "patroni", "etcd"}}
    assert behind
    assert behind & others == set()


def test_the_lab_folder_of_wheels_is_left_to_lab_machines():
    site = SUITES["minion"]["provisioner"]["pillars"]["site/init.sls"]
    assert site["include"] == ["site.lab"]
    assert site["minion"]["install"]["wheels"] == ""


def test_the_page_names_the_archive_of_the_chain_node():
    """test-kitchen has no image of a lab."""
    text = (REPO / "docs/kitchen.md").read_text()
    assert image.ANVIL["package"] in text
    assert image.ANVIL["file"] in text


# --- kitchen-salt's rules ---------------------------------------------------------------------------------------------


def test_a_link_to_a_folder_is_followed_and_its_content_not_filtered(tmp_path, repo):
    found = laid_out(tmp_path, repo)
    assert found["srv/salt/_modules/a.py"] == "a"
    assert "srv/salt/_modules/__pycache__/a.pyc" in found
    assert "srv/salt/app/__pycache__/a.pyc" not in found
    assert not (tmp_path / "sandbox/srv/salt/_modules").is_symlink()


def test_a_link_to_a_file_stays_a_link(tmp_path, repo):
    (repo / "salt/app/again.sls").symlink_to("init.sls")
    assert laid_out(tmp_path, repo)["srv/salt/app/again.sls"] == "app"
    assert os.readlink(tmp_path / "sandbox/srv/salt/app/again.sls") == "init.sls"


def test_a_link_inside_a_linked_folder_stays_a_link(tmp_path, repo):
    (repo / "_modules/lock.txt").symlink_to("../lock.txt")
    with pytest.raises(
        LabError, match=r"/srv/salt/_modules/lock\.txt would be uploaded as a link to \.\./lock\.txt"
    ):
        laid_out(tmp_path, repo)


def test_the_pillar_goes_along_only_where_no_pillars_are_named(tmp_path, repo):
    assert laid_out(tmp_path, repo)["srv/pillar/top.sls"] == "committed"


@pytest.mark.parametrize("named", [{"pillars": {}}, {"pillars": {}, "pillars_from_files": {}}])
def test_the_pillar_stays_where_pillars_are_named(tmp_path, repo, named):
    assert "srv/pillar/top.sls" not in laid_out(tmp_path, repo, **named)


def test_pillars_go_over_directories_and_files_over_pillars(tmp_path, repo):
    found = laid_out(
        tmp_path,
        repo,
        pillars_from_directories=["pillar", {"source": "_modules", "dest": "/srv/other"}],
        pillars={"top.sls": {"a": 1}, "plan.sls": {"b": 1}},
        pillars_from_files={"plan.sls": "lock.txt"},
    )
    assert found["srv/pillar/top.sls"] == "a: 1\n"
    assert found["srv/pillar/plan.sls"] == "locked"
    assert found["srv/other/a.py"] == "a"


def test_a_file_of_pillars_that_is_not_there(tmp_path, repo):
    with pytest.raises(LabError, match=r"names nothing\.sls, which is no file"):
        laid_out(tmp_path, repo, pillars={}, pillars_from_files={"plan.sls": "nothing.sls"})


def test_cache_commands_run_in_the_checkout_after_everything_else(tmp_path, repo):
    found = laid_out(tmp_path, repo, cache_commands=["cp lock.txt %{sandbox_path}/srv/salt/top.sls"])
    assert found["srv/salt/top.sls"] == "locked"


def test_a_cache_command_that_fails(tmp_path, repo):
    with pytest.raises(LabError, match=r"`cp nothing /` failed with exit code 1: .*nothing"):
        laid_out(tmp_path, repo, cache_commands=["cp nothing /"])


def test_a_cache_command_with_another_variable(tmp_path, repo):
    with pytest.raises(LabError, match=r"only %\{sandbox_path\} is known here"):
        laid_out(tmp_path, repo, cache_commands=["echo %{config}"])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"grains": {}}, "provisioner:grains is not followed here"),
        ({"local_salt_root": "elsewhere"}, "only local_salt_root '.'"),
        ({"state_top_from_file": False}, "only local_salt_root '.'"),
    ],
)
def test_a_setting_that_is_not_followed_is_refused(tmp_path, repo, setting, sentence):
    with pytest.raises(LabError, match=sentence):
        laid_out(tmp_path, repo, **setting)


def test_a_suite_settings_go_over_the_common_ones(tmp_path):
    (tmp_path / "kitchen.yml").write_text(
        "driver: {name: proxy}\n"
        "provisioner: {salt_copy_filter: [a, b], pillars: {x.sls: {one: 1, two: 2}}}\n"
        "suites:\n"
        "  - name: s\n"
        "    driver: {host: '<%= host.call(\"192.0.2.7\") %>'}\n"
        "    provisioner: {salt_copy_filter: [c], pillars: {x.sls: {two: 3}, y.sls: {}}}\n"
    )
    suite = upload.suites(tmp_path)["s"]
    assert suite["driver"] == {"name": "proxy", "host": "192.0.2.7"}
    assert suite["provisioner"] == {
        "salt_copy_filter": ["c"],
        "pillars": {"x.sls": {"one": 1, "two": 3}, "y.sls": {}},
    }


def test_ruby_that_is_unknown_here_is_refused(tmp_path):
    (tmp_path / "kitchen.yml").write_text("driver: {host: <%= `hostname` %>}\n")
    with pytest.raises(LabError, match="<%= `hostname` %> is unknown here"):
        upload.suites(tmp_path)


# --- verify -----------------------------------------------------------------------------------------------------------

ENVIRONMENT = {"KITCHEN_SUITE": "etcd", "KITCHEN_USERNAME": "root", "KITCHEN_HOSTNAME": "192.0.2.7"}


def test_verify_asks_the_machine_whatever_its_host_key():
    argv = verify.command(ENVIRONMENT)
    assert argv[1:5] == ["-m", "pytest", "tests/kitchen/etcd", "--hosts=ssh://root@192.0.2.7"]
    assert "StrictHostKeyChecking=no" in argv[5]
    assert argv[5].startswith("--ssh-extra-args=")
    assert len(argv) == 6


def test_verify_takes_the_key_that_the_transport_takes():
    assert verify.command({**ENVIRONMENT, "KITCHEN_SSH_KEY": "/k"})[-1] == "--ssh-identity-file=/k"


def test_verify_without_the_packages_says_how_to_install_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verify, "ready", lambda: False)
    assert verify.main() == 1
    assert "requirements/test.txt" in capsys.readouterr().err


def test_verify_looks_for_the_packages(tmp_path):
    assert verify.ready()
    assert not verify.ready(tmp_path / "python")
    subprocess.run(
        ["/usr/bin/python3", "-m", "venv", "--without-pip", tmp_path / "empty"], check=True, timeout=60
    )
    assert not verify.ready(tmp_path / "empty/bin/python")
