"""Careless policies: what the kernel alone stands against.

Some guards refuse what the policies never wish for.  Their loss shows only where a policy is careless, too.
`anything` wishes for anything at all.  Where chance would take too long to find what one guard refuses, a
policy here wishes for just that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.controller.decide.step import Step
from cfm.model import Addr, DeleteKind, File, Known, Now, ServerView
from cfm.plan.outlook import Outlook, Policy
from cfm.plan.policies import POLICIES
from cfm.plan.policies.room import Disks
from cfm.plan.policies.trims import trims
from cfm.plan.wishes import Copy, Delete, MakeRoom, Wishes
from cfm.plan.worth import pays
from cfm.tasks.store import Recovered
from zoo.steps import altered

TRIES = 12
"""So many careless copies, and as many careless deletes, are wished for in each round."""


def anything(outlook: Outlook) -> Wishes:
    """A policy that wishes for anything: all files at all servers, some of them at each moment."""
    lists = outlook.lists
    files = {f.name: f for held in (lists.wanted, lists.surplus, *lists.evictable.values()) for f in held}
    by_name = sorted(files.values(), key=lambda file: file.name)
    servers = sorted(outlook.view.servers.values(), key=lambda server: server.addr)
    begin = outlook.view.now.mono_ms * TRIES
    for turn in range(begin, begin + TRIES if files else begin):
        file, number = by_name[turn % len(by_name)], turn // len(by_name)
        wanted = lists.wanted[turn % len(lists.wanted)] if lists.wanted else file
        one, other = servers[number % len(servers)], servers[number // len(servers) % len(servers)]
        yield Copy(wanted, one.addr, other.addr, "anything")
        match turn % 3:
            case 0:
                yield Delete(file, one.addr, DeleteKind.SURPLUS, "anything", keeper=other.addr)
            case 1 if one.addr in outlook.disks:
                yield Delete(file, one.addr, DeleteKind.SPACE, "anything")
            case 2 if one.addr in outlook.disks:
                yield _room_at_any_price(outlook, wanted, one, by_name, turn)


def _room_at_any_price(
    outlook: Outlook, wanted: File, server: ServerView, by_name: Sequence[File], turn: int
) -> MakeRoom:
    """One to three files that lie there go, whichever they are; every other time those that viewers want."""
    there = server.files.value if isinstance(server.files, Known) else frozenset[str]()
    held = [file for file in by_name if file.name in there]
    begin = turn % (len(held) or 1)
    if turn % 2:
        held.sort(key=lambda file: not outlook.view.is_protected(file.name))
        begin = 0
    deletes = [
        Delete(file, server.addr, DeleteKind.SPACE, f"room for {wanted.name}, at any price")
        for file in held[begin : begin + 1 + turn % 3]
    ]
    return MakeRoom(wanted, server.addr, tuple(deletes))


class OneMorePolicy(Core):
    """A core with another policy before those of the product."""

    policy: Policy

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self.state.policies = (self.policy, *POLICIES)


class Careless(OneMorePolicy):
    """A plan that protects nothing, and a policy that wishes for anything, at every event."""

    policy = staticmethod(anything)

    def handle(self, event: ev.Event, now: Now) -> Step:
        self.state.revision.dispatch += 1
        return altered(super().handle(event, now), _carelessly)


def _carelessly(effect: ev.Effect) -> ev.Effect:
    """A plan over everything: neither ads nor young, rising, watched or failed files are left out."""
    if not isinstance(effect, ev.StartPlan):
        return effect
    none: frozenset[str] = frozenset()
    inputs = replace(
        effect.inputs,
        rising={},
        watched=none,
        young={},
        ad_prefixes=(),
        left_alone=none,
        on_san=None,
        max_evictable=4096,
    )
    return ev.StartPlan(inputs)


def keeps_the_stale(outlook: Outlook) -> Wishes:
    """Of two copies the one that is older than the SAN's file stays."""
    for file in outlook.lists.surplus:
        holders = outlook.view.holders.get(file.name, frozenset())
        stale = outlook.view.stale.get(file.name, frozenset()) & holders
        for keeper in sorted(stale):
            for addr in sorted(holders - stale):
                yield Delete(file, addr, DeleteKind.SURPLUS, "keeps the stale one", keeper=keeper)


