"""Logging: one event, one line, on stderr and in a file of the log folder.

Code logs through structlog (`log.info("deleted file", server=…, rank=…)`); what libraries log through the
standard library comes out the same way.  File names and error texts come from other machines, so every
value is escaped: no newline, ESC or bidi character reaches a terminal or forges a second line.  Logging
never stops the program: a log folder that cannot be written is reported once and tried again later.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import structlog

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
"""The level names of old settings files.  Names that we do not use show no less than they did."""

LONGEST_VALUE = 8000
MOST_FILE_BYTES = 100 * 1024 * 1024
MOST_FILES = 30
RETRY_AFTER_S = 60


def setup_logging(level: str, log_dir: Path | None, program: Literal["cfm", "cfw"]) -> None:
    """Sends all events of at least `level` (a name in `LEVELS`) to stderr and into `log_dir`.

    May be called again: what was set up before is replaced.  Without `log_dir` there is no file, as
    for commands that run beside a daemon.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, (TerminalSink, FileSink))]:
        root.removeHandler(handler)
        handler.close()
    terminal = TerminalSink(sys.stderr)
    root.addHandler(terminal)
    if log_dir is not None:
        root.addHandler(FileSink(log_dir, program, terminal.handle))
    root.setLevel(LEVELS[level])
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


# --- one line -------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """The text with everything unprintable written as an escape (`\\n`, `\\x1b`, `\\u202e`)."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escape(sign) for sign in text)


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def line_of(record: logging.LogRecord, *, colour: bool = False) -> str:
    """`2018-06-02T22:00:07.123+09:00 info deleted file server=… file=… rank=3`, without a newline."""
    at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
    level = record.levelname.lower()
    fields = _fields_of(record)
    event = escaped(_text_of(fields.pop("event", "")))
    if colour:
        level, event = f"{_COLOURS.get(record.levelno, '')}{level}\x1b[0m", f"\x1b[1m{event}\x1b[0m"
    return " ".join([at, level, event, *_pairs(fields)])


_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The event and its facts: structlog's dictionary, or a library's message."""
    if isinstance(record.msg, dict):
        fields = dict(record.msg)
        trouble = fields.pop("exc_info", None)
    else:
        fields = {"event": record.getMessage(), "logger": record.name}
        trouble = record.exc_info
    if trouble:
        fields["exception"] = _traceback_of(trouble)
    return fields


def _traceback_of(trouble: object) -> str:
    if isinstance(trouble, BaseException):
        trouble = (type(trouble), trouble, trouble.__traceback__)
    if not isinstance(trouble, tuple):
        trouble = sys.exc_info()
    return logging.Formatter().formatException(trouble) if trouble[0] else ""


def _pairs(fields: Mapping[str, Any]) -> Iterator[str]:
    for key, value in fields.items():
        yield f"{escaped(str(key))}={_quoted(_text_of(value))}"


_BARE = re.compile(r'[^\s"=\\]+')


def _quoted(text: str) -> str:
    """As it is where that is unambiguous; else in quotes, with quotes and backslashes escaped."""
    if text.isprintable() and _BARE.fullmatch(text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(text)}"'


def _text_of(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def _line_or_excuse(record: logging.LogRecord, colour: bool) -> str:
    try:
        return line_of(record, colour=colour)
    except Exception as error:  # noqa: BLE001  any value's `str()` may fail: what logs must go on, and we say so
        return f"a line of {escaped(record.name)} could not be logged: {type(error).__name__}"


# --- where lines go -------------------------------------------------------------------------------


class TerminalSink(logging.Handler):
    """Lines on stderr; in colour where a person looks at it."""

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None in a program that was started without standard error."""
        super().__init__()
        self.stream = stream
        self.colour = stream is not None and stream.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is None:
            return
        # Where stderr is closed or its disk is full, nobody is left to be told.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(_line_or_excuse(record, self.colour) + "\n")
            self.stream.flush()


