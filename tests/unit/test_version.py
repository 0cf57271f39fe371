"""Versions of programs."""

import pytest

from fanatico_version import numbers


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("3.5.16", (3, 5, 16)),
        ("1:3.5.16-4+b1", (3, 5, 16)),
        ("v3.5.16", (3, 5, 16)),
        ("1:3.0-1", (3, 0, 0)),
        ("4.1.0~rc1", (4, 1, 0)),
        ("", ()),
        (None, ()),
        ("unknown", ()),
    ],
)
def test_numbers(version, found):
    assert numbers(version) == found


def test_order_is_that_of_numbers_not_of_text():
    assert numbers("1:2.10.0-1") > numbers("2.4.3")
    assert numbers("") < numbers("0.1")
