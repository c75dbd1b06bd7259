"""The verdict: one sentence for people about what goes on, or why nothing does, and which brake holds.

Pure: made from the core's state at one moment.  Neighbours: `report` puts it on top of everything it tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cfm.controller.decide.core import Core
from cfm.model import Addr, Known, Now, OrderStatus
from cfm.plan import refusals
from cfm.plan.round import Copy, Delete, Round


def verdict(core: Core, round_: Round | None, now: Now) -> str:
    """One sentence for people: what goes on, or why nothing does, and which brake holds."""
    state = core.state
    if state.store_trouble:
        return (
            f"Paused: cfm cannot write its own state ({state.store_trouble}); it goes on when there is room."
        )
    if state.snapshot is None:
        why = state.rejected.why if state.rejected else "they were not read yet"
        return f"Doing nothing: no grade and history files are in force: {why}."
    parts = [_activity(core, round_, now), *_held(round_), *_waiting(round_), *_trouble(core, round_, now)]
    return "; ".join(part for part in parts if part) + "."


def _activity(core: Core, round_: Round | None, now: Now) -> str:
    tasks, orders = core.state.tasks.by_file.keys(), core.state.orders.by_file.keys()
    done = round_.done if round_ else []
    copies = len(tasks | {p.file.name for p in done if isinstance(p, Copy)})
    deletes = len(orders | {p.deletion.file.name for p in done if isinstance(p, Delete)})
    if not copies and not deletes:
        return _idle(core, round_, now)
    waiting = _count(_unplaced(core), "wanted file", "wanted files")
    deeds = f"{_count(copies, 'copy', 'copies')} and {_count(deletes, 'delete', 'deletes')} now"
    return f"{deeds}, {waiting} not placed"


def _unplaced(core: Core) -> int:
    """Wanted files that are neither on a destination nor on their way, as far as the last plan told."""
    placed, coming, wanted = core.state.fleet.holders, core.state.tasks.by_file, core.shortlist.wanted
    left = sum(1 for file in wanted if file.name not in placed and file.name not in coming)
    return left + core.shortlist.wanted_total - len(wanted)


def _idle(core: Core, round_: Round | None, now: Now) -> str:
    """Nothing is under way: because all is done, or because something is waited for."""
    times = {reason: round_.times("copy", reason) for reason in _WAITING} if round_ else {}
    waits = [reason for reason, number in times.items() if number]
    if not waits and core.state.left_alone_after_failures(now):
        waits = [refusals.RETRY_LATER]
    if waits:
        reason = max(waits, key=lambda reason: times.get(reason, 0))
        return f"Waiting to copy ({reason.name}: {reason.text})"
    if round_ is not None and round_.times("delete", refusals.PACE):
        return "Waiting to delete"
    looking = round_ is None or core.state.wants_plan or core.shortlist.snapshot_id == ""
    return "Looking" if looking else "At rest"


_WAITING = (
    refusals.HOLDER_UNKNOWN,
    refusals.NO_SOURCE,
    refusals.NO_DESTINATION,
    refusals.SAN_UNKNOWN,
    refusals.RETRY_LATER,
)
"""Reasons for which a copy only waits; the others say that there is nothing to copy."""


def _held(round_: Round | None) -> Iterable[str]:
    """Brakes at single servers; those that hold everywhere are told once, by `_trouble`."""
    brakes = [] if round_ is None else sorted(round_.brakes, key=lambda brake: (str(brake[0]), brake[1].name))
    for server, refusal in brakes:
        if server is not None and refusal not in (refusals.DELETES_OFF, refusals.METADATA_OLD):
            yield f"held by {refusal.name} at {server}: {refusal.text} ({refusal.release})"


def _waiting(round_: Round | None) -> Iterable[str]:
    """Brakes that let go by themselves, with what a person can do about them all the same."""
    if round_ is None:
        return
    if round_.times("delete", refusals.PACE):
        paced = sorted({str(r.server) for r in round_.refused if r.refusal is refusals.PACE})
        yield f"held by pace at {', '.join(paced) or 'some server'}: {refusals.PACE.text} ({_PACE_ENDS})"
    unlisted = [s.addr for s in round_.view.destinations if s.up and s.last_list is None]
    if unlisted:
        yield f"nothing is deleted at {', '.join(unlisted)}: not listed since cfm started ({_LISTED_ENDS})"


_PACE_ENDS = (
    "it goes on within a minute; `remover.space_deletes_per_minute`, `remover.trims_per_minute` set it"
)
_LISTED_ENDS = "its first complete list ends that; `cfm status` says why there is none"
_YOUNG_ENDS = "what is young may go when it has stayed for `remover.minimum_stay_sec`"


def _trouble(core: Core, round_: Round | None, now: Now) -> Iterable[str]:
    down = [addr for addr in core.state.fleet.records if core.state.health.pulse(addr).up is False]
    if down:
        yield f"down: {', '.join(down)}"
    if core.state.rejected is not None:
        yield f"the newest metadata is not used: {core.state.rejected.why}"
    if core.state.metadata_age_ms(now) > core.state.rules.metadata_max_age_ms:
        yield f"nothing is deleted: {refusals.METADATA_OLD.text} ({refusals.METADATA_OLD.release})"
    if not core.state.rules.deletes_on:
        yield f"deletes are off ({refusals.DELETES_OFF.release})"
    if core.san_index is None:
        yield f"the source folders are unknown: {core.san_index_why}"
    unknown = [o for o in core.state.orders.active.values() if o.status is OrderStatus.UNKNOWN]
    if unknown:
        yield f"{_count(len(unknown), 'delete', 'deletes')} of unknown outcome"
    if round_ is not None:
        yield from _full(core, round_)


def _full(core: Core, round_: Round) -> Iterable[str]:
    """Disks over their limit where nothing goes, and files that find no room."""
    busy = {made.server for made in core.state.orders.active.values()}
    busy |= {p.deletion.server for p in round_.done if isinstance(p, Delete)}
    paced = {r.server for r in round_.refused if r.refusal is refusals.PACE}
    braked = {server for server, _refusal in round_.brakes} | paced
    full = {
        server for server, refusal in round_.brakes if refusal is not refusals.SAME_DISK_SUSPECTED
    } | paced
    for addr, disk in round_.ledger.disks.items():
        if disk.need_bytes and addr not in busy | braked:
            yield f"{addr} is over its limit and nothing there may go ({_kept_there(round_, addr)})"
    unplaced = round_.times("copy", refusals.NO_ROOM)
    if unplaced and not round_.done and not busy and not full:
        files = _count(unplaced, "wanted file fits", "wanted files fit")
        yield f"{files} nowhere, and nothing may go for {'it' if unplaced == 1 else 'them'}"


def _kept_there(round_: Round, addr: Addr) -> str:
    """Why: what was refused there, and what is not even proposed, as viewers want it or it has just come."""
    view = round_.view
    reasons = Counter(r.refusal.name for r in round_.refused if r.server == addr)
    files = view.servers[addr].files
    there = files.value if isinstance(files, Known) else frozenset[str]()
    reasons["rising"] += sum(name in there for name in view.hits.rising)
    reasons["watched"] += sum(name in there for name in view.hits.watched)
    reasons["young"] += sum(place == addr and view.is_young(name, addr) for name, place in view.arrivals)
    told = [f"{name}: {number}" for name, number in reasons.most_common(3) if number]
    ends = f"; {_YOUNG_ENDS}" if reasons["young"] else ""
    return (", ".join(told) or "no known file is there") + ends


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
