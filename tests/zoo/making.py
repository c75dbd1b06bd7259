"""Bugs of the kernel and of the two tables, made mechanically so that none is forgotten.

Each guard of the kernel is left out, and each edge is taken that a table does not allow.  Some guards refuse
what the policies do not even propose, so that their loss shows only where the policies are careless as well:
`Careless` proposes everything, to everybody, and lets the kernel alone decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from cfm.controller.decide import copying, deleting
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.model import DeleteKind, File, Now, OrderStatus, ServerView, Status
from cfm.plan.kernel import KERNEL, Deletion, Kernel
from cfm.plan.ledger import Ledger
from cfm.plan.round import Copy, Delete
from cfm.plan.view import ClusterView
from cfm.tasks.lifecycle import ORDER_EDGES, TASK_EDGES
from cfm.tasks.store import Change, PutOrder, PutTask, Recovered
from cfm_lab.sim.environment.parts import PARTS, Parts

Outcome = tuple[list[Change], list[ev.Effect]]

# ── careless policies ───────────────────────────────────────────────────────────────────────────────────

TRIES = 24
"""So many careless proposals are made after each event."""


class Careless(Core):
    """A plan that protects nothing, and policies that propose anything: the kernel is all there is.

    Only plain needs are proposed: making room is one plan for several files, of which no part is safe alone.
    """

    def __init__(self, config: NodeConfig, recovered: Recovered, now: Now) -> None:
        super().__init__(config, recovered, now)
        self._turn = 0

    def handle(self, event: ev.Event, now: Now) -> Outcome:
        changes, effects = super().handle(event, now)
        self._propose(now)
        more_changes, more_effects = self.state.out.take()
        return [*changes, *more_changes], [_carelessly(e) for e in (*effects, *more_effects)]

    def _propose(self, now: Now) -> None:
        lists = self.shortlist
        files = {f.name: f for held in (lists.wanted, lists.surplus, *lists.evictable.values()) for f in held}
        if not files:
            return
        by_name = sorted(files.values(), key=lambda file: file.name)
        view = self.state.view(now)
        ledger = Ledger(view)
        for _ in range(TRIES):
            self._turn += 1
            file = by_name[self._turn % len(by_name)]
            self._one(view, ledger, file, self._turn // len(by_name), now)

    def _one(self, view: ClusterView, ledger: Ledger, file: File, number: int, now: Now) -> None:
        servers = sorted(view.servers.values(), key=lambda server: server.addr)
        one, other = servers[number % len(servers)], servers[number // len(servers) % len(servers)]
        if number % 3 == 0:
            self._copy(view, ledger, file, (one, other), now)
        elif number % 3 == 1:
            self._delete(view, ledger, Deletion(file, one.addr, DeleteKind.SURPLUS, keeper=other.addr), now)
        else:
            self._delete(view, ledger, Deletion(file, one.addr, DeleteKind.SPACE), now)

    def _copy(
        self, view: ClusterView, ledger: Ledger, file: File, way: tuple[ServerView, ServerView], now: Now
    ) -> None:
        (source, destination), kernel = way, self.state.kernel
        if not source.is_source or destination.addr not in ledger.disks:
            return
        if (
            kernel.refuse_file(view, ledger, file)
            or kernel.refuse_destination(view, ledger, destination)
            or kernel.refuse_place(view, ledger, file, destination)
            or kernel.refuse_source(view, ledger, source)
            or kernel.refuse_pair(view, ledger, source, destination)
        ):
            return
        ledger.book_copy(file, source.addr, destination.addr)
        copying.start_copy(self.state, Copy(file, source.addr, destination.addr, "careless"), now)

    def _delete(self, view: ClusterView, ledger: Ledger, deletion: Deletion, now: Now) -> None:
        if deletion.kind is DeleteKind.SPACE and deletion.server not in ledger.disks:
            return
        if not self.state.kernel.refuse_delete(view, ledger, deletion):
            ledger.book_delete(deletion.file, deletion.server, deletion.kind, for_room=False)
            deleting.order(self.state, Delete(deletion, "careless"), now)


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


# ── guards ──────────────────────────────────────────────────────────────────────────────────────────────

HIDDEN = frozenset(
    {
        "server_known",
        "file_is_there",
        "another_copy_stays",
        "not_young",
        "not_rising",
        "not_watched",
        "delete_not_an_ad",
        "holders_listed",
    }
)
"""Guards of what plan and policies leave out before they ask: they are left out beside careless ones."""


def with_kernel(kernel: Kernel, core: type[Core] = Core) -> Parts:
    def make(config: NodeConfig, recovered: Recovered, now: Now) -> Core:
        made = core(config, recovered, now)
        made.state.kernel = kernel
        return made

    return replace(PARTS, core=make)


CARELESS = with_kernel(KERNEL, Careless)
"""No bug: whatever is proposed, the whole kernel keeps every rule."""


def without_guards() -> Iterator[tuple[str, Parts]]:
    """Each guard of the kernel left out."""
    for field in fields(KERNEL):
        guards = getattr(KERNEL, field.name)
        for guard in guards:
            rest = replace(KERNEL, **{field.name: tuple(one for one in guards if one is not guard)})
            core = Careless if guard.__name__ in HIDDEN else Core
            yield f"without {guard.__name__}", with_kernel(rest, core)


# ── edges ───────────────────────────────────────────────────────────────────────────────────────────────

EVERY = 40
"""After so many events an illegal change is made, where there is something to make it to."""


def taking_task_edge(old: Status, new: Status) -> Parts:
    class Taking(Core):
        events = 0

        def handle(self, event: ev.Event, now: Now) -> Outcome:
            changes, effects = super().handle(event, now)
            self.events += 1
            book = self.state.tasks
            known = [*book.active.values(), *(task for task, _ms in book.ended.values())]
            fitting = [task for task in known if task.status is old]
            if fitting and self.events % EVERY == 0:
                changes.append(PutTask(replace(fitting[0], status=new)))
            return changes, effects

    return replace(PARTS, core=Taking)


def taking_order_edge(old: OrderStatus, new: OrderStatus) -> Parts:
    class Taking(Core):
        def handle(self, event: ev.Event, now: Now) -> Outcome:
            changes, effects = super().handle(event, now)
            for change in [change for change in changes if isinstance(change, PutOrder)]:
                if change.order.status is old:
                    changes.append(PutOrder(replace(change.order, status=new)))
            return changes, effects

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
