"""The timing presets: valid, known to the schema, and overridden by single values of a plan."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanatico_timing
import fanatico_validate
from tests.support import REPO

SCHEMA = json.loads((REPO / "pillar" / "schema.json").read_text())
TIMING = SCHEMA["properties"]["plan"]["properties"]["timing"]["properties"]


def timing_faults(timing):
    pillar = fanatico_timing.completed({"plan": {"timing": timing}})
    return [fault for fault in fanatico_validate.faults(pillar, SCHEMA) if fault.startswith("plan:timing")]


def test_the_schema_knows_the_same_presets_and_values():
    assert TIMING["preset"]["enum"] == list(fanatico_timing.PRESETS)
    for values in fanatico_timing.PRESETS.values():
        assert {section: set(names) for section, names in values.items()} == {
            section: set(TIMING[section]["properties"]) for section in TIMING if section != "preset"
        }


@pytest.mark.parametrize("preset", fanatico_timing.PRESETS)
def test_each_is_sound(preset):
    assert timing_faults({"preset": preset}) == []
    assert fanatico_timing.resolved({"preset": preset}) == fanatico_timing.PRESETS[preset]


@pytest.mark.parametrize("nothing", [None, {}])
def test_without_a_name_it_is_swift(nothing):
    assert fanatico_timing.resolved(nothing) == fanatico_timing.PRESETS["swift"]


def test_a_single_value_overrides_the_preset():
    before = copy.deepcopy(fanatico_timing.PRESETS)
    timing = fanatico_timing.resolved({"preset": "norm", "vrrp": {"advert": 1}, "patroni": {"ttl": 40}})
    assert timing["vrrp"] == {"advert": 1}
    assert timing["patroni"] == {**fanatico_timing.PRESETS["norm"]["patroni"], "ttl": 40}
    assert timing["etcd"] == fanatico_timing.PRESETS["norm"]["etcd"]
    assert before == fanatico_timing.PRESETS


def test_contradictory_values_are_reported():
    (fault,) = timing_faults({"preset": "norm", "patroni": {"ttl": 24}})
    assert fault.startswith("plan:timing:patroni:ttl: 24 is less than loop_wait + 2 * retry_timeout (25)")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda below: (
            st.lists(below, max_size=2)
            | st.dictionaries(st.sampled_from(["preset", "patroni", "etcd", "vrrp", "ttl", "x"]), below)
        ),
        max_leaves=6,
    )
)
def test_malformed_values_are_kept_for_the_validation(timing):
    known = fanatico_timing.resolved(timing)
    faults = timing_faults(timing)
    if not isinstance(timing, dict) and timing is not None:
        assert known == timing
        assert faults
    for section in ("patroni", "etcd", "vrrp"):
        if isinstance(timing, dict) and not isinstance(timing.get(section), dict | None):
            assert any(fault.startswith(f"plan:timing:{section}: ") for fault in faults)
