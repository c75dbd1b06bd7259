"""Decisions as sentences: what was copied and deleted, and what happened to servers and metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from cfm.cli.render.page import Json, said
from cfm.cli.render.words import clock_words
from cfm.controller.explain.sentences import event_words

EVENTS_SHOWN: Final = 8
_EVENT_STYLES: Final = {"copied file": "green", "deleted file": "magenta", "file rises": "bold magenta"}
_LEVEL_STYLES: Final = {"warning": "yellow", "error": "red"}


def decisions(events: Sequence[Json], shown: int, width: int) -> RenderableType | None:
    """The last decisions, without those that are only for finding faults."""
    told = [event for event in events if event.get("level") != "debug"]
    if not told or shown < 1:
        return None
    lines = [Text("last decisions", style="bold"), *(event_line(event) for event in told[-shown:])]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def event_line(event: Json) -> Text:
    return Text.assemble(
        (f"{clock_words(event['at'])} ", "dim"), said(event_words(event), event_style(event))
    )


def event_style(event: Json) -> str:
    return _LEVEL_STYLES.get(str(event.get("level"))) or _EVENT_STYLES.get(str(event["event"]), "")
