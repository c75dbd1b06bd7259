"""The order of events and instructions: what has to be durable is so before anything follows."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cfm.model import Addr, Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.download_events import (
    AskNext,
    BookEvent,
    Clean,
    Conclude,
    DownloadTick,
    Forget,
    HeldDurably,
    Hold,
    Instruction,
    NotHeld,
    Progress,
    Restarted,
    SendReport,
    StartTransfer,
    TaskOffered,
)
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.decide.instruction_queue import DURABLE_FIRST, InstructionQueue
from cfm.worker.decide.offers import Neighbourhood

HERE = Neighbourhood(Addr("127.0.2.1:8888"), Addr("127.0.0.1:8080"))
OFFER = TaskOffer(
    id=7,
    status=Status.WORKING,
    file_name="A.mpg",
    path="/data2/A.mpg",
    source=Addr("127.0.1.1:8888"),
    destination=HERE.own,
    copy_speed_bps=0,
    size_bytes=9,
    lease_s=60,
)
DONE = TaskReport(Status.DONE)


class ScriptedBook(DownloadBook):
    """A book that notes what it hears, and gives the instructions of the test."""

    def __init__(self, script: list[list[Instruction]]) -> None:
        super().__init__(HERE)
        self.script = deque(script)
        self.heard: list[BookEvent] = []

    def handle(self, event: BookEvent, now_ms: int) -> list[Instruction]:  # noqa: ARG002 - as the book's
        self.heard.append(event)
        return self.script.popleft() if self.script else []


def test_nothing_follows_before_a_task_is_written_down() -> None:
    queue = InstructionQueue(DownloadBook(HERE, slots=2))
    queue.put(Restarted())
    assert [type(queue.next(0)) for _ in range(2)] == [Clean, AskNext]
    queue.put(TaskOffered(OFFER))
    assert queue.next(0) == Hold(OFFER)
    queue.put(DownloadTick())
    assert queue.waits
    assert queue.next(0) is None
    queue.written(HeldDurably(7))
    assert isinstance(queue.next(0), AskNext)  # it came with `Hold`
    assert queue.next(0) == StartTransfer(OFFER)
    assert isinstance(queue.next(0), SendReport)
    assert queue.next(0) is None


def test_the_book_hears_of_what_was_written_before_it_hears_of_anything_else() -> None:
    book = ScriptedBook([[Hold(OFFER), Forget(1)], [Forget(2)]])
    queue = InstructionQueue(book)
    queue.put(TaskOffered(OFFER))
    assert queue.next(0) == Hold(OFFER)
    queue.put(Progress(1, 5))
    queue.written(NotHeld(7))
    assert [queue.next(0) for _ in range(3)] == [Forget(1), Forget(2), None]
    assert book.heard == [TaskOffered(OFFER), NotHeld(7), Progress(1, 5)]


def test_what_was_written_down_without_an_event_lets_the_next_instruction_go() -> None:
    queue = InstructionQueue(ScriptedBook([[Conclude(OFFER, DONE), SendReport(OFFER, DONE)]]))
    queue.put(DownloadTick())
    assert queue.next(0) == Conclude(OFFER, DONE)
    assert queue.next(0) is None
    queue.written(None)
    assert queue.next(0) == SendReport(OFFER, DONE)


INSTRUCTIONS = st.integers(1, 99).flatmap(
    lambda number: st.sampled_from(
        (
            Hold(replace(OFFER, id=number)),
            Conclude(replace(OFFER, id=number), DONE),
            Forget(number),
            StartTransfer(replace(OFFER, id=number)),
        )
    )
)


@given(
    script=st.lists(st.lists(INSTRUCTIONS, max_size=5), max_size=6),
    moments=st.lists(st.booleans(), max_size=80),
)
def test_all_is_handed_out_once_and_in_order_whenever_writing_ends(
    script: list[list[Instruction]], moments: list[bool]
) -> None:
    """`moments` says whether a write ends before the worker asks for the next instruction."""
    queue = InstructionQueue(ScriptedBook(list(script)))
    for number in range(len(script)):
        queue.put(Progress(number, 0))
    given_out: list[Instruction] = []
    writing = False
    for ends in (*moments, *[True] * 80):
        if writing and ends:
            queue.written(None)
            writing = False
        instruction = queue.next(0)
        assert instruction is None or not writing
        if instruction is not None:
            given_out.append(instruction)
            writing = isinstance(instruction, DURABLE_FIRST)
    assert given_out == [instruction for part in script for instruction in part]
