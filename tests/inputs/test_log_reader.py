"""Which logs are read, and that each line is read once, through everything that happens to logs."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfm.inputs.event_log import Batch
from cfm.inputs.file_system import FileSystem, RealFile, RealFileSystem
from cfm.inputs.log_reader import ALONE_MS, GONE_MS, QUIET_MS, LogReader, newest_logs
from cfm.model import Now
from cfm_lab.fakes.fake_file_system import FakeFileSystem
from event_lines import IP, LOG, NEXT_LOG, T0, append, line, lines, write_at

HOLE_BYTES = 3_000_000_000
"""Not a multiple of a block: zeros come before the lines in their first block."""
SETTLED_MS = 6_000


class CountedFile(RealFile):
    """A real file that counts what is read of it."""

    read_bytes = 0

    def read_at(self, offset: int, count_bytes: int) -> bytes:
        data = super().read_at(offset, count_bytes)
        CountedFile.read_bytes += len(data)
        return data


class HolesUnknown(CountedFile):
    """As on a file system that does not know its holes."""

    def data_from(self, offset: int) -> int | None:
        return offset if offset < self.version().size_bytes else None


class StaleFile(CountedFile):
    """As on NFS, where another client has removed the file."""

    stale: ClassVar[set[tuple[int, int]]] = set()

    def read_at(self, offset: int, count_bytes: int) -> bytes:
        if self.version().identity in StaleFile.stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return super().read_at(offset, count_bytes)


class CountedFileSystem(RealFileSystem):
    def __init__(self, kind: type[CountedFile] = CountedFile) -> None:
        CountedFile.read_bytes = 0
        self._kind = kind

    def open(self, path: str) -> CountedFile:
        return self._kind(path)


class Reading:
    """Reads all that is new, by a clock that is set by hand, and remembers what was skipped."""

    def __init__(
        self,
        folder: Path | str,
        oldest_s: int = T0 - 600,
        *,
        file_system: FileSystem | None = None,
        backlog_bytes: int = 64_000_000,
    ) -> None:
        self.reader = LogReader(str(folder), IP, file_system or RealFileSystem(), backlog_bytes=backlog_bytes)
        self.oldest_s = oldest_s
        self.after_ms = 0
        self.skipped: Counter[str] = Counter()
        self.last = Batch()

    def batches(self) -> Iterator[Batch]:
        while True:
            batch = self.reader.read_some(self.oldest_s, Now(self.after_ms, T0 * 1000 + self.after_ms))
            self.skipped.update(batch.skipped)
            self.last = batch
            yield batch
            if not batch.more:
                return

    def new(self, after_ms: int = 0) -> list[str]:
        self.after_ms += after_ms
        return [hit.name for batch in self.batches() for hit in batch.hits]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / LOG


# ── a log that grows ────────────────────────────────────────────────────────────────────────────────────


def test_only_new_lines_and_each_once(log: Path) -> None:
    reading = Reading(log.parent)
    assert reading.new() == []
    append(log, lines("a", "b"))
    assert reading.new() == ["a", "b"]
    assert reading.new() == []
    append(log, line("c"))
    assert reading.new() == ["c"]


def test_a_torn_line_is_read_again_when_it_is_whole(log: Path) -> None:
    reading, first, second = Reading(log.parent), line("a"), line("b")
    whole = first + second
    for cut in range(len(whole)):
        append(log, whole[cut : cut + 1])
        assert reading.new() == {len(first) - 1: ["a"], len(whole) - 1: ["b"]}.get(cut, [])
    assert not reading.skipped


def test_what_comes_while_the_log_is_followed_is_live(log: Path) -> None:
    reading = Reading(log.parent)
    append(log, line("a"))
    assert [batch.live for batch in reading.batches() if batch.hits] == [False]
    append(log, line("b"))
    assert [batch.live for batch in reading.batches() if batch.hits] == [True]
    log.write_bytes(lines("c", "d", "e"))  # written anew: perhaps an old copy
    assert [batch.live for batch in reading.batches() if batch.hits] == [False]


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


def test_lines_longer_than_a_piece_cost_only_themselves(log: Path) -> None:
    reading = Reading(log.parent)
    append(log, line("a") + b"x" * 70_000 + b"\n" + line("b") + b"y" * 700_000)
    assert reading.new() == ["a", "b"]
    append(log, b"y" * 300_000)
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
    reading = Reading(log.parent, backlog_bytes=1_000_000)
    append(log, line("a", T0 - 20_001))
    assert reading.new() == ["a"]
    append(log, b"".join(line(f"f{second}", T0 + second) for second in range(-20_000, 0)))
    names = reading.new()
    assert names[-600:] == [f"f{second}" for second in range(-600, 0)]
    assert len(names) < 6_000


def test_the_beginning_is_searched_once_and_not_at_each_piece(log: Path) -> None:
    """It was searched anew before each piece of 256 KiB: 200 MB took 570 MB of reading."""
    files = CountedFileSystem()
    reading = Reading(log.parent, file_system=files, backlog_bytes=1_000_000)
    append(log, line("a"))
    assert reading.new() == ["a"]
    append(log, line("b") * 30_000)
    assert len(reading.new()) == 30_000
    assert CountedFile.read_bytes < 1.5 * log.stat().st_size


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


PARTS = [line("a"), line("b"), b"\r\n", b"junk\n", line("c")[:40] + b"\n"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12), st.lists(st.integers(0, 900), max_size=6))
def test_however_it_is_cut_every_hit_is_read_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], cuts: list[int]
) -> None:
    log = tmp_path_factory.mktemp("log") / LOG
    data, reading, names, before = b"".join(parts), Reading(log.parent), [], 0
    for cut in [*sorted(cuts), len(data)]:
        append(log, data[before:cut])
        before = max(before, min(cut, len(data)))
        names += reading.new()
    assert names == ["ab"[PARTS.index(part)] for part in parts if part in PARTS[:2]]


# ── a log that is another one ───────────────────────────────────────────────────────────────────────────


def test_truncated_and_written_anew(log: Path) -> None:
    reading = Reading(log.parent)
    append(log, lines("a", "b"))
    reading.new()
    log.write_bytes(line("c"))
    assert reading.new() == ["c"]
    log.write_bytes(lines("d", "e", "f"))  # longer than what was there
    assert reading.new() == ["d", "e", "f"]


def test_replaced_by_another_file_and_by_a_longer_copy(log: Path) -> None:
    reading, other = Reading(log.parent), log.with_name("new")
    before = lines("a", "b")
    append(log, before)
    reading.new()
    append(other, before + line("c"))
    other.replace(log)
    assert reading.new() == ["c"]
    append(other, lines("x", "y", "z", "z"))
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


@pytest.mark.parametrize("unlinked", [True, False])
def test_lines_that_still_come_to_a_renamed_or_unlinked_log(log: Path, unlinked: bool) -> None:
    """They were lost: the new log was followed alone, from its first line on."""
    reading = Reading(log.parent)
    with log.open("ab", buffering=0) as writer:
        writer.write(line("a"))
        assert reading.new() == ["a"]
        if unlinked:
            log.unlink()
        else:
            log.rename(log.with_name(LOG + ".1"))
        writer.write(line("b"))
        assert reading.new(QUIET_MS) == ["b"]  # no other has begun
        append(log, line("c"))
        writer.write(line("d"))
        assert sorted(reading.new(QUIET_MS - 1)) == ["c", "d"]
        assert reading.new(QUIET_MS) == []
        writer.write(line("e"))
        assert reading.new() == []  # given up: nothing came for a minute beside a new one


def test_descriptors_of_logs_that_are_over_are_given_back(log: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    reading = Reading(log.parent)
    for number in range(20):
        append(log, line(f"f{number}"))
        assert reading.new() == [f"f{number}"]
        log.unlink()
    assert reading.new() == []
    assert descriptors() - before <= 5
    reading.new(ALONE_MS)
    assert descriptors() == before
    append(log, line("a"))
    assert reading.new() == ["a"]
    reading.reader.close()
    assert descriptors() == before


def test_a_replaced_log_that_is_stale_is_no_trouble(log: Path) -> None:
    files, fresh = CountedFileSystem(StaleFile), log.with_name("fresh")
    reading = Reading(log.parent, file_system=files)
    append(log, line("a"))
    assert reading.new() == ["a"]
    append(log, line("b"))
    StaleFile.stale.add(files.version(str(log)).identity)  # type: ignore[union-attr]
    append(fresh, line("c"))
    fresh.replace(log)
    assert reading.new() == ["c"]
    assert reading.last.trouble is None


def test_a_log_whose_name_comes_back_is_read_on(log: Path) -> None:
    reading, aside = Reading(log.parent), log.with_name("aside")
    append(log, line("a"))
    assert reading.new() == ["a"]
    log.rename(aside)
    assert reading.new(1_000) == []
    append(aside, line("b"))
    aside.rename(log)
    assert reading.new(1_000) == ["b"]


def test_no_log_at_all_is_said_at_once_and_one_that_lost_its_name_when_it_is_quiet(log: Path) -> None:
    reading = Reading(log.parent)

    def gone(after_ms: int = 0) -> bool:
        reading.new(after_ms)
        return reading.last.gone

    assert gone()
    append(log, line("a"))
    assert not gone()
    log.unlink()
    assert not gone()
    assert gone(GONE_MS)


def test_a_folder_without_a_log_is_unknown_only_where_it_is_empty(log: Path) -> None:
    """As one that is not mounted.  One with other things in it waits for its first log."""
    reading = Reading(log.parent)
    reading.new()
    assert (reading.last.gone, reading.last.none_yet) == (True, False)
    log.with_name("cfm.yml").touch()
    reading.new()
    assert (reading.last.gone, reading.last.none_yet) == (False, True)
    append(log, line("a"))
    reading.new()
    log.unlink()
    reading.new()
    reading.new(GONE_MS)
    assert (reading.last.gone, reading.last.none_yet) == (True, False)


def test_a_log_that_cannot_be_read_is_said_and_read_on_afterwards() -> None:
    files = FakeFileSystem()
    reading = Reading("/logs", file_system=files)
    first = line("a")
    files.put(f"/logs/{LOG}", first)
    assert reading.new() == ["a"]
    files.put(f"/logs/{LOG}", first + line("b"))
    files.fail(f"/logs/{LOG}", errno.EIO)
    assert reading.new() == []
    assert LOG in (reading.last.trouble or "")
    files.heal()
    assert reading.new() == ["b"]
    assert reading.last.trouble is None


# ── holes and zeros ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [CountedFile, HolesUnknown])
@pytest.mark.parametrize("running", [True, False])
def test_a_hole_before_the_lines_is_jumped_over(log: Path, kind: type[CountedFile], running: bool) -> None:
    """copytruncate, and a writer that goes on where it was: 13.3 GB were read until its lines counted."""
    files = CountedFileSystem(kind)
    reading = Reading(log.parent, file_system=files)
    if running:
        append(log, line("a"))
        assert reading.new() == ["a"]
    log.write_bytes(b"")
    if running:
        assert reading.new() == []
    write_at(log, HOLE_BYTES, lines(*"bcdefg"))
    assert reading.new() == [*"bcdefg"]
    append(log, line("h"))
    assert reading.new() == ["h"]
    assert CountedFile.read_bytes < 3_000_000


@pytest.mark.parametrize("kind", [CountedFile, HolesUnknown])
def test_a_hole_that_is_no_backlog_is_read_at_most_once(log: Path, kind: type[CountedFile]) -> None:
    files = CountedFileSystem(kind)
    reading = Reading(log.parent, file_system=files)
    append(log, line("a"))
    assert reading.new() == ["a"]
    write_at(log, 40_000_000, line("b"))
    assert reading.new() == ["b"]
    if kind is CountedFile:
        assert CountedFile.read_bytes < 6_000_000
    assert CountedFile.read_bytes < 50_000_000
    assert reading.skipped == {"zeros": 1}


def test_a_log_cut_while_its_writer_goes_on_and_nobody_looks(log: Path) -> None:
    """It is as long as before when it is seen again: only what stands there tells that it was cut."""
    reading = Reading(log.parent)
    append(log, line("a") * 5_000)
    assert len(reading.new()) == 5_000
    offset = log.stat().st_size
    log.write_bytes(b"")
    write_at(log, offset, lines(*"bc"))
    assert reading.new() == [*"bc"]


@pytest.mark.parametrize("filled_after_ms", [0, 1_000])
def test_zeros_that_become_lines(log: Path, filled_after_ms: int) -> None:
    """Blocks that appear in the wrong order, as on NFS.  The later lines do not wait for the first ones."""
    reading, first, second = Reading(log.parent), lines(*"abc"), lines(*"def")
    log.touch()
    reading.new()
    write_at(log, len(first), second)
    assert reading.new() == [*"def"]
    write_at(log, 0, first)
    assert reading.new(filled_after_ms) == [*"abc"]
    assert reading.new(SETTLED_MS) == []
    assert not reading.skipped


def test_zeros_within_lines_that_are_filled_piece_by_piece(log: Path) -> None:
    """Blocks end where they like, within a line."""
    reading, whole = Reading(log.parent), lines(*"abcdefgh")
    log.write_bytes(whole[:150] + bytes(500) + whole[650:])
    before = reading.new()
    write_at(log, 0, whole[:400])
    between = reading.new(1_000)
    write_at(log, 0, whole)
    assert Counter(before + between + reading.new(1_000)) == Counter("abcdefgh")


def test_zeros_that_stay_cost_their_own_lines(log: Path) -> None:
    reading = Reading(log.parent)
    append(log, line("a") + line("b")[:50] + bytes(300) + b"\n" + line("c"))
    assert reading.new() == ["a", "c"]
    assert reading.new(SETTLED_MS) == []
    assert reading.skipped == {"not_text": 1}


def test_zeros_at_the_end_have_not_been_written_yet(log: Path) -> None:
    """A log that its writer made longer in advance."""
    reading, first, second = Reading(log.parent), lines(*"ab"), lines(*"cd")
    log.write_bytes(first + bytes(1_000_000))
    assert reading.new() == [*"ab"]
    write_at(log, len(first), second[:-10])
    assert reading.new(SETTLED_MS) == ["c"]
    write_at(log, len(first), second)
    assert reading.new(SETTLED_MS) == ["d"]
    assert not reading.skipped


def test_many_places_of_zeros_hold_up_nothing(log: Path) -> None:
    reading = Reading(log.parent)
    append(log, (bytes(30) + b"\n" + line("a")) * 1_000)
    assert len(reading.new()) == 1_000
    reading.new(SETTLED_MS)
    assert reading.skipped == {"not_text": 1_000}
