"""Decisions as sentences, the same ones in a terminal and on a page.  Pure.

Neighbours: `act.loop` keeps what was said lately and `story` what the store remembers; `cli.render` and
`serve.pages` show the sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cfm.controller.explain.words import size_words, time_words

EVENT_SENTENCES: Final[Mapping[str, str]] = {
    "copied file": "copied {file} to {server} ({reason})",
    "copy starts": "began to copy {file} from {source} to {server} ({reason})",
    "copy failed": "the copy of {file} to {server} failed: {because}; next try in {again_in_s} s",
    "copy ended": "the copy of {file} to {server} ended: {because}",
    "deleted file": "deleted {file} on {server} ({reason})",
    "deleted files may come back": "{files} files that went for space on {server} may come back: {because}",
    "delete dropped": "the delete of {file} on {server} was given up: {because}",
    "delete unclear": "the delete of {file} on {server} has an unknown outcome: {because}",
    "file rises": "{file} rises: {hits} hits in the window",
    "file stopped rising": "{file} stopped rising: its hits in the window are below the threshold",
    "copies fail there": "copies fail {from_and_to}: {because}",
    "copies vanished": "{files} copies have vanished from {server}, such as {file}",
    "copy is stale": "the copy of {file} on {server} is older than the file on the SAN",
    "its worker asks for other work": "the old worker at {server} asks for other work than {file}",
    "server is up": "{server} is up",
    "server is down": "{server} is down: {because}",
    "list not believed yet": "the file list of {server} is not believed yet: {because}",
    "disk limits differ, the lower one holds": (
        "{server} has a limit of {its_percent} %, cfm of {ours_percent} %: the lower one holds"
    ),
    "its disk is a source folder": "the disk of {server} is the source folder {folder}: it is not used",
    "its disk seems to be a source folder": (
        "the disk of {server} seems to be the source folder {folder}: it is not used"
    ),
    "its disk is no source folder any more": "the disk of {server} is no source folder any more",
    "a worker has no valid credentials": "the worker at {server} has no valid credentials",
    "source folders unknown": "the source folders are unknown: {because}",
    "event log": "the event log is {condition}",
    "our own state cannot be written: no orders until it can": (
        "the state cannot be written, and nothing is ordered until it can: {because}"
    ),
    "our own state can be written again": "the state can be written again",
    "metadata accepted": "new metadata is in use: {known} of {graded} graded files are known",
    "metadata rejected": "new metadata is rejected: {because}",
    "breaker released": "the breaker at {server} was released by {by}, for {up_to_bytes_words}",
    "metadata accepted by an operator": "rejected metadata was accepted by {by}",
    "condition begins": "{condition} began: {because}",
    "condition ends": "{condition} ended after {lasted_words}",
    "settings changed": "the settings were read again for {by}; changed: {keys}",
}
"""The sentence for an event.  An event that is not here is told by its name and its facts."""


def event_words(event: Mapping[str, Any]) -> str:
    """A decision as one sentence."""
    sentence = EVENT_SENTENCES.get(str(event["event"]))
    try:
        if sentence is not None:
            return sentence.format_map({**event, **_words_of(event)})
    except KeyError:
        pass  # A fact is missing: the event is told plainly below.
    facts = ", ".join(f"{key} {value}" for key, value in event.items() if key not in _NO_FACTS)
    return f"{event['event']}: {facts}" if facts else str(event["event"])


_NO_FACTS: Final = frozenset({"id", "at", "event", "level", "text"})


def _words_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Facts as people say them."""
    sizes = {key: value for key, value in event.items() if key.endswith("_bytes") and isinstance(value, int)}
    ends = ("from", event.get("source")), ("to", event.get("server"))
    from_and_to = " ".join(f"{word} {addr}" for word, addr in ends if addr)
    words = {f"{key}_words": size_words(value) for key, value in sizes.items()}
    if isinstance(lasted_s := event.get("lasted_s"), int):
        words["lasted_words"] = time_words(lasted_s)
    return {**words, "from_and_to": from_and_to}
