"""Logging: one escaped line an event, a file that is rotated, and no failure that reaches the program."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cfm.logs import LEVELS, LONGEST_VALUE, FileSink, TerminalSink, escaped, line_of, setup_logging

NOON = datetime(2018, 6, 2, 12, 0, 0).astimezone().timestamp()
DAY_S = 86400


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Whatever a test sets up is taken down after it."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [found for found in root.handlers if isinstance(found, (TerminalSink, FileSink))]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    structlog.reset_defaults()


def record(event: str, at: float = NOON, **facts: object) -> logging.LogRecord:
    """As structlog hands an event to the standard library."""
    fields = {"event": event, **facts}
    known = {"msg": fields, "levelno": logging.INFO, "levelname": "INFO", "name": "cfm.test", "created": at}
    return logging.makeLogRecord(known)


def after_time(line: str) -> str:
    return line.split(" ", 1)[1]


Sinks: TypeAlias = Callable[..., FileSink]


@pytest.fixture
def file_sink() -> Iterator[Sinks]:
    """Makes sinks that are closed after the test."""
    with ExitStack() as open_sinks:

        def make(folder: Path, **options: Any) -> FileSink:
            options = {"complain": Complaints(), **options}
            return open_sinks.enter_context(closing(FileSink(folder, "cfm", **options)))

        yield make


class Complaints:
    """Stands where the terminal stands, and remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, complaint: logging.LogRecord) -> None:
        self.heard.append(line_of(complaint))


# --- lines --------------------------------------------------------------------------------------------


def test_one_event_is_one_phrase_with_its_facts() -> None:
    line = line_of(record("deleted file", server="127.0.2.1:8888", file="a.mpg", rank=3, hits=None))
    assert after_time(line) == "info deleted file server=127.0.2.1:8888 file=a.mpg rank=3 hits=None"
    assert datetime.fromisoformat(line.split(" ")[0]).timestamp() == NOON


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ('say "a=b"\\', '"say \\"a=b\\"\\\\"'),
        ("a\nb\r\x1b[31m\x00", '"a\\nb\\r\\x1b[31m\\x00"'),
        ("\u202egpm.a\u2066", '"\\u202egpm.a\\u2066"'),
        ("\udcff", '"\\udcff"'),
        ("영화.mpg", "영화.mpg"),
        (Path("/data2//a.mpg"), "/data2/a.mpg"),
    ],
)
def test_values_cannot_forge_anything(value: object, written: str) -> None:
    assert line_of(record("e", v=value)).endswith(f" v={written}")


@given(event=st.text(), key=st.text(min_size=1), value=st.text() | st.binary() | st.integers() | st.none())
def test_whatever_is_logged_is_one_printable_line(event: str, key: str, value: object) -> None:
    fields = record(event)
    assert isinstance(fields.msg, dict)
    fields.msg[key] = value
    assert line_of(fields).isprintable()


