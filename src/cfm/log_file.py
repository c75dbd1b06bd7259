"""The log file of a daemon: a new one each day, and no failure that stops the program.

`LogFile` appends lines and sets full files aside.  `FileSink` is the logging handler in front of it: it
catches what goes wrong, says so once, and tries again later.  `logs` makes the lines, and `log_queue` keeps a
disk that hangs away from whoever logs.

The standard library's file handlers do not do this.  One rotates by day, one by size, one notices that
somebody else moved the file; none does two of these.  On a full disk each prints a traceback for every line.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import date
from io import FileIO
from pathlib import Path

MOST_BYTES = 100 * 1024 * 1024
MOST_FILES = 30
RETRY_AFTER_S = 60


class LogFile:
    """`PROGRAM-current.log`, which becomes `PROGRAM-YYYYMMDD.log` at the end of a day or when it is full.

    `PROGRAM.log` is a link to it.  The earlier programs keep such a link too, and remove whatever is there.
    So the lines themselves must not be there.

    Every method raises `OSError` where the file or its folder cannot be used.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
        self.path, self.most_bytes, self.most_files = path, most_bytes, most_files
        self._current_path = path.with_name(f"{path.stem}-current.log")
        self._file: FileIO | None = None
        self._day = date.min
        """The day of the lines in the file."""

    def append(self, data: bytes, day: date) -> None:
        """Writes lines of that day to the right file."""
        file = self._current(day, len(data))
        if file.write(data) < len(data):
            raise OSError(errno.ENOSPC, "no space left on device")

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _current(self, day: date, more_bytes: int) -> FileIO:
        file = self._open(day) if self._file is None or self._was_moved(self._file) else self._file
        size = os.fstat(file.fileno()).st_size
        if size and (self._day != day or size + more_bytes > self.most_bytes):
            self._current_path.rename(self._free_name())
            self._remove_oldest()
            file = self._open(day)
        self._day = day
        return file

    def _was_moved(self, file: FileIO) -> bool:
        """Somebody else has renamed or removed the file."""
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self._current_path.stat())
        except FileNotFoundError:
            return True

    def _open(self, day: date) -> FileIO:
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_file() and not self.path.is_symlink() and not self._current_path.exists():
            self.path.rename(self._current_path)  # the place of the lines before there was a link
        # Without a buffer, nothing is left to fail a second time after the disk was full.
        self._file = file = self._current_path.open("ab", buffering=0)
        with contextlib.suppress(OSError):  # a disk may know no links; the lines are there all the same
            self._link()
        found = os.fstat(file.fileno())
        # Lines of an earlier run belong to the day on which the last of them was written.
        self._day = date.fromtimestamp(found.st_mtime) if found.st_size else day  # noqa: DTZ012  a local day
        return file

    def _link(self) -> None:
        """Let `PROGRAM.log` lead to the current file.  A plain file in its place stays."""
        is_link = self.path.is_symlink()
        if is_link and self.path.readlink() == Path(self._current_path.name):
            return
        if is_link:
            self.path.unlink()
        self.path.symlink_to(self._current_path.name)

    def _free_name(self) -> Path:
        """The name for the file that is set aside.

        Its number is one more than the day's highest, also where lower ones are free: so names sort by age.
        """
        day = f"{self._day:%Y%m%d}"
        number = 1 + max((number for set_on, number, _ in self._set_aside() if set_on == day), default=0)
        suffix = f".{number}" if number > 1 else ""
        return self.path.with_name(f"{self.path.stem}-{day}{suffix}.log")

    def _remove_oldest(self) -> None:
        for _, _, path in sorted(self._set_aside())[: -self.most_files]:
            path.unlink(missing_ok=True)

    def _set_aside(self) -> Iterator[tuple[str, int, Path]]:
        """Day, number and path of each file that was set aside."""
        pattern = re.compile(re.escape(self.path.stem) + r"-(\d{8})(?:\.(\d{1,9}))?\.log")
        for path in self.path.parent.iterdir():
            found = pattern.fullmatch(path.name)
            if found:
                yield found[1], int(found[2] or 1), path


class FileSink(logging.Handler):
    """Sends log lines to a `LogFile`, and goes on where that fails.

    The first failure (the folder cannot be written, the disk is full) is handed to `complain`.  For a minute,
    lines are dropped and counted; then the next one is tried.  When the file can be written again, it first
    says how many lines were lost.
    """

    def __init__(
        self,
        file: LogFile,
        complain: Callable[[logging.LogRecord], object],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.file, self.complain, self.monotonic = file, complain, monotonic
        self.lost = 0
        self.retry_at_s: float | None = None

    def begin(self) -> None:
        """A file that cannot be written is told of at the start, not at the first event."""
        self._write("", date.today())  # noqa: DTZ011  operators name log files by local days

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record), record.created)

    def write(self, line: str, created_s: float) -> None:
        self._write(line + "\n", date.fromtimestamp(created_s))  # noqa: DTZ012  as above

    def close(self) -> None:
        self._close_file()
        super().close()

    def _write(self, line: str, day: date) -> None:
        if self.retry_at_s is not None and self.monotonic() < self.retry_at_s:
            self.lost += 1
            return
        lost = "" if self.retry_at_s is None else f"{self.lost} lines were not written here\n"
        try:
            self.file.append((lost + line).encode("utf-8", "backslashreplace"), day)
        except OSError as error:
            self.lost += bool(line)
            self._failed(error)
        else:
            self.retry_at_s, self.lost = None, 0

    def _close_file(self) -> None:
        # A network disk may tell only now that it could not write; the lines before are lost anyway.
        with contextlib.suppress(OSError):
            self.file.close()

    def _failed(self, error: OSError) -> None:
        first = self.retry_at_s is None
        self.retry_at_s = self.monotonic() + RETRY_AFTER_S
        self._close_file()
        if first:
            facts = {
                "event": "cannot write the log file; its lines are lost until it can be written",
                "file": self.file.path,
                "why": error,
            }
            # `_logger` and `_name` mark the record as one of structlog's.
            known = {"msg": facts, "levelno": logging.WARNING, "levelname": "WARNING"}
            self.complain(logging.makeLogRecord(known | {"_logger": None, "_name": "warning"}))
