"""The book of streams: who may read, whom a newer request replaces, and what a cut means."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cfm.worker.serve.streams import MAX_CUT_TASKS, BusyError, EndedError, Stream, Streams


async def test_as_many_controlled_streams_as_there_are_slots() -> None:
    streams = Streams(2)
    first = await streams.open("1")
    await streams.open("2")
    with pytest.raises(BusyError):
        await streams.open("3")
    streams.close(first)
    await streams.open("3")
    assert (streams.controlled, streams.uncontrolled) == (2, 0)


async def test_readers_without_a_task_have_places_of_their_own() -> None:
    streams = Streams(1)
    await streams.open(None)
    await streams.open("1")
    with pytest.raises(BusyError):
        await streams.open(None)
    assert (streams.controlled, streams.uncontrolled) == (1, 1)


async def test_a_newer_request_waits_until_the_older_has_really_ended() -> None:
    streams = Streams(1)
    older = await streams.open("1")
    asked_to_end = asyncio.Event()
    older.on_cut(asked_to_end.set)
    newer = asyncio.create_task(streams.open("1"))
    await asked_to_end.wait()
    assert not newer.done()
    assert streams.controlled == 1
    streams.close(older)
    assert (await newer).task == "1"
    assert streams.controlled == 1


async def test_of_three_requests_the_newest_stays() -> None:
    streams = Streams(1)
    opened: list[str] = []
    newest = asyncio.Event()

    async def read(name: str) -> None:
        stream = await streams.open("1")
        opened.append(name)
        if name == "third":
            newest.set()
        cut = asyncio.Event()
        stream.on_cut(cut.set)
        try:
            await cut.wait()
        finally:
            streams.close(stream)

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second", "third"):
            group.create_task(read(name))
        await newest.wait()
        assert opened[-1] == "third"
        await streams.cut("1")
    assert streams.controlled == 0


async def test_a_cut_comes_back_when_the_stream_has_ended() -> None:
    streams = Streams(1)
    stream = await streams.open("1")
    asked = asyncio.Event()
    stream.on_cut(asked.set)
    cutting = asyncio.create_task(streams.cut("1"))
    await asked.wait()
    assert not cutting.done()
    streams.close(stream)
    assert await cutting == 1
    with pytest.raises(EndedError):
        await streams.open("1")


async def test_a_cut_of_nothing_is_done_at_once_and_remembered() -> None:
    streams = Streams(1)
    assert await streams.cut("7") == 0
    with pytest.raises(EndedError):
        await streams.open("7")
    await streams.open("8")


async def test_a_request_that_waited_for_its_older_one_is_refused_after_a_cut() -> None:
    streams = Streams(1)
    older = await streams.open("1")
    newer = asyncio.create_task(streams.open("1"))
    await asyncio.sleep(0)
    cutting = asyncio.create_task(streams.cut("1"))
    await asyncio.sleep(0)
    streams.close(older)
    assert await cutting == 1
    with pytest.raises(EndedError):
        await newer


async def test_a_cut_that_came_before_anybody_listened_is_told() -> None:
    streams = Streams(1)
    stream = await streams.open("1")
    stream.cut()
    told: list[bool] = []
    stream.on_cut(lambda: told.append(True))
    assert told == [True]


async def test_ended_tasks_are_forgotten_in_the_end() -> None:
    streams = Streams(1)
    for number in range(MAX_CUT_TASKS + 1):
        streams.refuse(str(number))
    assert not streams.is_cut("0")
    assert streams.is_cut(str(MAX_CUT_TASKS))


class Readers(RuleBasedStateMachine):
    """Readers come and go in any order; the book is asked directly, without waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = Streams(2)
        self.open: list[Stream] = []
        self.cut: set[str] = set()

    @rule(task=st.one_of(st.none(), st.sampled_from(["1", "2", "3", "4"])))
    def come(self, task: str | None) -> None:
        if task is not None and any(stream.task == task for stream in self.open):
            return
        try:
            self.open.append(self.streams.admit(task))
        except EndedError:
            assert task in self.cut
        except BusyError:
            assert sum((stream.task is None) == (task is None) for stream in self.open) == 2

    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        if self.open:
            stream = data.draw(st.sampled_from(self.open))
            self.open.remove(stream)
            self.streams.close(stream)

    @rule(task=st.sampled_from(["1", "2", "3", "4"]))
    def end(self, task: str) -> None:
        self.streams.refuse(task)
        self.cut.add(task)

    @invariant()
    def holds_its_bounds(self) -> None:
        assert self.streams.controlled == sum(stream.task is not None for stream in self.open) <= 2
        assert self.streams.uncontrolled == sum(stream.task is None for stream in self.open) <= 2


TestReaders = Readers.TestCase
TestReaders.settings = settings(max_examples=30)
