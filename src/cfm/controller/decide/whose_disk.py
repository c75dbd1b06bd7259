"""Finding out whose disk it is: what is looked for in the source folders, and what becomes of the answers.

Pure functions over the state.  Neighbours: `core` and `observing` call them; `deleting` asks again before
each order; `fleet.source_disks` knows what follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cfm.controller.decide.events import NamesSought
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, Now


def seek(state: NodeState, now: Now) -> None:
    """Where nothing is known yet of a disk and the source folders, find it out."""
    state.seek_names(state.fleet.source_disks.names(asked_before_ms=0), now)


def indexed(state: NodeState, folders: Mapping[str, frozenset[str]], now: Now) -> None:
    """The names in the source folders are known anew."""
    state.fleet.indexed(folders)
    seek(state, now)
    tell(state, state.config.destinations)


def sought(state: NodeState, event: NamesSought, _now: Now) -> None:
    """The source folders were searched for probe files, or for files that a server's list lacks."""
    state.san.sought(event.names)
    state.fleet.sought(event.names, event.sights, event.asked_ms)
    state.revision.orders += bool(state.orders.waiting())  # they may wait for this
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
