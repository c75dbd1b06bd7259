"""A class name stands for one thing: no two public classes of `src/` share their name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"


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
    assert shared == {}
