"""The list of faults names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = sorted(set(re.findall(r"`(tests/\S+?\.py)::(\w+)", (ROOT / "docs" / "faults.md").read_text())))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_list_names_exists(path, name):
    tree = ast.parse((ROOT / path).read_text())

    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_list_is_not_empty():
    assert len(NAMED) > 10
