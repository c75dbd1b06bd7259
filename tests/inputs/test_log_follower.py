"""The log is followed: only new bytes, each once, through everything that happens to logs."""

from __future__ import annotations

import asyncio
import errno
import os
from itertools import groupby
from pathlib import Path

import pytest

from cfm.inputs.log_follower import LogFollower, replay
from cfm.model import Hits, LogCondition, LogState, Now
from cfm_lab.fakes.fake_file_system import FakeFileSystem
from event_lines import IP, LOG, T0, append, line, lines

DATA = Path(__file__).parents[1] / "data"


class Following:
    """A follower of files that can hang, looked at by hand, in virtual time.

    How long it waits for them is real time: half a second for a test in which they hang, to end it soon.
    """

    def __init__(self, patience_s: float = 60) -> None:
        self.files, self.time_s = FakeFileSystem(), 0
        self.heard, self.states = list[Hits](), list[LogState]()
        self.files.make_folder("/logs")
        self.follower = LogFollower(
            Path("/logs"),
            IP,
            term_s=600,
            base=2,
            clock=self.now,
            on_hits=self.heard.append,
            on_state=self.states.append,
            file_system=self.files,
            patience_s=patience_s,
        )

    def now(self) -> Now:
        return Now(self.time_s * 1000, (T0 + self.time_s) * 1000)

    async def look(self, after_s: int = 0) -> LogCondition:
        """Until nothing is new; what is told of the log then."""
        self.time_s += after_s
        while await self.follower.look():
            pass
        return self.follower.status().state.condition

    def conditions(self) -> list[LogCondition]:
        """As they were told, one after the other."""
        return [condition for condition, _ in groupby(state.condition for state in self.states)]


async def test_hits_are_heard_once_and_grow_old() -> None:
    one = Following()
    one.files.put(f"/logs/{LOG}", lines("a", "a", "c") + lines("b", "b", ip="1.1.1.1"))
    while await one.follower.look():
        pass
    assert one.heard == [Hits({"a": 2}, frozenset({"b"}))]
    one.time_s = 600
    await one.follower.look()
    assert one.heard[1:] == [Hits()]
    status = one.follower.status()
    assert (status.files, status.last_s, status.lag_s, status.behind_bytes) == ((LOG,), T0, 600, 0)


async def test_a_hung_folder_is_said_and_nothing_is_lost_or_read_twice() -> None:
    one = Following(patience_s=0.5)
    one.files.put(f"/logs/{LOG}", lines("a", "a"))
    one.files.hang("/logs")
    for _ in range(3):
        await one.follower.look()
    assert "does not answer" in (one.follower.status().trouble or "")
    one.files.heal()
    while not one.heard:
        await one.follower.look()
    while await one.follower.look():
        pass
    assert one.heard == [Hits({"a": 2})]
    assert one.follower.status().trouble is None


async def test_hits_grow_old_also_while_the_disk_hangs() -> None:
    one = Following(patience_s=0.5)
    one.files.put(f"/logs/{LOG}", lines("a", "a"))
    await one.follower.look()
    one.files.hang("/logs")
    one.time_s = 700
    await one.follower.look()
    assert one.heard[-1] == Hits()
    one.files.heal()


async def test_a_folder_that_cannot_be_read_is_said() -> None:
    one = Following()
    one.files.fail("/logs", errno.EACCES)
    await one.follower.look()
    assert os.strerror(errno.EACCES) in (one.follower.status().trouble or "")


# ── the state of the log ────────────────────────────────────────────────────────────────────────────────


async def test_a_log_is_read_to_its_end_and_then_followed() -> None:
    one = Following()
    one.files.put(f"/logs/{LOG}", line("a"))
    assert one.follower.status().state.condition is LogCondition.READING
    assert not one.follower.status().state.hits_known
    assert await one.look() is LogCondition.FOLLOWING
    assert one.follower.status().state.hits_known


