"""The book of a worker's downloads: events in, instructions out.

Pure: no clock (`now_ms` is an argument, in milliseconds of the monotonic clock), no I/O, no randomness.
The simulator therefore runs the very code that runs in service.  Whoever drives the book carries the
instructions out strictly in their order (`instruction_queue`), and brings the results back as events
(`execution`).

`download_life` holds the table of states.  This module turns each event into a row of that table, and gives
the instruction that belongs to the state that is entered.  Three promises follow from the table:

- A task is written down before anything is said about it.
- A copy begins only when cfm counts the task as ours.
- How a task ended is written down before it is reported, and reported until cfm answers.

After each event the book looks as a whole at what is due by time (`_settle`).  A late or doubled tick
therefore changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cfm.model import Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.asking import AskSchedule
from cfm.worker.decide.download_events import (
    Abandoned,
    AskNext,
    AskOutcome,
    BookEvent,
    BytesReceived,
    CfmSpoke,
    Clean,
    Cleaned,
    DownloadTick,
    EventOfTask,
    HeldDurably,
    Instruction,
    NotHeld,
    NothingOffered,
    Progress,
    Published,
    ReportAnswered,
    Restarted,
    SendReport,
    Stopping,
    TaskOffered,
    TransferEnded,
)
from cfm.worker.decide.download_life import DownloadEvent, DownloadState, UnknownEventError, next_state
from cfm.worker.decide.download_orders import event_of_answer, instruction_on_entering
from cfm.worker.decide.download_record import DownloadRecord
from cfm.worker.decide.litter import LOOK_AGAIN_MS, LitterSearch
from cfm.worker.decide.offers import Neighbourhood, failure, objection

CLAIM_MS: Final = 60_000
"""How long an unanswered claim is repeated."""
MAX_HELD: Final = 64
"""The book's bound: while it holds so many tasks, the worker asks for no more."""

_S, _E = DownloadState, DownloadEvent
_WILL_CHANGE: Final = (401, 403, 408, 425, 429)
"""With these, and with 5xx, cfm has not decided about the report: it is sent again."""
_LEASE_ENDED: Final = "the lease ended without an answer from cfm"


