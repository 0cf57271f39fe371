"""`fanatico_master.plain`: an operator's mistake ends in one sentence, an error in our code in a traceback."""

import json
import types
import weakref

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

import fanatico_master
import salt.minion
from tests.support import REPO

PLAN = (REPO / "pillar" / "plan.sls").read_text()


def work(node, timeout=60, force=False):
    """Shown by salt-run -d."""
    if isinstance(node, Exception):
        raise node
    return node, timeout, force


@pytest.fixture
def runner(tmp_path):
    """The globals of a runner file with one function, wrapped, under a valid plan."""
    (tmp_path / "plan.sls").write_text(PLAN)
    (tmp_path / "schema.json").symlink_to(REPO / "pillar" / "schema.json")
    namespace = {
        "__name__": "salt.loaded.ext.runners.fanatico_example",
        "__virtualname__": "fanatico",
        "__opts__": {"pillar_roots": {"base": [str(tmp_path)]}},
        "json": json,
        "elsewhere": json.dumps,
        "__jid_event__": weakref.proxy(type("Bus", (), {})()),  # of an earlier job, which is gone
    }
    namespace["work"] = types.FunctionType(work.__code__, namespace, "work", work.__defaults__)
    namespace["work"].__doc__, namespace["work"].__module__ = work.__doc__, namespace["__name__"]
    namespace["_private"] = private = types.FunctionType(work.__code__, namespace, "_private")
    private.__module__ = namespace["__name__"]
    fanatico_master.plain(namespace)
    assert namespace["_private"] is private
    assert namespace["elsewhere"] is json.dumps
    return types.SimpleNamespace(work=namespace["work"], globals=namespace, pillar=tmp_path)


def said(function, *args, **kwargs):
    with pytest.raises(fanatico_master.Refusal) as refused:
        function(*args, **kwargs)
    return str(refused.value)


def test_what_is_right_passes(runner):
    assert runner.work("rpc1", 5, force=True) == ("rpc1", 5, True)


def test_what_salt_adds_is_left_out(runner):
    assert runner.work("rpc1", __pub_user="root") == ("rpc1", 60, False)


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'node'"),
        (("rpc1",), {"bogus": 1}, "unexpected keyword argument 'bogus'"),
        (("rpc1", "soon"), {}, "timeout has to be a number, not 'soon'"),
        (("rpc1", True), {}, "timeout has to be a number, not True"),
        (("rpc1",), {"force": "maybe"}, "force has to be True or False, not 'maybe'"),
    ],
)
def test_wrong_arguments_name_the_function_and_where_it_is_described(runner, args, kwargs, words):
    sentence = said(runner.work, *args, **kwargs)
    assert sentence.startswith("fanatico.work(node, timeout=60, force=False): ")
    assert words in sentence
    assert sentence.endswith("salt-run -d fanatico.work")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (CommandExecutionError("rpc1 did not answer"), "rpc1 did not answer"),
        (SaltInvocationError("duration: write 2h"), "duration: write 2h"),
        (FileNotFoundError(2, "No such file or directory", "/root/x"), "/root/x: No such file or directory"),
        (fanatico_master.Refusal("not now"), "not now"),
    ],
)
def test_what_is_raised_on_purpose_is_the_whole_message(runner, raised, words):
    assert said(runner.work, raised) == words


def test_an_error_of_ours_stays_one(runner):
    with pytest.raises(ZeroDivisionError):
        runner.work(ZeroDivisionError())


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("plan:\n", "plan"),
        (PLAN.replace("address: 10.0.0.5,", ""), "plan:nodes:salt"),
    ],
)
def test_an_error_under_a_plan_that_is_not_valid_names_the_plan(runner, plan, words):
    (runner.pillar / "plan.sls").write_text(plan)
    sentence = said(runner.work, KeyError("address"))
    assert sentence.startswith("The plan is not valid: ")
    assert words in sentence
    assert sentence.endswith("salt-run fanatico.validate")


def test_salt_takes_all_arguments_and_shows_the_documentation(runner):
    """Otherwise it prints the documentation of the function, with exit code 0."""
    given = [{"__kwarg__": True, "bogus": 1}]
    assert salt.minion.load_args_and_kwargs(runner.work, given) == ([], {"bogus": 1})
    assert runner.work.__doc__ == work.__doc__
    assert runner.work.__globals__ is runner.globals
