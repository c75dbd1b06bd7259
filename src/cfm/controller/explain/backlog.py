"""The backlog, page by page: the wanted files that are on no destination, and why each is not yet.  Pure.

Neighbours: `activity` counts them, `why` tells everything about one of them.
"""

from __future__ import annotations

from itertools import islice

from cfm.controller.decide.core import Core
from cfm.controller.explain.activity import activity, unplaced_files, why_copies_wait
from cfm.controller.explain.health import Doing
from cfm.controller.explain.parts import Json
from cfm.controller.explain.words import size_words
from cfm.model import NOBODY, File, Now
from cfm.plan import refusals
from cfm.plan.refusals import Refusal


def backlog_json(core: Core, now: Now, offset: int = 0, limit: int = 100) -> Json:
    """The files of the backlog from `offset`, most wanted first, with their reasons.

    The last plan lists the first few thousand and counts the others: `listed` and `total`.
    """
    wanted = [file for file in core.backlog().wanted if not core.state.is_placed(file.name)]
    others = _why_all_wait(core, now)
    rows = [_row(core, file, others) for file in islice(wanted, offset, offset + limit)]
    return {"total": unplaced_files(core), "listed": len(wanted), "offset": offset, "rows": rows}


def _why_all_wait(core: Core, now: Now) -> Refusal | None:
    """Why every file waits that has space.  Then a round wishes for the first few only."""
    round_ = core.last_round
    reason = why_copies_wait(core, round_, now)
    first_look = round_ is not None and round_.view.first_look
    waits = first_look or reason in (refusals.NO_SOURCE, refusals.NO_DESTINATION)
    return reason if waits and activity(core, round_, now).doing is Doing.WAITING else None


def _row(core: Core, file: File, others: Refusal | None) -> Json:
    reason, text = _why(core, file, others)
    return {
        "rank": file.rank,
        "file": file.name,
        "size_bytes": file.size_bytes,
        "hits": core.state.hits.rising.get(file.name, file.hits),
        "on": sorted(core.state.fleet.holders.get(file.name, NOBODY)),
        "reason": reason,
        "why": text,
    }


def _why(core: Core, file: File, others: Refusal | None) -> tuple[str | None, str]:
    """What the last round said of it, or of others like it; else it waits for its turn."""
    if (task := core.state.tasks.by_file.get(file.name)) is not None:
        return refusals.IN_TASK.name, f"it is being copied to {task.destination}"
    round_ = core.last_round
    if round_ is None:
        return None, "it waits for its turn"
    refusal, ledger = round_.why_not_copied(file.name), round_.ledger
    fits = not ledger.disks or file.size_bytes <= ledger.largest_room_bytes()
    if refusal in (None, refusals.NO_ROOM) and not fits:
        room_bytes = ledger.largest_room_bytes()
        need = f"it needs {size_words(file.size_bytes)}; the largest room is {size_words(room_bytes)}"
        return refusals.NO_ROOM.name, need
    refusal = refusal or others
    return (refusal.name, refusal.text) if refusal is not None else (None, "it waits for its turn")
