"""Changes of a state that did not take effect, and the order in which endpoints are asked."""

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_state


def test_a_change_that_is_left_did_not_take_effect():
    changes = {"a": {"old": 1, "new": 2}, "b": "set"}
    assert fanatico_state.applied(changes, {"a": {"old": 1, "new": 2}}) == {"b": "set"}
    assert fanatico_state.applied(changes, {}) == changes


def test_not_applied_shows_expected_and_present_values():
    left = {
        "owner": {"old": None, "new": "fanatico"},
        "settings": {"old": {"work_mem": None}, "new": {"work_mem": "64MB"}},
        "roles": {"old": [], "new": ["one", "two"]},
        "password": "replaced",
    }
    assert fanatico_state.not_applied(left) == (
        "owner: expected fanatico, found nothing; settings: expected work_mem=64MB, found work_mem=nothing; "
        "roles: expected one, two, found nothing; password: replaced"
    )


def ask(place):
    if place == "silent":
        raise CommandExecutionError("refused")
    return place.upper()


def test_after_the_first_answer_no_other_endpoint_is_asked():
    assert fanatico_http.first({"a": "silent", "b": "here", "c": "not reached"}, ask) == ("b", "HERE")


def test_without_an_answer_each_endpoint_is_named():
    with pytest.raises(CommandExecutionError, match="a: refused; b: refused"):
        fanatico_http.first({"a": "silent", "b": "silent"}, ask)
