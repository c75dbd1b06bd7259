"""What a command prints for people: made for the terminal's width, and whole lines where nobody cuts them.

A pipe or a file gets every name and reason in full, without colours and without blanks at the ends of lines.
Neighbour: `render` makes the views.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, RenderableType

from cfm.cli.common import fail, print_json
from cfm.cli.render.page import NO_END
from cfm.errors import CfmError


def tell(found: Any, view: Callable[[Any], RenderableType], *, json: bool) -> None:
    """Print what was found: as JSON for scripts, or as a view for people."""
    if json:
        print_json(found)
    else:
        show(view(found))


def tell_of(
    name: str,
    kind: str,
    found: Any,
    view: Callable[[Any], RenderableType],
    *,
    exists: bool,
    json: bool,
) -> None:
    """Print what was found about a name.  Where there is nothing of that kind, exit 1 with the nearest names.

    `found` has these names as `near`.
    """
    if json or exists:
        tell(found, view, json=json)
    if not exists:
        fail(CfmError(f"no {kind} is called {name}{meant(found['near'])}"))


def meant(near: Sequence[str]) -> str:
    """`; did you mean A or B?`"""
    return f"; did you mean {' or '.join(near)}?" if near else ""


def show(view: RenderableType) -> None:
    """Print a view."""
    if sys.stdout.isatty():
        Console().print(view)
    else:
        print(as_text(view))


def as_text(view: RenderableType, width: int = NO_END) -> str:
    """A view as plain text."""
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False).print(view)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip("\n").split("\n"))
