"""Each reason is documented with its sentence and what releases it, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cfm.plan import refusals
from cfm.plan.refusals import COPY_REFUSALS, DELETE_REFUSALS, Refusal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "refusals.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def rows(heading: str) -> list[tuple[str, ...]]:
    """The rows under one heading: reason, sentence, what lets go, who releases it."""
    section = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [match.groups() for match in ROW.finditer(section)]


@pytest.mark.parametrize(
    ("heading", "reasons"), [("A copy", COPY_REFUSALS), ("A delete", DELETE_REFUSALS)], ids=["copy", "delete"]
)
def test_the_page_says_what_the_code_says(heading: str, reasons: tuple[Refusal, ...]) -> None:
    documented = [(name, sentence, released_by) for name, sentence, _, released_by in rows(heading)]
    assert documented == [(reason.name, reason.text, reason.release or "itself") for reason in reasons]


def test_every_constant_is_in_one_of_the_lists() -> None:
    constants = {value for value in vars(refusals).values() if isinstance(value, Refusal)}
    assert constants == {*COPY_REFUSALS, *DELETE_REFUSALS}


def test_settings_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`((?:remover|servers|ignore)\.\w+)`", PAGE.read_text()))
    settings = (PAGE.parent / "settings.md").read_text()
    assert named
    assert all(name.split(".")[1] in settings for name in named)
