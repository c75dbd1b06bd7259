"""How far long work is: what cfm reads, lists and plans, with counts, for `cfm status` and the page.

Pure: values in, values out.  Nothing here is wrong with the node; what is, stands in the conditions.
Neighbours: `act.loop` brings the counts of what is read, the core has the others.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from cfm.controller.decide.core import Core
from cfm.controller.explain.parts import Json
from cfm.controller.explain.words import count_words, size_words, time_words


class Work(enum.StrEnum):
    """What takes long."""

    READING_METADATA = "reading_metadata"
    LISTING_SOURCE_FOLDER = "listing_source_folder"
    LISTING_SERVERS = "listing_servers"
    PLANNING = "planning"
    LOOKING_UP_RISING = "looking_up_rising"


@dataclass(frozen=True, slots=True)
class WorkProgress:
    """One work that is under way."""

    work: Work
    text: str
    done: int | None = None
    """Of what `text` names; None where nobody can say."""
    total: int | None = None

    def as_json(self) -> Json:
        return {"work": self.work.value, "text": self.text, "done": self.done, "total": self.total}


def reading_metadata(done_bytes: int, total_bytes: int) -> WorkProgress:
    if done_bytes < total_bytes:
        how_far = f"{size_words(done_bytes)} of {size_words(total_bytes)}"
        text = f"reading the grade and history files, {how_far}"
    else:
        text = "joining the grade and history files"
    return WorkProgress(Work.READING_METADATA, text, done_bytes, total_bytes)


def listing_source_folder(folder: str, done: int, before: int | None) -> WorkProgress:
    """`before`: how many names it had when it was listed last; None at the first time."""
    than = f", {before:,} last time" if before is not None else ""
    text = f"listing {folder}, {count_words(done, 'name', 'names')} so far{than}"
    return WorkProgress(Work.LISTING_SOURCE_FOLDER, text, done, before)


def looking_up_rising(files: int, for_s: float) -> WorkProgress:
    names = count_words(files, "file that rises", "files that rise")
    return WorkProgress(Work.LOOKING_UP_RISING, f"looking up {names}, for {time_words(int(for_s))}", 0, files)


def in_core(core: Core) -> Iterator[WorkProgress]:
    """Servers that are listed for the first time, and the first plan from these metadata."""
    state = core.state
    unseen, all_of_them = sum(1 for _addr in state.unseen()), len(state.config.destinations)
    if unseen:
        text = f"{all_of_them - unseen:,} of {count_words(all_of_them, 'server', 'servers')} listed"
        yield WorkProgress(Work.LISTING_SERVERS, text, all_of_them - unseen, all_of_them)
    metadata = state.snapshot
    if metadata is not None and core.plans.running and core.shortlist.snapshot_id != metadata.id:
        files = count_words(metadata.known_files, "file", "files")
        yield WorkProgress(Work.PLANNING, f"planning for {files}", total=metadata.known_files)
