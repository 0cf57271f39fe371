"""The result of a state whose changes were not applied, and the fallback for an endpoint that does not answer."""

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_state


def test_a_remaining_change_was_not_applied():
    changes = {"a": {"old": 1, "new": 2}, "b": "set"}
    assert fanatico_state.applied(changes, {"a": {"old": 1, "new": 2}}) == {"b": "set"}
    assert fanatico_state.applied(changes, {}) == changes


def test_a_remaining_change_is_reported_with_expected_and_found():
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


def test_only_the_first_answer_is_used():
    assert fanatico_http.first({"a": "silent", "b": "here", "c": "not reached"}, ask) == ("b", "HERE")


def test_all_are_named_if_none_answers():
    with pytest.raises(CommandExecutionError, match="a: refused; b: refused"):
        fanatico_http.first({"a": "silent", "b": "silent"}, ask)