async def test_a_log_that_is_gone_leaves_hits_unknown() -> None:
    """Nobody was told; and what was watched lost its protection when its hits grew old."""
    one = Following()
    assert await one.look() is LogCondition.GONE
    assert not one.states[-1].hits_known
    assert "/logs" in one.states[-1].why
    one.files.put(f"/logs/{LOG}", line("a"))
    assert await one.look(1) is LogCondition.FOLLOWING
    one.files.vanish("/logs")
    assert await one.look(1) is LogCondition.UNREADABLE
    one.files.make_folder("/logs")
    await one.look(60)
    assert await one.look(30) is LogCondition.GONE


async def test_before_the_first_log_there_is_silence() -> None:
    one = Following()
    one.files.put("/logs/cfm.yml", b"")
    assert await one.look() is LogCondition.SILENT
    assert "yet" in one.states[-1].why
    one.files.put(f"/logs/{LOG}", line("a"))
    assert await one.look(1) is LogCondition.FOLLOWING


async def test_a_log_that_cannot_be_read_leaves_hits_unknown_until_it_was_read_to_its_end() -> None:
    one = Following()
    first = line("a")
    one.files.put(f"/logs/{LOG}", first)
    await one.look()
    one.files.fail(f"/logs/{LOG}", errno.EIO)
    one.files.put(f"/logs/{LOG}", first + line("b"))
    assert await one.look(1) is LogCondition.UNREADABLE
    assert os.strerror(errno.EIO) in one.states[-1].why
    one.files.heal()
    one.time_s += 1
    assert await one.follower.look()
    assert one.states[-1].condition is LogCondition.READING
    assert await one.look() is LogCondition.FOLLOWING


async def test_a_log_that_is_silent_is_told_and_its_hits_are_known() -> None:
    one = Following()
    first = line("a")
    one.files.put(f"/logs/{LOG}", first)
    await one.look()
    assert await one.look(599) is LogCondition.FOLLOWING
    assert await one.look(1) is LogCondition.SILENT
    assert one.states[-1].hits_known
    one.files.put(f"/logs/{LOG}", first + b"0x10ffff,1,2,some other event\n")
    assert await one.look(1) is LogCondition.FOLLOWING


async def test_a_log_that_was_dead_at_the_start_is_silent_at_once_and_as_old_as_its_last_event() -> None:
    """A restart makes a dead log no younger."""
    one = Following()
    one.files.put(f"/logs/{LOG}", lines("a", at_s=T0 - 7_200) + lines("b", at_s=T0 - 7_100))
    assert await one.look() is LogCondition.SILENT
    status = one.follower.status()
    assert (status.lag_s, status.state.newest_s) == (7_100, T0 - 7_100)
    assert await one.look(60) is LogCondition.SILENT
    assert one.follower.status().lag_s == 7_160
    one.files.put(
        f"/logs/{LOG}", lines("a", at_s=T0 - 7_200) + lines("b", at_s=T0 - 7_100) + lines("c", at_s=T0 + 60)
    )
    assert await one.look() is LogCondition.FOLLOWING
    assert one.follower.status().lag_s == 0


async def test_a_log_that_is_read_more_slowly_than_it_grows_is_behind() -> None:
    one = Following()
    text = line("a")
    one.files.put(f"/logs/{LOG}", text)
    await one.look()
    for _second in range(11):
        text += lines(*4_000 * "b")
        one.files.put(f"/logs/{LOG}", text)
        assert await one.follower.look()
        one.time_s += 1
    state = one.states[-1]
    assert state.condition is LogCondition.BEHIND
    assert (state.hits_known, state.behind_bytes > 1_000_000) == (True, True)
    assert await one.look() is LogCondition.FOLLOWING


async def test_a_log_whose_clock_is_off_is_followed_by_its_own_and_the_lag_is_told() -> None:
    one = Following()
    one.files.put(f"/logs/{LOG}", b"")
    await one.look()
    one.files.put(f"/logs/{LOG}", lines("a", "a", at_s=T0 - 7200))
    assert await one.look(1) is LogCondition.CLOCK_OFF
    assert one.states[-1].clock_behind_s == 7201
    assert one.heard == [Hits({"a": 2})]


