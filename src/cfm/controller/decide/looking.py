"""Looks at a server that a change asks for: its list, its disk, or both, at once.  Pure functions.

Of each question, one is under way at a time.  Who needs it meanwhile gets another one after the answer.
Neighbours: `copying`, `deleting` and `observing` ask here; `observing` takes what is answered.
"""

from __future__ import annotations

from cfm.controller.decide.events import AskDisk, AskList
from cfm.controller.decide.state import NodeState
from cfm.model import Addr, Now


def look_at(state: NodeState, addr: Addr, now: Now) -> None:
    """List a server and measure its disk, now.  The list is to settle all unknown deletes there."""
    record = state.fleet.records[addr]
    ask_disk(state, addr, now)  # first, because they share a connection, and a list may be long
    if record.is_destination:
        unknown = state.orders.unknown_at(addr)
        ask_list(state, addr, now, max(order.id for order in unknown) + 1 if unknown else None)


def ask_list(state: NodeState, addr: Addr, now: Now, fence: int | None = None) -> None:
    """`fence`: deletes with a lower order id are void from then on."""
    if state.fleet.records[addr].listing.begin(now.mono_ms):
        state.out.effects.append(AskList(addr, fence, state.fleet.source_disks.check(addr).folder))


def ask_disk(state: NodeState, addr: Addr, now: Now) -> None:
    if state.fleet.records[addr].asking_disk.begin(now.mono_ms):
        state.out.effects.append(AskDisk(addr))
