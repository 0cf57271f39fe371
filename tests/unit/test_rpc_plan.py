"""What an RPC node's programs are given, and words as systemd reads them."""

import copy

import pytest

import fanatico_rpc_plan
import fanatico_systemd
from tests.support import pillar

HOME = "/opt/fanatico/rpc"


@pytest.fixture
def settings(plan):
    """An RPC node's pillar; a test may change it."""
    rpc = pillar.shipped("rpc")
    rpc["chain"]["id"] = 1337
    rpc["artifact"]["bin"] = "bin/node"
    return {"plan": copy.deepcopy(plan), "rpc": rpc}


@pytest.mark.parametrize(
    ("text", "argument", "variable"),
    [
        ("plain", '"plain"', '"plain"'),
        ("", '""', '""'),
        (7, '"7"', '"7"'),
        ('say "hi"', r'"say \"hi\""', r'"say \"hi\""'),
        ("a\\b", r'"a\\b"', r'"a\\b"'),
        ('\\"', r'"\\\""', r'"\\\""'),
        ("100%", '"100%%"', '"100%"'),
        ("$HOME ${HOME}", '"$$HOME $${HOME}"', '"$HOME ${HOME}"'),
    ],
)
def test_nothing_in_a_word_means_anything_to_systemd(text, argument, variable):
    assert fanatico_systemd.argument(text) == argument
    assert fanatico_systemd.variable(text) == variable


def test_what_stands_for_something_is_filled_in(settings):
    settings["rpc"]["exec"]["args"] = [
        "--host={address}",
        "{http_port}:{ws_port}",
        "{chain_id}/{block_time}",
        "{data_dir}",
        7,
        "{}",
    ]
    assert fanatico_rpc_plan.command(settings, "rpc1", HOME) == (
        f'{HOME}/current/bin/node "--host=10.0.1.10" "8545:8546" "1337/2" "/var/lib/fanatico-rpc" "7" "{{}}"'
    )


@pytest.mark.parametrize(
    ("artifact", "program"),
    [
        ({"bin": "/usr/bin/node"}, "/usr/bin/node"),
        ({"bin": "bin/node", "source": "https://example.org/x.tgz"}, f"{HOME}/current/bin/node"),
        ({"bin": "", "source": "https://example.org/a/node"}, f"{HOME}/current/node"),
        ({"source": "https://example.org/a/node"}, f"{HOME}/current/node"),
    ],
)
def test_which_program_is_started(settings, artifact, program):
    settings["rpc"]["artifact"] = artifact
    assert fanatico_rpc_plan.command(settings, "rpc1", HOME) == program


@pytest.mark.parametrize(
    ("change", "named"), [({"artifact": {}}, "rpc:artifact:bin"), ({"chain": {"id": None}}, "rpc:chain:id")]
)
def test_what_is_missing_is_named(settings, change, named):
    settings["rpc"].update(change)
    with pytest.raises(ValueError, match=f"{named} is empty in the pillar"):
        fanatico_rpc_plan.command(settings, "rpc1", HOME)


def test_an_agent_knows_the_others_and_the_health_settings(settings):
    settings["rpc"]["health"]["max_lag"] = 7
    assert fanatico_rpc_plan.agent(settings, "rpc2", "/somewhere") == {
        "own": "rpc2",
        "node": ["10.0.1.11", 8545],
        "agents": {"rpc1": ["10.0.1.10", 8547], "rpc3": ["10.0.1.12", 8547]},
        "drained": "/somewhere",
        "block_time": 2,
        "max_lag": 7,
        "max_jump": 1000,
        "min_peers": 0,
    }


def test_the_door_knows_what_the_edge_knows(settings):
    found = fanatico_rpc_plan.websocket_proxy(settings, "rpc1")
    assert (found.pop("listen"), found.pop("node")) == (["10.0.1.10", 8546], ["10.0.1.10", 8545])
    assert found.keys() == {"allowed", "forbidden", "heavy", "write", "limits", "batch_limit", "body_limit"}
    assert found.items() <= settings["rpc"]["edge"].items()
