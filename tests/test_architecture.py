"""Imports run one way: from the doors down to the kernel, and never in a circle. Imports for types alone count too."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "chatapp"
# From the bottom up. Within a layer no part imports another, but for the doors: pages may show each other's pieces.
LAYERS = (
    {"kernel"},
    {"tokens", "rendering"},
    {"providers"},
    {"auth", "connections"},
    {"budget", "personas"},
    {"exchanges", "attachments"},
    {"chats"},
    {"turns"},
    {"doors"},
)
DOORS = {"conversation", "usage", "admin", "transfers", "site", "api", "cli"}
# What makes the application from all of its parts.
ROOT = {"__init__", "__main__"}


def modules():
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def imports(path, names):
    """Return the modules of ours that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "chatapp":
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in names else node.module for each in whole}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in names}
    return found


def part_of(module):
    """Return the part of the product that a module belongs to: its folder; "doors" for what serves pages or commands."""
    _package, *rest = module.split(".")
    if not rest or rest[0] in ROOT:
        return "root"
    is_door = rest[0] in DOORS or (rest[0] != "kernel" and rest[-1] in ("views", "account_views", "forms"))
    return "doors" if is_door else rest[0]


@pytest.fixture(scope="module")
def arrows():
    found = modules()
    return {(name, other) for name, path in found.items() for other in imports(path, found) if other != "chatapp"}


def test_every_import_runs_down(arrows):
    height = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    height["root"] = len(LAYERS)
    wrong = []
    for module, imported in sorted(arrows):
        mine, other = part_of(module), part_of(imported)
        if mine != other and height[other] >= height[mine]:
            wrong.append(f"{module} ({mine}) imports {imported} ({other})")
    assert wrong == []


def test_every_part_has_its_layer():
    known = {part for parts in LAYERS for part in parts} | DOORS | {"root"}
    assert {part_of(module) for module in modules()} <= known


def test_no_modules_import_each_other_in_a_circle(arrows):
    left = {}
    for module, imported in arrows:
        left.setdefault(module, set()).add(imported)
    while leaves := [module for module, imported in left.items() if not imported & set(left)]:
        for leaf in leaves:
            del left[leaf]
    assert left == {}
