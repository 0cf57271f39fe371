"""Orchestrations compile as they would on the master; a reactor starts one runner and nothing else."""

import itertools
import re

import pytest
import salt.config
import salt.loader
import salt.state
import salt.utils.templates
import salt.utils.yaml
import yaml
from hypothesis import given
from hypothesis import strategies as st

import fanatico_guard
import fanatico_lock
import fanatico_plan
from tests.rendering.conftest import PLANS
from tests.rendering.decided import restores, scope
from tests.rendering.words import VERBS
from tests.support import MODULES, REPO
from tests.support.pillar import shipped
from tests.support.tree import Node, reused

EVENT = {"host": "db1", "what": "patroni.service", "why": "it stopped"}
# The pillar that the caller of an orchestration passes.
PILLAR = {"orch.heal": {"event": EVENT}, "orch.evict": {"host": "db9"}}


def orchestrations():
    root = REPO / "orch"
    for path in sorted(root.rglob("*.sls")):
        relative = path.relative_to(root)
        yield ".".join(
            ("orch", *(relative.parent if path.stem == "init" else relative.with_suffix("")).parts)
        )


@pytest.fixture(scope="session")
def make_master(pillars, salt_cache):
    """Return a function that makes the master's compiler for a plan and a passed pillar; the last compiler is reused."""

    @reused
    def make(plan, passed=None):
        return Node("salt_master", pillars[plan], salt_cache, override=PILLAR.get(passed), modules=MODULES)

    return make


def compiled(master, name, fresh=False, evicting=None):
    """The steps of an orchestration, on a running cluster or one that has never been deployed."""
    databases = master.functions["fanatico_plan.nodes"]("patroni")
    seen = {
        "fanatico.etcd_bootstrap": {"bootstrap": "0123" if fresh else ""},
        "fanatico.patroni_first": databases[:1] if fresh else databases,
        "fanatico.evict_scope": evicting or scope("patroni"),
        **restores(databases),
        "fanatico.recover_scope": {
            "case": "rebuild",
            "why": "the data of all members is lost",
            "primary": databases[0],
            "databases": databases,
            "etcd": master.functions["fanatico_plan.nodes"]("etcd"),
            "bootstrap": "0123",
        },
    }
    master.functions["saltutil.runner"] = lambda name, *args, **kwargs: seen[name]
    return master.compile(name)


def states():
    """Yield (name, fresh): every orchestration on a running cluster, and on a new one those that look at the difference."""
    for name in orchestrations():
        yield pytest.param(name, False, id=f"running-{name}")
        path = REPO / name.replace(".", "/")
        text = (
            path.with_suffix(".sls") if path.with_suffix(".sls").exists() else path / "init.sls"
        ).read_text()
        if "fanatico.etcd_bootstrap" in text or "fanatico.patroni_first" in text:
            yield pytest.param(name, True, id=f"fresh-{name}")


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("name", "fresh"), states())
def test_orchestration_compiles(make_master, plan, name, fresh):
    """`salt-run` uses the pillar of `<master id>_master`, which is not a node: it gets the plan and no secrets."""
    master = make_master(plan, name if name in PILLAR else None)
    assert "secrets" not in master.pillar
    steps = compiled(master, name, fresh)
    assert {step["state"] for step in steps} == {"step"}, "Salt's own count a change where there is none"
    # Not set in the master's configuration: there it would also end `salt --static` at the first critical minion.
    assert len(steps) == 1 or all(step.get("failhard") for step in steps), "what is printed last is the cause"


GUARDED = [
    name for name in orchestrations() if name != "orch.heal"
]  # the runner that cures has a lock of its own
# Orchestrations that are only steps of another one, and their first step.
PARTS = {"orch.certify": "saltutil.refresh_pillar", "orch.etcd": "Configure and start etcd"}
PARTS |= {"orch.patroni": "Check the PostgreSQL parameters on every database host"}


