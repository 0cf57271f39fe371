"""What a state says of changes that have not taken, and who is asked where one is silent."""

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_http
import fanatico_state


def test_a_change_that_is_left_is_none():
    changes = {"a": {"old": 1, "new": 2}, "b": "set"}
    assert fanatico_state.applied(changes, {"a": {"old": 1, "new": 2}}) == {"b": "set"}
    assert fanatico_state.applied(changes, {}) == changes


def test_what_is_left_is_said_with_what_was_expected_and_what_is_there():
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


def test_the_first_that_answers_is_asked_alone():
    assert fanatico_http.first({"a": "silent", "b": "here", "c": "not reached"}, ask) == ("b", "HERE")


def test_where_none_answers_each_one_is_named():
    with pytest.raises(CommandExecutionError, match="a: refused; b: refused"):
        fanatico_http.first({"a": "silent", "b": "silent"}, ask)
