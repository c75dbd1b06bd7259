"""Reads a settings file into its model, or says everything that is wrong with it.

`yaml_text` gives the values as text, with their lines.  `old_files` gives what old files write more freely
the form of today.  The model parses and checks each value.  This module
collects what both refuse, and adds a line and a remedy to each refusal of the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cfm.config.cfm_settings import CfmSettings
from cfm.config.cfw_settings import CfwSettings
from cfm.config.fields import Origin, same_host
from cfm.config.old_files import Note, read_as_before
from cfm.config.problems import SettingsFileError, SettingsProblem, shown
from cfm.config.sections import (
    Section,
    SettingsFile,
    every_key,
    example_of,
    section_of,
    why_without_effect,
)
from cfm.config.yaml_text import MOST_BYTES, Loc, SettingsText, dotted, read_yaml

S = TypeVar("S", bound=SettingsFile)


def load_cfm(path: Path) -> CfmSettings:
    """The settings of cfm; raises `SettingsFileError` (a `SettingsError`) with every problem."""
    return _load(path, CfmSettings)


def load_cfw(path: Path) -> CfwSettings:
    """The settings of cfw; raises `SettingsFileError` (a `SettingsError`) with every problem."""
    return _load(path, CfwSettings)


ASKED_WITH: Final = ("listen_addr", "security")


def load_to_ask_cfm(path: Path) -> CfmSettings:
    """What is needed to ask a running cfm: its address and the credentials; all else is as by default.

    Other keys may be wrong: who has just mistyped one wants to look at the cfm that still runs.  Raises
    `SettingsFileError` where the file cannot be read, or one of these is wrong.
    """
    text, problems = read_yaml(_bytes_of(path))
    if text is None:
        raise SettingsFileError(path, problems)
    read_as_before(text, CfmSettings)
    needed = {key: value for key, value in text.values.items() if key in ASKED_WITH}
    return _validated(path, replace(text, values=needed), CfmSettings, [], ())


def _load(path: Path, model: type[S]) -> S:
    text, problems = read_yaml(_bytes_of(path))
    if text is None:
        raise SettingsFileError(path, problems)
    notes = sorted([*read_as_before(text, model), *_obsolete(text, model)])
    problems += _servers_listed_twice(text)
    return _validated(path, text, model, problems, notes)


def _validated(
    path: Path, text: SettingsText, model: type[S], problems: list[SettingsProblem], notes: Sequence[Note]
) -> S:
    """The model of these texts; raises all problems, those found before and its own."""
    told = tuple(f"{path}:{line}: {note}" for line, note in notes)
    lines = {dotted(loc): line for loc, line in text.lines.items() if _is_set(text, loc)}
    origin = Origin(path.absolute(), told, lines)
    try:
        settings = model.model_validate(text.values, context=origin)
    except ValidationError as invalid:
        problems += [_problem_of(error, text, model) for error in invalid.errors(include_url=False)]
    if problems:
        raise SettingsFileError(path, problems)
    return settings


def _is_set(text: SettingsText, loc: Loc) -> bool:
    """Does the file give this key a value of its own?"""
    value: object = text.values
    for step in loc:
        value = value.get(str(step)) if isinstance(value, dict) else None
    return bool(loc) and value is not None


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
    except ValueError:  # a path with a NUL
        why = "no such file"
    text = f"cannot be read ({why})"
    raise SettingsFileError(path, [SettingsProblem(None, "", text, "name a settings file with -c")])


# --- what the model does not see ------------------------------------------------------------------------


def _servers_listed_twice(text: SettingsText) -> Iterator[SettingsProblem]:
    """A server that is listed twice, or spelled in two ways: other programs would take it for two servers."""
    first: dict[str, tuple[str, int]] = {}
    for key in ("sources", "destinations"):
        listed: set[str] = set()
        for address, line in _servers(text, key):
            host, _, port = address.rpartition(":")
            server = f"{same_host(host)}:{port}"
            first_address, first_line = first.setdefault(server, (address, line))
            if server in listed:
                why = f"{shown(address)} is listed twice, first on line {first_line}"
                yield SettingsProblem(line, f"servers.{key}", why, "remove one of them")
            elif address != first_address:
                why = f"{shown(address)} is the same server as {shown(first_address)} on line {first_line}"
                yield SettingsProblem(line, f"servers.{key}", why, "spell both in the same way")
            listed.add(server)


def _servers(text: SettingsText, key: str) -> Iterator[tuple[str, int]]:
    """The addresses in `servers.KEY`, each with its line, as far as they are texts."""
    section = text.values.get("servers")
    items = section.get(key) if isinstance(section, dict) else None
    for number, address in enumerate(items if isinstance(items, list) else ()):
        if isinstance(address, str) and address:
            yield address, text.lines["servers", key, number]


def _obsolete(text: SettingsText, model: type[Section]) -> Iterator[Note]:
    """`enable_coredump is without effect: …` for each such key of the file."""
    for name, field in every_key(model):
        why, line = why_without_effect(field), text.lines.get(tuple(name.split(".")))
        if why and line:
            yield line, f"{name} is without effect: {why}"


# --- what the model refuses ---------------------------------------------------------------------------


def _problem_of(error: ErrorDetails, text: SettingsText, model: type[Section]) -> SettingsProblem:
    loc = error["loc"]
    return SettingsProblem(text.line_of(loc), dotted(loc), *_words(error, model))


def _words(error: ErrorDetails, model: type[Section]) -> tuple[str, str]:
    field = _field_at(model, error["loc"])
    example = example_of(field) if field else ""
    name = str(error["loc"][-1]) if error["loc"] else ""
    match error["type"]:
        case "settings":
            facts = error["ctx"]
            return facts["text"], facts["remedy"] or f"write for example {example}"
        case "missing":
            return "missing", f"write for example `{name}: {example}`"
        case "extra_forbidden":
            return "unknown key", _did_you_mean(error["loc"], model)
        case "model_type":
            return "not a section", f"write the keys of `{name}` below it, each `  key: value`"
        case "tuple_type":
            return "not a list", f"write each value on a line of its own, for example `  - {example}`"
    return error["msg"], "correct the value"  # a type that none of our fields is known to give


def _field_at(model: type[Section], loc: Loc) -> FieldInfo | None:
    field: FieldInfo | None = None
    below: type[Section] | None = model
    for step in loc:
        if below is None:
            break
        field = below.model_fields.get(str(step))
        below = section_of(field) if field else None
    return field


def _did_you_mean(loc: Loc, model: type[Section]) -> str:
    """The key that was probably meant: of the same section if one is near, else of the whole file."""
    keys = [name for name, _ in every_key(model)]
    keys += [name for name, field in model.model_fields.items() if section_of(field)]
    written, last = ".".join(str(step) for step in loc), str(loc[-1])[:100]
    section = written.rpartition(".")[0]
    if written in keys:  # as one word, with the dot
        return f"write `{written.removeprefix(section + '.')}` below `{section}:`"
    by_last = {key.rpartition(".")[2]: key for key in keys}
    if last in by_last:
        return f"did you mean `{by_last[last]}`?"
    in_section = [key for key in keys if key.rpartition(".")[0] == section]
    near = difflib.get_close_matches(written[:200], in_section, n=1) or [
        by_last[word] for word in difflib.get_close_matches(last, by_last, n=1)
    ]
    return f"did you mean `{near[0]}`?" if near else "remove it, or see docs/settings.md"