@pytest.mark.parametrize("name", GUARDED)
def test_every_orchestration_has_one_beginning_and_one_end(make_master, name):
    """The history has a start and an end entry, each under the orchestration's name."""
    steps = compiled(make_master("default", name if name in PILLAR else None), name)
    assert [step["name"] for step in steps[:2]] == ["fanatico.validate", "fanatico.lock"]
    assert steps[1]["purpose"] == name.removeprefix("orch.")
    assert steps[-1]["name"] == "fanatico.unlock"
    by_title = {step["__id__"]: step for step in steps}
    unordered = {step["__id__"] for step in steps[2:-1]} - waited_for(by_title, steps[-1]["__id__"])
    assert unordered == set(), "the end waits for every step"
    assert all("fanatico.lock" != step["name"] != "fanatico.unlock" for step in steps[2:-1])


@pytest.mark.parametrize(
    "name",
    [name for name in GUARDED if not name.startswith(("orch.evict", "orch.recover_etcd", "orch.restore"))],
)  # those are steps of no other one
def test_a_nested_orchestration_has_neither_start_nor_end(make_master, monkeypatch, name):
    monkeypatch.setattr(fanatico_lock, "mine", lambda _: True)
    steps = compiled(make_master("default"), name)
    names = [step["name"] for step in steps]
    assert not {"fanatico.validate", "fanatico.lock", "fanatico.unlock"} & set(names)
    first = PARTS.get(name) or ("fanatico.admit" if name == "orch.deploy" else "fanatico.wait_minions")
    assert names[0] == first


@pytest.mark.parametrize("name", orchestrations())
def test_a_step_id_is_a_short_imperative(make_master, name):
    for step in compiled(make_master("default", name if name in PILLAR else None), name):
        title = step["__id__"]
        assert title.split()[0] in VERBS, f"{title}: no verb that is known here"
        assert len(title) <= 60
        assert not re.search(r"[:;.]", title)


@pytest.mark.parametrize("name", orchestrations())
def test_a_host_that_does_not_answer_fails_every_step_for_it(make_master, name):
    master = make_master("default", name if name in PILLAR else None)
    nodes = set(master.functions["fanatico_plan.nodes"]())
    for step in compiled(master, name):
        assert step["state"] == "step", "of Salt's own a function takes silence for success"
        assert step.get("expect_minions", True) is True
        if "tgt" in step:
            hosts = [step["tgt"]] if isinstance(step["tgt"], str) else step["tgt"]
            assert set(hosts) <= nodes, "no pattern: a silent host would not be missed"


def test_every_timeout_is_a_setting(pillars, salt_cache):
    """Each setting gets a different number here, so a step with the wrong setting is found."""
    shipped = yaml.safe_load((REPO / "pillar/orch.sls").read_text())["orch"]["timeouts"]
    ours = dict(zip(shipped, itertools.count(1001), strict=False))
    found = set()
    for name in orchestrations():
        override = {**PILLAR.get(name, {}), "orch": {"timeouts": ours}}
        master = Node("salt_master", pillars["default"], salt_cache, override=override, modules=MODULES)
        for step in compiled(master, name):
            limits = {key: step[key] for key in ("timeout", "wait") if key in step}
            assert limits or "tgt" not in step, f"{name}: {step['__id__']} has Salt's own timeout"
            found |= set(limits.values())
    assert found == set(ours.values()), "each setting is used, and nothing else is"


@pytest.mark.parametrize("plan", PLANS)
def test_a_deploy_changes_one_balancer_at_a_time(make_master, plan):
    master = make_master(plan)
    steps = {step["__id__"]: step for step in compiled(master, "orch.deploy")}
    for first, second in itertools.pairwise(master.functions["fanatico_plan.nodes"]("haproxy")):
        waits = waited_for(steps, f"Bring up {second}")
        assert {f"Bring up {first}", f"Wait until {first} reaches the virtual IP"} <= waits


BLOCK = "Block db9 in every firewall"


