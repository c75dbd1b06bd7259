"""The commands that describe the others: `completion` and `man`, for both programs.

Neighbours: `shape` reads the commands, `completion` and `manual` make the texts.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cfm.cli.command_line import MORE
from cfm.cli.common import AsJson, print_json
from cfm.cli.completion import Shell, script


def add_descriptions(app: typer.Typer, program: str) -> None:
    """Add both commands to a program."""

    @app.command(
        rich_help_panel=MORE,
        help="Print what a shell needs to complete commands and options.\n\n"
        f"For bash: {program} completion bash > /etc/bash_completion.d/{program}",
    )
    def completion(
        shell: Annotated[Shell, typer.Argument(help="The shell that is to complete commands.")],
        json: AsJson = False,
    ) -> None:
        from cfm.cli.shape import shapes

        text = script(shell, program, shapes(app))
        if json:
            print_json({"shell": shell, "script": text})
        else:
            print(text, end="")

    @app.command(
        "man",
        rich_help_panel=MORE,
        help=f"Print the manual page: `{program} man > /usr/local/share/man/man1/{program}.1`.",
    )
    def manual(json: AsJson = False) -> None:
        from cfm.cli.manual import page
        from cfm.cli.shape import shapes

        if json:
            print_json({"program": program, "commands": [asdict(one) for one in shapes(app)]})
        else:
            print(page(program, shapes(app)), end="")
