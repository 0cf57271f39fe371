"""The client process on the master: its program is a text that must be valid Python."""

import ast

from lab import salt_client


def test_its_program_is_python():
    assert {
        node.name for node in ast.walk(ast.parse(salt_client.PROGRAM)) if isinstance(node, ast.FunctionDef)
    } == {
        "call",
        "pillars",
    }