async def test_a_log_in_which_each_hit_is_written_twice_is_told() -> None:
    one = Following()
    one.files.put(f"/logs/{LOG}", b"")
    await one.look()
    text = lines(*5 * "a")
    one.files.put(f"/logs/{LOG}", text + text)
    assert await one.look(1) is LogCondition.DOUBLED
    assert one.states[-1].hits_known
    assert one.heard == [Hits({"a": 5})]
    assert await one.look(700) is LogCondition.SILENT


async def test_a_state_is_told_when_it_changes_and_its_numbers_now_and_then() -> None:
    one = Following()
    text = b""
    for second in range(20):
        text += line("a", T0 + second)
        one.files.put(f"/logs/{LOG}", text)
        await one.look(1)
    assert one.conditions() == [LogCondition.READING, LogCondition.FOLLOWING]
    told = len(one.states)
    assert told <= 6
    one.files.fail("/logs")
    for _second in range(100):
        await one.look(1)
    assert one.conditions()[1:] == [LogCondition.FOLLOWING, LogCondition.UNREADABLE]
    assert len(one.states) == told + 1


# ── the same lines twice ────────────────────────────────────────────────────────────────────────────────


async def test_a_log_that_is_copied_emptied_and_restored_counts_once() -> None:
    one = Following()
    text = line("a")
    one.files.put(f"/logs/{LOG}", text)
    await one.look()
    one.files.put(f"/logs/{LOG}", b"")
    await one.look(1)
    one.files.put(f"/logs/{LOG}", text)
    await one.look(1)
    assert one.heard == []
    assert one.follower.status().skipped == {"repeated": 1}


async def test_a_log_that_is_cut_at_the_front_counts_once() -> None:
    one = Following()
    text = [line("a") for _ in range(3)]
    one.files.put(f"/logs/{LOG}", b"".join(text[:3]))
    await one.look()
    one.files.replace(f"/logs/{LOG}", text[2])
    await one.look(1)
    assert one.heard == [Hits({"a": 3})]


async def test_a_folder_that_blinks_counts_once() -> None:
    one = Following()
    text = line("a")
    one.files.put(f"/logs/{LOG}", text)
    await one.look()
    one.files.vanish("/logs")
    await one.look(1)
    one.files.put(f"/logs/{LOG}", text)  # as another file: the copy of a mount that came back
    assert await one.look(1) is LogCondition.FOLLOWING
    assert one.heard == []


async def test_a_running_follower_hears_of_new_lines(tmp_path: Path) -> None:
    heard: asyncio.Queue[Hits] = asyncio.Queue()
    follower = LogFollower(
        tmp_path,
        IP,
        term_s=600,
        base=1,
        clock=lambda: Now(0, T0 * 1000),
        on_hits=heard.put_nowait,
        poll_s=0.01,
    )
    async with asyncio.timeout(10):
        running = asyncio.create_task(follower.run())
        append(tmp_path / LOG, line("a"))
        assert await heard.get() == Hits({"a": 1})
        append(tmp_path / LOG, line("a"))
        assert await heard.get() == Hits({"a": 2})
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


def test_replay_of_the_sample() -> None:
    hits, status = replay(DATA, IP, term_s=600, base=5, now=Now(0, 1_527_952_010_000))
    assert hits.rising["M33F5F00SGL0800014_K20180215211748.mpg"] == 76
    assert status.lag_s == 4
    assert status.skipped == {"garbled": 2, "bad_time": 1, "repeated": 8}
    later, _ = replay(DATA, IP, term_s=600, base=5, now=Now(0, 1_527_960_000_000))
    assert later == Hits()


def test_replay_of_nothing(tmp_path: Path) -> None:
    hits, status = replay(tmp_path, IP, term_s=600, base=5, now=Now(0, T0))
    assert (hits, status.state.condition) == (Hits(), LogCondition.GONE)
    hits, status = replay(tmp_path / "gone", IP, term_s=600, base=5, now=Now(0, T0))
    assert hits == Hits()
    assert "cannot be read" in (status.trouble or "")
