"""Logging: each event is one line, on stderr and in a file of the log folder.

Our code logs through structlog: `log.info("deleted file", server=…, rank=…)`.  Libraries log through the
standard library.  structlog's `ProcessorFormatter` brings both into one form, and `LineFormatter` writes it
as text.

File names and error texts come from other machines, so every value is escaped: no line end, ESC or bidi
character reaches a terminal or forges a second line.  None of structlog's renderers does this and stays
readable: `LogfmtRenderer` and `ConsoleRenderer` let such characters through, `JSONRenderer` writes `영화` as
`\\uc601\\ud654`, and `KeyValueRenderer` writes a path as `PosixPath('/data')`.

Logging never stops the program, and never fills a disk: `log_queue` says what happens where nobody takes the
lines, `log_file` where the file cannot be written, and `log_repeats` which lines are only counted.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import io
import logging
import os
import re
import select
import sys
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.dev import ConsoleRenderer
from structlog.typing import EventDict

from cfm.log_file import FileSink, LogFile
from cfm.log_queue import QueuedSink
from cfm.log_repeats import Repeats

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "report": logging.INFO,
    "info": logging.INFO,
    "success": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fail": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
}
"""The level names of old settings files.  Those that we do not use ourselves show no less than they did."""

LONGEST_VALUE = 8000
LAST_WORDS_S = 1.0
"""How long the last words of a daemon may take."""


def setup_logging(level: str, log_dir: Path | None, program: Literal["cfm", "cfw"]) -> None:
    """Sends all events of at least `level` (a name in `LEVELS`) to stderr and into `log_dir`.

    A second call replaces what the first one set up.  Without `log_dir` there is no file: commands that
    run beside a daemon have none.
    """
    stop_logging()
    root = logging.getLogger()
    root.setLevel(LEVELS[level])
    terminal = QueuedSink(TerminalSink(sys.stderr), "stderr")
    sinks = [terminal]
    if log_dir is not None:
        file = FileSink(LogFile(log_dir / f"{program}.log"), terminal.handle)
        file.setFormatter(LineFormatter())
        sinks.append(QueuedSink(file, "the log file"))
    root.addHandler(RepeatGate(sinks))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def stop_logging() -> None:
    """Closes what `setup_logging` opened.  Lines that wait get a moment to be written."""
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, RepeatGate)]:
        root.removeHandler(handler)
        handler.close()


atexit.register(stop_logging)


def lost_lines() -> int:
    """How many lines were lost since the start, because a sink did not take them."""
    gates = [one for one in logging.getLogger().handlers if isinstance(one, RepeatGate)]
    return sum(gate.lost_lines for gate in gates)


class RepeatGate(logging.Handler):
    """Passes records on to all sinks.  Those that repeat are counted; `log_repeats` says which."""

    def __init__(self, sinks: Sequence[logging.Handler]) -> None:
        super().__init__()
        self._sinks = sinks
        self._repeats: Repeats[logging.LogRecord] = Repeats()

    @property
    def lost_lines(self) -> int:
        return sum(sink.lost_total for sink in self._sinks if isinstance(sink, QueuedSink))

    def emit(self, record: logging.LogRecord) -> None:
        now_ms = int(1000 * time.monotonic())
        left_out = self._repeats.admit(kind_of(record), record, now_ms)
        for last, before_it in self._repeats.ended(now_ms):
            self._pass_on(last, before_it)
        if left_out is not None:
            self._pass_on(record, left_out)

    def close(self) -> None:
        for last, before_it in self._repeats.rest():
            self._pass_on(last, before_it)
        for sink in self._sinks:
            sink.close()
        super().close()

    def _pass_on(self, record: logging.LogRecord, left_out: int) -> None:
        if left_out:
            record.left_out = left_out
        for sink in self._sinks:
            sink.handle(record)


_NAMES_THE_THING = ("task", "order")
"""Facts that are numbers, and say what a line is about."""
_DIGITS = re.compile(r"\d+")


def kind_of(record: logging.LogRecord) -> Hashable:
    """Lines of one kind say the same of the same thing.  Measures, and numbers within reasons, may differ."""
    if not isinstance(record.msg, dict):  # a library's
        return record.name, record.levelno, _DIGITS.sub("0", str(record.msg))
    facts = [_kind_of_fact(key, value) for key, value in record.msg.items()]
    return record.name, record.levelno, *facts


def _kind_of_fact(key: str, value: object) -> tuple[str, str]:
    if isinstance(value, (int, float)) and key not in _NAMES_THE_THING:
        return key, ""
    if key in ("why", "because", "error", "exc_info"):
        return key, _DIGITS.sub("0", str(value))
    return key, str(value)


class TerminalSink(logging.Handler):
    """Lines on stderr, in colour where a person looks at it.

    Where stderr is closed or its disk is full, nothing happens: nobody is left who could be told.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None in a program that was started without standard error."""
        super().__init__()
        self._stream = stream
        self.setFormatter(LineFormatter(colour=stream is not None and stream.isatty()))

    def begin(self) -> None:
        """Nothing has to be opened."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.write(self.format(record), record.created)

    def write(self, line: str, created_s: float) -> None:  # noqa: ARG002  the line has its time
        """Write past the stream's own buffer.

        Python would wait for that buffer at its end, whatever hangs.
        """
        if self._stream is None:
            return
        try:
            descriptor = self._stream.fileno()
        except io.UnsupportedOperation:
            self._stream.write(line + "\n")
        else:
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            _write_all(descriptor, f"{line}\n".encode(encoding, "backslashreplace"))


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # the other end made the pipe one that does not block
            select.select([], [descriptor], [])