@given(text=st.text())
def test_escaping_is_done_once_and_is_harmless(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(escaped(text)) == escaped(text)
    assert not text.isprintable() or escaped(text) == text


def test_a_long_value_is_cut() -> None:
    assert len(line_of(record("e", v="x" * 70_000))) < LONGEST_VALUE + 100


def test_a_traceback_is_a_fact_on_the_same_line() -> None:
    try:
        int("a")
    except ValueError as error:
        line = line_of(record("failed", exc_info=error))
    assert "\\nValueError: invalid literal" in line
    assert "\n" not in line


def test_what_libraries_log_comes_out_the_same_way() -> None:
    known = {"msg": "%s left", "args": ("a\n1",), "name": "lib", "levelname": "WARNING", "levelno": 30}
    line = line_of(logging.makeLogRecord(known))
    assert after_time(line) == "warning a\\n1 left logger=lib"


# --- the terminal -------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_a_person_gets_colours_and_a_pipe_does_not() -> None:
    person, pipe = Terminal(), io.StringIO()
    for stream in (person, pipe):
        TerminalSink(stream).handle(record("deleted file", file="\x1b[2J"))
    assert "\x1b[32minfo\x1b[0m" in person.getvalue()
    assert "\x1b" not in pipe.getvalue()
    assert "\x1b[2J" not in person.getvalue()


def test_a_value_without_words_does_not_end_the_program() -> None:
    stream = io.StringIO()
    TerminalSink(stream).handle(record("e", v=Unspeakable()))
    assert stream.getvalue() == "a line of cfm.test could not be logged: RuntimeError\n"


def test_nobody_at_the_other_end() -> None:
    TerminalSink(None).handle(record("e"))
    closed = io.StringIO()
    sink = TerminalSink(closed)
    closed.close()
    sink.handle(record("e"))
    with Path("/dev/full").open("w") as full, Path(os.devnull).open("w") as null:
        TerminalSink(full).handle(record("e"))
        # What could not be written must not fail a second time when the file is closed.
        os.dup2(null.fileno(), full.fileno())


# --- the file -----------------------------------------------------------------------------------------


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_is_made_and_lines_are_there_at_once(tmp_path: Path, file_sink: Sinks) -> None:
    sink = file_sink(tmp_path / "a/log")
    sink.handle(record("e", v=1))
    assert (tmp_path / "a/log/cfm.log").read_text().endswith(" info e v=1\n")


def test_each_day_has_its_file(tmp_path: Path, file_sink: Sinks) -> None:
    sink = file_sink(tmp_path)
    for day in range(3):
        sink.handle(record("e", NOON + day * DAY_S, day=day))
    assert names_in(tmp_path) == ["cfm-20180602.log", "cfm-20180603.log", "cfm.log"]
    assert (tmp_path / "cfm-20180603.log").read_text().endswith(" day=1\n")


def test_what_an_earlier_run_left_is_set_aside_under_its_day(tmp_path: Path) -> None:
    (tmp_path / "cfw.log").write_text("old\n")
    os.utime(tmp_path / "cfw.log", (NOON, NOON))
    FileSink(tmp_path, "cfw", Complaints()).close()
    assert (tmp_path / "cfw-20180602.log").read_text() == "old\n"
    assert (tmp_path / "cfw.log").read_text() == ""


def test_a_run_on_the_same_day_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for run in range(2):
        with closing(FileSink(tmp_path, "cfm", Complaints())) as sink:
            sink.handle(record("e", time.time(), run=run))
    assert len((tmp_path / "cfm.log").read_text().splitlines()) == 2


def test_a_full_file_is_set_aside_and_the_oldest_go(tmp_path: Path, file_sink: Sinks) -> None:
    (tmp_path / "cfm-notes.log").write_text("not ours to remove")
    sink = file_sink(tmp_path, most_bytes=100, most_files=2)
    for number in range(14):
        sink.handle(record("e", v="x" * 50, number=number))
    assert names_in(tmp_path) == ["cfm-20180602.12.log", "cfm-20180602.13.log", "cfm-notes.log", "cfm.log"]


def test_a_file_that_others_moved_is_made_anew(tmp_path: Path, file_sink: Sinks) -> None:
    sink = file_sink(tmp_path / "log")
    sink.handle(record("first"))
    (tmp_path / "log").rename(tmp_path / "moved")
    sink.handle(record("second"))
    assert "second" in (tmp_path / "log/cfm.log").read_text()


def test_a_folder_that_cannot_be_is_told_once_and_tried_again(tmp_path: Path, file_sink: Sinks) -> None:
    now, complaints = [0.0], Complaints()
    (tmp_path / "log").write_text("in the way")
    sink = file_sink(tmp_path / "log", complain=complaints, monotonic=lambda: now[0])
    for _ in range(3):
        sink.handle(record("lost"))
    assert len(complaints.heard) == 1
    assert "cannot write the log file, going on without" in complaints.heard[0]
    (tmp_path / "log").unlink()
    sink.handle(record("too early"))
    now[0] += 60
    sink.handle(record("again"))
    first, second = (tmp_path / "log/cfm.log").read_text().splitlines()
    assert first == "4 lines were not written here"
    assert second.endswith("info again")


def test_a_full_disk_is_told_once(tmp_path: Path, file_sink: Sinks) -> None:
    complaints = Complaints()
    (tmp_path / "cfm.log").symlink_to("/dev/full")
    sink = file_sink(tmp_path, complain=complaints)
    for _ in range(3):
        sink.handle(record("lost"))
    assert len(complaints.heard) == 1
    assert "No space left" in complaints.heard[0]


# --- all of it ----------------------------------------------------------------------------------------


def test_old_level_names_show_no_less_than_they_did() -> None:
    assert " ".join(LEVELS) == "debug report info success warning error fail exception critical"
    assert list(LEVELS.values()) == sorted(LEVELS.values())


def test_events_reach_both_sinks_from_their_level_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # a second call replaces the first
        setup_logging("warning", tmp_path, "cfw")
    log = structlog.get_logger("cfm.some")
    log.info("not shown")
    log.warning("shown", file="a\nb")
    logging.getLogger("library").error("theirs")
    for text in (capsys.readouterr().err, (tmp_path / "cfw.log").read_text()):
        assert [after_time(line) for line in text.splitlines()] == [
            'warning shown file="a\\nb"',
            "error theirs logger=library",
        ]


def test_exceptions_are_logged_with_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("info", None, "cfm")
    try:
        int("a")
    except ValueError:
        structlog.get_logger().exception("failed")
    [line] = capsys.readouterr().err.splitlines()
    assert 'error failed exception="Traceback' in line
    assert line.endswith("base 10: 'a'\"")


def test_a_program_without_standard_error_goes_on(tmp_path: Path) -> None:
    code = (
        "import sys; sys.stderr = None\n"
        "from pathlib import Path; import structlog; from cfm.logs import setup_logging\n"
        f"setup_logging('info', Path({str(tmp_path)!r}), 'cfm')\n"
        "structlog.get_logger().info('alive')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert "info alive" in (tmp_path / "cfm.log").read_text()
