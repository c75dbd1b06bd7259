"""The settings that are in force, each with the place that it comes from: for people, as JSON values.  Pure.

Secrets are not among them: settings name the files of tokens and keys, and a password in a URL is left out.
Neighbours: `changes` says what differs; `cfm config show --effective` and `GET /api/v1/settings` show it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, TypeAlias

from cfm.config.changes import changed, value_of
from cfm.config.sections import SettingsFile, every_key, why_without_effect

Json: TypeAlias = dict[str, Any]

_PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^@/]*@")


def effective_json(
    started: SettingsFile, fresh: SettingsFile | None = None, waiting: Collection[str] = ()
) -> list[Json]:
    """Every setting in force.

    `fresh`: the settings that were read last while the program ran.  `waiting`: their keys that are taken in
    at the next start only; their new values are shown beside those in force.
    """
    fresh = fresh or started
    told = []
    for key, field in every_key(type(started)):
        if why_without_effect(field) is None:
            source = started if key in waiting else fresh
            line = source.line_of(key)
            one = {"key": key, "value": plain(value_of(source, key)), "from": "file" if line else "default"}
            at_next_start = {"at_next_start": plain(value_of(fresh, key))} if key in waiting else {}
            told.append({**one, "line": line, **at_next_start})
    return told


def changes_json(before: SettingsFile, after: SettingsFile, waiting: Collection[str]) -> list[Json]:
    """What differs, and whether it needs a restart."""
    return [
        {
            "key": key,
            "from": plain(value_of(before, key)),
            "to": plain(value_of(after, key)),
            "needs_restart": key in waiting,
        }
        for key in changed(before, after)
    ]


def plain(value: object) -> Any:
    """A value of a setting as JSON has it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if isinstance(value, re.Pattern):
        return value.pattern
    return _PASSWORD.sub(r"\1:…@", str(value))
