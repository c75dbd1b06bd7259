"""The book of a worker's downloads: events in, instructions out.

Pure: no clock (`now_ms` is an argument, milliseconds of the monotonic clock), no I/O, no randomness, so that
the simulator runs the very code that runs in service.  `agent` carries the instructions out, strictly in
their order, and brings what comes of them back as events.

A task's way through the book:

    offered → CLAIMING → COPYING → PUBLISHING → REPORTING → forgotten
                  |          |         |            ^
                  |       STOPPING → CLEANING ------+
                  +---------------------------------+

It is held durably before anything is said about it, it is copied only when cfm took our `working` (or offered
it as `working`: then asking was taking), and how it ended is durable before it is told, and told until it is
answered.  What is due by time is looked at as a whole after each event (`_settle`), so that a late or doubled
tick changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cfm.model import Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.asking import Asking, growing_ms
from cfm.worker.decide.download_events import (
    Abandon,
    Abandoned,
    Answer,
    AskNext,
    BytesReceived,
    Conclude,
    Event,
    EventOfTask,
    Forget,
    HeldDurably,
    Hold,
    Instruction,
    NotHeld,
    NothingOffered,
    Progress,
    Publish,
    Published,
    ReportAnswered,
    Restarted,
    SendReport,
    StartTransfer,
    Stopping,
    StopTransfer,
    TaskOffered,
    Tick,
    TransferEnded,
)
from cfm.worker.decide.offers import Neighbourhood, failure, is_final, objection

PROGRESS_MS: Final = 1_000
CLAIM_MS: Final = 60_000
"""How long a `working` that nobody answers is repeated."""
MAX_HELD: Final = 64
"""Bound of the book: no more tasks are asked for while so many reports wait for an answer."""

_GONE: Final = (404, 409)
_TRANSIENT: Final = (401, 403, 408, 425, 429)


class Stage(enum.StrEnum):
    CLAIMING = "claiming"
    COPYING = "copying"
    STOPPING = "stopping"
    PUBLISHING = "publishing"
    CLEANING = "cleaning"
    REPORTING = "reporting"


@dataclass(slots=True)
class _Held:
    """One task in the book."""

    offer: TaskOffer
    stage: Stage
    until_ms: int | None
    """When the claim or the lease ends; None: never (an old cfm's task, once claimed)."""
    report_at_ms: int | None = 0
    in_flight: bool = False
    tries: int = 0
    bytes: int = 0
    received: bool = False
    final: TaskReport | None = None
    """How it ended; while STOPPING or CLEANING None means that cfm needs no word of it any more."""

    @property
    def under_way(self) -> bool:
        """Something is still being done about it here."""
        return self.stage is not Stage.REPORTING

    @property
    def claimed(self) -> bool:
        """cfm counted it as ours when it answered our question; no `working` of ours need be waited for."""
        return self.leased and self.offer.status is Status.WORKING

    @property
    def leased(self) -> bool:
        return self.offer.lease_s is not None

    def report(self) -> TaskReport | None:
        """What there is to say now."""
        if self.stage is Stage.REPORTING:
            return self.final
        if self.stage in (Stage.CLAIMING, Stage.COPYING, Stage.PUBLISHING):
            return TaskReport(Status.WORKING, self.bytes, self.received)
        return None

    def due_ms(self) -> int | None:
        """When its report is due."""
        return None if self.in_flight or self.report() is None else self.report_at_ms

    def ends_ms(self) -> int | None:
        """When it has to stop if nothing is heard."""
        return self.until_ms if self.stage in (Stage.CLAIMING, Stage.COPYING) else None

    def renew(self, from_ms: int) -> None:
        self.until_ms = None if self.offer.lease_s is None else from_ms + self.offer.lease_s * 1_000

    def say_at(self, at_ms: int | None) -> None:
        self.report_at_ms, self.tries = at_ms, 0


@dataclass(slots=True)
class DownloadBook:
    """See the module's text.  `handle` is the only way in; `wake_at_ms` says when to send a `Tick`."""

    here: Neighbourhood
    slots: int = 1
    """How many tasks may receive bytes at a time; as many again may be about to become visible."""
    poll_ms: int = 5_000
    _held: dict[int, _Held] = field(default_factory=dict)
    _asking: Asking = field(init=False)
    _out: list[Instruction] = field(default_factory=list)
    _silent: bool = False
    """A report was not answered; the first sign of cfm brings all repeats forward."""
    _open: bool = False
    """Whether work is asked for: from the restart's event on until the stop."""

    def __post_init__(self) -> None:
        self._asking = Asking(self.poll_ms)

    def handle(self, event: Event, now_ms: int) -> list[Instruction]:
        """What is to be done because of `event`, in this order."""
        self._take(event, now_ms)
        self._settle(now_ms)
        out, self._out = self._out, []
        return out

    def wake_at_ms(self) -> int | None:
        """When something will be due without an event; None: not before one."""
        times = [time for held in self._held.values() for time in (held.due_ms(), held.ends_ms())]
        if self._may_ask():
            times.append(self._asking.not_before_ms)
        return min((time for time in times if time is not None), default=None)

    @property
    def under_way(self) -> int:
        """Tasks on which something is still being done here."""
        return sum(held.under_way for held in self._held.values())

    @property
    def receiving(self) -> int:
        """Tasks of which bytes are still to come.  (An old cfm knows of no such moment: to it a task is under
        way until it is done.)"""
        return sum(held.under_way and not (held.received and held.leased) for held in self._held.values())

    @property
    def quiet(self) -> bool:
        """Nothing is under way, and each report was told or at least tried."""
        return self.under_way == 0 and all(held.tries for held in self._held.values())

    def stages(self) -> dict[int, Stage]:
        """Where each held task is."""
        return {task_id: held.stage for task_id, held in self._held.items()}

    # --- events

    def _take(self, event: Event, now_ms: int) -> None:
        match event:
            case Restarted():
                self._restart(event, now_ms)
            case TaskOffered():
                self._offered(event.offer, now_ms)
            case NothingOffered():
                self._nothing(event.answer, now_ms)
            case NotHeld():
                self._not_held(event.task_id, now_ms)
            case Stopping():
                self._stop_all(now_ms)
            case Tick():
                pass
            case _:
                held = self._held.get(event.task_id)
                if held is not None:
                    self._take_of(held, event, now_ms)

    def _take_of(self, held: _Held, event: EventOfTask, now_ms: int) -> None:
        match event:
            case HeldDurably():
                self._held_durably(held, now_ms)
            case ReportAnswered():
                self._answered(held, event, now_ms)
            case Progress():
                held.bytes = event.bytes
            case BytesReceived():
                self._all_here(held, now_ms)
            case TransferEnded():
                self._transfer_ended(held, event)
            case Published():
                self._published(held, event.failed, now_ms)
            case Abandoned():
                self._abandoned(held, now_ms)

    def _restart(self, event: Restarted, now_ms: int) -> None:
        self._open = True
        for task in event.held:
            held = self._held[task.offer.id] = _Held(task.offer, Stage.REPORTING, None, now_ms)
            held.final = task.final
            if task.final is None:
                self._clean(held, failure("the worker was restarted"))

    def _offered(self, offer: TaskOffer, now_ms: int) -> None:
        self._heard(now_ms)
        self._asking.offered(now_ms)
        if not self._open:
            return
        if offer.id in self._held or offer.destination != self.here.own:
            self._asking.rest(now_ms)
            return
        held = self._held[offer.id] = _Held(offer, Stage.CLAIMING, now_ms + CLAIM_MS, now_ms)
        why = objection(offer, self.here)
        if why is not None:
            self._conclude(held, failure(f"refused: {why}"), now_ms)
            return
        if offer.lease_s is not None:
            held.until_ms = now_ms + min(CLAIM_MS, offer.lease_s * 1_000)
        if held.claimed:
            held.renew(self._asking.since_ms)  # the answer may have been long under way
        self._out.append(Hold(offer))

    def _held_durably(self, held: _Held, now_ms: int) -> None:
        in_time = held.until_ms is None or now_ms < held.until_ms
        if held.claimed and held.stage is Stage.CLAIMING and in_time:
            self._begin(held)

    def _not_held(self, task_id: int, now_ms: int) -> None:
        """It is not taken; a cfm that counts it as ours is told so."""
        held = self._held.pop(task_id, None)
        if held is not None and held.claimed:
            self._held[task_id], held.in_flight = held, False
            self._conclude(held, failure("the worker cannot write down that it took the task"), now_ms)
        self._asking.rest(now_ms)

    def _nothing(self, answer: Answer, now_ms: int) -> None:
        self._asking.answered(answer, now_ms)
        if answer is not Answer.DOWN:
            self._heard(now_ms)

    def _stop_all(self, now_ms: int) -> None:
        self._open = False
        for held in list(self._held.values()):
            self._stop(held, failure("the worker was stopped"), now_ms)

    def _answered(self, held: _Held, event: ReportAnswered, now_ms: int) -> None:
        held.in_flight = False
        status = event.status
        if status is None or status >= 500 or status in _TRANSIENT:
            self._unanswered(held, event.report, status, now_ms)
            return
        self._heard(now_ms)
        if is_final(event.report):
            self._forget(held)
        elif held.stage is Stage.CLAIMING:
            self._claim_answered(held, status, event.sent_ms)
        elif held.stage in (Stage.COPYING, Stage.PUBLISHING):
            self._progress_answered(held, event, now_ms)

    def _unanswered(self, held: _Held, report: TaskReport, status: int | None, now_ms: int) -> None:
        self._silent = self._silent or status is None
        if held.report() == report and (is_final(report) or held.stage is Stage.CLAIMING):
            held.report_at_ms = now_ms + growing_ms(500, held.tries, 10_000)
            held.tries += 1
        elif held.stage in (Stage.COPYING, Stage.PUBLISHING):
            held.say_at(now_ms + PROGRESS_MS)

    def _claim_answered(self, held: _Held, status: int, sent_ms: int) -> None:
        if status != 200:
            self._forget(held)
            self._asking.rest(sent_ms)
            return
        held.renew(sent_ms)
        held.say_at(sent_ms + PROGRESS_MS if held.leased else None)
        self._begin(held)

    def _progress_answered(self, held: _Held, event: ReportAnswered, now_ms: int) -> None:
        if event.status in _GONE:
            held.say_at(None)  # nothing more until its end, which a file that becomes visible still has
            self._stop(held, None, now_ms, why="cfm ended the task")
            return
        if event.status == 200:
            held.renew(event.sent_ms)
        # What changed while the report was under way (all bytes are here) is told at once.
        told = event.report.received == held.received
        held.say_at(event.sent_ms + PROGRESS_MS if told else now_ms)

    def _all_here(self, held: _Held, now_ms: int) -> None:
        held.received = True
        if held.stage is Stage.COPYING and held.leased:
            held.say_at(now_ms)

    def _transfer_ended(self, held: _Held, event: TransferEnded) -> None:
        if held.stage is Stage.STOPPING:
            self._clean(held, held.final)
        elif held.stage is Stage.COPYING and event.failed is not None:
            self._clean(held, event.failed)
        elif held.stage is Stage.COPYING:
            held.stage, held.bytes, held.received = Stage.PUBLISHING, event.bytes, True
            self._out.append(Publish(held.offer, event.verified))

    def _published(self, held: _Held, failed: TaskReport | None, now_ms: int) -> None:
        if held.stage is not Stage.PUBLISHING:
            return
        if failed is not None:
            self._clean(held, failed)
        else:
            self._conclude(held, TaskReport(Status.DONE, verified=True), now_ms)

    def _abandoned(self, held: _Held, now_ms: int) -> None:
        if held.stage is not Stage.CLEANING:
            return
        if held.final is None:
            self._forget(held)
        else:
            self._conclude(held, held.final, now_ms)

    # --- steps

    def _begin(self, held: _Held) -> None:
        self._asking.refusals = 0
        held.stage = Stage.COPYING
        self._out.append(StartTransfer(held.offer))

    def _stop(self, held: _Held, final: TaskReport | None, now_ms: int, why: str = "") -> None:
        """End it, wherever it is; what is being published is let through."""
        if held.stage is Stage.CLAIMING and final is not None:
            self._conclude(held, final, now_ms)
        elif held.stage is Stage.COPYING:
            held.stage, held.final = Stage.STOPPING, final
            self._out.append(StopTransfer(held.offer, why or (final.error if final else "")))

    def _clean(self, held: _Held, final: TaskReport | None) -> None:
        held.stage, held.final = Stage.CLEANING, final
        self._out.append(Abandon(held.offer))

    def _conclude(self, held: _Held, final: TaskReport, now_ms: int) -> None:
        held.stage, held.final = Stage.REPORTING, final
        held.say_at(now_ms)
        self._out.append(Conclude(held.offer, final))

    def _forget(self, held: _Held) -> None:
        del self._held[held.offer.id]
        self._out.append(Forget(held.offer.id))

    def _heard(self, now_ms: int) -> None:
        if not self._silent:
            return
        self._silent = False
        for held in self._held.values():
            if held.tries:
                held.report_at_ms = now_ms

    # --- what is due

    def _settle(self, now_ms: int) -> None:
        for held in list(self._held.values()):
            ends_ms = held.ends_ms()
            if ends_ms is not None and now_ms >= ends_ms:
                self._stop(held, failure("cfm did not answer: the lease ended"), now_ms)
        self._out.extend(self._reports_due(now_ms))
        if self._may_ask() and now_ms >= self._asking.not_before_ms:
            self._out.append(AskNext(self._asking.start(now_ms), frozenset(self._held)))

    def _reports_due(self, now_ms: int) -> Iterator[SendReport]:
        for held in self._held.values():
            due_ms, report = held.due_ms(), held.report()
            if due_ms is not None and report is not None and now_ms >= due_ms:
                held.in_flight = True
                yield SendReport(held.offer, report)

    def _may_ask(self) -> bool:
        """A copy that only has to be made durable does not hold up the next one, but for its like: they
        must not pile up on a slow disk.  (cfm counts in the same way: `plan.ledger`.)"""
        if not self._open or self._asking.out or len(self._held) >= MAX_HELD:
            return False
        return self.receiving < self.slots and self.under_way < 2 * self.slots
