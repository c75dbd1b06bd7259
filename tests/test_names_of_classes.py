"""A class name stands for one thing: no two public classes of `src/` share their name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"

STILL_SHARED = frozenset(
    {
        "Library",
        "TaskReport",
    }
)
"""Names that are still to be told apart.  The list may only shrink; at the end it is empty."""


def modules_of_classes() -> dict[str, list[str]]:
    """Public class name → the modules that define a class of this name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(SRC)))
    return found


def test_a_class_name_stands_for_one_thing() -> None:
    shared = {name: modules for name, modules in modules_of_classes().items() if len(modules) > 1}
    assert {name: modules for name, modules in shared.items() if name not in STILL_SHARED} == {}


def test_the_list_of_names_to_be_told_apart_has_none_too_many() -> None:
    shared = {name for name, modules in modules_of_classes().items() if len(modules) > 1}
    assert shared >= STILL_SHARED, f"told apart by now: {sorted(STILL_SHARED - shared)}"
