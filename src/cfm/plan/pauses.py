"""Pauses: which servers and pairs get no copy now, because copies failed there.

Until its pause ends, nothing is tried.  After that one copy alone is: further ones wait for its outcome.  A
server whose failures cost much time is spared for longer, but only while another one could do the copy.
Neighbours: `tasks.failures` says who is to blame and for how long; `guards.copies` refuses by this, and
`outlook` leaves out what it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping

from cfm.model import Addr, File, Pause, Side, Way, sides_of
from cfm.plan.ledger import Ledger
from cfm.plan.view import ClusterView, can_send


def source_rests(view: ClusterView, ledger: Ledger, addr: Addr) -> bool:
    """May this source send nothing, wherever to?"""
    pause = view.pauses.get(Side(source=addr))
    return pause is not None and _rests(view, pause, ledger.load(addr).outgoing)


def destination_rests(view: ClusterView, ledger: Ledger, addr: Addr) -> bool:
    """May this destination get nothing, wherever from?"""
    pause, load = view.pauses.get(Side(destination=addr)), ledger.load(addr)
    return pause is not None and _rests(view, pause, load.incoming + load.finishing)


def pair_rests(view: ClusterView, ledger: Ledger, source: Addr, destination: Addr) -> bool:
    """May nothing be copied from this source to that destination?"""
    pause = view.pauses.get(Side(source, destination))
    return pause is not None and _rests(view, pause, ledger.copies_on(source, destination))


def _rests(view: ClusterView, pause: Pause, under_way: int) -> bool:
    return view.now.mono_ms < pause.until_ms or under_way > 0


def is_spared(view: ClusterView, side: Side) -> bool:
    """Shall others do it, where they can?"""
    pause = view.pauses.get(side)
    return pause is not None and view.now.mono_ms < pause.spared_until_ms


def another_source(view: ClusterView, but: Addr, destination: Addr) -> bool:
    """Could a source without a pause send there, now or when it is free?"""
    to = view.servers[destination]
    return any(
        source.up
        and source.addr != but
        and can_send(source, to)
        and not is_to_blame(view.pauses, (source.addr, destination))
        for source in view.sources
    )


def another_destination(view: ClusterView, ledger: Ledger, but: Addr, source: Addr, file: File) -> bool:
    """Could a destination without a pause take the file from this source, now or when it is free?"""
    return any(
        addr != but
        and ledger.is_used(addr)
        and disk.takes(file)
        and can_send(view.servers[source], view.servers[addr])
        and not is_to_blame(view.pauses, (source, addr))
        for addr, disk in ledger.disks.items()
    )


def another_makes_room(view: ClusterView, ledger: Ledger, but: Addr) -> bool:
    """Is there a disk without a pause on which room could be made instead?"""
    return any(
        addr != but and ledger.is_used(addr) and Side(destination=addr) not in view.pauses
        for addr in ledger.disks
    )


def is_to_blame(pauses: Mapping[Side, Pause], way: Way) -> bool:
    """Is a server at one of its ends, or the pair, to blame for failures?"""
    return bool(pauses) and any(side in pauses for side in sides_of(way))
