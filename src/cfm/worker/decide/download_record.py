"""One download in the book: what is known of it beside its state, and which report on it is due when.

Pure.  `downloads` keeps one of these for each task that the worker holds; `download_life` says which state
comes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cfm.backoff import Backoff
from cfm.model import Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.download_events import ReportAnswered
from cfm.worker.decide.download_life import DownloadEvent, DownloadState, knows

REPORT_EVERY_MS: Final = 1_000
"""The time between two reports on a copy that is under way."""
REPORT_AGAIN: Final = Backoff(first_ms=500, longest_ms=10_000)
HTTP_OK: Final = 200
HTTP_GONE: Final = (404, 409)
"""Answers to a report: the task is not ours, or not any more."""

_S = DownloadState
_ON_THE_WAY = frozenset({_S.CLAIMING, _S.COPYING, _S.VERIFYING, _S.PUBLISHING})
"""In these states `working` is reported."""
_ALL_RECEIVED = frozenset({_S.VERIFYING, _S.PUBLISHING})


@dataclass(slots=True)
class DownloadRecord:
    """One task that the worker holds."""

    offer: TaskOffer
    state: DownloadState = DownloadState.NEW
    lease_ends_ms: int | None = None
    """When it has to stop unless cfm confirms it before; None: never (a task of an old cfm)."""
    report_at_ms: int | None = None
    """When the next report is to be sent; None: there is none to send."""
    in_flight: bool = False
    """A report was sent, and its answer has not come yet."""
    tries: int = 0
    """How many times this report was sent and not answered."""
    done_bytes: int = 0
    verified: bool = False
    """The transfer compared the checksum with the source's."""
    final: TaskReport | None = None
    """How the task ended.  The first reason stays."""

    @property
    def leased(self) -> bool:
        """Does cfm expect progress reports?  An old cfm does not."""
        return self.offer.lease_s is not None

    @property
    def is_assigned(self) -> bool:
        """Did cfm count the task as ours when it offered it?"""
        return self.leased and self.offer.status is Status.WORKING

    @property
    def under_way(self) -> bool:
        """Is anything still being done about the task on this server?"""
        return self.state is not DownloadState.REPORTING

    @property
    def receiving(self) -> bool:
        """Does the task keep a place for a copy that receives bytes?

        A copy that failed keeps its place until its bytes are removed.  To an old cfm, which does not hear
        that all bytes are here, a task keeps its place until it is done.
        """
        return self.under_way and not (self.leased and self.state in _ALL_RECEIVED)

    def report(self) -> TaskReport | None:
        """What there is to report now."""
        if self.state is DownloadState.REPORTING:
            return self.final
        if self.state in _ON_THE_WAY:
            return TaskReport(Status.WORKING, self.done_bytes, self.state in _ALL_RECEIVED)
        return None

    def report_due_ms(self) -> int | None:
        """When the report is to be sent.  There is one report under way at a time."""
        return None if self.in_flight or self.report() is None else self.report_at_ms

    def lease_due_ms(self) -> int | None:
        """When the download has to stop, in the states in which a lease can end."""
        return self.lease_ends_ms if knows(self.state, DownloadEvent.LEASE_ENDED) else None

    def renew(self, from_ms: int) -> None:
        """The lease counts from `from_ms`: cfm cannot have counted it from an earlier moment."""
        self.lease_ends_ms = None if self.offer.lease_s is None else from_ms + 1_000 * self.offer.lease_s

    def report_at(self, at_ms: int | None) -> None:
        self.report_at_ms, self.tries = at_ms, 0

    def was_not_answered(self, report: TaskReport, now_ms: int) -> None:
        """Set the time of the next attempt.

        A claim and a final report are repeated with growing pauses.  Any other report is made anew a second
        later.
        """
        if self.state in (DownloadState.CLAIMING, DownloadState.REPORTING):
            if self.report() == report:
                self.tries += 1
                self.report_at_ms = now_ms + REPORT_AGAIN.pause_ms(self.tries)
        elif self.report() is not None:
            self.report_at(now_ms + REPORT_EVERY_MS)

    def was_answered(self, event: ReportAnswered, now_ms: int) -> None:
        """Renew the lease where cfm confirmed the task, and set the time of the next progress report.

        What changed while the report was under way (all bytes are here) is reported at once.
        """
        if self.state not in _ON_THE_WAY:
            return
        if event.status == HTTP_OK:
            self.renew(event.sent_ms)
        if event.status in HTTP_GONE or not self.leased:
            self.report_at(None)
        else:
            is_told = event.report.received == (self.state in _ALL_RECEIVED)
            self.report_at(event.sent_ms + REPORT_EVERY_MS if is_told else now_ms)
