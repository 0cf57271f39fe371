"""Public methods: what no list contains is forbidden, and `forbidden` wins."""

import pytest
import yaml

from fanatico_edge import method_classes
from tests.support import REPO

SHIPPED = yaml.safe_load((REPO / "pillar" / "rpc.sls").read_text().removeprefix("#!yaml"))["rpc"]["edge"]


def judged(method, edge):
    """The class of a method, as HAProxy's map_beg finds it: the longest prefix wins."""
    classes = method_classes(edge)
    fitting = [beginning for beginning in classes if method.startswith(beginning)]
    return classes[max(fitting, key=len)] if fitting else "forbidden"


@pytest.mark.parametrize(
    ("method", "of"),
    [
        ("eth_call", "read"),
        ("net_version", "read"),
        ("eth_getLogs", "heavy"),
        ("eth_sendRawTransaction", "write"),
        ("eth_sendTransaction", "forbidden"),
        ("eth_signTypedData_v4", "forbidden"),
        ("eth_signTransaction", "forbidden"),
        ("debug_traceCall", "forbidden"),
        ("trace_block", "forbidden"),  # among `heavy`, and not allowed
        ("EVM_MINE", "forbidden"),
        ("Eth_call", "forbidden"),
        ("", "forbidden"),
    ],
)
def test_as_shipped(method, of):
    assert judged(method, SHIPPED) == of


def test_forbidden_wins():
    edge = {
        **SHIPPED,
        "allowed": ["debug_traceCall", "eth_"],
        "heavy": ["debug_traceCall"],
        "write": ["eth_sign"],
    }
    assert judged("debug_traceCall", edge) == "forbidden"
    assert judged("eth_signTransaction", edge) == "forbidden"
    assert judged("debug_traceCall", {**edge, "forbidden": []}) == "heavy"


def test_nothing_is_allowed_by_an_empty_list():
    assert set(method_classes({**SHIPPED, "allowed": []}).values()) == {"forbidden"}
