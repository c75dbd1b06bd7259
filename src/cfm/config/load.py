"""Reads a settings file into its model, or says everything that is wrong with it.

`yaml_text` gives a tree of text with line numbers, the model parses and checks each value, and here the
refusals of both are brought together, each with its line and a remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cfm.config.cfm_settings import CfmSettings
from cfm.config.cfw_settings import CfwSettings
from cfm.config.fields import Origin, same_host
from cfm.config.problems import Problem, SettingsFileError, shown
from cfm.config.sections import (
    Section,
    SettingsFile,
    every_key,
    example_of,
    section_of,
    why_without_effect,
)
from cfm.config.yaml_text import MOST_BYTES, Branch, Items, Node, Scalar, read_tree

S = TypeVar("S", bound=SettingsFile)
Loc: TypeAlias = tuple[int | str, ...]


def load_cfm(path: Path) -> CfmSettings:
    """The settings of cfm; raises `SettingsFileError` (a `SettingsError`) with every problem."""
    return _load(path, CfmSettings)


def load_cfw(path: Path) -> CfwSettings:
    """The settings of cfw; raises `SettingsFileError` (a `SettingsError`) with every problem."""
    return _load(path, CfwSettings)


def _load(path: Path, model: type[S]) -> S:
    tree, problems = read_tree(_bytes_of(path))
    if tree is None:
        raise SettingsFileError(path, problems)
    problems += _twice(tree)
    origin = Origin(path.absolute(), tuple(f"{path}:{note}" for note in _obsolete(tree, model)))
    try:
        settings = model.model_validate(_plain(tree), context=origin)
    except ValidationError as invalid:
        problems += [_problem_of(error, tree, model) for error in invalid.errors(include_url=False)]
    if problems:
        raise SettingsFileError(path, problems)
    return settings


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
    except ValueError:  # a path with a NUL
        why = "no such file"
    raise SettingsFileError(
        path, [Problem(None, "", f"cannot be read ({why})", "name a settings file by -c")]
    )


# --- the tree ---------------------------------------------------------------------------------------


def _plain(node: Node) -> Any:
    """The tree as dictionaries, lists and text; None for what is not set."""
    if isinstance(node, Branch):
        return {key: None if _not_set(below) else _plain(below) for key, below in node.nodes.items()}
    if isinstance(node, Items):
        return [_plain(item) for item in node.nodes]
    return node.text


def _not_set(node: Node) -> bool:
    return isinstance(node, Scalar) and node.not_set


def _line_of(tree: Branch, loc: Loc) -> int:
    """The line of a value, or of the key where it has no line of its own: the innermost that exists."""
    node: Node = tree
    line = tree.line
    for step in loc:
        if isinstance(node, Branch) and step in node.nodes:
            line, node = node.key_lines[str(step)], node.nodes[str(step)]
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.nodes):
            node = node.nodes[step]
            line = node.line
        else:
            break
    return node.line if isinstance(node, Scalar) and node.text else line


def _twice(tree: Branch) -> Iterator[Problem]:
    """Servers that are listed twice, or are spelled in two ways: on the wire they would be two."""
    servers = tree.nodes.get("servers")
    if not isinstance(servers, Branch):
        return
    first: dict[str, Scalar] = {}
    for key in ("sources", "destinations"):
        listed: set[str] = set()
        items = servers.nodes.get(key)
        for item in items.nodes if isinstance(items, Items) else ():
            if not isinstance(item, Scalar) or not item.text:
                continue
            host, _, port = item.text.rpartition(":")
            same = f"{same_host(host)}:{port}"
            earlier = first.setdefault(same, item)
            if same in listed:
                text = f"{shown(item.text)} is listed twice, first on line {earlier.line}"
                yield Problem(item.line, f"servers.{key}", text, "remove one of the lines")
            elif earlier.text != item.text:
                text = (
                    f"{shown(item.text)} is {shown(earlier.text)} of line {earlier.line}, spelled otherwise"
                )
                yield Problem(item.line, f"servers.{key}", text, "spell both in the same way")
            listed.add(same)


def _obsolete(tree: Branch, model: type[Section]) -> list[str]:
    """`4: enable_coredump is without effect: …`, in the file's order."""
    notes = []
    for name, field in every_key(model):
        why = why_without_effect(field)
        loc = tuple(name.split("."))
        if why and _is_there(tree, loc):
            notes.append((_line_of(tree, loc), f"{name} is without effect: {why}"))
    return [f"{line}: {note}" for line, note in sorted(notes)]


def _is_there(node: Node, loc: tuple[str, ...]) -> bool:
    for step in loc:
        if not isinstance(node, Branch) or step not in node.nodes:
            return False
        node = node.nodes[step]
    return True


# --- refusals of the model ----------------------------------------------------------------------------


def _problem_of(error: ErrorDetails, tree: Branch, model: type[Section]) -> Problem:
    loc = error["loc"]
    key = ".".join(shown(str(step)) for step in loc if isinstance(step, str))
    text, remedy = _words(error, model)
    return Problem(_line_of(tree, loc), key, text, remedy)


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
    """The nearest key of the same section, or else of the whole file."""
    keys = [name for name, _ in every_key(model)]
    keys += [name for name, field in model.model_fields.items() if section_of(field)]
    dotted = ".".join(str(step) for step in loc)
    above = dotted.rpartition(".")[0]
    here = [key for key in keys if key.rpartition(".")[0] == above]
    elsewhere = {key.rpartition(".")[2]: key for key in keys}
    wanted = str(loc[-1])[:100]
    if wanted in elsewhere:
        return f"did you mean `{elsewhere[wanted]}`?"
    near = difflib.get_close_matches(dotted[:200], here, n=1) or [
        elsewhere[name] for name in difflib.get_close_matches(wanted, elsewhere, n=1)
    ]
    return f"did you mean `{near[0]}`?" if near else "remove it, or see docs/settings.md"
