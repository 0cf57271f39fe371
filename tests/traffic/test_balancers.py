"""When Keepalived gives up the virtual IP because of the edge: the databases' HAProxy decides, with the tree's configuration."""

import json

from tests.rendering.conftest import SITE, put_beside
from tests.support import REPO, pki


def test_only_for_an_edge_that_stays_away_and_another_that_is_there(machine, with_site):
    minion = with_site("haproxy1", SITE)
    put_beside(machine, minion)
    checks = [one for one in minion.compile("keepalived.configured") if "edge-elsewhere" in one["name"]]
    machine.put(checks[0]["name"], minion.functions["cp.get_file_str"](checks[0]["source"]), mode=0o755)
    authority, plan = pki.Authority(), minion.pillar["plan"]
    machine.put("/etc/haproxy/pki/edge-ca.crt", authority.certificate)
    machine.put("/pki/other.pem", "".join(authority.issue("haproxy2")))
    machine.put("/balancers.py", (REPO / "tests/traffic/files/balancers.py").read_text())
    other = minion.functions["fanatico_plan.address"]("haproxy2")
    task = {
        "addresses": [plan["virtual_ip"]["address"], minion.functions["fanatico_plan.address"](), other],
        "statistics": plan["ports"]["haproxy_stats"],
        "edge": minion.functions["fanatico_plan.port"]("edge_stats"),
        "other": other,
    }
    done = machine.run("python3", "/balancers.py", text=json.dumps(task))
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "nothing runs": 0,  # the other check covers that
        "all there": 0,
        "right after the edge died": 0,
        "edge gone": 1,
        "and the other's databases": 0,
        "which came back a moment ago": 0,
        "edge back": 0,
    }
