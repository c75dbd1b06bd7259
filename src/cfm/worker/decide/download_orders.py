"""What belongs to the table of a download's life: an instruction for each state, an event for each answer.

Pure.  `downloads` gives the instruction of a state when a download enters it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cfm.wire import TaskReport
from cfm.worker.decide.download_events import (
    Abandon,
    Conclude,
    Forget,
    Hold,
    Instruction,
    Publish,
    ReportAnswered,
    StartTransfer,
    StopTransfer,
)
from cfm.worker.decide.download_life import DownloadEvent, DownloadState
from cfm.worker.decide.download_record import HTTP_GONE, HTTP_OK, DownloadRecord
from cfm.worker.decide.offers import is_final

_S, _E = DownloadState, DownloadEvent

_ORDERS: Final[Mapping[DownloadState, Callable[[DownloadRecord], Instruction]]] = {
    _S.OFFERED: lambda it: Hold(it.offer),
    _S.ASSIGNED: lambda it: Hold(it.offer),
    _S.COPYING: lambda it: StartTransfer(it.offer),
    _S.PUBLISHING: lambda it: Publish(it.offer, it.verified),
    _S.STOPPING: lambda it: StopTransfer(it.offer, _final(it).error),
    _S.CANCELLING: lambda it: StopTransfer(it.offer, "cfm ended the task"),
    _S.CLEANING: lambda it: Abandon(it.offer),
    _S.DROPPING: lambda it: Abandon(it.offer),
    _S.REPORTING: lambda it: Conclude(it.offer, _final(it)),
    _S.FORGOTTEN: lambda it: Forget(it.offer.id),
}
_NOTHING_TO_WRITE: Final = ((_S.REPORTING, _E.RECALLED), (_S.FORGOTTEN, _E.NOT_HELD))
"""Here the end of the task is written down already, or nothing of the task ever was."""


def instruction_on_entering(download: DownloadRecord, event: DownloadEvent) -> Instruction | None:
    """The instruction for the state that the download has entered by `event`; None where there is none."""
    if download.state not in _ORDERS or (download.state, event) in _NOTHING_TO_WRITE:
        return None
    return _ORDERS[download.state](download)


def event_of_answer(answer: ReportAnswered) -> DownloadEvent:
    """The event of the table that cfm's answer to a report is."""
    if is_final(answer.report):
        return _E.ACKNOWLEDGED
    if answer.status == HTTP_OK:
        return _E.CONFIRMED
    return _E.ENDED_BY_CFM if answer.status in HTTP_GONE else _E.REJECTED


def _final(download: DownloadRecord) -> TaskReport:
    assert download.final is not None, "each way to this state says how the task ended"
    return download.final
