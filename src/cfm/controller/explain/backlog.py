"""The backlog, page by page: the wanted files that are on no destination, and why each is not yet.  Pure.

Neighbours: `activity` counts them, `why` tells everything about one of them.
"""

from __future__ import annotations

from itertools import islice

from cfm.controller.decide.core import Core
from cfm.controller.explain.activity import unplaced_files
from cfm.controller.explain.parts import Json
from cfm.controller.explain.words import size_words
from cfm.model import NOBODY, File, Now
from cfm.plan import refusals


def backlog_json(core: Core, now: Now, offset: int = 0, limit: int = 100) -> Json:
    """The files of the backlog from `offset`, most wanted first, with their reasons.

    The last plan lists the first few thousand and counts the others: `listed` and `total`.
    """
    del now
    wanted = [file for file in core.backlog().wanted if not core.state.is_placed(file.name)]
    rows = [_row(core, file) for file in islice(wanted, offset, offset + limit)]
    return {"total": unplaced_files(core), "listed": len(wanted), "offset": offset, "rows": rows}


def _row(core: Core, file: File) -> Json:
    reason, text = _why(core, file)
    return {
        "rank": file.rank,
        "file": file.name,
        "size_bytes": file.size_bytes,
        "hits": core.state.hits.rising.get(file.name, file.hits),
        "on": sorted(core.state.fleet.holders.get(file.name, NOBODY)),
        "reason": reason,
        "why": text,
    }


def _why(core: Core, file: File) -> tuple[str | None, str]:
    """What the last round said of it; a file that it did not come to waits for its turn."""
    if (task := core.state.tasks.by_file.get(file.name)) is not None:
        return refusals.IN_TASK.name, f"it is being copied to {task.destination}"
    round_ = core.last_round
    if round_ is None:
        return None, "it waits for its turn"
    refusal, room_bytes = round_.why_not_copied(file.name), round_.ledger.largest_room_bytes()
    if refusal in (None, refusals.NO_ROOM) and file.size_bytes > room_bytes:
        need = f"it needs {size_words(file.size_bytes)}; the largest room is {size_words(room_bytes)}"
        return refusals.NO_ROOM.name, need
    return (refusal.name, refusal.text) if refusal is not None else (None, "it waits for its turn")
