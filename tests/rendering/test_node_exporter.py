"""The exporter of metrics: who may read them, and that the unit starts with our configuration only."""

import pytest
import yaml

from tests.rendering.conftest import SITE, rendered

WEB = "/etc/prometheus-node-exporter/web.yml"
UNIT = "/etc/systemd/system/prometheus-node-exporter.service.d/fanatico.conf"
PKI = "/etc/prometheus-node-exporter/pki"


@pytest.mark.parametrize(("node", "readers"), [("rpc1", ["rpc1", "salt"]), ("salt", ["salt"])])
def test_a_certificate_is_asked_for_and_it_has_to_be_the_masters_or_its_own(make_node, node, readers):
    found = rendered(make_node("default", node), "node_exporter.configured")
    assert yaml.safe_load(found[WEB]) == {
        "tls_server_config": {
            "cert_file": f"{PKI}/monitor.crt",
            "key_file": f"{PKI}/monitor.key",
            "min_version": "TLS13",
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": f"{PKI}/monitor-ca.crt",
            "client_allowed_sans": readers,
        }
    }


def started(text):
    """Return the words of the command that the unit starts."""
    first, last = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert first == "ExecStart=", "the package's command is not taken back"
    return last.removeprefix("ExecStart=").split()


def test_it_listens_at_its_address_alone(make_node):
    words = started(rendered(make_node("default", "db2"), "node_exporter.installed")[UNIT])
    assert words == [
        "/usr/bin/prometheus-node-exporter",
        "--web.listen-address=10.0.2.11:9100",
        f"--web.config.file={WEB}",
    ]


def test_collectors_are_those_of_the_pillar(with_site):
    site = {**SITE, "node_exporter": {"collectors": ["systemd", "processes"], "left_out": ["zfs"]}}
    words = started(rendered(with_site("rpc1", site), "node_exporter.installed")[UNIT])
    assert words[3:] == ["--collector.systemd", "--collector.processes", "--no-collector.zfs"]


def test_a_deploy_prepares_it_on_every_machine(make_node):
    for node in ("salt", "etcd1", "rpc1"):
        chunks = make_node("default", node).compile("roles.prepared")
        ours = [chunk["__id__"] for chunk in chunks if chunk["__sls__"].startswith("node_exporter")]
        assert ours[-1] == "Start node_exporter"
        assert len(ours) == 5
