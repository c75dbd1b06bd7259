"""What all settings models have in common, and what can be asked of them.

A section of the YAML file is a `Section`; the whole file is a `SettingsFile`, which also knows the folder
that its paths start from.  Keys of the old programs that have lost their meaning are fields made by
`without_effect`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic.fields import FieldInfo

from cfm.config.fields import Origin


class Section(BaseModel):
    """A group of settings; a key without a value is a key that is not there."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        """Leaves out what is not set, and adds sections that were left out: they hold defaults."""
        if not isinstance(given, dict):
            return given
        sections: dict[str, Any] = {key: {} for key, field in cls.model_fields.items() if section_of(field)}
        unset = {key for key, value in given.items() if value is None and key in cls.model_fields}
        return sections | {key: value for key, value in given.items() if key not in unset}


class SettingsFile(Section):
    """All settings of a program, and where they were read."""

    _origin: Origin | None = PrivateAttr(None)

    def model_post_init(self, context: Any) -> None:
        self._origin = context

    @property
    def file(self) -> Path | None:
        """The settings file, absolute; None for settings that code made."""
        return self._origin.file if self._origin else None

    @property
    def folder(self) -> Path:
        """Relative paths of the settings start here."""
        return self._origin.file.parent if self._origin else Path.cwd()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should hear: keys that are without effect, each a sentence."""
        return self._origin.notes if self._origin else ()


def without_effect(why: str) -> Any:
    """An old key that is accepted in any form, and said to be without effect."""
    return Field(default=None, json_schema_extra={"without_effect": why})


def why_without_effect(field: FieldInfo) -> str | None:
    extra = field.json_schema_extra
    return str(extra["without_effect"]) if isinstance(extra, dict) and "without_effect" in extra else None


def section_of(field: FieldInfo) -> type[Section] | None:
    """The model of the keys below this one, where it is a section."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def every_key(model: type[Section], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """All keys that hold a value, dotted."""
    for name, field in model.model_fields.items():
        below = section_of(field)
        if below:
            yield from every_key(below, f"{above}{name}.")
        else:
            yield f"{above}{name}", field


def example_of(field: FieldInfo) -> str:
    """A value that would be right, as it is written in the file; empty where there is none."""
    examples = field.examples or [field.default]
    example = examples[0]
    if isinstance(example, bool):
        return "on" if example else "off"
    if isinstance(example, re.Pattern):
        return str(example.pattern)
    return str(example) if isinstance(example, (int, str, Path)) else ""
