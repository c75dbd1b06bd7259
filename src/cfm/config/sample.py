"""A complete settings file to begin with: every key with its meaning, from the table of the documentation.

`settings.page` is `docs/settings.md`; the models say which keys there are and what their defaults are.
Neighbour: `cli.settings` prints the sample.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Final

from pydantic.fields import FieldInfo

from cfm.config.effective import plain
from cfm.config.sections import Section, SettingsFile, section_of, why_without_effect

PAGE: Final = "settings.page"
_ROW: Final = re.compile(r"\| `(?P<key>[a-z_.]+)` \|[^|]*\|(?P<unit>[^|]*)\|(?P<meaning>.*)\|")
_MARKUP: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)|`|\*")
_COLUMNS: Final = 100
_ALWAYS_SET: Final = frozenset({"listen_addr"})
"""Shown as set, though there is a default: a file needs one setting at least."""


def sample(model: type[SettingsFile], file: str) -> str:
    """The text of a sample `cfm.yml` or `cfw.yml`.  What is commented out is the default, or an example."""
    head = (
        f"# {file}: every setting, with its meaning. What is commented out has this default,",
        "# or is an example where it says so. docs/settings.md says more.",
    )
    return "\n".join([*head, *_section(model, meanings(file), "", 0), ""])


def meanings(file: str) -> Mapping[str, tuple[str, str]]:
    """Key → unit and meaning, as the documentation of this file has them."""
    page = files("cfm.config").joinpath(PAGE).read_text("utf-8")
    chapter = page.split(f"\n## {file}\n")[1].split("\n## ")[0]
    return {row["key"]: (row["unit"].strip(), row["meaning"].strip()) for row in _ROW.finditer(chapter)}


def _section(
    model: type[Section], told: Mapping[str, tuple[str, str]], above: str, depth: int
) -> Iterator[str]:
    indent = "  " * depth
    for number, (name, field) in enumerate(model.model_fields.items()):
        below = section_of(field)
        if number or not depth:
            yield ""
        if below is not None:
            yield f"{indent}{name}:"
            yield from _section(below, told, f"{above}{name}.", depth + 1)
        elif why_without_effect(field) is None:
            unit, meaning = told[f"{above}{name}"]
            yield from _comment(meaning, unit, field, indent)
            is_set = field.is_required() or f"{above}{name}" in _ALWAYS_SET
            yield from (f"{indent}{'' if is_set else '#'}{line}" for line in _setting(name, field))


def _comment(meaning: str, unit: str, field: FieldInfo, indent: str) -> list[str]:
    words = _MARKUP.sub(lambda found: found[1] or "", meaning)
    words = words[0].upper() + words[1:]
    is_example = field.default in (None, ()) and not field.is_required()
    notes = [unit] * bool(unit) + ["no default; an example"] * is_example
    words += f" ({'; '.join(notes)})" if notes else ""
    return textwrap.wrap(words, _COLUMNS, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _setting(name: str, field: FieldInfo) -> list[str]:
    value = field.default
    if field.is_required() or value in (None, ()):
        value = (field.examples or [""])[0]
        if field.default == ():
            return [f"{name}:", f"  - {value}"]
    if isinstance(value, bool):
        return [f"{name}: {'on' if value else 'off'}"]
    return [f"{name}: {plain(value)}"]
