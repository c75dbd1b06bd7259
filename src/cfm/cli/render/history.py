"""`cfm history`: what happened to a file, to a server, or at all; the newest last, as one reads a log."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from cfm.cli.render.events import event_style
from cfm.cli.render.page import Json, said
from cfm.cli.render.words import moment_words


def history_view(found: Json) -> RenderableType:
    events = found["events"]
    if not events:
        about = f" about {found['about']}" if found["about"] else ""
        return said(f"Nothing is remembered{about}.", "dim")
    return Group(*(_line(event) for event in reversed(events)))


def _line(event: Json) -> Text:
    return Text.assemble((f"{moment_words(event['at'])}  ", "dim"), said(event["text"], event_style(event)))
