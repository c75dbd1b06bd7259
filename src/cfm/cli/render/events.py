"""Decisions as sentences: what was copied and deleted, and what happened to servers and metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from cfm.cli.render.page import Json, said
from cfm.cli.render.words import clock_words

EVENTS_SHOWN: Final = 8
EVENT_SENTENCES: Final[Mapping[str, str]] = {
    "copied file": "copied {file} to {server} ({reason})",
    "copy starts": "the copy of {file} from {source} to {server} starts ({reason})",
    "copy done": "the worker says that {file} is on {server} ({reason})",
    "copy failed": "the copy of {file} to {server} failed: {because}; next try in {again_in_s} s",
    "copy ended": "the copy of {file} to {server} ended: {because}",
    "deleted file": "deleted {file} on {server} ({reason})",
    "delete ordered": "{file} is to be deleted on {server} ({reason})",
    "delete sent": "{file} is being deleted on {server} ({reason})",
    "delete dropped": "the delete of {file} on {server} was given up: {because}",
    "delete unclear": "the delete of {file} on {server} has an unknown outcome: {because}",
    "file rises": "{file} rises: {hits} hits in the window",
    "server is up": "{server} is up",
    "server is down": "{server} is down: {because}",
    "metadata accepted": "new metadata is in use: {known} of {graded} graded files are known",
    "metadata rejected": "new metadata is rejected: {because}",
    "breaker released": "an operator released the breaker at {server}",
}
"""The sentence for an event.  An event that is not here is told by its name and its facts."""
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
    style = _LEVEL_STYLES.get(str(event.get("level"))) or _EVENT_STYLES.get(str(event["event"]), "")
    return Text.assemble((f"{clock_words(event['at'])} ", "dim"), said(event_words(event), style))


def event_words(event: Json) -> str:
    """A decision as one sentence."""
    sentence = EVENT_SENTENCES.get(str(event["event"]))
    try:
        if sentence is not None:
            return sentence.format_map(event)
    except KeyError:
        pass  # A fact is missing: the event is told plainly below.
    facts = ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("at", "event", "level"))
    return f"{event['event']}: {facts}" if facts else str(event["event"])
