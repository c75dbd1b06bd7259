"""`cfm completion SHELL`: what a shell needs to complete commands and options.

The script holds everything itself: a program that is started at each press of TAB would be too slow.
Neighbour: `shape` reads the commands.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from cfm.cli.shape import CommandShape


class Shell(enum.StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def script(shell: Shell, program: str, commands: Sequence[CommandShape]) -> str:
    """The script for one program."""
    return "\n".join([*_SCRIPTS[shell](program, commands), ""])


def _paths(commands: Sequence[CommandShape]) -> str:
    """A pattern of all that leads to a command: ` config| config show|…`."""
    return "|".join(_quoted(_path(one)) for one in commands if one.path)


def _path(command: CommandShape) -> str:
    return "".join(f" {name}" for name in command.path)


def _flags(command: CommandShape) -> list[str]:
    return [flag for option in command.options for flag in option.flags]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"


# ── bash ────────────────────────────────────────────────────────────────────────────────────────────────


def _bash(program: str, commands: Sequence[CommandShape]) -> Iterator[str]:
    """Where nothing of ours fits, bash completes files."""
    yield from (
        f"_{program}() {{",
        '    local word path="" found=""',
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        f'        case "$path $word" in {_paths(commands)}) path="$path $word" ;; esac',
        "    done",
        '    case "$path" in',
    )
    for command in commands:
        words = " ".join([*command.below, *_flags(command)])
        yield f"        {_quoted(_path(command))}) found={_quoted(words)} ;;"
    yield from (
        "    esac",
        '    COMPREPLY=($(compgen -W "$found" -- "${COMP_WORDS[COMP_CWORD]}"))',
        "}",
        f"complete -o default -F _{program} {program}",
    )


# ── zsh ─────────────────────────────────────────────────────────────────────────────────────────────────


def _zsh(program: str, commands: Sequence[CommandShape]) -> Iterator[str]:
    summaries = {one.path: one.summary for one in commands}
    yield from (
        f"#compdef {program}",
        f"_{program}() {{",
        '    local word place=""',
        "    local -a found",
        '    for word in "${(@)words[2,CURRENT-1]}"; do',
        f'        case "$place $word" in ({_paths(commands)}) place="$place $word" ;; esac',
        "    done",
        '    case "$place" in',
    )
    for command in commands:
        told = [f"{name}:{summaries[(*command.path, name)]}" for name in command.below]
        told += [f"{flag}:{option.help}" for option in command.options for flag in option.flags]
        yield f"        ({_quoted(_path(command))}) found=({' '.join(map(_quoted, told))}) ;;"
    yield from (
        "    esac",
        f"    _describe {program} found || _files",
        "}",
        # Read by `autoload`, the file is the function itself; sourced, it must be told to zsh.
        f'if [ "$funcstack[1]" = "_{program}" ]; then _{program} "$@"; else compdef _{program} {program}; fi',
    )


# ── fish ────────────────────────────────────────────────────────────────────────────────────────────────


def _fish(program: str, commands: Sequence[CommandShape]) -> Iterator[str]:
    for command in commands:
        if command.path:
            yield _fish_line(program, command.path[:-1], f"-a {command.path[-1]}", command.summary)
        for option in command.options:
            flags = " ".join(map(_fish_flag, option.flags))
            yield _fish_line(program, command.path, f"{flags}{' -r' if option.value else ''}", option.help)


def _fish_flag(flag: str) -> str:
    return f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"


def _fish_line(program: str, above: Sequence[str], what: str, told: str) -> str:
    seen = "; and ".join(f"__fish_seen_subcommand_from {name}" for name in above)
    return f"complete -c {program} -n {_quoted(seen or '__fish_use_subcommand')} {what} -d {_quoted(told)}"


_SCRIPTS: Final[Mapping[Shell, Callable[[str, Sequence[CommandShape]], Iterator[str]]]] = {
    Shell.BASH: _bash,
    Shell.ZSH: _zsh,
    Shell.FISH: _fish,
}
