"""Decisions as sentences, the same ones in a terminal and on a page.  Pure.

Neighbours: `act.loop` keeps what was said lately and `story` what the store remembers; `cli.render` and
`serve.pages` show the sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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
    "file stopped rising": "{file} stopped rising: its hits in the window are below the threshold",
    "server is up": "{server} is up",
    "server is down": "{server} is down: {because}",
    "metadata accepted": "new metadata is in use: {known} of {graded} graded files are known",
    "metadata rejected": "new metadata is rejected: {because}",
    "breaker released": "the breaker at {server} was released by {by}",
    "metadata accepted by an operator": "rejected metadata was accepted by {by}",
    "condition begins": "{condition} begins: {because}",
    "condition ends": "{condition} ends after {lasted_s} s",
    "settings changed": "the settings were read again for {by}; changed: {keys}",
}
"""The sentence for an event.  An event that is not here is told by its name and its facts."""


def event_words(event: Mapping[str, Any]) -> str:
    """A decision as one sentence."""
    sentence = EVENT_SENTENCES.get(str(event["event"]))
    try:
        if sentence is not None:
            return sentence.format_map(event)
    except KeyError:
        pass  # A fact is missing: the event is told plainly below.
    facts = ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("at", "event", "level"))
    return f"{event['event']}: {facts}" if facts else str(event["event"])
