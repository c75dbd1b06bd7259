"""The command lines of both programs: commands in groups, and help that shows what a person types.

Neighbours: `cfm` and `cfw` put their commands into these; `shape` reads them for completion and manual pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])

HELP_NAMES: Final = ("-h", "--help")
LOOK: Final = "Look at a running node"
CHANGE: Final = "Change something"
SET_UP: Final = "Set up and run"
MORE: Final = "More"


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _as_typed(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _as_typed(super().get_params(ctx))


def _as_typed(params: list[Any]) -> list[Any]:
    """A switch takes no value, and does not look as if it did."""
    for one in params:
        if getattr(one, "is_flag", False):
            one.metavar = ""
    return params


class CommandLine(typer.Typer):
    """A program, or a group of its commands.  Each of them has `-h`."""

    def __init__(self, **options: Any) -> None:
        names = {"help_option_names": list(HELP_NAMES)}
        super().__init__(
            cls=_Group,
            add_completion=False,
            pretty_exceptions_enable=False,
            context_settings=names,
            **options,
        )

    def command(self, *args: Any, **options: Any) -> Callable[[F], F]:
        added: Callable[[F], F] = super().command(*args, cls=_Command, **options)
        return added
