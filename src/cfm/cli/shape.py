"""The commands of a program as values, for whoever describes them: completion and manual pages.

They are read from the command line itself, so neither can drift from what it takes.  Neighbours: `completion`
and `manual`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import typer

_MARKUP: Final = re.compile(r"`")


@dataclass(frozen=True, slots=True)
class OptionShape:
    """One option, or one argument (which has no flags)."""

    flags: tuple[str, ...]
    value: str
    """What it takes, as `FILE`; empty for a switch."""
    help: str


@dataclass(frozen=True, slots=True)
class CommandShape:
    """One command; `path` is empty for the program itself."""

    path: tuple[str, ...]
    help: str
    options: tuple[OptionShape, ...]
    arguments: tuple[OptionShape, ...]
    below: tuple[str, ...]
    """The names of its own commands."""

    @property
    def summary(self) -> str:
        """The first sentence of its help."""
        first = " ".join(self.help.split("\n\n", 1)[0].split())
        return re.split(r"(?<=[a-z)])\. (?=[A-Z])", first)[0].rstrip(".")


def shapes(app: typer.Typer) -> list[CommandShape]:
    """The program and all its commands, in the order of its help."""
    return list(_shapes(typer.main.get_command(app), ()))


def _shapes(command: Any, path: tuple[str, ...]) -> Iterator[CommandShape]:
    below = getattr(command, "commands", {})
    options = [_shape(one) for one in command.params if one.param_type_name == "option"]
    arguments = [_shape(one) for one in command.params if one.param_type_name == "argument"]
    options.append(OptionShape(("-h", "--help"), "", "Show the help."))
    help_ = _MARKUP.sub("", command.help or "")
    yield CommandShape(path, help_, tuple(options), tuple(arguments), tuple(below))
    for name, one in below.items():
        yield from _shapes(one, (*path, name))


def _shape(param: Any) -> OptionShape:
    is_switch = getattr(param, "is_flag", False)
    value = "" if is_switch else (param.metavar or _kind(param)).strip("[]")
    flags = tuple(sorted(param.opts, key=len)) if param.param_type_name == "option" else ()
    return OptionShape(flags, value, _MARKUP.sub("", param.help or ""))


def _kind(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.name).upper()
    return {"Path": "FILE", "int": "N", "float": "N"}.get(str(param.bare_type()), "TEXT")