@pytest.mark.parametrize("unsettled", [False, True])
@pytest.mark.parametrize(
    ("roles", "added"),
    [
        (["patroni"], ["quorum", "forget", "secrets", "certs"]),
        (["etcd"], ["quorum", "forget", "secrets", "certs"]),
        (["etcd", "patroni"], ["quorum", "forget", "secrets", "certs"]),
        (["haproxy"], ["secrets", "certs"]),
        (["rpc"], ["certs"]),
    ],
)
def test_an_evicted_host_loses_the_network_first(make_master, roles, added, unsettled):
    """Each step waits for the step before it; what a host never knew is not replaced."""
    master = make_master("default", "orch.evict")
    compiled_steps = compiled(master, "orch.evict", evicting=scope(*roles, unsettled=unsettled))
    steps = {step["__id__"]: step for step in compiled_steps}
    twice = {"secrets": unsettled, "certs": unsettled}
    names = {
        "quorum": ["fanatico_etcd.wait_quorum"],
        "forget": ["fanatico.evict_forget"],
        "secrets": ["orch.rotate_secrets"] * (1 + twice["secrets"]),
        "certs": ["orch.rotate_certs"] * (1 + twice["certs"]),
    }
    before_all = [
        "fanatico.validate",
        "fanatico.lock",
        "fanatico.evict_key",
        BLOCK,
    ]
    before_all += ["saltutil.refresh_pillar", "fanatico.sync_modules"]
    leading = [name for word in ("quorum", "forget") if word in added for name in names[word]]
    replaced = [name for word in ("secrets", "certs") if word in added for name in names[word]]
    assert [step["name"] for step in compiled_steps] == [
        *before_all,
        *leading,
        "orch.deploy",
        *replaced,
        "fanatico.evicted",
        "fanatico.master_changed",
        "fanatico.unlock",
    ]
    cut = steps[BLOCK]
    assert (cut["fun"], cut["sls"], cut["tgt"]) == (
        "state",
        "firewall",
        master.functions["fanatico_plan.nodes"](),
    )
    for first, second in itertools.pairwise(compiled_steps):
        assert first["__id__"] in waited_for(steps, second["__id__"])
    rotations = [step for step in compiled_steps if step["name"] == "orch.rotate_secrets"]
    if rotations:  # the last one: what was begun before it was shut out is replaced once more
        assert rotations[-1]["pillar"] == {"rotate": fanatico_plan.secret_names(roles)}
        assert all("pillar" not in step for step in rotations[:-1])


def test_an_invalid_eviction_is_refused_before_the_first_step(make_master):
    master = make_master("default", "orch.evict")
    (only,) = compiled(master, "orch.evict", evicting='db9 is no host: "of"\nthe plan')
    assert (only["name"], only["reason"]) == ("fanatico.evict_refused", 'db9 is no host: "of"\nthe plan')


def waited_for(steps, step):
    """All steps that have to succeed before this one."""
    direct = {name for one in steps[step].get("require", []) for name in one.values()}
    return direct.union(*(waited_for(steps, name) for name in direct))


@pytest.mark.parametrize(
    "path", sorted((REPO / "salt" / "reactor").glob("*.sls")), ids=lambda path: path.name
)
def test_reactor_starts_one_thing(pillars, salt_cache, path):
    # A node of its own: it remembers the events that it has received.
    master = Node("salt_master", pillars["default"], salt_cache, modules=MODULES)
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
    assert list(states) == ["runner"]
    assert states["runner"] == [{"args": [{"host": "db1"}]}, RUNNERS[path.stem]]


RUNNERS = {"heal": "fanatico.look", "denied": "fanatico.denied", "started": "fanatico.started"}

# Hostile values of an event: they end a line, a string or an expression; they are long, or not text at all.
HOSTILE = [
    "x:\n  cmd.run:\n    - name: id > /root/owned\nCure y",
    '"}}\n{{ salt["cmd.run"]("id") }}',
    "{% set x = salt['cmd.run']('id') %}",
    "' | json }}\nx: {cmd.run: [{name: id}]}\n#",
    "db1\x00\x1b[2J\u2028\u0085",
    "!!python/object/apply:os.system ['id']",
    "&a [*a, *a]",
    "x" * 100_000,
    "",
]
ANYTHING = st.sampled_from(HOSTILE) | st.text()
NOT_TEXT = st.none() | st.integers() | st.lists(ANYTHING) | st.dictionaries(st.text(), ANYTHING)