def say_last(text: str) -> None:
    """Print to stderr at the end of a daemon.  Where nobody takes it, the daemon ends all the same."""
    sink = TerminalSink(sys.stderr)
    saying = threading.Thread(target=_say, args=(sink, text), daemon=True)
    saying.start()
    saying.join(LAST_WORDS_S)


def _say(sink: TerminalSink, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sink.write(text, 0)


# --- one line -------------------------------------------------------------------------------------


class LineFormatter(structlog.stdlib.ProcessorFormatter):
    """`2018-06-02T22:00:07.123+09:00 info deleted file server=… file=… rank=3`, without a line end."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.processors.format_exc_info, self._line],
        )
        self._colour = colour
        self._level_styles = ConsoleRenderer.get_default_level_styles(colour)
        self._styles = ConsoleRenderer.get_default_column_styles(colour)

    def format(self, record: logging.LogRecord) -> str:
        """stderr and the file have the same line, where nobody wants colours: it is made once."""
        made: str | None = None if self._colour else getattr(record, "plain_line", None)
        if made is None:
            made = self._formatted(record)
            if not self._colour:
                record.plain_line = made
        return made

    def _formatted(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001  `str()` of a value may fail in any way; the program must go on
            return f"a line of {escaped(record.name)} could not be logged: {type(error).__name__}"

    def _line(self, _logger: object, _method: str, facts: EventDict) -> str:
        record: logging.LogRecord = facts.pop("_record")
        del facts["_from_structlog"]
        at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        level = record.levelname.lower()
        event = escaped(_text_of(facts.pop("event", "")))
        pairs = [f"{escaped(str(key))}={_quoted(_text_of(value))}" for key, value in facts.items()]
        if left_out := getattr(record, "left_out", 0):
            pairs.append(f"repeats_left_out={left_out}")
        reset = self._styles.reset
        level = f"{self._level_styles.get(level, '')}{level}{reset}"
        return " ".join([at, level, f"{self._styles.bright}{event}{reset}", *pairs])


def escaped(text: str) -> str:
    """The text with everything unprintable written as an escape (`\\n`, `\\x1b`, `\\u202e`)."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escape(sign) for sign in text)


codecs.lookup("unicode_escape")  # now: Python loads it from a file, for which there may be no descriptor


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


_BARE = re.compile(r'[^\s"=\\]+')


def _quoted(text: str) -> str:
    """The text as it is where that is unambiguous; else in quotes, with quotes and backslashes escaped."""
    if text.isprintable() and _BARE.fullmatch(text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(text)}"'


def _text_of(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
