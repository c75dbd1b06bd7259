"""`docs/settings.md` and the models name the same keys, with the same defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from cfm.config import CfmSettings, CfwSettings
from cfm.config.sections import Section, every_key, example_of, why_without_effect

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"\| `(?P<key>[a-z_.]+)` \|(?P<default>[^|]*)\|[^|]*\|(?P<meaning>.*)\|")
FILES: Mapping[str, type[Section]] = {"cfm.yml": CfmSettings, "cfw.yml": CfwSettings}


def documented(file: str) -> dict[str, re.Match[str]]:
    """The rows of the table below the heading `## FILE`, by key."""
    chapter = DOCS.read_text("utf-8").split(f"\n## {file}\n")[1].split("\n## ")[0]
    return {row["key"]: row for row in ROW.finditer(chapter)}


@pytest.mark.parametrize("file", FILES)
def test_every_key_is_documented_and_no_other(file: str) -> None:
    assert sorted(documented(file)) == sorted(key for key, _ in every_key(FILES[file]))


@pytest.mark.parametrize("file", FILES)
def test_every_default_is_the_documented_one(file: str) -> None:
    rows = documented(file)
    for key, field in every_key(FILES[file]):
        nothing = field.default in (None, ()) or why_without_effect(field) is not None
        default = "" if nothing else f"`{example_of(field)}`"
        assert rows[key]["default"].strip() == ("required" if field.is_required() else default), key


@pytest.mark.parametrize("file", FILES)
def test_a_key_without_effect_is_documented_as_such(file: str) -> None:
    rows = documented(file)
    for key, field in every_key(FILES[file]):
        why = why_without_effect(field)
        said = rows[key]["meaning"].strip().replace("`", "").replace("servers.", "")
        assert said.startswith("without effect") == (why is not None), key
        assert why is None or why.replace("`", "") in said, key


@pytest.mark.parametrize("page", sorted(DOCS.parent.glob("*.md")), ids=lambda page: page.name)
def test_a_default_in_parentheses_is_the_default(page: Path) -> None:
    """As in `remover.breaker_percent` (25)."""
    defaults = {key: example_of(field) for key, field in every_key(CfmSettings)}
    for key, value in re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)` \(([0-9]+)\)", page.read_text("utf-8")):
        assert defaults[key] == value, key
