"""Which changed settings a running daemon cannot take in.  Pure.

Neighbours: the programs ask after they have read their settings again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from cfm.config.sections import Section, SettingsFile, every_key, why_without_effect

S = TypeVar("S", bound=SettingsFile)


def need_restart(started: S, fresh: S, taken_of: Callable[[S], object]) -> tuple[str, ...]:
    """The keys that differ from the settings at the start, and are not part of what is taken while running.

    `taken_of` makes of settings what is taken while running.  So nobody keeps a second list of those keys.
    """
    before = taken_of(started)
    return tuple(
        key
        for key in changed(started, fresh)
        if taken_of(_with(started, key.split("."), value_of(fresh, key))) == before
    )


def changed(started: SettingsFile, fresh: SettingsFile) -> Iterator[str]:
    """The keys with different values."""
    for key, field in every_key(type(started)):
        if why_without_effect(field) is None and value_of(started, key) != value_of(fresh, key):
            yield key


def value_of(settings: Section, key: str) -> Any:
    """The value of a key such as `remover.breaker_percent`."""
    found: Any = settings
    for name in key.split("."):
        found = getattr(found, name)
    return found


def _with(settings: Any, path: list[str], value: object) -> Any:
    """The settings with one other value."""
    name, *below = path
    part = _with(getattr(settings, name), below, value) if below else value
    return settings.model_copy(update={name: part})
