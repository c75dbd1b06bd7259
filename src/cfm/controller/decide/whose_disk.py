"""Finding out whose disk it is: what is looked for in the source folders, and what becomes of the answers.

Pure functions over the state.  Neighbours: `core` and `observing` call them; `deleting` asks again before
each order; `fleet.source_disks` knows what follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cfm.controller.decide.events import NamesSought
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, Names, Now
from cfm.tasks.store import PutArrival


def seek(state: NodeState, now: Now) -> None:
    """Where nothing is known yet of a disk and the source folders, find it out."""
    state.seek_names(state.fleet.source_disks.names(asked_before_ms=0), now)


def indexed(state: NodeState, folders: Mapping[str, Names], now: Now) -> None:
    """The names in the source folders are known anew."""
    state.fleet.indexed(folders)
    seek(state, now)
    tell(state, state.config.destinations)


def appeared(state: NodeState, addr: Addr, names: Names, now: Now) -> None:
    """Files appeared on a server: they are young.

    Originals are not: where the SAN has just been mounted there, thousands appear at once.  So what appears
    on a disk that is not known yet is written down as soon as it is known.
    """
    check = state.fleet.source_disks.check(addr)
    if check.originals:
        return
    new = sorted(name for name in names if (name, addr) not in state.arrivals.arrived_ms)
    for name in new:
        state.arrivals.put(name, addr, now.mono_ms)
    state.unsure_arrivals.setdefault(addr, []).extend(new)
    if check.ruled_out or not check.probe:
        _write_arrivals(state, addr, now)


def _write_arrivals(state: NodeState, addr: Addr, now: Now) -> None:
    for name in state.unsure_arrivals.pop(addr, ()):
        if (name, addr) in state.arrivals.arrived_ms:
            state.out.changes.append(PutArrival(name, addr, now.wall_s))


def _settle_arrivals(state: NodeState, now: Now) -> None:
    for addr in list(state.unsure_arrivals):
        check = state.fleet.source_disks.check(addr)
        if check.originals:
            for name in state.unsure_arrivals.pop(addr):
                state.arrivals.drop(name, addr)
        elif check.ruled_out:
            _write_arrivals(state, addr, now)


def sought(state: NodeState, event: NamesSought, now: Now) -> None:
    """The source folders were searched for probe files, or for files that a server's list lacks."""
    state.san.sought(event.names)
    state.fleet.sought(event.names, event.sights, event.asked_ms)
    state.revision.orders += bool(state.orders.waiting())  # they may wait for this
    _settle_arrivals(state, now)
    tell(state, state.config.destinations)


def tell(state: NodeState, addrs: Iterable[Addr]) -> None:
    for addr in addrs:
        check, told = state.fleet.source_disks.check(addr), state.told_source_disks.get(addr, "")
        if check.folder == told:
            continue
        state.told_source_disks[addr] = check.folder
        if not check.folder:
            state.say("its disk is no source folder any more", server=addr)
        else:
            what = (
                "its disk seems to be a source folder" if check.suspected else "its disk is a source folder"
            )
            state.say(what, level="error", server=addr, folder=check.folder)
