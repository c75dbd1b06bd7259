"""Every command that the documentation shows is one that the programs take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer._click.core import Command, Context  # a command line of typer's own
from typer._click.exceptions import ClickException, UsageError
from typer.core import TyperGroup
from typer.main import get_command

from cfm.cli.cfm import app as cfm
from cfm.cli.cfw import app as cfw

ROOT = Path(__file__).parents[2]
PROGRAMS = {"cfm": get_command(cfm), "cfw": get_command(cfw)}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCE = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (.*)", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
COMMAND = re.compile(r"^(?:\$ |sudo )?(?:\S*/)?(cfm|cfw) (?=[a-z-])(.*)")
REST = re.compile(r"\s(?:#|>|\||&&|2>).*")
NUMBERS = {"N": "1", "SHELL": "bash", "PORT": "8080", "P": "8080", "S": "1", "H": "1"}


def commands(page: str) -> Iterator[list[str]]:
    """Each as its words; what follows a pipe, a comment or a redirection is left out."""
    blocks = [line for block in FENCE.findall(page) for line in block.splitlines()]
    lines = [*blocks, *INDENTED.findall(page), *(" ".join(span.split()) for span in SPAN.findall(page))]
    for line in lines:
        found = COMMAND.match(line.strip())
        if found and line.isascii():  # and no drawing
            text = REST.sub("", found[2]).replace("[", "").replace("]", "").replace("…", "")
            yield [found[1], *(NUMBERS.get(word, word) for word in shlex.split(text))]


def parsed(words: list[str]) -> str:
    """The name of the command that these words call.  Raises what click raises where they are wrong."""
    name, *rest = words
    command: Command = PROGRAMS[name]
    context: Context | None = None
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        found = command.get_command(Context(command, info_name=name), rest[0])
        if found is None:
            raise UsageError(f"no command {rest[0]}")
        name, command, rest = f"{name} {rest[0]}", found, rest[1:]
    if not isinstance(command, TyperGroup):
        named_alone = not rest and any(one.required for one in command.params)
        context = command.make_context(name, rest, resilient_parsing=named_alone)
    del context
    return name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_taken(page: Path) -> None:
    for words in commands(page.read_text()):
        try:
            parsed(words)
        except typer.Exit:
            continue
        except ClickException as error:
            pytest.fail(f"{page.name}: {' '.join(words)}: {error.format_message()}")


def leaves(name: str, command: Command) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for part, below in command.commands.items():
            yield from leaves(f"{name} {part}", below)
    else:
        yield name


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_is_documented(program: str) -> None:
    shown = {parsed(words) for page in PAGES for words in commands(page.read_text())}
    assert set(leaves(program, PROGRAMS[program])) <= shown


def test_what_is_no_command_is_found() -> None:
    """Or all of the above would hold for nothing."""
    assert list(commands("`cfm status --json`\n\n    cfw check -c x.yml  # why\n")) == [
        ["cfw", "check", "-c", "x.yml"],
        ["cfm", "status", "--json"],
    ]
    for wrong in (["cfm", "statsu"], ["cfm", "status", "--jsno"], ["cfm", "why", "a", "b"]):
        with pytest.raises(UsageError):
            parsed(wrong)
