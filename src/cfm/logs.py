"""Logging: each event is one line, on stderr and in a file of the log folder.

Our code logs through structlog: `log.info("deleted file", server=…, rank=…)`.  Libraries log through the
standard library.  structlog's `ProcessorFormatter` brings both into one form, and `LineFormatter` writes it
as text.

File names and error texts come from other machines, so every value is escaped: no line end, ESC or bidi
character reaches a terminal or forges a second line.  None of structlog's renderers does this and stays
readable: `LogfmtRenderer` and `ConsoleRenderer` let such characters through, `JSONRenderer` writes `영화` as
`\\uc601\\ud654`, and `KeyValueRenderer` writes a path as `PosixPath('/data')`.

Logging never stops the program: see `log_file` for what happens where the file cannot be written.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.dev import ConsoleRenderer
from structlog.typing import EventDict

from cfm.log_file import FileSink, LogFile

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


def setup_logging(level: str, log_dir: Path | None, program: Literal["cfm", "cfw"]) -> None:
    """Sends all events of at least `level` (a name in `LEVELS`) to stderr and into `log_dir`.

    A second call replaces what the first one set up.  Without `log_dir` there is no file: commands that
    run beside a daemon have none.
    """
    stop_logging()
    root = logging.getLogger()
    root.setLevel(LEVELS[level])
    terminal = TerminalSink(sys.stderr)
    root.addHandler(terminal)
    if log_dir is not None:
        file = FileSink(LogFile(log_dir / f"{program}.log"), terminal.handle)
        file.setFormatter(LineFormatter())
        root.addHandler(file)
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
    """Closes what `setup_logging` opened."""
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, (TerminalSink, FileSink))]:
        root.removeHandler(handler)
        handler.close()


class TerminalSink(logging.StreamHandler[TextIO]):
    """Lines on stderr, in colour where a person looks at it."""

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None in a program that was started without standard error."""
        super().__init__(stream)
        self.setFormatter(LineFormatter(colour=stream is not None and stream.isatty()))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        """Does nothing: where stderr is closed or its disk is full, nobody is left who could be told."""


# --- one line -------------------------------------------------------------------------------------


class LineFormatter(structlog.stdlib.ProcessorFormatter):
    """`2018-06-02T22:00:07.123+09:00 info deleted file server=… file=… rank=3`, without a line end."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.processors.format_exc_info, self._line],
        )
        self._level_styles = ConsoleRenderer.get_default_level_styles(colour)
        self._styles = ConsoleRenderer.get_default_column_styles(colour)

    def format(self, record: logging.LogRecord) -> str:
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
        reset = self._styles.reset
        level = f"{self._level_styles.get(level, '')}{level}{reset}"
        return " ".join([at, level, f"{self._styles.bright}{event}{reset}", *pairs])


def escaped(text: str) -> str:
    """The text with everything unprintable written as an escape (`\\n`, `\\x1b`, `\\u202e`)."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escape(sign) for sign in text)


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
