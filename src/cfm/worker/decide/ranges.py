"""Which bytes of a file a request asks for (RFC 9110, sections 13 and 14).  Pure.

One range of bytes is served.  Anything else that begins with `bytes=` is refused with 416, several ranges
included: no worker of ours asks for them.  Other units than bytes are ignored, as the standard says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,40})-([0-9]{0,40})[ \t]*", re.ASCII | re.IGNORECASE)
_OTHER_UNIT = re.compile(r"(?!bytes=)[!#$%&'*+.^_`|~0-9A-Za-z-]+=.*", re.ASCII | re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FilePart:
    """The bytes from `start` to before `stop`."""

    start: int
    stop: int
    partial: bool = True
    """False: the whole file, because no part was asked for."""

    @property
    def count(self) -> int:
        return self.stop - self.start


def part_wanted(
    range_header: str | None, if_range: str | None, etag: str, size_bytes: int
) -> FilePart | None:
    """What to send; None means 416.  If the range is meant for another version, the whole file is sent."""
    whole = FilePart(0, size_bytes, partial=False)
    if range_header is None or _OTHER_UNIT.fullmatch(range_header):
        return whole
    if if_range is not None and if_range.strip() != etag:
        return whole
    match = _ONE_RANGE.fullmatch(range_header)
    return None if match is None else _part(match[1], match[2], size_bytes)


def _part(first: str, last: str, size_bytes: int) -> FilePart | None:
    if not first:
        count = int(last or 0)
        return FilePart(max(0, size_bytes - count), size_bytes) if count and size_bytes else None
    start, stop = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    return FilePart(start, stop) if start < stop else None
