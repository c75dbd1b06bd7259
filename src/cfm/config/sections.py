"""What all settings models have in common, and what can be asked of them.

A section of the YAML file is a `Section`.  The whole file is a `SettingsFile`; it also knows the folder that
its paths start from.  Some keys of the old programs no longer have a meaning: `without_effect` makes their
fields.
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
    """A group of settings.  A key without a value counts as a key that is not there."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        """Leaves out keys without a value, and adds missing sections as empty ones: they hold defaults."""
        if not isinstance(given, dict):
            return given
        sections: dict[str, Any] = {key: {} for key, field in cls.model_fields.items() if section_of(field)}
        unset = {key for key, value in given.items() if value is None and key in cls.model_fields}
        return sections | {key: value for key, value in given.items() if key not in unset}


class SettingsFile(Section):
    """All settings of a program, and the file that they come from."""

    _origin: Origin | None = PrivateAttr(None)

    def model_post_init(self, context: Any) -> None:
        self._origin = context

    @property
    def file(self) -> Path | None:
        """The absolute path of the settings file; None for settings that code made."""
        return self._origin.file if self._origin else None

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the settings start from."""
        return self._origin.file.parent if self._origin else Path.cwd()

    def line_of(self, key: str) -> int | None:
        """The line of the file that sets a key such as `remover.breaker_percent`; None where none does."""
        return self._origin.lines.get(key) if self._origin else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the operator about keys that have no effect."""
        return self._origin.notes if self._origin else ()


def without_effect(why: str) -> Any:
    """A field for an old key that has no effect: any value is accepted, and the operator is told why."""
    return Field(default=None, json_schema_extra={"without_effect": why})


def why_without_effect(field: FieldInfo) -> str | None:
    """The reason that was given to `without_effect`; None for all other fields."""
    extra = field.json_schema_extra
    return str(extra["without_effect"]) if isinstance(extra, dict) and "without_effect" in extra else None


def section_of(field: FieldInfo) -> type[Section] | None:
    """The model of the section, where the field is one."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def every_key(model: type[Section], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """All keys that are no sections, as `remover.minimum_stay_sec`, with their fields."""
    for name, field in model.model_fields.items():
        below = section_of(field)
        if below:
            yield from every_key(below, f"{above}{name}.")
        else:
            yield f"{above}{name}", field


def example_of(field: FieldInfo) -> str:
    """A right value, written as in the file; empty where there is none to show."""
    examples = field.examples or [field.default]
    example = examples[0]
    if isinstance(example, bool):
        return "on" if example else "off"
    if isinstance(example, re.Pattern):
        return str(example.pattern)
    return str(example) if isinstance(example, (int, str, Path)) else ""
