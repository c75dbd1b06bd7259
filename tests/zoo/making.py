"""Bugs of the kernel and of the two tables, made mechanically so that none is forgotten.

Each guard of the kernel is left out, and each edge is taken that a table does not allow.  Some guards refuse
what the policies never wish for.  Their loss shows only where a policy is careless, too: `anything` wishes
for anything at all, and only the kernel stands against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace

from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.controller.decide.step import Step
from cfm.model import DeleteKind, File, Known, Now, OrderStatus, ServerView, Status
from cfm.plan.kernel import KERNEL, Kernel
from cfm.plan.outlook import Outlook, Policy
from cfm.plan.policies import POLICIES
from cfm.plan.wishes import Copy, Delete, MakeRoom, Wishes
from cfm.tasks.lifecycle import ORDER_EDGES, TASK_EDGES
from cfm.tasks.store import PutOrder, PutTask, Recovered
from cfm_lab.sim.environment.parts import PARTS, Parts


def altered(step: Step, alter: Callable[[ev.Effect], ev.Effect]) -> Step:
    """The step with other effects, which wait as long as these."""
    at_once, after_commit = ([alter(effect) for effect in part] for part in (step.at_once, step.after_commit))
    return Step(at_once, step.changes, after_commit)


def with_more(step: Step, more: Step) -> Step:
    """Both steps as one."""
    return Step(
        [*step.at_once, *more.at_once],
        [*step.changes, *more.changes],
        [*step.after_commit, *more.after_commit],
    )


# ── careless policies ───────────────────────────────────────────────────────────────────────────────────

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


# ── guards ──────────────────────────────────────────────────────────────────────────────────────────────

HIDDEN = frozenset(
    {
        "on_no_destination",
        "not_in_a_task",
        "destination_usable",
        "through_one_address",
        "within_limit",
        "source_not_in_pause",
        "destination_not_in_pause",
        "pair_not_in_pause",
        "not_vanished_there",
        "destination_takes_copies",
        "it_does_not_fail",
        "source_free",
        "source_speaks",
        "destination_free",
        "need_is_proven",
        "server_known",
        "file_is_there",
        "another_copy_stays",
        "replaced_where_it_can_be",
        "holders_listed",
        "all_for_this_room",
        "kept_for_no_other",
        "not_promised_elsewhere",
        "fits_nowhere",
        "makes_enough_room",
        "worth_its_room",
    }
)
"""Guards against what no policy wishes for: they are left out beside one that wishes for anything."""


BESIDE: Mapping[str, type[Core]] = {
    "keeper_not_stale": KeepsTheStale,
    "not_rising": DeletesTheWanted,
    "not_watched": DeletesTheWanted,
    "not_young": DeletesTheWanted,
    "not_an_ad in delete_guards": DeletesTheWanted,
}
"""Guards that are left out beside a core which wishes for just what they refuse."""


def with_kernel(kernel: Kernel, core: type[Core] = Core) -> Parts:
    def make(config: NodeConfig, recovered: Recovered, now: Now) -> Core:
        made = core(config, recovered, now)
        made.state.kernel = kernel
        return made

    return replace(PARTS, core=make)


CARELESS = with_kernel(KERNEL, Careless)
"""No bug: whatever is proposed, the whole kernel keeps every rule."""


def without_guards() -> Iterator[tuple[str, Parts]]:
    """Each guard of the kernel left out of its table.  The name tells the table where it stands in two."""
    seen: set[str] = set()
    for field in fields(KERNEL):
        guards = getattr(KERNEL, field.name)
        for guard in guards:
            name = f"{guard.__name__} in {field.name}" if guard.__name__ in seen else guard.__name__
            seen.add(name)
            rest = replace(KERNEL, **{field.name: tuple(one for one in guards if one is not guard)})
            beside = Careless if name in HIDDEN else BESIDE.get(name, Core)
            yield f"without {name}", with_kernel(rest, beside)


# ── edges ───────────────────────────────────────────────────────────────────────────────────────────────

EVERY = 40
"""After so many events an illegal change is made, where there is something to make it to."""


def taking_task_edge(old: Status, new: Status) -> Parts:
    class Taking(Core):
        events = 0

        def handle(self, event: ev.Event, now: Now) -> Step:
            step = super().handle(event, now)
            self.events += 1
            book = self.state.tasks
            known = [*book.active.values(), *book.ended.values()]
            fitting = [task for task in known if task.status is old]
            if fitting and self.events % EVERY == 0:
                return with_more(step, Step((), [PutTask(replace(fitting[0], status=new))]))
            return step

    return replace(PARTS, core=Taking)


def taking_order_edge(old: OrderStatus, new: OrderStatus) -> Parts:
    class Taking(Core):
        def handle(self, event: ev.Event, now: Now) -> Step:
            step = super().handle(event, now)
            orders = [change.order for change in step.changes if isinstance(change, PutOrder)]
            illegal = [PutOrder(replace(order, status=new)) for order in orders if order.status is old]
            return with_more(step, Step((), illegal)) if illegal else step

    return replace(PARTS, core=Taking)


def illegal_edges() -> Iterator[tuple[str, Parts]]:
    for old in Status:
        for new in Status:
            if new not in TASK_EDGES[old]:
                yield f"task {old} becomes {new}", taking_task_edge(old, new)
    for before in OrderStatus:
        for after in OrderStatus:
            if after not in ORDER_EDGES[before]:
                yield f"order {before} becomes {after}", taking_order_edge(before, after)
