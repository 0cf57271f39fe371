"""Which words of the command line are ours, and which another program's."""

import pytest

from lab.cli import split


@pytest.mark.parametrize(
    ("words", "ours", "others"),
    [
        (["test", "unit", "--", "-k", "x"], ["test", "unit"], ["-k", "x"]),
        (["test", "--lab", "a"], ["test", "--lab", "a"], []),
        (["test", "--", "-x", "--", "y"], ["test"], ["-x", "--", "y"]),
        (["psql", "--replica", "--", "-c", "x"], ["psql", "--replica"], ["-c", "x"]),
        (["bench", "--only", "health"], ["bench"], ["--only", "health"]),
        (["exec", "db1", "--", "ls"], ["exec", "db1", "--", "ls"], []),
        ([], [], []),
    ],
)
def test_split(words, ours, others):
    assert split(words) == (ours, others)
