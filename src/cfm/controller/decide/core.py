"""The controller's decisions as one machine: events in, changes and effects out.

There is no clock, no I/O and no waiting here: the shell of the real program and the simulator drive this same
class.  One event at a time is handled to its end.  Then whatever became possible by it is decided at once:
confirmed deletes are sent, free sources get their next task from the ordered backlog, held requests are
answered.  What must be decided anew, the core sees by itself, from the counters of the node's books (see
`cfm.revision`).  A full plan only renews the backlog; nothing waits for it.

Neighbours: `copying`, `deleting` and `observing` do the work over one `NodeState`; `dispatch` runs the
policies; `planning` keeps the backlog, `offering` the waiting requests, `moments` what is due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cfm.controller.decide import (
    copying,
    deleting,
    dispatch,
    observing,
    old_workers,
    overdue,
    releasing,
    whose_disk,
)
from cfm.controller.decide import events as ev
from cfm.controller.decide.moments import IDLE_MS, Moments
from cfm.controller.decide.offering import Offering
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.decide.planning import Planning, plan_inputs
from cfm.controller.decide.state import NodeConfig, NodeState, soonest
from cfm.controller.decide.step import Step
from cfm.model import File, LogCondition, Now
from cfm.plan import refusals
from cfm.plan.round import Round
from cfm.plan.shortlist import PlanInputs, Shortlist
from cfm.tasks.store import PutMeasure, Recovered

ROUNDS_AT_MOST = 8
"""Rounds at one event; each new order needs one more to ask for its confirmations."""
_LOG_IS_FINE = (
    LogCondition.READING,
    LogCondition.FOLLOWING,
    LogCondition.DOUBLED,
    LogCondition.SILENT,
)
_LEVEL_IN_LOG = {"note": "info", "degraded": "warning", "critical": "error"}


class Core:
    """One node's controller.  A `rehearsal` decides like any other, but starts and orders nothing."""

    def __init__(
        self, config: NodeConfig, recovered: Recovered, now: Now, *, rehearsal: bool = False
    ) -> None:
        self._rehearsal = rehearsal
        self.state = NodeState(config, recovered.last_id, now, one_look=rehearsal)
        self.plans = Planning(self.state.revision, now.mono_ms)
        self.last_round: Round | None = None
        self._offering = Offering(self.state)
        self._moments = Moments(self.state.revision, now.mono_ms)
        self._dispatched = -1
        """The counter for dispatches, as the last one saw it."""
        self._orders_seen = -1
        """The counter for delete orders, when they were looked at last."""
        self._handlers: Mapping[type, Callable[[Any, Now], None]] = {
            ev.Tick: lambda _event, _now: None,
            ev.SnapshotAccepted: self._accepted,
            ev.SnapshotRejected: self._rejected,
            ev.HitsChanged: self._hits_changed,
            ev.LogChanged: self._log_changed,
            ev.SanIndexed: self._san_indexed,
            ev.RulesChanged: self._rules_changed,
            ev.Noted: self._noted,
            ev.StoreTrouble: self._store_trouble,
            ev.StoreRecovered: self._store_recovered,
            ev.OwnTrouble: self._own_trouble,
            ev.ConditionsSeen: self._conditions_seen,
            ev.HeartbeatAnswer: partial(observing.heartbeat, self.state),
            ev.ListAnswer: partial(observing.listed, self.state),
            ev.DiskAnswer: self._measured,
            ev.CopyAnswer: partial(observing.copy_seen, self.state),
            ev.DeleteAnswer: partial(deleting.answered, self.state),
            ev.CutAnswer: self._cut,
            ev.SanAnswers: self._san_answers,
            ev.NamesSought: partial(whose_disk.sought, self.state),
            ev.PlanReady: self._plan_ready,
            ev.PlanFailed: self._plan_failed,
            ev.TasksAsked: self._tasks_asked,
            ev.CredentialsRefused: self._credentials_refused,
            ev.NextAsked: self._offering.asked,
            ev.RequestGone: self._offering.gone,
            ev.TaskReported: partial(copying.report, self.state),
            ev.TaskDropped: partial(copying.drop, self.state),
            ev.BreakerReleased: self._breaker_released,
        }
        self._recover(recovered, now)

    def _recover(self, recovered: Recovered, now: Now) -> None:
        self.state.metadata.measured(recovered.measure)
        for task in recovered.tasks:
            copying.recover(self.state, task, now)
        for order in recovered.orders:
            deleting.recover(self.state, order, now)
        for copy in recovered.copies:
            # A server that the settings leave out may come back: what is known of it stays in the store.
            if copy.server in self.state.fleet.records:
                self.state.versions.learnt(copy.file_name, copy.server, copy.version)
        for arrival in recovered.arrivals:
            self.state.arrivals.put(arrival.file_name, arrival.server, now.mono_ms)
        for pause in recovered.pauses:
            if self.state.config.has_side(pause.side):
                self.state.failures.recover(pause, now)
        for release in recovered.releases:
            releasing.recover(self.state, release, now)

    # ── what others read ────────────────────────────────────────────────────────────────────────────────

    @property
    def is_rehearsal(self) -> bool:
        """It starts and orders nothing, so no worker asks it for work either."""
        return self._rehearsal

    @property
    def looks_first(self) -> bool:
        """Is there still a destination that was never looked at?"""
        last = self.last_round
        return last is not None and last.view.first_look and any(True for _addr in self.state.unseen())

    @property
    def is_settled(self) -> bool:
        """Is everything decided that has become possible?  Then only time makes something due."""
        revision = self.state.revision
        return revision.dispatch == self._dispatched and revision.orders == self._orders_seen

    @property
    def shortlist(self) -> Shortlist:
        """The lists of the last full plan."""
        return self.plans.shortlist

    def backlog(self) -> Shortlist:
        """The same with the files that rise now put first, and without most files that are placed by now."""
        return self.plans.backlog(self.state)

    @property
    def rising_files(self) -> tuple[File, ...]:
        return self.state.popular.rising_files

    def plan_inputs(self, now: Now) -> PlanInputs:
        return plan_inputs(self.state, now)

    # ── the machine ─────────────────────────────────────────────────────────────────────────────────────

    def handle(self, event: ev.Event, now: Now) -> Step:
        """What `event` leads to: what to carry out, what to make durable, and what waits for that."""
        self._handlers[type(event)](event, now)
        return self._settle(now)

    def hear(self, event: ev.Event, now: Now) -> Step:
        """Take note of `event`, and decide nothing yet: more is about to come.

        What has become possible is decided at the next `handle`; a `Tick` will do.
        """
        self._handlers[type(event)](event, now)
        return self._taken(now)

    def _settle(self, now: Now) -> Step:
        self._deadlines(now)
        self._decide(now)
        if self.state.snapshot is not None and self.plans.is_due(now):
            self._plan(now)
        self._offering.answer(now)
        self.state.note_sources(now)
        return self._taken(now)

    def _taken(self, now: Now) -> Step:
        self.state.out.changes.extend(self.state.failures.take_changes(now))
        # While nothing can be written, only memory knows what is said: it must not pile up for the disk.
        return self.state.out.take(now.wall_s, remember=not self.state.store_trouble)

    def next_wakeup_ms(self, now: Now) -> int:
        """When a `Tick` is due at the latest (monotonic)."""
        state = self.state
        soonest_ms = min(now.mono_ms + IDLE_MS, self._moments.next_ms())
        for moment_ms in (
            state.health.next_due_ms(),
            overdue.next_deadline_ms(state, now),
            state.san.silence.next_trial_ms(),
            deleting.next_relist_ms(state, now),
            observing.next_reading_ms(state, now),
            observing.next_version_look_ms(state),
            self._offering.next_ms,
            self.plans.next_ms if state.snapshot is not None else None,
        ):
            if moment_ms is not None and moment_ms < soonest_ms:
                soonest_ms = moment_ms
        return max(now.mono_ms, soonest_ms)

    def _deadlines(self, now: Now) -> None:
        state = self.state
        observing.send_heartbeats(state, now)
        observing.relist_unclear(state, now)
        observing.measure_again(state, now)
        observing.look_for_new_versions(state, now)
        overdue.end_overdue(state, self._others_wait, now)
        overdue.hurry_silent(state, now)
        copying.cut_streams(state, now)
        state.try_san_again(now)
        self._moments.come(now.mono_ms)
        if self._moments.full_look_is_due(now.mono_ms, state.config.full_look_ms):
            observing.full_look(state, now)
        if self._moments.housekeeping_is_due(now.mono_ms):
            self._housekeeping(now)

    def _others_wait(self) -> bool:
        """Does a wanted file wait for a source?"""
        is_placed, copied = self.state.is_placed, self.state.tasks.by_file
        retries = self.state.failures.retries
        return any(
            not is_placed(file.name) and file.name not in copied and file.name not in retries
            for file in self.backlog().wanted
        )

    def _housekeeping(self, now: Now) -> None:
        state = self.state
        state.forget_old(now)
        state.ask_san(state.absences.take_due(now), now, ahead=True)
        state.popular.forget_last(now.mono_ms - state.rules.unknown_grace_ms)
        observing.forget_arrivals(state, now)
        observing.look_again(state, now)
        whose_disk.seek(state, now)
        copying.give_up_unproven(state, now)
        releasing.forget(state, now)
        self._moments.look_again(
            at_orders=bool(state.orders.waiting()), at_everything=self._san_is_waited_for()
        )
        if self._time_may_help():
            self._moments.tidy_soon(now.mono_ms)

    def _time_may_help(self) -> bool:
        """Does anything wait for time alone that has no moment of its own?"""
        state = self.state
        waits = state.orders.waiting() or state.reservations.reserved or state.tasks.unproven
        return bool(waits) or self._san_is_waited_for() or observing.something_unknown(state)

    def _san_is_waited_for(self) -> bool:
        """Did the last round want to know of a file whether it is on the SAN, which may have been silent?"""
        last = self.last_round
        return last is None or any(last.times(action, refusals.SAN_UNKNOWN) for action in ("copy", "delete"))

    def _rest_is_waited_for(self) -> bool:
        """Did the last round refuse a file that may still be being written?"""
        last, reason = self.last_round, refusals.STILL_BEING_WRITTEN
        return last is not None and any(last.times(action, reason) for action in ("copy", "delete"))

    # ── deciding ────────────────────────────────────────────────────────────────────────────────────────

    def _decide(self, now: Now) -> None:
        """Everything that an event may have made possible, and when time alone may make more so."""
        if self.is_settled:
            return
        revision = self.state.revision
        for _again in range(ROUNDS_AT_MOST):
            if revision.dispatch != self._dispatched:
                self._dispatch(now)
            elif revision.orders != self._orders_seen:
                self._orders_seen = revision.orders
                dispatch.send_orders(self.state, now)
            else:
                break
        self._set_moments(now)

    def _dispatch(self, now: Now) -> None:
        self._orders_seen = self.state.revision.orders
        if self._rehearsal:
            self.last_round = dispatch.rehearse(self.state, self.backlog(), now)
            self._dispatched = self.last_round.view.revision
            self.plans.looked(self.last_round)
            return
        self.last_round = dispatch.dispatch(self.state, self.backlog(), now)
        self._dispatched = -1 if dispatch.is_unfinished(self.last_round) else self.last_round.view.revision
        self.plans.used(self.last_round)

    def _set_moments(self, now: Now) -> None:
        state = self.state
        paced = self.last_round is not None and self.last_round.times("delete", refusals.PACE) > 0
        file_due_ms = state.next_file_due_ms(now)
        pace_ends_ms = state.orders.pace_ends_ms() if paced else None
        look_ms = state.san.next_look_ms(state.rules.san_rest_ms, now) if self._rest_is_waited_for() else None
        self._moments.set(
            pause_ends_ms=soonest(file_due_ms, state.next_server_due_ms(now), pace_ends_ms, look_ms),
            retry_due_ms=soonest(file_due_ms, state.doubt_ends_ms(now)),
        )
        if self._time_may_help():
            self._moments.tidy_soon(now.mono_ms)

    def _plan(self, now: Now) -> None:
        inputs = plan_inputs(self.state, now)
        if self.plans.begin(inputs, now):
            self.state.out.effects.append(ev.StartPlan(inputs))

    def _plan_ready(self, event: ev.PlanReady, now: Now) -> None:
        self.state.counts["plans"] += 1
        self.state.counts["plan_ms"] += event.took_ms
        self.plans.ended(event.took_ms, now)
        self.state.own_troubles.note(OwnTroubleKind.PLAN_FAILING, "", "", now)
        if self.state.snapshot is not None and event.shortlist.snapshot_id == self.state.snapshot.id:
            self.state.stock.counted(event.shortlist.stock)
            if event.shortlist.holders:
                self.state.fleet.holders.learn(event.shortlist.holders, self.plans.planned_lists)
            self.plans.take(event.shortlist)
            absent = {file.name: file for file in event.shortlist.absent}
            self.state.absences.planned(self.plans.knew_absent, absent)

    def _plan_failed(self, event: ev.PlanFailed, now: Now) -> None:
        self.plans.failed(event.took_ms, now)
        self.state.own_troubles.note(OwnTroubleKind.PLAN_FAILING, "", event.why, now)

    # ── what people and files told ──────────────────────────────────────────────────────────────────────

    def _accepted(self, event: ev.SnapshotAccepted, now: Now) -> None:
        state = self.state
        too_old = state.metadata.age_ms(now) > state.rules.metadata_max_age_ms
        state.metadata.accept(event.facts, event.age_ms, now)
        if state.metadata.measured(event.facts.measure):
            state.out.changes.append(PutMeasure(event.facts.measure, now.wall_s))
        self.plans.metadata_changed(now, was_too_old=too_old)
        state.say(
            "metadata accepted",
            snapshot=event.facts.id,
            graded=event.facts.graded_files,
            known=event.facts.known_files,
            skipped=dict(event.facts.skipped_lines),
        )

    def _rejected(self, event: ev.SnapshotRejected, now: Now) -> None:
        self.state.metadata.reject(event.facts, now)
        self.state.say("metadata rejected", level="warning", because=event.facts.why, snapshot=event.facts.id)

    def _hits_changed(self, event: ev.HitsChanged, _now: Now) -> None:
        new, gone = self.state.popular.change(event.hits, event.rising_files)
        for name in new:
            self.state.say("file rises", file=name, hits=event.hits.rising[name])
        for name in gone:
            self.state.say("file stopped rising", file=name)

    def _log_changed(self, event: ev.LogChanged, now: Now) -> None:
        state, log = self.state, event.state
        if state.log is None or state.log.condition is not log.condition:
            level = "info" if log.condition in _LOG_IS_FINE else "warning"
            state.say("event log", level=level, condition=log.condition.value, because=log.why)
        state.popular.log_changed(log, now)

    def _san_indexed(self, event: ev.SanIndexed, now: Now) -> None:
        san = self.state.san
        if event.names is None and san.index is not None:
            self.state.say("source folders unknown", level="warning", because=event.why)
        if event.names is not None and san.index is None:
            deleting.san_is_back(self.state, now)
            self.plans.san_is_back()
        san.indexed(event.names, event.why, now.mono_ms)
        if event.names is not None:
            self.state.absences.appeared(event.names, now)
            self.state.ask_san(self.state.absences.take_due(now), now, ahead=True)
        whose_disk.indexed(self.state, event.folders, now)

    def _rules_changed(self, event: ev.RulesChanged, now: Now) -> None:
        if event.rules.limit_percent > self.state.rules.limit_percent:
            self.state.departures.forget_all()  # they went for a limit that no longer holds
        releasing.change_rules(self.state, event.rules)
        observing.forget_arrivals(self.state, now)  # the minimum stay may be shorter now
        asked = {"keys": ", ".join(event.keys) or "nothing", "by": event.by} if event.by else {}
        self.state.say("settings changed", asked, limit_percent=event.rules.limit_percent)

    def _noted(self, event: ev.Noted, _now: Now) -> None:
        self.state.say(event.event, event.facts, level=event.level)

    # ── our own state ───────────────────────────────────────────────────────────────────────────────────

    def _store_trouble(self, event: ev.StoreTrouble, _now: Now) -> None:
        self.state.own_store.failed(event.why)
        self.state.say(
            "our own state cannot be written: no orders until it can", level="error", because=event.why
        )

    def _store_recovered(self, _event: ev.StoreRecovered, _now: Now) -> None:
        self.state.own_store.recovered()
        self.state.say("our own state can be written again")

    def _own_trouble(self, event: ev.OwnTrouble, now: Now) -> None:
        self.state.own_troubles.note(event.kind, event.subject, event.why, now)

    def _conditions_seen(self, event: ev.ConditionsSeen, now: Now) -> None:
        for seen, since_s, begins in self.state.conditions.note(event.found, now):
            if begins:
                level = _LEVEL_IN_LOG[seen.level]
                facts = {"condition": seen.name, "health": seen.level, "because": seen.text}
                self.state.say("condition begins", facts, level=level, about=seen.servers)
            else:
                lasted_s = max(0, now.wall_s - since_s)
                self.state.say("condition ends", condition=seen.name, lasted_s=lasted_s, about=seen.servers)

    # ── answers and requests ────────────────────────────────────────────────────────────────────────────

    def _measured(self, event: ev.DiskAnswer, now: Now) -> None:
        observing.measured(self.state, event, now)
        releasing.forget(self.state, now)
        if self.last_round is not None and self.last_round.times("delete", refusals.BREAKER):
            self.state.revision.dispatch += 1  # how much a breaker lets go depends on what is used there

    def _san_answers(self, event: ev.SanAnswers, now: Now) -> None:
        self.state.san.answered(event.answers, event.asked_ms)
        observing.compare_versions(self.state, event.answers, now)

    def _cut(self, event: ev.CutAnswer, now: Now) -> None:
        if event.cut:
            self.state.tasks.stream_cut(event.task_id, now)

    def _credentials_refused(self, event: ev.CredentialsRefused, now: Now) -> None:
        if self.state.strangers.heard(event.addr, now.mono_ms):
            self.state.say("a worker has no valid credentials", level="warning", server=event.addr)

    def _tasks_asked(self, event: ev.TasksAsked, now: Now) -> None:
        old_workers.asked_for_tasks(self.state, event.client, now)
        shown = ev.TaskList(tuple(self.state.tasks.shown()))
        self.state.out.effects.append(ev.Reply(event.request, 200, shown))

    def _breaker_released(self, event: ev.BreakerReleased, now: Now) -> None:
        held = releasing.held_by_breaker(self.state, self.backlog(), now)
        chosen = {addr: size for addr, size in held.items() if event.server in (None, addr)}
        releasing.release(self.state, chosen, now)
        for addr, size_bytes in chosen.items():
            self.state.say(
                "breaker released", level="warning", server=addr, up_to_bytes=size_bytes, by=event.by
            )
        reply = ev.Reply(event.request, 200, ev.Released(chosen)) if chosen else ev.Reply(event.request, 404)
        self.state.out.effects.append(reply)
