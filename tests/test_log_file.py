"""The log file: it is rotated, and no failure of it reaches the program."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path
from typing import TypeAlias

import pytest

from cfm.log_file import FileSink, LogFile
from cfm.logs import LineFormatter
from log_records import NOON, line_of, record

DAY_S = 86400


class Complaints:
    """Stands where the terminal stands, and remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, complaint: logging.LogRecord) -> None:
        self.heard.append(line_of(complaint))


def sink_to(
    file: LogFile, complain: Complaints | None = None, monotonic: Callable[[], float] = time.monotonic
) -> FileSink:
    sink = FileSink(file, complain or Complaints(), monotonic)
    sink.setFormatter(LineFormatter())
    sink.begin()
    return sink


Sinks: TypeAlias = Callable[..., FileSink]


@pytest.fixture
def file_sink() -> Iterator[Sinks]:
    """Makes sinks that are closed after the test."""
    with ExitStack() as open_sinks:
        yield lambda *args, **options: open_sinks.enter_context(closing(sink_to(*args, **options)))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_is_made_and_lines_are_there_at_once(tmp_path: Path, file_sink: Sinks) -> None:
    sink = file_sink(LogFile(tmp_path / "a/log/cfm.log"))
    sink.handle(record("e", v=1))
    assert (tmp_path / "a/log/cfm.log").read_text().endswith(" info e v=1\n")


def test_each_day_has_its_file(tmp_path: Path, file_sink: Sinks) -> None:
    sink = file_sink(LogFile(tmp_path / "cfm.log"))
    for day in range(3):
        sink.handle(record("e", NOON + day * DAY_S, day=day))
    assert names_in(tmp_path) == ["cfm-20180602.log", "cfm-20180603.log", "cfm-current.log", "cfm.log"]
    assert (tmp_path / "cfm-20180603.log").read_text().endswith(" day=1\n")


def test_what_an_earlier_run_left_is_set_aside_under_its_day(tmp_path: Path) -> None:
    (tmp_path / "cfw.log").write_text("old\n")
    os.utime(tmp_path / "cfw.log", (NOON, NOON))
    sink_to(LogFile(tmp_path / "cfw.log")).close()
    assert (tmp_path / "cfw-20180602.log").read_text() == "old\n"
    assert (tmp_path / "cfw.log").read_text() == ""


def test_a_run_on_the_same_day_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for run in range(2):
        with closing(sink_to(LogFile(tmp_path / "cfm.log"))) as sink:
            sink.handle(record("e", time.time(), run=run))
    assert len((tmp_path / "cfm.log").read_text().splitlines()) == 2


def test_a_full_file_is_set_aside_and_the_oldest_go(tmp_path: Path, file_sink: Sinks) -> None:
    (tmp_path / "cfm-notes.log").write_text("not ours to remove")
    sink = file_sink(LogFile(tmp_path / "cfm.log", most_bytes=100, most_files=2))
    for number in range(14):
        sink.handle(record("e", v="x" * 50, number=number))
    set_aside = ["cfm-20180602.12.log", "cfm-20180602.13.log"]
    assert names_in(tmp_path) == [*set_aside, "cfm-current.log", "cfm-notes.log", "cfm.log"]


def test_the_earlier_program_s_link_is_taken_over_and_its_lines_stay(tmp_path: Path) -> None:
    theirs = tmp_path / "2026-11-28_cfm.log"
    theirs.write_text("theirs\n")
    (tmp_path / "cfm.log").symlink_to(theirs.name)
    with closing(sink_to(LogFile(tmp_path / "cfm.log"))) as sink:
        sink.handle(record("ours", time.time()))
    assert theirs.read_text() == "theirs\n"
    assert (tmp_path / "cfm.log").read_text().endswith(" info ours\n")


def test_the_earlier_program_removes_no_line_of_ours(tmp_path: Path) -> None:
    """With each line it writes, it removes `cfm.log` and puts its own link there."""
    for run in range(2):
        with closing(sink_to(LogFile(tmp_path / "cfm.log"))) as sink:
            sink.handle(record("ours", time.time(), run=run))
        (tmp_path / "cfm.log").unlink()
        (tmp_path / "cfm.log").symlink_to("elsewhere.log")
    assert len((tmp_path / "cfm-current.log").read_text().splitlines()) == 2


def test_a_file_that_others_moved_is_made_anew(tmp_path: Path, file_sink: Sinks) -> None:
    sink = file_sink(LogFile(tmp_path / "log/cfm.log"))
    sink.handle(record("first"))
    (tmp_path / "log").rename(tmp_path / "moved")
    sink.handle(record("second"))
    assert "second" in (tmp_path / "log/cfm.log").read_text()


def test_a_folder_that_cannot_be_is_told_once_and_tried_again(tmp_path: Path, file_sink: Sinks) -> None:
    now, complaints = [0.0], Complaints()
    (tmp_path / "log").write_text("in the way")
    sink = file_sink(LogFile(tmp_path / "log/cfm.log"), complain=complaints, monotonic=lambda: now[0])
    for _ in range(3):
        sink.handle(record("lost"))
    assert len(complaints.heard) == 1
    assert "cannot write the log file" in complaints.heard[0]
    (tmp_path / "log").unlink()
    sink.handle(record("too early"))
    now[0] += 60
    sink.handle(record("again"))
    first, second = (tmp_path / "log/cfm.log").read_text().splitlines()
    assert first == "4 lines were not written here"
    assert second.endswith("info again")


class BrokenDisk(LogFile):
    """Fails in each of the ways in which a disk on the network can fail."""

    def append(self, data: bytes, day: date) -> None:
        raise OSError(errno.EIO, f"cannot write {len(data)} bytes of {day}")

    def close(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_a_disk_that_fails_also_when_the_file_is_closed(tmp_path: Path, file_sink: Sinks) -> None:
    complaints = Complaints()
    file_sink(BrokenDisk(tmp_path / "cfm.log"), complain=complaints).handle(record("lost"))
    assert len(complaints.heard) == 1


def test_a_full_disk_is_told_once(tmp_path: Path, file_sink: Sinks) -> None:
    complaints = Complaints()
    (tmp_path / "cfm-current.log").symlink_to("/dev/full")
    sink = file_sink(LogFile(tmp_path / "cfm.log"), complain=complaints)
    for _ in range(3):
        sink.handle(record("lost"))
    assert len(complaints.heard) == 1
    assert "No space left" in complaints.heard[0]
