"""The pillars that kitchen.yml uploads, as Salt compiles them on the machine of each suite."""

import pytest

import fanatico_plan
from tests.kitchen import upload
from tests.kitchen.lab import node
from tests.support.tree import Node


@pytest.mark.parametrize("suite", upload.suites())
def test_the_pillar_of_a_suite(tmp_path, suite):
    settings = upload.suites()[suite]["provisioner"]
    upload.lay_out(settings, tmp_path / "sandbox")
    minion = settings["salt_minion_id"]
    pillar = Node(minion, tmp_path / "sandbox/srv/pillar", tmp_path / "scratch").pillar
    assert pillar["plan"]["nodes"][minion] == node(settings)
    # The lab's settings for the chain node are included; its directory of wheels, which no other machine has, is not.
    assert pillar["minion"]["install"]["wheels"] == ""
    assert pillar["firewall"]["admin"] == []
    assert pillar["firewall"]["ssh_port"] == 22
    assert pillar["rpc"]["chain"]["id"] == 1337
    # The settings that a suite adds to a component do not remove the shipped settings.
    roles = node(settings)["roles"]
    assert bool(pillar.get("etcd", {}).get("bootstrap")) == ("etcd" in roles)
    assert "etcd" not in roles or pillar["etcd"]["data_dir"] == "/var/lib/etcd"
    assert bool(pillar.get("secrets")) == bool(set(node(settings)["roles"]) & set(fanatico_plan.SECRETS))
