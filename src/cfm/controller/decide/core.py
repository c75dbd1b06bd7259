"""The controller's decisions as one machine: events in, changes and effects out.

No clock, no I/O, no waiting: `loop` (real processes) and the simulator both drive this same class.  One
event at a time is handled to its end; then whatever became possible by it is decided at once: confirmed
deletes are sent, free sources get their next task from the ordered backlog, held requests are answered.
A full plan only renews the backlog; nothing waits for it.

Neighbours: `copying`, `deleting` and `observing` do the work over one `NodeState`; `dispatch` runs the
policies; `store` values and `events` are the way out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cfm.controller.decide import copying, deleting, dispatch, observing
from cfm.controller.decide import events as ev
from cfm.controller.decide.state import NodeConfig, NodeState, soonest
from cfm.fleet.health import HealthBook
from cfm.fleet.observed import FleetBook
from cfm.model import Addr, File, Known, Now, host_of
from cfm.plan import refusals
from cfm.plan.ledger import Ledger
from cfm.plan.round import Round
from cfm.plan.shortlist import NOTHING_LISTED, PlanInputs, Shortlist
from cfm.tasks.store import Change, Recovered

PLAN_PAUSE_MS = 500
"""The least pause between two full plans; a slow plan waits for as long as the last one took."""
HOUSEKEEPING_MS = 10_000
"""How often the books are tidied while something in them waits for time alone."""
IDLE_MS = 60_000
"""As often where nothing does; and the longest time until the deadlines are looked at again."""
EVICTABLE_AT_MOST = 4_096
"""Candidates for eviction that a plan lists, over all destinations."""
ROUNDS_AT_MOST = 8
"""Rounds at one event; each new order needs one more to ask for its confirmations."""


@dataclass(slots=True)
class Held:
    """A waiting request of a worker."""

    request: int
    until_ms: int
    holding: frozenset[int]
    claims_until_ms: int
    """Until then it takes what it is answered; later too little of the lease, which counts from the question,
    would be left."""


class Core:
    """One node's controller.  A `rehearsal` decides like any other, but starts and orders nothing."""

    def __init__(
        self, config: NodeConfig, recovered: Recovered, now: Now, *, rehearsal: bool = False
    ) -> None:
        servers = (*config.sources, *config.destinations)
        self.state = NodeState(
            config=config,
            rules=config.rules,
            fleet=FleetBook(config.sources, config.destinations, now_ms=now.mono_ms),
            health=HealthBook(
                dict.fromkeys(servers),
                interval_ms=config.heartbeat_interval_ms,
                misses_to_down=config.misses_to_down,
                now_ms=now.mono_ms,
            ),
            last_id=recovered.last_id,
        )
        self._rehearsal = rehearsal
        self.shortlist = NOTHING_LISTED
        self.last_round: Round | None = None
        self.rising_files: tuple[File, ...] = ()
        self._backlog: tuple[Shortlist, Shortlist] | None = None
        """A plan's lists, and what came of them with the files that rise put first."""
        self.san_index: frozenset[str] | None = None
        self.san_index_why = "not looked at yet"
        self._held: dict[Addr, Held] = {}
        self._held_until_ms: int | None = None
        """When the first of them must be answered."""
        self.planning = False
        """A full plan is being made."""
        self._planned: PlanInputs | None = None
        """What the last plan was made of."""
        self._plan_not_before_ms = now.mono_ms
        self._started_since_plan = 0
        self._evicted_since_plan: Counter[Addr] = Counter()
        self._pause_ends_ms: int | None = None
        self._retry_due_ms: int | None = None
        self._full_look_ms = now.mono_ms
        self._housekeeping_ms = now.mono_ms
        self._handlers: Mapping[type, Callable[[Any, Now], None]] = {
            ev.Tick: lambda _event, _now: None,
            ev.SnapshotAccepted: self._accepted,
            ev.SnapshotRejected: self._rejected,
            ev.HitsChanged: self._hits_changed,
            ev.SanIndexed: self._san_indexed,
            ev.RulesChanged: self._rules_changed,
            ev.StoreTrouble: self._store_trouble,
            ev.StoreRecovered: self._store_recovered,
            ev.HeartbeatAnswer: partial(observing.heartbeat, self.state),
            ev.ListAnswer: partial(observing.listed, self.state),
            ev.DiskAnswer: self._measured,
            ev.CopyAnswer: partial(deleting.copy_seen, self.state),
            ev.DeleteAnswer: partial(deleting.answered, self.state),
            ev.CutAnswer: self._cut,
            ev.SanAnswers: self._san_answers,
            ev.PlanReady: self._plan_ready,
            ev.TasksAsked: self._tasks_asked,
            ev.NextAsked: self._next_asked,
            ev.RequestGone: self._request_gone,
            ev.TaskReported: partial(copying.report, self.state),
            ev.TaskDropped: partial(copying.drop, self.state),
            ev.BreakerReleased: self._breaker_released,
        }
        self._recover(recovered, now)

    def _recover(self, recovered: Recovered, now: Now) -> None:
        for task in recovered.tasks:
            copying.recover(self.state, task, now)
        for order in recovered.orders:
            deleting.recover(self.state, order, now)
        for arrival in recovered.arrivals:
            self.state.arrivals[arrival.file_name, arrival.server] = now.mono_ms

    # ── the machine ─────────────────────────────────────────────────────────────────────────────────────

    def handle(self, event: ev.Event, now: Now) -> tuple[list[Change], list[ev.Effect]]:
        """What `event` leads to: rows to make durable, and what is to be done.

        Effects in `events.DURABLE` must wait for the rows, and for those of earlier events.
        """
        self._handlers[type(event)](event, now)
        self._deadlines(now)
        if self.state.wants_dispatch or self.state.wants_orders:
            self._decide(now)
        self._plan_if_due(now)
        if self._held:
            self._answer_held(now)
        self.state.note_sources(now)
        return self.state.out.take()

    def next_wakeup_ms(self, now: Now) -> int:
        """When a `Tick` is due at the latest (monotonic)."""
        state = self.state
        soonest_ms = min(now.mono_ms + IDLE_MS, self._full_look_ms, self._housekeeping_ms)
        for moment_ms in (
            state.health.next_due_ms(),
            copying.next_deadline_ms(state, now),
            deleting.next_relist_ms(state, now),
            self._held_until_ms,
            self._plan_not_before_ms if self._plan_is_wanted() else None,
            self._pause_ends_ms,
            self._retry_due_ms,
        ):
            if moment_ms is not None and moment_ms < soonest_ms:
                soonest_ms = moment_ms
        return max(now.mono_ms, soonest_ms)

    def _deadlines(self, now: Now) -> None:
        state = self.state
        observing.send_heartbeats(state, now)
        observing.relist_unclear(state, now)
        copying.end_overdue(state, now)
        copying.hurry_silent(state, now)
        copying.cut_streams(state, now)
        if self._pause_ends_ms is not None and now.mono_ms >= self._pause_ends_ms:
            state.wants_dispatch = True
        if self._retry_due_ms is not None and now.mono_ms >= self._retry_due_ms:
            state.wants_plan = True  # the last one left out what was not to be tried yet
            self._retry_due_ms = soonest(state.next_file_due_ms(now), state.doubt_ends_ms(now))
        if now.mono_ms >= self._full_look_ms:
            self._full_look_ms = now.mono_ms + state.config.full_look_ms
            observing.full_look(state, now)
            state.wants_plan = state.wants_dispatch = True
        if now.mono_ms >= self._housekeeping_ms:
            self._housekeeping_ms = now.mono_ms + IDLE_MS
            self._housekeeping(now)

    def _housekeeping(self, now: Now) -> None:
        state = self.state
        state.forget_old(now)
        observing.forget_arrivals(state, now)
        observing.look_again(state, now)
        copying.give_up_unproven(state, now)
        for addr, reserved in list(state.reserved.items()):
            if reserved.until_ms <= now.mono_ms:
                del state.reserved[addr]
                state.wants_dispatch = True  # the room is anybody's now
        dispatch.forget_approvals(state, now)
        state.wants_orders = state.wants_orders or bool(state.orders.waiting())
        state.wants_dispatch = state.wants_dispatch or self._san_is_waited_for()
        if self._time_may_help():
            self._tidy_soon(now)

    def _tidy_soon(self, now: Now) -> None:
        self._housekeeping_ms = min(self._housekeeping_ms, now.mono_ms + HOUSEKEEPING_MS)

    def _time_may_help(self) -> bool:
        """Does anything wait for time alone that has no moment of its own?"""
        state = self.state
        if state.orders.waiting() or state.reserved or state.unproven or self._san_is_waited_for():
            return True
        return observing.something_unknown(state)

    def _san_is_waited_for(self) -> bool:
        """Did the last round want to know of a file whether it is on the SAN, which may have been silent?"""
        last = self.last_round
        return last is None or any(last.times(action, refusals.SAN_UNKNOWN) for action in ("copy", "delete"))

    def _decide(self, now: Now) -> None:
        """Everything that an event may have made possible, and when time alone may make more so.

        Whatever changes a book that these moments are taken from wants a dispatch, too: between two of them
        they stay what they are, and most events cost next to nothing.
        """
        state = self.state
        for _again in range(ROUNDS_AT_MOST):
            everything, orders = state.wants_dispatch, state.wants_orders
            state.wants_dispatch = state.wants_orders = False
            if everything:
                self._dispatch(now)
            elif orders:
                dispatch.send_orders(state, now)
            else:
                break
        paced = self.last_round is not None and self.last_round.times("delete", refusals.PACE) > 0
        file_due_ms = state.next_file_due_ms(now)
        pace_ends_ms = state.orders.pace_ends_ms() if paced else None
        self._pause_ends_ms = soonest(file_due_ms, state.next_server_due_ms(now), pace_ends_ms)
        self._retry_due_ms = soonest(file_due_ms, state.doubt_ends_ms(now))
        if self._time_may_help():
            self._tidy_soon(now)

    def _dispatch(self, now: Now) -> None:
        if self._rehearsal:
            self.last_round = dispatch.rehearse(self.state, self.backlog(), now)
            return
        self.last_round = dispatch.dispatch(self.state, self.backlog(), now)
        self._started_since_plan += dispatch.started(self.last_round)
        for addr in dispatch.evicted(self.last_round):
            self._evicted_since_plan[addr] += 1

    # ── planning ────────────────────────────────────────────────────────────────────────────────────────

    def backlog(self) -> Shortlist:
        """The last plan's lists with the files that rise now put first."""
        if not self.rising_files:
            return self.shortlist
        if self._backlog is None or self._backlog[0] is not self.shortlist:
            self._backlog = self.shortlist, self._rising_first()
        return self._backlog[1]

    def _rising_first(self) -> Shortlist:
        rising = self.state.hits.rising
        first = sorted(self.rising_files, key=lambda file: (-rising.get(file.name, 0), file.rank))
        names = {file.name for file in first}
        rest = (file for file in self.shortlist.wanted if file.name not in names)
        return replace(self.shortlist, wanted=(*first, *rest))

    def _plan_if_due(self, now: Now) -> None:
        state = self.state
        if not self._plan_is_wanted() or now.mono_ms < self._plan_not_before_ms:
            return
        self._started_since_plan = 0
        self._evicted_since_plan.clear()
        state.wants_plan = False
        inputs = self.plan_inputs(now)
        if self._was_planned(inputs):
            self._plan_not_before_ms = now.mono_ms + PLAN_PAUSE_MS
            return
        self._planned, self.planning = inputs, True
        state.out.effects.append(ev.StartPlan(inputs))

    def _was_planned(self, inputs: PlanInputs) -> bool:
        """Would the plan say the same as the last one?  A node at rest makes none, however large its library.

        An index of the SAN that was made anew counts as another: it is too long to be compared here.
        """
        last = self._planned
        return last is not None and inputs.on_san is last.on_san and inputs == last

    def _plan_is_wanted(self) -> bool:
        """Has something changed, or is the backlog used up; and is there metadata to plan with?"""
        possible = self.state.snapshot is not None and not self.planning
        return possible and (self.state.wants_plan or (self.shortlist.cut and self._is_used_up()))

    def _is_used_up(self) -> bool:
        """Has half of a list that may go on been chosen?"""
        evictable = self.shortlist.evictable
        return self._started_since_plan > len(self.shortlist.wanted) // 2 or any(
            number > len(evictable.get(addr, ())) // 2 for addr, number in self._evicted_since_plan.items()
        )

    def plan_inputs(self, now: Now) -> PlanInputs:
        """The world beside the metadata, as the reductions want it."""
        state = self.state
        assert state.snapshot is not None
        view = state.view(now)
        ledger = Ledger(view)
        young: dict[Addr, set[str]] = {}
        for name, addr in state.arrivals:
            young.setdefault(addr, set()).add(name)
        return PlanInputs(
            snapshot_id=state.snapshot.id,
            listings={
                **{s.addr: s.files.value for s in view.destinations if isinstance(s.files, Known)},
                **{s.addr: s.last_list for s in view.doubtful if s.last_list is not None},
            },
            unlisted_ips=frozenset(host_of(s.addr) for s in view.doubtful if s.last_list is None),
            rising=state.hits.rising,
            watched=state.hits.watched,
            young={addr: frozenset(names) for addr, names in young.items()},
            ad_prefixes=state.rules.ad_prefixes,
            # Not the files in tasks and orders: one that comes to nothing must be in its place at once.
            left_alone=frozenset(state.left_alone(now)),
            on_san=self.san_index,
            max_evictable=max(16, min(64, EVICTABLE_AT_MOST // max(1, len(view.destinations)))),
            largest_room_bytes=ledger.largest_room_bytes(),
            largest_disk_bytes=ledger.largest_disk_bytes(),
        )

    def _plan_ready(self, event: ev.PlanReady, now: Now) -> None:
        self.planning = False
        self.state.counts["plans"] += 1
        self.state.counts["plan_ms"] += event.took_ms
        self._plan_not_before_ms = now.mono_ms + max(PLAN_PAUSE_MS, event.took_ms)
        current = self.state.snapshot is not None and event.shortlist.snapshot_id == self.state.snapshot.id
        if current and event.shortlist != self.shortlist:
            self.shortlist = event.shortlist
            self.state.wants_dispatch = True

    def _accepted(self, event: ev.SnapshotAccepted, now: Now) -> None:
        state = self.state
        state.snapshot, state.rejected = event.facts, None
        state.snapshot_mono_ms, state.snapshot_age_ms = now.mono_ms, event.age_ms
        self._plan_not_before_ms = now.mono_ms
        state.wants_plan = True
        state.say(
            "metadata accepted",
            snapshot=event.facts.id,
            graded=event.facts.graded_files,
            known=event.facts.known_files,
            skipped=dict(event.facts.skipped_lines),
        )

    def _rejected(self, event: ev.SnapshotRejected, _now: Now) -> None:
        self.state.rejected = event.facts
        self.state.say("metadata rejected", level="warning", because=event.facts.why, snapshot=event.facts.id)

    def _hits_changed(self, event: ev.HitsChanged, _now: Now) -> None:
        state = self.state
        moved = event.hits != state.hits
        if event.hits.rising.keys() != state.hits.rising.keys():
            state.wants_plan = True
            for name in sorted(event.hits.rising.keys() - state.hits.rising.keys()):
                state.say("file rises", file=name, hits=event.hits.rising[name])
        state.hits, self.rising_files, self._backlog = event.hits, event.rising_files, None
        state.wants_dispatch = state.wants_dispatch or moved

    def _san_indexed(self, event: ev.SanIndexed, now: Now) -> None:
        if event.names is None and self.san_index is not None:
            self.state.say("source folders unknown", level="warning", because=event.why)
        if event.names is not None and self.san_index is None:
            deleting.san_is_back(self.state, now)
            self.shortlist = replace(self.shortlist, evictable={})  # it lacks what was left alone
            self._planned = None
        self.san_index, self.san_index_why = event.names, event.why
        self.state.wants_plan = True

    def _measured(self, event: ev.DiskAnswer, now: Now) -> None:
        observing.measured(self.state, event, now)
        dispatch.forget_approvals(self.state, now)

    def _rules_changed(self, event: ev.RulesChanged, _now: Now) -> None:
        """What an operator let go was let go under the old rules: a new limit is confirmed anew."""
        self.state.rules = event.rules
        self.state.approved_bytes.clear()
        self.state.wants_plan = self.state.wants_dispatch = True
        self.state.say("settings changed", limit_percent=event.rules.limit_percent)

    # ── our own state ───────────────────────────────────────────────────────────────────────────────────

    def _store_trouble(self, event: ev.StoreTrouble, _now: Now) -> None:
        self.state.store_trouble = event.why
        self.state.wants_dispatch = True
        self.state.say(
            "our own state cannot be written: no orders until it can", level="error", because=event.why
        )

    def _store_recovered(self, _event: ev.StoreRecovered, _now: Now) -> None:
        self.state.store_trouble = ""
        self.state.wants_dispatch = True
        self.state.say("our own state can be written again")

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────

    def _san_answers(self, event: ev.SanAnswers, _now: Now) -> None:
        state = self.state
        for name, answer in event.answers.items():
            state.san_asked.pop(name, None)
            state.san[name] = Known(answer, event.asked_ms)
            if name in state.san_ahead:
                state.san_ahead.discard(name)
            else:
                deleting.concerns_order(state, name)

    def _cut(self, event: ev.CutAnswer, _now: Now) -> None:
        if event.cut:
            copying.stream_cut(self.state, event.task_id)

    # ── requests ────────────────────────────────────────────────────────────────────────────────────────

    def _tasks_asked(self, event: ev.TasksAsked, _now: Now) -> None:
        self.state.out.effects.append(
            ev.Reply(event.request, 200, ev.TaskList(tuple(self.state.tasks.shown())))
        )

    def _next_asked(self, event: ev.NextAsked, now: Now) -> None:
        if event.destination not in self.state.fleet.records:
            problem = ev.Problem(f"cfm.yml names no server {event.destination}")
            self.state.out.effects.append(ev.Reply(event.request, 400, problem))
            return
        self.state.health.heard_of(event.destination, now.mono_ms)
        if (older := self._held.pop(event.destination, None)) is not None:
            self.state.out.effects.append(ev.Reply(older.request, 204))
        lost = self.state.tasks.lost_offer(event.destination, event.holding) if event.claims else None
        if lost is not None:
            task = copying.claim(self.state, lost, now)
            self.state.out.effects.append(ev.Reply(event.request, 200, ev.Offer(task)))
        else:
            claims_until_ms = (
                now.mono_ms + self.state.rules.lease_ms // 2 if event.claims else now.mono_ms - 1
            )
            held = Held(event.request, event.until_ms, event.holding, claims_until_ms)
            self._held[event.destination] = held
        self._held_until_ms = self._first_held_ms()

    def _request_gone(self, event: ev.RequestGone, now: Now) -> None:
        """A worker that hangs up may have been killed."""
        for addr in [addr for addr, held in self._held.items() if held.request == event.request]:
            del self._held[addr]
            self.state.health.hurry(addr, now.mono_ms)
        self._held_until_ms = self._first_held_ms()

    def _first_held_ms(self) -> int | None:
        return min([held.until_ms for held in self._held.values()], default=None)

    def _answer_held(self, now: Now) -> None:
        early = self._held_until_ms is not None and now.mono_ms < self._held_until_ms
        if early and not self.state.tasks.ready:
            return
        offered = self.state.tasks.ready_destinations()
        for addr, held in list(self._held.items()):
            if addr not in offered and now.mono_ms < held.until_ms:
                continue
            task = self.state.tasks.ready_for(addr, held.holding)
            if task is None and now.mono_ms < held.until_ms:
                continue
            del self._held[addr]
            if task is not None and now.mono_ms <= held.claims_until_ms:
                task = copying.claim(self.state, task, now)
            reply = ev.Reply(held.request, 200, ev.Offer(task)) if task else ev.Reply(held.request, 204)
            self.state.out.effects.append(reply)
        self._held_until_ms = self._first_held_ms()

    def _breaker_released(self, event: ev.BreakerReleased, now: Now) -> None:
        held = dispatch.held_by_breaker(self.state, self.backlog(), now)
        chosen = {addr: size for addr, size in held.items() if event.server in (None, addr)}
        self.state.approved_bytes.update(dispatch.approval(chosen))
        for addr, size_bytes in chosen.items():
            self.state.say("breaker released", level="warning", server=addr, up_to_bytes=size_bytes)
        self.state.wants_dispatch = True
        reply = ev.Reply(event.request, 200, ev.Released(chosen)) if chosen else ev.Reply(event.request, 404)
        self.state.out.effects.append(reply)
