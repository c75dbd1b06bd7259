"""The policy of trials: one copy to a destination that cost much time, to see whether it works again.

Where copies hang, each trial may hold a source for a while.  So it comes after `room`: the better files have
found a place before, or room is made for them on a healthy disk.  What is left has nothing to lose.
Neighbours: `plan.pauses` says when a trial may be; `copies` takes the destinations that cost little to try.
"""

from __future__ import annotations

from cfm.plan.outlook import Outlook
from cfm.plan.policies.copies import Places, in_turn, why
from cfm.plan.wishes import Place, Wishes

FILES_TRIED = 64
"""A round stops after so many files that were refused: a healthy destination takes them all."""


def trials(outlook: Outlook) -> Wishes:
    """The next wanted file to each such destination, while a source is left over for it."""
    wishes, places = 0, Places(outlook, outlook.trials)
    if places.none_open or outlook.waits_for_san:
        return
    busy, view, promised = outlook.busy_files, outlook.view, outlook.promised
    for file in in_turn(outlook.lists.wanted, places):
        if len(outlook.trials.sources) <= len(promised) or wishes >= FILES_TRIED or places.none_open:
            return
        if file.name in busy or file.name in promised or view.is_placed(file.name):
            continue
        if file.size_bytes > places.largest_open_bytes:
            continue
        wishes += 1
        if (yield Place(file, why(view, file), places.ways(file))) is None:
            places = Places(outlook, outlook.trials)
