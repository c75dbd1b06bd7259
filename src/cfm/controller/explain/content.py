"""Conditions of content: files that are being written on the SAN, and copies that are older than their files.

Pure.  Neighbours: `conditions` puts these among the others, `decide.versions` knows what is stale.
"""

from __future__ import annotations

from collections.abc import Iterator

from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.words import count_words, some_of
from cfm.plan import refusals


def being_written(scene: Scene) -> Iterator[Condition]:
    """Files that changed between two looks.

    A file that was looked at only once so far is told where nothing else goes on (see `held`).
    """
    if written := sorted(scene.state.being_written(scene.now)):
        what = count_words(len(written), "file is", "files are")
        yield Condition(
            name=refusals.STILL_BEING_WRITTEN.name,
            level=Severity.NOTE,
            text=f"{what} still being written to the SAN: {some_of(written)}",
            remedy="nothing to do: cfm copies them when they no longer change",
            files=len(written),
        )


def stale_copies(scene: Scene) -> Iterator[Condition]:
    """Copies of another version than the SAN has."""
    if stale := scene.state.versions.stale:
        there = scene.in_order(addr for servers in stale.values() for addr in servers)
        what = count_words(len(stale), "file was", "files were")
        yield Condition(
            name="stale_copies",
            level=Severity.NOTE,
            text=f"{what} written anew on the SAN, and older copies lie {scene.at(there)}",
            remedy="nothing to do: cfm replaces them, the most wanted first",
            servers=there,
            files=len(stale),
        )