def healing(event):
    """{ID: {function: arguments}} of orch.heal for an event, rendered by Salt's Jinja and YAML; None if it is not YAML."""
    context = {
        "opts": {**salt.config.minion_config(None), "file_client": "local"},
        "saltenv": "base",
        "sls": "orch.heal",
        "pillar": {"event": event, "heal": shipped("heal")},
        "salt": {"fanatico_plan.roles": lambda node: ["patroni"]},
    }
    text = salt.utils.templates.render_jinja_tmpl((REPO / "orch/heal.sls").read_text(), context)
    try:
        return salt.utils.yaml.safe_load(text)
    except salt.utils.yaml.YAMLError:
        return None  # nothing is run


@given(host=ANYTHING, what=ANYTHING, why=ANYTHING)
def test_hostile_text_becomes_one_call_only(host, what, why):
    """The callers of orch.heal validate the text; even without that it cannot become code."""
    high = healing({"host": host, "what": what, "why": why})
    if high is not None:
        assert list(high) == ["Cure the fault"]
        assert list(high["Cure the fault"]) == ["step.runner"]
        names = [name for argument in high["Cure the fault"]["step.runner"] for name in argument]
        assert names == ["name", "host", "what", "why", "roles", "settings"]
        assert high["Cure the fault"]["step.runner"][0] == {"name": "fanatico.heal"}


@given(why=ANYTHING)
def test_accepted_text_arrives_unchanged(why):
    event = {"host": "db1", "what": "patroni-hung", "why": fanatico_guard.printable(why)}
    arguments = {}
    for one in healing(event)["Cure the fault"]["step.runner"]:
        arguments.update(one)
    assert {name: arguments[name] for name in event} == event


@given(
    data=st.fixed_dictionaries(
        {},
        optional={
            "id": ANYTHING | NOT_TEXT | st.just("db1"),
            "what": ANYTHING | NOT_TEXT,
            "why": ANYTHING | NOT_TEXT,
            "act": ANYTHING | NOT_TEXT | st.just("denied"),
        },
    )
)
def test_a_hostile_event_starts_only_a_check_of_a_host_of_the_plan(reacting, data):
    for name, runner in RUNNERS.items():
        for body in reacting(name, data).values():
            assert [key for key in body if not key.startswith("__")] == ["runner"]
            assert body["runner"] == [{"args": [{"host": data["id"]}]}, runner]
            assert data["id"] == "db1"


@pytest.fixture(scope="module")
def reacting(pillars, salt_cache):
    """Return a function that compiles a reactor file for an event, as the master does."""
    master = Node("salt_master", pillars["default"], salt_cache, modules=MODULES)
    renderers = salt.loader.render(master.opts, master.functions)
    compiler = salt.state.Compiler(master.opts, renderers)

    def react(name, data):
        path = REPO / "salt" / "reactor" / f"{name}.sls"
        return compiler.render_template(str(path), tag="salt/beacon/db1/fanatico/x", data=data) or {}

    return react


@pytest.mark.parametrize(
    "path",
    [*sorted((REPO / "orch").rglob("*.sls")), *sorted((REPO / "salt" / "reactor").glob("*.sls"))],
    ids=lambda path: path.name,
)
def test_text_of_a_minion_is_rendered_as_json_only(path):
    """Expressions that use an event or a return: `event`, `data`, and variables that are set from them."""
    text = path.read_text()
    tainted = {"event", "data", "ret"}
    for name, value in re.findall(r"{%-?\s*set\s+(\w+)\s*=(.*?)-?%}", text, re.DOTALL):
        if tainted & set(re.findall(r"\w+", value)):
            tainted.add(name)
    for expression in re.findall(r"{{(.*?)}}", text, re.DOTALL):
        if tainted & set(re.findall(r"\w+", expression)):
            assert re.search(r"\|\s*json\s*-?$", expression.strip()), f"{path}: {{{{{expression}}}}}"
