"""Why a file may or may not be copied to each destination, with the numbers that decide.  Pure.

The guards are the judge's own.  Here each destination is asked about by itself, and nothing is booked.
Neighbours: `why` tells of the file as a whole, and puts these beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

from cfm.controller.decide.core import Core
from cfm.controller.explain.words import size_words, some_of
from cfm.model import NOBODY, Addr, File, ServerView, Unknown
from cfm.plan import refusals
from cfm.plan.case import Case, first_refusal
from cfm.plan.ledger import Ledger
from cfm.plan.policies.copies import why
from cfm.plan.refusals import Refusal, to_be_told
from cfm.plan.view import ClusterView, can_send
from cfm.plan.wishes import Copy

Json: TypeAlias = dict[str, Any]


def places_json(core: Core, view: ClusterView, file: File) -> list[Json]:
    """One entry for each destination: whether a copy could begin there now, and if not, why not."""
    ledger = Ledger(view)
    return [_place_json(core, view, ledger, file, server) for server in view.destinations]


def _place_json(core: Core, view: ClusterView, ledger: Ledger, file: File, server: ServerView) -> Json:
    disk = ledger.disks.get(server.addr)
    holds = server.addr in view.holders.get(file.name, NOBODY)
    is_placed = holds or view.is_placed(file.name)
    refusal = refusals.ALREADY_PLACED if is_placed else _refusal(core, view, ledger, file, server)
    worst = _worst(core, view, server.addr)
    return {
        "server": server.addr,
        "allowed": refusal is None,
        "reason": refusal.name if refusal else None,
        "text": _words(view, file, server, refusal, disk.room_bytes() if disk else None, worst),
        "room_bytes": disk.room_bytes() if disk else None,
        "worst_rank": worst.rank if worst else None,
    }


def _refusal(core: Core, view: ClusterView, ledger: Ledger, file: File, server: ServerView) -> Refusal | None:
    """Why no copy goes there; None where one could, from some source."""
    kernel, reason = core.state.kernel, why(view, file)
    if server.addr not in ledger.disks:
        return refusals.NO_DESTINATION

    def copy_from(source: ServerView) -> Case[Copy]:
        return Case(view, ledger, Copy(file, source.addr, server.addr, reason))

    senders = [source for source in view.sources if can_send(source, server)]
    if not senders:
        return refusals.NO_SOURCE
    # Whichever source it is, the place is the same.
    refusal = first_refusal(kernel.place_guards + kernel.fit_guards, copy_from(senders[0]))
    if refusal is not None:
        return refusal
    told: Refusal | None = None
    for source in senders:
        if (refusal := first_refusal(kernel.turn_guards, copy_from(source))) is None:
            return None
        told = to_be_told(told, refusal)
    return told


def _worst(core: Core, view: ClusterView, addr: Addr) -> File | None:
    """The least wanted file that may go from there, by the last plan."""
    there = core.shortlist.evictable.get(addr, ())
    return next((file for file in there if addr in view.holders.get(file.name, NOBODY)), None)


def _words(
    view: ClusterView,
    file: File,
    server: ServerView,
    refusal: Refusal | None,
    room_bytes: int | None,
    worst: File | None,
) -> str:
    if refusal is None:
        return f"could be copied there now: {_needs(file, room_bytes)}"
    if refusal is refusals.ALREADY_PLACED:
        holders = view.holders.get(file.name, NOBODY)
        return "it is there" if server.addr in holders else f"one copy is enough: {_it_is_on(holders)}"
    if refusal is refusals.NO_ROOM or (room_bytes is not None and file.size_bytes > room_bytes):
        return "; ".join(_no_room(view, file, room_bytes, worst))
    if refusal is refusals.NO_DESTINATION:
        doubt = "; it may have this file" if server in view.doubtful and view.may_hold(server, file) else ""
        return f"{_not_usable(server)}{doubt}" or "it receives as many copies as it may now"
    return "no source that can send to it is free" if refusal is refusals.NO_SOURCE else refusal.text


def _it_is_on(holders: Collection[Addr]) -> str:
    return f"it is on {some_of(sorted(holders))}"


def _not_usable(server: ServerView) -> str:
    """Why nothing at all is copied to a destination; empty where something could be."""
    if not server.up:
        return "it does not answer"
    for what, known in (("list", server.files), ("disk usage", server.disk)):
        if isinstance(known, Unknown):
            return f"its {what} is unknown: {known.why}"
    return ""


def _no_room(view: ClusterView, file: File, room_bytes: int | None, worst: File | None) -> Iterator[str]:
    yield _needs(file, room_bytes)
    if worst is None:
        yield "no file there may be deleted for it"
    elif view.outranks(file, worst):
        yield f"the worst file that may go there is rank {worst.rank:,}, clearly worse: room may be made"
    elif worst.rank <= file.rank:
        yield f"the worst file that may go there is rank {worst.rank:,}, better than this one"
    else:
        margin = f"the margin is {view.rules.room_margin_percent} %"
        yield f"the worst file that may go there is rank {worst.rank:,}, not clearly worse ({margin})"


def _needs(file: File, room_bytes: int | None) -> str:
    """In bytes where the two sizes would read alike."""
    need = size_words(file.size_bytes)
    if room_bytes is None:
        return f"it needs {need}, and it is not known how much room there is"
    room = size_words(room_bytes)
    if need == room and file.size_bytes != room_bytes:
        need, room = f"{file.size_bytes:,} B", f"{room_bytes:,} B"
    return f"it needs {need}, there is room for {room}"
