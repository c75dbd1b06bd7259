"""The log is followed: only new bytes, each once, through everything that happens to logs."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfm.inputs.file_system import RealFileSystem
from cfm.inputs.log_follower import Batch, LogFollower, LogReader, newest_logs, replay
from cfm.model import Hits, Now
from cfm_lab.fakes.fake_file_system import FakeFileSystem

IP = "125.159.40.3"
T0 = 1_527_951_600  # 2018-06-02 15:00 UTC
LOG = "EventLog[20180602].log"
NEXT_LOG = "EventLog[20180603].log"
DATA = Path(__file__).parents[1] / "data"


def line(name: str, at_s: int = T0, ip: str = IP) -> bytes:
    return b"0x40ffff,1,%d,Server %s Selected for Client StreamID : 1, GLB IP : 1's file(%s) Request\n" % (
        at_s,
        ip.encode(),
        name.encode(),
    )


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class Reading:
    """Reads all that is new, and remembers what was skipped."""

    def __init__(self, folder: Path, oldest_s: int = T0 - 600) -> None:
        self.reader = LogReader(str(folder), IP, RealFileSystem())
        self.oldest_s = oldest_s
        self.skipped: Counter[str] = Counter()

    def batches(self) -> Iterator[Batch]:
        while True:
            batch = self.reader.read_some(self.oldest_s, T0)
            self.skipped.update(batch.skipped)
            yield batch
            if not batch.more:
                return

    def new(self) -> list[str]:
        return [hit.name for batch in self.batches() for hit in batch.hits]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / LOG


def test_only_new_lines_and_each_once(log: Path) -> None:
    reading = Reading(log.parent)
    assert reading.new() == []
    append(log, line("a") + line("b"))
    assert reading.new() == ["a", "b"]
    assert reading.new() == []
    append(log, line("c"))
    assert reading.new() == ["c"]


def test_a_torn_line_is_read_again_when_it_is_whole(log: Path) -> None:
    reading, whole = Reading(log.parent), line("a") + line("b")
    for cut in range(len(whole)):
        append(log, whole[cut : cut + 1])
        assert reading.new() == {len(line("a")) - 1: ["a"], len(whole) - 1: ["b"]}.get(cut, [])
    assert not reading.skipped


def test_midnight(log: Path) -> None:
    reading, tomorrow = Reading(log.parent), log.with_name(NEXT_LOG)
    append(log, line("a"))
    assert reading.new() == ["a"]
    append(log, line("b"))
    append(tomorrow, line("c"))
    assert reading.new() == ["b", "c"]
    append(tomorrow, line("e"))
    append(log, line("d"))
    assert reading.new() == ["d", "e"]


def test_truncated_and_written_anew(log: Path) -> None:
    reading = Reading(log.parent)
    append(log, line("a") + line("b"))
    reading.new()
    log.write_bytes(line("c"))
    assert reading.new() == ["c"]
    log.write_bytes(line("d") + line("e") + line("f"))  # longer than what was there
    assert reading.new() == ["d", "e", "f"]


def test_replaced_by_another_file_and_by_a_longer_copy(log: Path) -> None:
    reading, other = Reading(log.parent), log.with_name("new")
    append(log, line("a") + line("b"))
    reading.new()
    append(other, line("a") + line("b") + line("c"))
    other.replace(log)
    assert reading.new() == ["c"]
    append(other, line("x") + line("y") + line("z") + line("z"))
    other.replace(log)
    assert reading.new() == ["x", "y", "z", "z"]


def test_a_log_that_comes_and_goes(log: Path) -> None:
    reading = Reading(log.parent)
    append(log, line("a"))
    assert reading.new() == ["a"]
    log.unlink()
    assert reading.new() == []
    append(log, line("b"))
    assert reading.new() == ["b"]


def test_lines_longer_than_a_piece_cost_only_themselves(log: Path) -> None:
    reading = Reading(log.parent)
    append(log, line("a") + b"x" * 70_000 + b"\n" + line("b") + b"\0" * 700_000)
    assert reading.new() == ["a", "b"]
    append(log, b"\0" * 300_000)
    assert reading.new() == []
    append(log, b"\n" + line("c"))
    assert reading.new() == ["c"]
    assert reading.skipped == {"too_long": 2}


def test_a_large_log_is_begun_where_the_window_begins(log: Path) -> None:
    log.write_bytes(b"".join(line(f"f{second}", T0 + second) for second in range(-20_000, 0)))
    names = Reading(log.parent).new()
    assert names[-600:] == [f"f{second}" for second in range(-600, 0)]
    assert len(names) < 6_000


def test_after_a_long_absence_what_is_older_than_the_window_is_jumped_over(log: Path) -> None:
    reading = Reading(log.parent)
    reading.reader = LogReader(str(log.parent), IP, RealFileSystem(), backlog_bytes=1_000_000)
    append(log, line("a", T0 - 20_001))
    assert reading.new() == ["a"]
    append(log, b"".join(line(f"f{second}", T0 + second) for second in range(-20_000, 0)))
    names = reading.new()
    assert names[-600:] == [f"f{second}" for second in range(-600, 0)]
    assert len(names) < 6_000


def test_names_and_dates() -> None:
    names = [
        "EventLog20180602.log",
        "EventLog[2018].log",
        "xEventLog[20180601].log",
        LOG,
        NEXT_LOG,
        "EventLog[20180601].log",
    ]
    assert newest_logs(names, T0) == [LOG, NEXT_LOG]
    assert newest_logs([LOG, "EventLog[20991231].log", "EventLog[99999999].log"], T0) == [LOG]
    assert newest_logs([LOG], 0) == [LOG]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from([line("a"), line("b"), b"\r\n", b"junk\n", line("c")[:40] + b"\n"]), max_size=12
    ),
    st.lists(st.integers(0, 900), max_size=6),
)
def test_however_it_is_cut_every_hit_is_read_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], cuts: list[int]
) -> None:
    log = tmp_path_factory.mktemp("log") / LOG
    data, reading, names, before = b"".join(parts), Reading(log.parent), [], 0
    for cut in [*sorted(cuts), len(data)]:
        append(log, data[before:cut])
        before = max(before, min(cut, len(data)))
        names += reading.new()
    assert names == [name for part in parts for name in "ab" if part == line(name)]


class Following:
    """A follower on a disk that can hang, looked at by hand, in virtual time."""

    def __init__(self) -> None:
        self.file_system, self.time_s, self.heard = FakeFileSystem(), 0, list[Hits]()
        self.file_system.make_folder("/logs")
        self.follower = LogFollower(
            Path("/logs"),
            IP,
            term_s=600,
            base=2,
            clock=self.now,
            on_hits=self.heard.append,
            file_system=self.file_system,
            patience_s=0.5,
        )

    def now(self) -> Now:
        return Now(self.time_s * 1000, (T0 + self.time_s) * 1000)


async def test_hits_are_heard_once_and_grow_old() -> None:
    one = Following()
    one.file_system.put(f"/logs/{LOG}", line("a") + line("a") + line("b", ip="1.1.1.1") * 2 + line("c"))
    while await one.follower.look():
        pass
    assert one.heard == [Hits({"a": 2}, frozenset({"b"}))]
    one.time_s = 600
    await one.follower.look()
    assert one.heard[1:] == [Hits()]
    status = one.follower.status()
    assert (status.files, status.last_s, status.lag_s, status.behind_bytes) == ((LOG,), T0, 600, 0)


async def test_a_hung_folder_is_said_and_nothing_is_lost_or_read_twice() -> None:
    one = Following()
    one.file_system.put(f"/logs/{LOG}", line("a") * 2)
    one.file_system.hang("/logs")
    for _ in range(3):
        await one.follower.look()
    assert "does not answer" in (one.follower.status().trouble or "")
    one.file_system.heal()
    while not one.heard:
        await one.follower.look()
    while await one.follower.look():
        pass
    assert one.heard == [Hits({"a": 2})]
    assert one.follower.status().trouble is None


async def test_hits_grow_old_also_while_the_disk_hangs() -> None:
    one = Following()
    one.file_system.put(f"/logs/{LOG}", line("a") * 2)
    await one.follower.look()
    one.file_system.hang("/logs")
    one.time_s = 700
    await one.follower.look()
    assert one.heard[-1] == Hits()
    one.file_system.heal()


async def test_a_folder_that_cannot_be_read_is_said() -> None:
    one = Following()
    one.file_system.fail("/logs", errno.EACCES)
    await one.follower.look()
    assert os.strerror(errno.EACCES) in (one.follower.status().trouble or "")


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
    assert status.skipped == {"garbled": 2, "bad_time": 1}
    later, _ = replay(DATA, IP, term_s=600, base=5, now=Now(0, 1_527_960_000_000))
    assert later == Hits()


def test_replay_of_nothing(tmp_path: Path) -> None:
    assert replay(tmp_path, IP, term_s=600, base=5, now=Now(0, T0))[0] == Hits()
    hits, status = replay(tmp_path / "gone", IP, term_s=600, base=5, now=Now(0, T0))
    assert hits == Hits()
    assert "cannot be read" in (status.trouble or "")
