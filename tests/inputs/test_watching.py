"""Pairs are read at rest, judged, and told once; what does not answer is said."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from cfm.inputs.file_system import FileVersion
from cfm.inputs.snapshot import Snapshot
from cfm.inputs.watching import LONG_AGO_MS, AtRest, MetadataWatch, look_once
from cfm.model import Measure, Now, SnapshotFacts
from cfm_lab.fakes.fake_file_system import FakeFileSystem

DATA = Path(__file__).parents[1] / "data"
WALL_S = 1_700_000_000


def now(mono_ms: int) -> Now:
    return Now(mono_ms, WALL_S * 1000 + mono_ms)


def version(number: int, *, mtime_s: int = WALL_S) -> FileVersion:
    return FileVersion(1, 1, number, mtime_s * 10**9)


def test_at_rest_is_unchanged_for_as_long_as_it_was_seen() -> None:
    tracker = AtRest()
    tracker.saw(version(1), now(0))
    tracker.saw(version(1), now(900))
    assert tracker.rested_ms(now(1000)) == 1000
    tracker.saw(version(2), now(1100))
    assert tracker.rested_ms(now(1500)) == 400
    tracker.saw(None, now(1600))
    assert tracker.rested_ms(now(9000)) == 0
    tracker.saw(version(2), now(9100))
    assert tracker.rested_ms(now(9200)) == 100


def test_an_old_mtime_counts_at_first_sight_only() -> None:
    tracker = AtRest()
    tracker.saw(version(1, mtime_s=WALL_S - 61), now(0))
    assert tracker.settled_ms(now(0)) == 61_000
    tracker.saw(version(2, mtime_s=WALL_S - 61), now(500))
    assert tracker.settled_ms(now(500)) == 0
    other = AtRest()
    other.saw(version(1, mtime_s=WALL_S - 59), now(0))
    assert other.settled_ms(now(0)) == 0


def test_restless_is_what_does_not_come_to_rest() -> None:
    tracker = AtRest()
    for at_ms in range(0, 5000, 500):
        tracker.saw(version(at_ms), now(at_ms))
    assert tracker.restless_ms(now(5000)) == 5000
    tracker.saw(version(4500), now(5500))
    assert tracker.restless_ms(now(5500)) == 0


def files(count: int, *, sizes: int | None = None) -> tuple[bytes, bytes]:
    names = [f"f{number}" for number in range(count)]
    history = "".join(f"{name},0,0,5,\n" for name in names[:sizes])
    return (
        f"filename\n{''.join(name + chr(10) for name in names)}".encode(),
        f"historyheader:1\n{history}".encode(),
    )


class Watching:
    """A watch on a disk that can hang, looked at by hand, in virtual time."""

    GRADE, HISTORY = "/meta/grade", "/meta/history"
    REREAD_S = 60

    def __init__(self, last_good: Measure | None = None, patience_s: float = 20.0) -> None:
        self.file_system, self.mono_ms = FakeFileSystem(), 0
        self.snapshots: list[Snapshot] = []
        self.rejected: list[SnapshotFacts] = []
        self.file_system.make_folder("/meta")
        self.watch = MetadataWatch(
            Path(self.GRADE),
            Path(self.HISTORY),
            clock=lambda: Now(self.mono_ms, self.mono_ms),
            on_snapshot=self.snapshots.append,
            on_rejected=self.rejected.append,
            last_good=last_good,
            file_system=self.file_system,
            stat_timeout_s=patience_s,
            read_patience_s=patience_s,
            reread_s=self.REREAD_S,
        )

    def put(self, grade: bytes, history: bytes) -> None:
        self.file_system.put(self.GRADE, grade)
        self.file_system.put(self.HISTORY, history)

    async def look_for(self, duration_ms: int) -> None:
        """Looks twice a second of virtual time."""
        for _ in range(duration_ms // 500):
            await self.watch.look()
            self.mono_ms += 500

    def whys(self) -> list[str | None]:
        return [facts.why for facts in self.rejected]


@pytest.fixture
def watching() -> Watching:
    return Watching()


async def test_a_pair_is_told_once_a_second_after_it_came_to_rest(watching: Watching) -> None:
    watching.put(*files(10))
    await watching.look_for(1000)
    assert not watching.snapshots
    await watching.look_for(500)
    assert [snapshot.facts.known_files for snapshot in watching.snapshots] == [10]
    asked = watching.file_system.asked[watching.GRADE]
    await watching.look_for(10_000)
    assert len(watching.snapshots) == 1
    assert watching.file_system.asked[watching.GRADE] == asked + 20
    assert not watching.rejected


async def test_at_a_start_old_files_are_read_while_it_is_seen_whether_they_rest(watching: Watching) -> None:
    watching.mono_ms = LONG_AGO_MS
    watching.put(*files(10))
    await watching.look_for(500)
    read = watching.file_system.asked.copy()
    await watching.look_for(500)
    assert not watching.snapshots
    await watching.look_for(500)
    assert len(watching.snapshots) == 1
    assert watching.file_system.asked[watching.GRADE] == read[watching.GRADE] + 2  # no second reading


async def test_what_was_read_ahead_and_changes_before_it_rests_is_not_used(watching: Watching) -> None:
    watching.mono_ms = LONG_AGO_MS
    watching.put(*files(10))
    await watching.look_for(500)
    watching.put(*files(9))
    await watching.look_for(3000)
    assert [snapshot.facts.known_files for snapshot in watching.snapshots] == [9]


@pytest.mark.parametrize("how", ["put", "replace"])
async def test_it_is_read_again_when_it_changes(watching: Watching, how: str) -> None:
    watching.put(*files(10))
    await watching.look_for(2000)
    getattr(watching.file_system, how)(watching.GRADE, files(9)[0])
    await watching.look_for(1500)
    assert [snapshot.facts.known_files for snapshot in watching.snapshots] == [10, 9]
    ids = {snapshot.facts.id for snapshot in watching.snapshots}
    assert len(ids) == 2


async def test_trouble_is_told_once_for_each_reason_and_the_good_pair_stays_in_force(
    watching: Watching,
) -> None:
    await watching.look_for(3000)
    assert watching.whys() == ["/meta/grade is missing; /meta/history is missing"]
    assert watching.rejected[0].accepted is False
    grade, history = files(10)
    watching.put(grade, history)
    await watching.look_for(2000)
    watching.file_system.put(watching.GRADE, b"")
    await watching.look_for(3000)
    watching.file_system.put(watching.GRADE, files(4)[0])
    await watching.look_for(3000)
    watching.file_system.remove(watching.HISTORY)
    await watching.look_for(3000)
    assert watching.whys()[1:] == [
        "the grade file is empty",
        "less than half of the last good reading: 4 graded files, 10 before",
        "/meta/history is missing",
    ]
    assert len(watching.snapshots) == 1
    assert watching.watch.last_good == Measure(10, 10, 10)
    watching.put(grade, history)
    await watching.look_for(3000)
    assert len(watching.snapshots) == 2


async def test_the_measure_of_before_a_restart_counts() -> None:
    watching = Watching(last_good=Measure(100, 100, 100))
    watching.put(*files(49))
    await watching.look_for(3000)
    assert watching.whys() == ["less than half of the last good reading: 49 graded files, 100 before"]


async def test_a_person_accepts_what_is_much_smaller_and_it_is_the_new_measure() -> None:
    watching = Watching(last_good=Measure(100, 100, 100))
    watching.put(*files(10))
    await watching.look_for(3000)
    held = watching.watch.held
    assert held is not None
    assert held.measure == Measure(10, 10, 10)
    assert watching.watch.accept(held.id)
    await watching.look_for(1000)
    assert [snapshot.facts.known_files for snapshot in watching.snapshots] == [10]
    assert watching.watch.last_good == Measure(10, 10, 10)
    watching.put(*files(4))
    await watching.look_for(3000)
    assert len(watching.snapshots) == 1, "it was accepted once"


async def test_only_what_was_shown_is_accepted() -> None:
    watching = Watching(last_good=Measure(100, 100, 100))
    assert not watching.watch.accept("")
    watching.put(*files(10))
    await watching.look_for(3000)
    held = watching.watch.held
    assert held is not None
    assert not watching.watch.accept("another")
    assert watching.watch.accept(held.id)
    watching.put(*files(9))
    await watching.look_for(3000)
    assert not watching.snapshots, "the files were changed after a person had looked"
    assert watching.watch.held is not None
    assert watching.watch.held.id != held.id


async def test_what_is_broken_cannot_be_accepted() -> None:
    watching = Watching(last_good=Measure(100, 100, 100))
    watching.put(b"", files(10)[1])
    await watching.look_for(3000)
    assert watching.whys() == ["the grade file is empty"]
    assert watching.watch.held is None


async def test_what_never_rests_is_not_read_and_said_after_a_while(watching: Watching) -> None:
    for number in range(80):
        watching.put(*files(10 + number))
        await watching.look_for(500)
    assert not watching.snapshots
    assert watching.whys() == ["still changing"]
    await watching.look_for(2000)
    assert len(watching.snapshots) == 1


async def test_a_torn_last_line_is_waited_for(watching: Watching) -> None:
    grade, history = files(10)
    watching.put(grade, history[:-1])
    await watching.look_for(9500)
    assert not watching.snapshots
    watching.file_system.put(watching.HISTORY, history)
    await watching.look_for(2000)
    assert [snapshot.facts.known_files for snapshot in watching.snapshots] == [10]
    watching.file_system.put(watching.HISTORY, history[:-1])
    await watching.look_for(9500)
    assert len(watching.snapshots) == 1
    await watching.look_for(2000)
    assert watching.snapshots[-1].facts.skipped_lines == {"history_torn_last_line": 1}
    assert not watching.rejected


@pytest.mark.parametrize("path", ["/meta/grade", "/meta"])
async def test_a_hung_mount_is_said_once_and_its_end_too(path: str) -> None:
    watching = Watching(patience_s=0.3)
    watching.put(*files(10))
    await watching.look_for(2000)
    watching.file_system.hang(path)
    await watching.look_for(3000)
    assert len(watching.rejected) == 1
    assert "/meta/grade does not answer" in (watching.whys()[0] or "")
    watching.file_system.heal()
    while len(watching.snapshots) < 2:
        await watching.look_for(500)
    assert watching.snapshots[0] is watching.snapshots[1]


async def test_a_disk_that_hangs_while_it_is_read() -> None:
    watching = Watching(patience_s=0.3)
    watching.put(*files(10))
    await watching.look_for(1000)

    watching.file_system.hang(watching.HISTORY, after=3)  # not yet when it is asked for its version
    await watching.look_for(500)
    assert watching.whys() == ["reading the metadata files takes too long: the disk does not answer"]
    watching.file_system.heal()
    while not watching.snapshots:
        await watching.look_for(500)


async def test_a_file_that_cannot_be_read(watching: Watching) -> None:
    watching.put(*files(10))
    watching.file_system.fail(watching.HISTORY, errno.EACCES)
    await watching.look_for(3000)
    assert watching.whys() == ["/meta/history cannot be read: Permission denied"]


async def test_real_files_replaced_and_rewritten(tmp_path: Path) -> None:
    told: asyncio.Queue[Snapshot | SnapshotFacts] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    grade, history = tmp_path / "grade", tmp_path / "history"
    for path, data in zip((grade, history), files(10), strict=True):
        path.write_bytes(data)
    watch = MetadataWatch(
        grade,
        history,
        clock=lambda: Now(int(loop.time() * 1000), WALL_S * 1000),
        on_snapshot=told.put_nowait,
        on_rejected=told.put_nowait,
    )
    async with asyncio.timeout(15):
        running = asyncio.create_task(watch.run())
        first = await told.get()
        assert isinstance(first, Snapshot)
        (tmp_path / "new").write_bytes(files(8)[0])
        (tmp_path / "new").replace(grade)
        changed_s = loop.time()
        second = await told.get()
        assert isinstance(second, Snapshot)
        assert (first.facts.known_files, second.facts.known_files) == (10, 8)
        assert loop.time() - changed_s < 3  # a second at rest, and two to notice
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


def test_one_look_at_the_samples() -> None:
    real = Now(0, 4_000_000_000_000)
    snapshot = look_once(DATA / "grade.info", DATA / "hitcount.history", real)
    assert isinstance(snapshot, Snapshot)
    assert snapshot.facts.known_files == 61
    facts = look_once(DATA / "grade.info", DATA / "none", real)
    assert isinstance(facts, SnapshotFacts)
    assert "No such file" in (facts.why or "")


def test_one_look_at_what_was_just_written(tmp_path: Path) -> None:
    (tmp_path / "grade").write_bytes(files(10)[0])
    (tmp_path / "history").write_bytes(files(10)[1])
    written_ms = (tmp_path / "history").stat().st_mtime_ns // 10**6
    facts = look_once(tmp_path / "grade", tmp_path / "history", Now(0, written_ms + 500))
    assert isinstance(facts, SnapshotFacts)
    assert facts.why == "still changing"


async def test_a_rewrite_that_leaves_size_and_mtime_is_seen_within_the_set_time(watching: Watching) -> None:
    """A copy that keeps times (`cp -p`, rsync), or two writes within one tick of the file system's clock."""
    grade, history = files(4)
    watching.put(grade, history)
    await watching.look_for(3_000)
    before = watching.file_system.version(Watching.GRADE)
    watching.file_system.put_unseen(Watching.GRADE, grade.replace(b"f0\nf1", b"f1\nf0"))
    assert watching.file_system.version(Watching.GRADE) == before
    await watching.look_for(Watching.REREAD_S * 1000 - 5_000)
    assert len(watching.snapshots) == 1
    await watching.look_for(5_000)
    assert [snapshot.graded("f1") for snapshot in watching.snapshots] == [2, 1]
    await watching.look_for(3 * Watching.REREAD_S * 1000)
    assert len(watching.snapshots) == 2, "what did not change is not told again"
    assert not watching.rejected


async def test_a_reading_says_how_far_it_is(watching: Watching) -> None:
    watching.mono_ms = LONG_AGO_MS
    grade, history = files(10)
    watching.put(grade, history)
    watching.file_system.hang(watching.HISTORY, after=2)  # it is opened, and then it hangs
    look = asyncio.create_task(watching.watch.look())
    read = watching.watch.reading
    while read is None or read.done < len(grade):
        await asyncio.sleep(0)
        read = watching.watch.reading
    assert (read.done, read.total) == (len(grade), len(grade) + len(history))
    watching.file_system.heal()
    await look
    assert watching.watch.reading is None
