"""Logging: each event is one escaped line, and no failure reaches the program."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cfm.log_repeats import FIRST_FEW
from cfm.logs import LEVELS, LONGEST_VALUE, TerminalSink, escaped, kind_of, setup_logging, stop_logging
from log_records import NOON, after_time, line_of, record


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Whatever a test sets up is taken down after it."""
    root = logging.getLogger()
    level = root.level
    yield
    stop_logging()
    root.setLevel(level)
    structlog.reset_defaults()


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
    stop_logging()  # lines are written in threads
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
    stop_logging()
    [line] = capsys.readouterr().err.splitlines()
    assert 'error failed exception="Traceback' in line
    assert line.endswith("base 10: 'a'\"")


def test_lines_that_repeat_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A process out of descriptors wrote 6,000 lines in 20 seconds, and none said why."""
    setup_logging("info", tmp_path, "cfw")
    log = structlog.get_logger("cfm.some")
    for number in range(1_000):
        log.error("cannot look", server="127.0.2.1:8888", why=f"errno {number}", took_ms=number)
        logging.getLogger("asyncio").error("socket.accept() out of system resource, fd=%d" % number)  # noqa: UP031, G002 - as asyncio does
    log.error("cannot look", server="127.0.2.2:8888", why="errno 24", took_ms=1)
    stop_logging()
    for text in (capsys.readouterr().err, (tmp_path / "cfw.log").read_text()):
        lines = text.splitlines()
        assert len(lines) == 2 * FIRST_FEW + 1 + 2
        assert [line for line in lines if "127.0.2.2" in line]
        assert "took_ms=999" in lines[-2]
        assert lines[-2].endswith("repeats_left_out=994")
        assert lines[-1].endswith("repeats_left_out=994")


def test_deeds_are_never_repeats() -> None:
    deeds = [record("copied file", file="a.mpg", server="s", task=task) for task in range(50)]
    deeds += [record("copied file", file=f"{number}.mpg", server="s") for number in range(50)]
    assert len({kind_of(deed) for deed in deeds}) == 100


def test_a_process_without_descriptors_says_what_is_wrong(tmp_path: Path) -> None:
    code = (
        "import resource, sys, structlog; from cfm.logs import setup_logging\n"
        "setup_logging('info', None, 'cfm')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: open('/dev/null')\n"
        "except OSError: structlog.get_logger().exception('two\\nlines')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    assert b"Too many open files" in ended.stderr
    assert b"could not be logged" not in ended.stderr


def test_a_pipe_that_nobody_reads_holds_up_neither_the_program_nor_its_end() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    code = (
        "import structlog; from cfm.logs import lost_lines, setup_logging\n"
        "setup_logging('info', None, 'cfm')\n"
        "for number in range(2000): structlog.get_logger().info(f'{number}', v='x' * 4000)\n"
        "print(lost_lines())\n"
    )
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, check=True, timeout=30
        )
    assert 900 < int(ended.stdout) < 1100


def test_a_program_without_standard_error_goes_on(tmp_path: Path) -> None:
    code = (
        "import sys; sys.stderr = None\n"
        "from pathlib import Path; import structlog; from cfm.logs import setup_logging\n"
        f"setup_logging('info', Path({str(tmp_path)!r}), 'cfm')\n"
        "structlog.get_logger().info('alive')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert "info alive" in (tmp_path / "cfm.log").read_text()
