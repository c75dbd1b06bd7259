"""Bugs of the kernel and of the two tables, made mechanically so that none is forgotten.

Each guard of the kernel is left out, and each edge is taken that a table does not allow.  Neighbours:
`careless` has the policies that wish for what only a guard stands against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace

from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.controller.decide.step import Step
from cfm.model import Now, OrderStatus, Status
from cfm.plan.kernel import KERNEL, Kernel
from cfm.tasks.lifecycle import ORDER_EDGES, TASK_EDGES
from cfm.tasks.store import PutOrder, PutTask, Recovered
from cfm_lab.sim.environment.parts import PARTS, Parts
from zoo.careless import (
    Careless,
    DeletesTheWanted,
    KeepsTheStale,
    as_it_should,
    careless_room,
    on_two_disks,
    the_best,
    the_unique,
    too_few,
)
from zoo.steps import with_more

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
    }
)
"""Guards against what no policy wishes for: they are left out beside one that wishes for anything."""


BESIDE: Mapping[str, type[Core]] = {
    "keeper_not_stale": KeepsTheStale,
    "not_rising": DeletesTheWanted,
    "not_watched": DeletesTheWanted,
    "not_young": DeletesTheWanted,
    "not_an_ad in delete_guards": DeletesTheWanted,
    "surplus_goes_first": careless_room(the_unique, trimming=False),
    "all_for_this_room": careless_room(on_two_disks),
    "kept_for_no_other": careless_room(as_it_should),
    "not_promised_elsewhere": careless_room(as_it_should),
    "fits_nowhere": careless_room(as_it_should, fits=True),
    "makes_enough_room": careless_room(too_few),
    "worth_its_room": careless_room(the_best),
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
