"""What the node does right now: it works, waits for something, plans, is idle, or is stopped.

Pure: made from the core's state and its last round.  Neighbours: `conditions` says what is wrong besides,
`verdict` makes one sentence of both.
"""

from __future__ import annotations

from cfm.controller.decide.core import Core
from cfm.controller.explain.health import Activity, Doing
from cfm.model import Now
from cfm.plan import refusals
from cfm.plan.refusals import Refusal
from cfm.plan.round import Round


def activity(core: Core, round_: Round | None, now: Now) -> Activity:
    """What goes on now."""
    tasks, orders = core.state.tasks.by_file.keys(), core.state.orders.by_file.keys()
    copies = tasks | {copy.file.name for copy in (round_.copies if round_ else ())}
    deletes = orders | {delete.file.name for delete in (round_.deletes if round_ else ())}
    doing = _doing(core, round_, now)
    if doing is not Doing.STOPPED and (copies or deletes):
        doing = Doing.WORKING if tasks or orders else Doing.STARTING
    waiting = len(_unplaced(core) - copies) + _beyond_the_plan(core)
    return Activity(doing, len(copies), len(deletes), waiting)


def unplaced_files(core: Core) -> int:
    """How many wanted files are on no destination, as far as the last plan tells."""
    return len(_unplaced(core)) + _beyond_the_plan(core)


def _unplaced(core: Core) -> set[str]:
    is_placed = core.state.is_placed
    return {file.name for file in core.shortlist.wanted if not is_placed(file.name)}


def _beyond_the_plan(core: Core) -> int:
    """Files that the plan counts and does not list."""
    return core.shortlist.wanted_total - len(core.shortlist.wanted)


WAITED_FOR = (
    refusals.HOLDER_UNKNOWN,
    refusals.NO_SOURCE,
    refusals.NO_DESTINATION,
    refusals.SAN_UNKNOWN,
    refusals.RETRY_LATER,
    refusals.PAIR_IN_PAUSE,
    refusals.SOURCE_IN_PAUSE,
    refusals.DESTINATION_IN_PAUSE,
    refusals.STILL_BEING_WRITTEN,
)
"""Reasons for which a copy only waits.  The other reasons say that there is nothing to copy."""


def why_copies_wait(core: Core, round_: Round | None, now: Now) -> Refusal | None:
    """The reason for which most of the waiting copies wait; None where none waits."""
    times = {reason: round_.times("copy", reason) for reason in WAITED_FOR} if round_ else {}
    if round_ is not None and round_.view.first_look and times[refusals.HOLDER_UNKNOWN]:
        return refusals.HOLDER_UNKNOWN  # only a few of them are wished for
    if any(times.values()):
        return max(times, key=lambda reason: times[reason])
    # The plan leaves these out, so that no round refuses them.
    if core.state.silent_files():
        return refusals.SAN_UNKNOWN
    return refusals.RETRY_LATER if core.state.left_alone_after_failures(now) else None


def _doing(core: Core, round_: Round | None, now: Now) -> Doing:
    """What goes on where nothing is under way or chosen."""
    if core.state.store_trouble or core.state.snapshot is None:
        return Doing.STOPPED
    if why_copies_wait(core, round_, now) or (round_ and round_.times("delete", refusals.PACE)):
        return Doing.WAITING
    planning = round_ is None or core.plans.is_outdated or core.shortlist.snapshot_id == ""
    return Doing.PLANNING if planning else Doing.IDLE