class FileSink(logging.Handler):
    """Lines in `PROGRAM.log`, set aside as `PROGRAM-YYYYMMDD.log` each day and at `most_bytes`.

    A failure (folder not writable, disk full) is told once; lines are dropped and counted, and a
    minute later writing is tried again.
    """

    def __init__(
        self,
        folder: Path,
        program: str,
        complain: Callable[[logging.LogRecord], object],
        *,
        most_bytes: int = MOST_FILE_BYTES,
        most_files: int = MOST_FILES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.path = folder / f"{program}.log"
        self.complain = complain
        self.most_bytes, self.most_files, self.monotonic = most_bytes, most_files, monotonic
        self.file: FileIO | None = None
        self.day = date.min
        self.lost = 0
        self.retry_at_s: float | None = None
        self._write("", date.today())  # noqa: DTZ011  operators name log files by local days

    def emit(self, record: logging.LogRecord) -> None:
        line = _line_or_excuse(record, colour=False) + "\n"
        self._write(line, date.fromtimestamp(record.created))  # noqa: DTZ012  a local day, as above

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
        super().close()

    def _write(self, line: str, day: date) -> None:
        if self.retry_at_s is not None and self.monotonic() < self.retry_at_s:
            self.lost += 1
            return
        try:
            self._append(line.encode("utf-8", "backslashreplace"), day)
        except OSError as error:
            self.lost += bool(line)
            self._failed(error)

    def _append(self, data: bytes, day: date) -> None:
        file = self._open_file(day, len(data))
        if self.retry_at_s is not None:
            file.write(f"{self.lost} lines were not written here\n".encode())
            self.retry_at_s, self.lost = None, 0
        if file.write(data) < len(data):
            raise OSError(errno.ENOSPC, "no space left on device")

    def _failed(self, error: OSError) -> None:
        first = self.retry_at_s is None
        self.retry_at_s = self.monotonic() + RETRY_AFTER_S
        if self.file is not None:
            self.file.close()
            self.file = None
        if first:
            facts = {"event": "cannot write the log file, going on without", "file": self.path, "why": error}
            known = {"msg": facts, "levelno": logging.WARNING, "levelname": "WARNING"}
            self.complain(logging.makeLogRecord(known))

    def _open_file(self, day: date, more_bytes: int) -> FileIO:
        if self.file is None or self._moved(self.file):
            self.file = self._opened(day)
        size = os.fstat(self.file.fileno()).st_size
        if size and (self.day != day or size + more_bytes > self.most_bytes):
            self.file.close()
            self.path.rename(self._free_name())
            self._remove_oldest()
            self.file = self._opened(day)
        self.day = day
        return self.file

    def _moved(self, file: FileIO) -> bool:
        """Somebody else rotated or removed the file."""
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return True

    def _opened(self, day: date) -> FileIO:
        if self.file is not None:
            self.file.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab", buffering=0)
        found = os.fstat(file.fileno())
        # What an earlier run left belongs to the day on which it was last written.
        self.day = date.fromtimestamp(found.st_mtime) if found.st_size else day  # noqa: DTZ012  a local day
        return file

    def _free_name(self) -> Path:
        """One number beyond the day's last, so that names sort by age also after old ones went."""
        number = 1 + max(
            (number for day, number, _ in self._aside() if day == f"{self.day:%Y%m%d}"), default=0
        )
        more = f".{number}" if number > 1 else ""
        return self.path.with_name(f"{self.path.stem}-{self.day:%Y%m%d}{more}.log")

    def _remove_oldest(self) -> None:
        for _, _, path in sorted(self._aside())[: -self.most_files]:
            path.unlink(missing_ok=True)

    def _aside(self) -> Iterator[tuple[str, int, Path]]:
        """Day, number and path of each file that was set aside."""
        pattern = re.compile(re.escape(self.path.stem) + r"-(\d{8})(?:\.(\d{1,9}))?\.log")
        for path in self.path.parent.iterdir():
            found = pattern.fullmatch(path.name)
            if found:
                yield found[1], int(found[2] or 1), path
