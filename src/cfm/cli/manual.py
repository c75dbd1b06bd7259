"""`cfm man`: the manual page of a program, in the language of `man`.

Neighbour: `shape` reads the commands, so the page has what `-h` has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cfm import __version__
from cfm.cli.shape import CommandShape, OptionShape

EXIT_STATUS = (
    ("0", "fine"),
    ("1", "it could not run"),
    ("2", "wrong usage or settings"),
    ("3", "a check found something"),
)


def page(program: str, commands: Sequence[CommandShape]) -> str:
    """The whole page, as roff."""
    top, *rest = commands
    lines = [
        f'.TH {program.upper()} 1 "" "{program} {__version__}" "User Commands"',
        ".SH NAME",
        f"{program} \\- {_text(top.summary)}",
        ".SH SYNOPSIS",
        f".B {program}",
        '.RI [ COMMAND ] " " [ OPTIONS ]',
        ".SH DESCRIPTION",
        *_paragraphs(top.help),
        *_options(top),
        ".SH COMMANDS",
    ]
    for command in rest:
        if not command.below:
            lines += _command(program, command)
    lines.append(".SH EXIT STATUS")
    for code, told in EXIT_STATUS:
        lines += [".TP", f".B {code}", _text(told)]
    lines += [".SH FILES", ".TP", f".I {program}.yml"]
    lines.append(_text("the settings, in the current folder; -c names another file"))
    return "\n".join([*lines, ""])


def _command(program: str, command: CommandShape) -> Iterator[str]:
    arguments = " ".join(f"[{one.value}]" for one in command.arguments)
    yield f'.SS "{_text(" ".join((program, *command.path, arguments)).strip())}"'
    yield from _paragraphs(command.help)
    for one in command.arguments:
        yield from (".TP", f".I {_text(one.value)}", _text(one.help))
    yield from _options(command)


def _options(command: CommandShape) -> Iterator[str]:
    for option in command.options:
        yield from (".TP", f".B {_flags(option)}", _text(option.help))


def _flags(option: OptionShape) -> str:
    value = f" {option.value}" if option.value else ""
    return _text(", ".join(option.flags) + value)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n"):
        yield from (".PP", _text(" ".join(paragraph.split())))


def _text(text: str) -> str:
    """Nothing of it is a command of roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return re.sub(r"^([.'])", r"\\&\1", escaped)
