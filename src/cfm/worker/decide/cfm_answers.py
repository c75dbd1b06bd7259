"""What an answer of cfm means to a worker.  Pure.

Who asks (the link over HTTP, or the simulator over its network) brings a `CfmAnswer`, and says whether it
speaks for the controller that this worker obeys.  Here it becomes what the book of downloads understands.
Neighbours: `execution` asks here; `fencing` has the rules for whom a worker obeys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cfm.wire import TaskOffer
from cfm.worker.decide.download_events import Ask, AskOutcome, NothingOffered, TaskOffered

OK: Final = 200
EMPTY: Final = 204
OLD_CFM: Final = (404, 405)
"""An old cfm takes the waiting request for an unknown path, or for `/tasks/{id}` with a wrong method."""


@dataclass(frozen=True, slots=True)
class CfmAnswer:
    """What one request to cfm came to."""

    status: int | None = None
    """The HTTP status; None where no answer came."""
    ours: bool = True
    """False: somebody answered who does not speak for our controller.  That counts as no answer."""
    offer: TaskOffer | None = None
    """The task for us that it names."""
    readable: bool = True
    """False: what it says of tasks cannot be read."""
    knows_epochs: bool = False
    """It comes from a cfm of ours, not from an old one."""


NO_ANSWER: Final = CfmAnswer()
NOT_OURS: Final = CfmAnswer(ours=False)


def work_offered(how: Ask, answer: CfmAnswer) -> TaskOffered | NothingOffered:
    """What a question for work brought."""
    if not answer.ours:
        return NothingOffered(AskOutcome.REFUSED)
    if answer.status is None:
        return NothingOffered(AskOutcome.DOWN)
    if how is not Ask.LIST and answer.status in OLD_CFM:
        return NothingOffered(AskOutcome.OLD)
    if how is not Ask.LIST and answer.status == EMPTY:
        return NothingOffered(AskOutcome.EMPTY)
    if answer.status != OK:
        return NothingOffered(AskOutcome.REFUSED if answer.status < 500 else AskOutcome.DOWN)
    if not answer.readable:
        return NothingOffered(AskOutcome.REFUSED)
    if how is Ask.LIST and answer.knows_epochs:
        return NothingOffered(AskOutcome.NEW)  # it was upgraded: its offers come with a lease
    return NothingOffered(AskOutcome.EMPTY) if answer.offer is None else TaskOffered(answer.offer)


def report_status(answer: CfmAnswer) -> int | None:
    """The status of an answer to a report; None where our controller did not answer."""
    return answer.status if answer.ours else None
