"""A sink in a thread: whoever logs never waits for it, and what is lost is told."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from cfm.log_file import FileSink, LogFile
from cfm.log_queue import QueuedSink
from cfm.logs import LineFormatter
from log_records import record


class SlowSink(logging.Handler):
    """It takes lines only while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.lines: list[str] = []
        self.closed = threading.Event()

    def begin(self) -> None:
        self.gate.wait(10)

    def write(self, line: str, created_s: float) -> None:
        assert created_s
        self.gate.wait(10)
        self.lines.append(line)

    def format(self, record: logging.LogRecord) -> str:
        return record.msg["event"] if isinstance(record.msg, dict) else ""

    def close(self) -> None:
        self.closed.set()


def test_lines_wait_for_a_slow_sink_and_come_in_order() -> None:
    slow = SlowSink()
    sink = QueuedSink(slow, "test")
    for number in range(100):
        sink.handle(record(str(number)))
    slow.gate.set()
    sink.close()
    assert slow.lines == [str(number) for number in range(100)]
    assert slow.closed.is_set()


def test_what_does_not_fit_is_lost_and_told_in_one_line() -> None:
    slow = SlowSink()
    sink = QueuedSink(slow, "test", most_characters=10)
    for _ in range(1_000):
        sink.handle(record("12345"))
    assert sink.lost_total == 998
    slow.gate.set()
    sink.close()
    assert slow.lines == ["12345", "12345", "998 lines were lost here, because nobody took them"]


def test_a_sink_that_hangs_is_left_behind_at_the_end() -> None:
    slow = SlowSink()
    sink = QueuedSink(slow, "test")
    sink.handle(record("never"))
    sink.close(0.01)
    assert slow.lines == []
    slow.gate.set()


def test_a_log_folder_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """Opening a FIFO waits for its other end, as a dead mount would."""
    os.mkfifo(tmp_path / "cfm-current.log")
    file = FileSink(LogFile(tmp_path / "cfm.log"), lambda _complaint: None)
    file.setFormatter(LineFormatter())
    sink = QueuedSink(file, "the log file")
    sink.handle(record("waits"))
    with (tmp_path / "cfm-current.log").open("rb") as other_end:
        sink.close(10)
        assert other_end.read().endswith(b"info waits\n")


def test_a_sink_that_fails_does_not_end_the_thread() -> None:
    class Failing(SlowSink):
        def write(self, line: str, created_s: float) -> None:
            if line == "bad":
                raise RuntimeError(line)
            super().write(line, created_s)

    failing = Failing()
    failing.gate.set()
    sink = QueuedSink(failing, "test")
    for line in ("bad", "good"):
        sink.handle(record(line))
    sink.close()
    assert failing.lines == ["good"]