def deletes_the_wanted(outlook: Outlook) -> Wishes:
    """Where a disk is over its limit, what is rising, watched, young or an ad goes first."""
    for addr, disk in sorted(outlook.disks.items()):
        if disk.need_bytes:
            there = outlook.lists.evictable.get(addr, ())
            for file in sorted(there, key=lambda file: not outlook.view.is_protected(file.name)):
                yield Delete(file, addr, DeleteKind.SPACE, "deletes what is wanted")


class DeletesTheWanted(OneMorePolicy):
    """A plan that protects nothing, too."""

    policy = staticmethod(deletes_the_wanted)

    def handle(self, event: ev.Event, now: Now) -> Step:
        return altered(super().handle(event, now), _carelessly)


class KeepsTheStale(OneMorePolicy):
    policy = staticmethod(keeps_the_stale)


# ── careless room ───────────────────────────────────────────────────────────────────────────────────────

ROOM_TRIES = 8
"""Room is wished for for so many of the most wanted files."""
Bundle: TypeAlias = Callable[[Outlook, File, Addr], Sequence[Delete]]
"""The deletes that are wished for on a disk, so that a file finds room there."""


def careless_room(bundle: Bundle, *, fits: bool = False, trimming: bool = True) -> type[Core]:
    """A core that wishes for room on each disk.  `fits`: also for files that some disk takes as it is.
    `trimming`: surplus copies go as well, whether or not they make room."""

    def room_on_each_disk(outlook: Outlook) -> Wishes:
        for file in outlook.lists.wanted[:ROOM_TRIES]:
            if fits or file.size_bytes > outlook.largest_room_bytes:
                for addr in outlook.disks:
                    if deletes := bundle(outlook, file, addr):
                        yield MakeRoom(file, addr, tuple(deletes))

    class CarelessRoom(Core):
        def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
            super().__init__(config, recovered, now)
            others = (one for one in POLICIES if trimming or one is not trims)
            self.state.policies = (room_on_each_disk, *others)

    return CarelessRoom


def as_it_should(outlook: Outlook, wanted: File, addr: Addr) -> Sequence[Delete]:
    """What the policy of room would choose there, whatever it has chosen elsewhere or for others."""
    return Disks(outlook).goers(wanted, addr)


def on_two_disks(outlook: Outlook, wanted: File, addr: Addr) -> Sequence[Delete]:
    """One bundle makes the room twice."""
    there = (as_it_should(outlook, wanted, one) for one in outlook.disks if one != addr)
    return [*as_it_should(outlook, wanted, addr), *next(filter(None, there), ())]


def too_few(outlook: Outlook, wanted: File, addr: Addr) -> Sequence[Delete]:
    """One file less than needed."""
    return as_it_should(outlook, wanted, addr)[1:]


def the_best(outlook: Outlook, wanted: File, addr: Addr) -> Sequence[Delete]:
    """The best of those that are worse than the wanted file go, where that does not pay."""
    goers = Disks(outlook).may_go(addr)
    deletes = _enough(outlook, wanted, addr, goers.files[: goers.worse(outlook.view, wanted)][::-1])
    return [] if pays(outlook.view, wanted, [delete.file for delete in deletes]) else deletes


def the_unique(outlook: Outlook, wanted: File, addr: Addr) -> Sequence[Delete]:
    """The least wanted files go, where surplus copies would make the room."""
    deletes = _enough(outlook, wanted, addr, Disks(outlook).may_go(addr).files)
    return [one for one in deletes if one.file.size_bytes <= outlook.surplus_bytes(addr)]


def _enough(outlook: Outlook, wanted: File, addr: Addr, going: Iterable[File]) -> Sequence[Delete]:
    short_bytes, deletes = outlook.disks[addr].short_bytes(wanted), list[Delete]()
    for file in going:
        if short_bytes > 0:
            deletes.append(Delete(file, addr, DeleteKind.SPACE, f"room for {wanted.name}, carelessly"))
            short_bytes -= file.size_bytes
    return deletes
