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
    places = Places(outlook, outlook.trials)
    if not _may_try(outlook, places):
        return
    wishes, busy, view, promised = 0, outlook.busy_files, outlook.view, outlook.promised
    for file in in_turn(outlook.lists.wanted, places):
        if file.name in busy or file.name in promised or view.is_placed(file.name):
            continue
        if file.size_bytes > places.largest_open_bytes:
            continue
        wishes += 1
        if (yield Place(file, why(view, file), places.ways(file))) is None:
            places = Places(outlook, outlook.trials)
        if wishes >= FILES_TRIED or not _may_try(outlook, places):
            return


def _may_try(outlook: Outlook, places: Places) -> bool:
    """Is a destination open for a trial, and a source left over?  Where the SAN is being asked for a file,
    its answer is waited for: it starts a new round."""
    left_over = len(outlook.trials.sources) - len(outlook.promised)
    return left_over > 0 and not places.none_open and not outlook.waits_for_san
