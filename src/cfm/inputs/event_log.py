"""Lines of the load balancer's event log: what each of them means.

Pure.  `log_reader` reads the files and brings the lines; `hit_window` counts the hits.  A line such as

    0x40ffff,1,1527951607,Server 125.159.40.3 Selected for Client StreamID : …'s file(NAME.mpg) Request

is a hit for NAME at the server in field 4.  All times are those of the log, and its clock is not ours.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cfm.addresses import only_server
from cfm.inputs.lines import MAX_LINE_BYTES, is_blank

_hit = re.compile(
    rb"0x40ffff,[^,]*,([0-9]{1,12}),Server ([^\s,]+) Selected(?: for Client StreamID : ([^\s,]{1,128}))?"
)
_name = re.compile(rb"file\(([A-Za-z0-9._-]{1,255})\)")
_event = re.compile(rb"0x[0-9a-fA-F]+")
_times = re.compile(rb"^0x[0-9a-fA-F]+,[^,\n]*,([0-9]{1,12}),", re.MULTILINE)


class Skipped(enum.StrEnum):
    """Why a line did not count, although it should have meant something."""

    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    GARBLED = "garbled"
    BAD_TIME = "bad_time"
    BAD_NAME = "bad_name"
    AHEAD = "ahead"
    """Its time is more than a minute ahead of ours."""
    REPEATED = "repeated"
    """The same hit was counted before: the log was restored, rewritten or read again."""
    ZEROS = "zeros"
    """A hole, or blocks that stayed zero: whatever stood there is lost."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A viewer began to watch a file."""

    name: str
    at_s: int
    """Unix seconds, by the log's clock."""
    ours: bool
    """It was at the server that reads from the SAN."""
    stream: bytes = b""
    """The StreamID: hits of one stream, time and file are one hit.  Empty where the line has none."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of reading one piece."""

    hits: tuple[Hit, ...] = ()
    live: bool = False
    """They were written while the log was being followed."""
    lines: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    behind_bytes: int = 0
    """What is still unread, including unfinished lines."""
    more: bool = False
    """There is more to read at once."""
    files: tuple[str, ...] = ()
    gone: bool = False
    """There was a log and is none any more, or the folder is as empty as one that is not mounted."""
    none_yet: bool = False
    """There is no log and was none since our start, in a folder that has other things."""
    trouble: str | None = None
    """Why some log could not be read."""


def parse_line(line: bytes, our_ip: str) -> Hit | Skipped | None:
    """Parse one line without its end.  None means that it is well-formed but no hit, or that it is blank.

    `our_ip`: the server that reads from the SAN, as `watch_ip_string` names it.
    """
    if len(line) > MAX_LINE_BYTES:
        return Skipped.TOO_LONG
    if b"\0" in line or not _is_utf8(line):
        return Skipped.NOT_TEXT
    found = _hit.match(line)
    if found is None:
        return _no_hit(line)
    at_s, server, stream = found.groups()
    name = _name.match(line, max(0, line.rfind(b"file(")))
    if name is None or name[1].startswith(b"."):
        return Skipped.BAD_NAME
    ours = _is_watched(our_ip, server, line)
    return Hit(name[1].decode(), int(at_s), ours, stream or b"")


def _is_watched(watched: str, server: bytes, line: bytes) -> bool:
    """Is this the server that reads from the SAN?  A regular expression is looked for in field 4."""
    name, pattern = _watched(watched)
    return server == name if pattern is None else pattern.search(line.split(b",", 4)[3]) is not None


@lru_cache(maxsize=16)
def _watched(watched: str) -> tuple[bytes, re.Pattern[bytes] | None]:
    server = only_server(watched)
    return (b"", re.compile(watched.encode())) if server is None else (server.encode(), None)


def _is_utf8(line: bytes) -> bool:
    try:
        return line.isascii() or bool(line.decode())
    except UnicodeDecodeError:
        return False


def _no_hit(line: bytes) -> Skipped | None:
    columns = line.split(b",", 4)
    if is_blank(line) or (_event.fullmatch(columns[0]) and columns[0] != b"0x40ffff"):
        return None
    if len(columns) < 4 or columns[0] != b"0x40ffff":
        return Skipped.GARBLED
    return None if columns[2].isdigit() else Skipped.BAD_TIME


def times_in(block: bytes) -> Iterator[int]:
    """The times of all events whose lines begin in a block, whether they are hits or not."""
    return (int(found) for found in _times.findall(block))
