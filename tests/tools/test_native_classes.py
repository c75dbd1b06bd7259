"""What is written for the compiler means what `dataclass` and `NamedTuple` make."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "native_classes.py"
SOURCE = '''
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Seen(NamedTuple, Generic[T]):
    """A named tuple."""

    value: T
    at_ms: int = 7

    @property
    def twice(self) -> int:
        return 2 * self.at_ms


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    sizes: tuple[int, ...] = (
        1,
        2,
    )
    """Over several lines."""


@dataclass(slots=True)
class Growing:
    first: int
    lines: list[str] = field(default_factory=list)
    total: int = field(init=False)

    def __post_init__(self) -> None:
        self.total = self.first


@dataclass(frozen=True, slots=True, eq=False)
class Single:
    name: str


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing but its kind."""
'''


def module(name: str, source: str) -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made
    exec(compile(source, name, "exec"), made.__dict__)
    return made


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("native_classes", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = tool
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture(scope="module")
def both(tool: ModuleType) -> tuple[ModuleType, ModuleType]:
    return module("as_it_is", SOURCE), module("as_written", tool.rewritten(SOURCE))


def values(made: ModuleType) -> list[Any]:
    return [
        made.Seen("x"),
        made.Seen(value="x", at_ms=3),
        made.Frozen("a"),
        made.Frozen("a", (3,)),
        made.Growing(5),
        made.Growing(5, ["l"]),
        made.Empty(),
    ]


def test_the_same_values_are_made_and_shown(both: tuple[ModuleType, ModuleType]) -> None:
    plain, written = (values(made) for made in both)
    assert [repr(value) for value in written] == [repr(value) for value in plain]
    assert [value.twice for value in written[:2]] == [14, 6]
    assert written[4].total == 5


def test_the_same_are_equal_and_nothing_else(both: tuple[ModuleType, ModuleType]) -> None:
    for made in both:
        one, other = values(made), values(made)
        assert [[a == b for b in other] for a in one] == [[i == j for j in range(7)] for i in range(7)]
        assert made.Single("s") != made.Single("s")


def test_the_hashes_are_the_same(both: tuple[ModuleType, ModuleType]) -> None:
    plain, written = ([hash(value) for value in values(made)[:4]] for made in both)
    assert written == plain


def test_each_growing_one_has_a_list_of_its_own(both: tuple[ModuleType, ModuleType]) -> None:
    _plain, written = both
    written.Growing(1).lines.append("mine")
    assert written.Growing(1).lines == []


def test_they_are_replaced_and_sent_to_other_processes(both: tuple[ModuleType, ModuleType]) -> None:
    for made in both:
        assert replace(made.Frozen("a"), name="b") == made.Frozen("b")
        seen = made.Seen("x", 1)
        assert pickle.loads(pickle.dumps(seen)) == seen


def test_every_module_of_ours_can_be_written_out(tool: ModuleType) -> None:
    for source in (TOOL.parents[1] / "src").rglob("*.py"):
        tool.rewritten(source.read_text())


def test_a_generic_value_class_is_refused(tool: ModuleType) -> None:
    with pytest.raises(ValueError, match="the value class Box is generic"):
        tool.rewritten("@dataclass(slots=True)\nclass Box(Generic[T]):\n    value: T\n")