@dataclass(slots=True)
class DownloadBook:
    """All downloads of a worker.

    `handle` is the only way in.  `wake_at_ms` says when a `DownloadTick` is needed.
    """

    here: Neighbourhood
    slots: int = 1
    """How many tasks may receive bytes at a time.  As many again may be about to become visible."""
    poll_ms: int = 5_000
    clean_again_ms: int = LOOK_AGAIN_MS
    _held: dict[int, DownloadRecord] = field(default_factory=dict)
    _asking: AskSchedule = field(init=False)
    _litter: LitterSearch = field(init=False)
    _out: list[Instruction] = field(default_factory=list)
    _cfm_is_silent: bool = False
    """A report got no answer.  The first sign of cfm brings all repeated reports forward."""
    _open: bool = False
    """The worker asks for work: from `Restarted` until `Stopping`."""

    def __post_init__(self) -> None:
        self._asking = AskSchedule(self.poll_ms)
        self._litter = LitterSearch(self.clean_again_ms)

    def handle(self, event: BookEvent, now_ms: int) -> list[Instruction]:
        """What is to be done because of `event`, in this order.

        Raises:
            UnknownEventError: the event cannot happen to that task now; it is a mistake in the worker.
        """
        self._take(event, now_ms)
        self._settle(now_ms)
        out, self._out = self._out, []
        return out

    def wake_at_ms(self) -> int | None:
        """When something will be due without an event; None: nothing will."""
        held = self._held.values()
        times = [time for one in held for time in (one.report_due_ms(), one.lease_due_ms())]
        if self._may_ask():
            times.append(self._asking.not_before_ms)
        if self._open and not self._litter.under_way:
            times.append(self._litter.due_ms)
        return min((time for time in times if time is not None), default=None)

    @property
    def under_way(self) -> int:
        """How many tasks are still worked on here."""
        return sum(download.under_way for download in self._held.values())

    @property
    def receiving(self) -> int:
        """How many tasks keep a place for a copy that receives bytes."""
        return sum(download.receiving for download in self._held.values())

    @property
    def quiet(self) -> bool:
        """Nothing is under way, and each report was answered, or at least sent once."""
        return self.under_way == 0 and all(download.tries for download in self._held.values())

    def states(self) -> dict[int, DownloadState]:
        """The state of each task that is held."""
        return {task_id: download.state for task_id, download in self._held.items()}

    # --- events

    def _take(self, event: BookEvent, now_ms: int) -> None:
        match event:
            case Restarted():
                self._restart(event, now_ms)
            case TaskOffered():
                self._offered(event.offer, now_ms)
            case NothingOffered():
                self._nothing(event.outcome, now_ms)
            case Stopping():
                self._stop_all(now_ms)
            case Cleaned():
                self._litter.ended(now_ms, left=event.left)
            case CfmSpoke():
                self._asking.cfm_spoke()
                self._heard(now_ms)
            case DownloadTick():
                pass
            case _:
                download = self._held.get(event.task_id)
                if download is None:
                    raise UnknownEventError(f"no download {event.task_id} is there to hear of {event}")
                self._take_of(download, event, now_ms)

    def _take_of(self, download: DownloadRecord, event: EventOfTask, now_ms: int) -> None:
        match event:
            case HeldDurably():
                self._held_durably(download, now_ms)
            case NotHeld():
                why = failure("the worker cannot write down that it took the task", own_disk=True)
                self._go(download, _E.NOT_HELD, now_ms, why)
                self._asking.offer_was_useless(now_ms)
            case ReportAnswered():
                self._answered(download, event, now_ms)
            case Progress():
                download.done_bytes = event.done_bytes
            case BytesReceived():
                self._go(download, _E.ALL_RECEIVED, now_ms)
            case TransferEnded():
                self._transfer_ended(download, event, now_ms)
            case Published():
                final = event.failed or TaskReport(Status.DONE, verified=download.verified)
                self._go(download, _E.NOT_PUBLISHED if event.failed else _E.PUBLISHED, now_ms, final)
            case Abandoned():
                if event.left:
                    self._litter.was_left(now_ms)
                self._go(download, _E.CLEANED, now_ms)

    def _restart(self, event: Restarted, now_ms: int) -> None:
        self._open, self._litter.due_ms = True, now_ms
        for task in event.held:
            download = self._held[task.offer.id] = DownloadRecord(task.offer)
            if task.final is None:
                self._go(download, _E.INTERRUPTED, now_ms, failure("the worker was restarted"))
            else:
                self._go(download, _E.RECALLED, now_ms, task.final)

    def _offered(self, offer: TaskOffer, now_ms: int) -> None:
        self._heard(now_ms)
        self._asking.brought_offer(now_ms)
        if not self._open:
            return
        if offer.id in self._held or offer.destination != self.here.own:
            self._asking.offer_was_useless(now_ms)
            return
        download = self._held[offer.id] = DownloadRecord(offer)
        why = objection(offer, self.here)
        if why is not None:
            self._go(download, _E.BAD_OFFER, now_ms, failure(f"refused: {why}"))
        elif download.is_assigned:
            download.renew(self._asking.since_ms)  # cfm's answer may have been under way for long
            self._go(download, _E.ASSIGNMENT, now_ms)
        else:
            claim_ms = CLAIM_MS if offer.lease_s is None else min(CLAIM_MS, 1_000 * offer.lease_s)
            download.lease_ends_ms = now_ms + claim_ms
            self._go(download, _E.OFFER, now_ms)

    def _nothing(self, outcome: AskOutcome, now_ms: int) -> None:
        self._asking.brought_nothing(outcome, now_ms)
        if outcome is not AskOutcome.DOWN:
            self._heard(now_ms)

    def _stop_all(self, now_ms: int) -> None:
        self._open = False
        for download in list(self._held.values()):
            self._go(download, _E.WORKER_STOPS, now_ms, failure("the worker was stopped"))

    def _held_durably(self, download: DownloadRecord, now_ms: int) -> None:
        ends_ms = download.lease_ends_ms
        if download.state is _S.ASSIGNED and ends_ms is not None and now_ms >= ends_ms:
            self._go(download, _E.HELD_LATE, now_ms, failure(_LEASE_ENDED))
        else:
            self._go(download, _E.HELD, now_ms)
            download.report_at(now_ms)

    def _transfer_ended(self, download: DownloadRecord, event: TransferEnded, now_ms: int) -> None:
        if event.failed is None:
            download.done_bytes, download.verified = event.size_bytes, event.verified
            self._go(download, _E.COMPLETED, now_ms)
        else:
            self._go(download, _E.FAILED, now_ms, event.failed)

    def _answered(self, download: DownloadRecord, event: ReportAnswered, now_ms: int) -> None:
        download.in_flight = False
        status = event.status
        if status is None or status >= 500 or status in _WILL_CHANGE:
            self._cfm_is_silent = self._cfm_is_silent or status is None
            download.was_not_answered(event.report, now_ms)
            return
        self._heard(now_ms)
        was_claiming = download.state is _S.CLAIMING
        self._go(download, event_of_answer(event), now_ms)
        download.was_answered(event, now_ms)
        if was_claiming and download.state is _S.FORGOTTEN:
            self._asking.offer_was_useless(now_ms)

    # --- steps

    def _go(
        self, download: DownloadRecord, event: DownloadEvent, now_ms: int, final: TaskReport | None = None
    ) -> None:
        """Take the step that the table names.  `final` is how the task ended, if it ends by this."""
        state = next_state(download.state, event)
        if state is download.state:
            return
        download.state, download.final = state, download.final or final
        if state is _S.COPYING:
            self._asking.copy_began()
        elif state is _S.REPORTING or (state is _S.VERIFYING and download.leased):
            download.report_at(now_ms)
        elif state is _S.FORGOTTEN:
            del self._held[download.offer.id]
        instruction = instruction_on_entering(download, event)
        if instruction is not None:
            self._out.append(instruction)

    def _heard(self, now_ms: int) -> None:
        if not self._cfm_is_silent:
            return
        self._cfm_is_silent = False
        for download in self._held.values():
            if download.tries:
                download.report_at_ms = now_ms

    # --- what is due

    def _settle(self, now_ms: int) -> None:
        for download in list(self._held.values()):
            ends_ms = download.lease_due_ms()
            if ends_ms is not None and now_ms >= ends_ms:
                self._go(download, _E.LEASE_ENDED, now_ms, failure(_LEASE_ENDED))
        self._out.extend(self._reports_due(now_ms))
        if self._open and self._litter.is_due(now_ms):
            self._litter.start()
            self._out.append(Clean())
        if self._may_ask() and now_ms >= self._asking.not_before_ms:
            self._out.append(AskNext(self._asking.start(now_ms), frozenset(self._held)))

    def _reports_due(self, now_ms: int) -> Iterator[SendReport]:
        for download in self._held.values():
            due_ms, report = download.report_due_ms(), download.report()
            if due_ms is not None and report is not None and now_ms >= due_ms:
                download.in_flight = True
                yield SendReport(download.offer, report)

    def _may_ask(self) -> bool:
        """May the worker ask for one more task?

        A copy that only has to be made durable does not hold up the next one.  Such copies are limited as
        well, so that they do not pile up on a slow disk.  (cfm counts in the same way, see `plan.ledger`.)
        """
        if not self._open or self._asking.out or len(self._held) >= MAX_HELD:
            return False
        return self.receiving < self.slots and self.under_way < 2 * self.slots
