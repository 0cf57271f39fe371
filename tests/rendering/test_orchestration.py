"""Orchestrations compile as the master would compile them; a reactor starts one of them, nothing else."""

import json

import pytest
import salt.loader
import salt.state

from tests.rendering.conftest import PLANS
from tests.support import REPO
from tests.support.tree import Node, reused

EVENT = {"host": "db1", "what": "patroni.service", "why": "it stopped"}
# What the callers of an orchestration pass along.
PILLAR = {"orch.heal": {"event": EVENT}}


def orchestrations():
    root = REPO / "orch"
    for path in sorted(root.rglob("*.sls")):
        relative = path.relative_to(root)
        yield ".".join(
            ("orch", *(relative.parent if path.stem == "init" else relative.with_suffix("")).parts)
        )


@pytest.fixture(scope="session")
def make_master(pillars, salt_cache):
    """Return the master's compiler for a plan and the pillar that a caller passes along; the last one is kept."""

    @reused
    def make(plan, passed=None):
        return Node("salt_master", pillars[plan], salt_cache, override=PILLAR.get(passed))

    return make


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", orchestrations())
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "running"])
def test_orchestration_compiles(make_master, plan, name, fresh):
    """`salt-run` asks for the pillar of `<master id>_master`, no node: it gets the plan and no secret."""
    master = make_master(plan, name if name in PILLAR else None)
    assert "secrets" not in master.pillar
    databases = master.functions["fanatico_plan.nodes"]("patroni")
    seen = {"fanatico.etcd_bootstrap": fresh, "fanatico.patroni_first": databases[:1] if fresh else databases}
    master.functions["saltutil.runner"] = lambda name, *args, **kwargs: seen[name]
    steps = master.compile(name)
    assert {step["state"] for step in steps} == {"step"}, "Salt's own count a change where there is none"
    # Not in the master's configuration: there it would also end `salt --static` at the first minion that is critical.
    assert len(steps) == 1 or all(step.get("failhard") for step in steps), "what is printed last is the cause"


@pytest.mark.parametrize(
    "path", sorted((REPO / "salt" / "reactor").glob("*.sls")), ids=lambda path: path.name
)
def test_reactor_starts_one_thing(pillars, salt_cache, path):
    # Its own: it remembers which events it has heard.
    master = Node("salt_master", pillars["default"], salt_cache)
    renderers = salt.loader.render(master.opts, master.functions)
    data = {
        "id": "db1",
        "what": "patroni.service",
        "why": "it stopped",
        "act": "denied",
        "_stamp": "2026-01-01T00:00:00.000000",
    }
    reaction = salt.state.Compiler(master.opts, renderers).render_template(
        str(path), tag="salt/beacon/db1/fanatico/patroni.service", data=data
    )
    (states,) = [
        {key: value for key, value in body.items() if not key.startswith("__")} for body in reaction.values()
    ]
    assert set(states) == {"runner"}
    call = json.dumps(states["runner"])
    assert "fanatico." in call or (
        "state.orchestrate" in call and any(name in call for name in orchestrations())
    )
