"""The parts of a page that explain a life: what the code says of its states and events, as tables."""

from __future__ import annotations

import ast
import inspect
from enum import StrEnum


def meanings(kind: type[StrEnum]) -> dict[str, str]:
    """What the code says of each member."""
    (found,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(found, ast.ClassDef)
    texts = [
        node.value
        for node in found.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    return {member.value: " ".join(str(text.value).split()) for member, text in zip(kind, texts, strict=True)}


def explained(kind: type[StrEnum], title: str) -> str:
    rows = (f"| {name} | {meaning} |" for name, meaning in meanings(kind).items())
    return "\n".join((f"| {title} | meaning |", "|---|---|", *rows))
