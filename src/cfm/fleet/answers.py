"""Reads a worker's answers: its file list, disk usage, features, and a single copy.  Pure.

A worker may be old or broken, or it may lie.  Each reader returns a value that can be trusted, or a `Failure`
that says what is wrong.  No reader raises.  No reader says that there is nothing when it could not read the
answer.  Neighbours: `client` brings the bytes; `wire` has the other half of the contract.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, Final

from cfm import wire
from cfm.model import (
    OLD_WORKER,
    CopySeen,
    DiskReport,
    DiskUsage,
    Failure,
    Listing,
    Names,
    Transfer,
    Trouble,
    WorkerFeatures,
)
from cfm.name_column import NameColumn, among, unusual_lines
from cfm.names import is_file_name

OK: Final = 200
NOT_FOUND: Final = 404
SERVER_ERROR: Final = 500
_MOST_DOWNLOADS: Final = 1000

PLAIN_BYTES: Final = 16 * 1024
"""Longer lists become columns, without an object for each name."""
_PLAIN_LIST: Final = re.compile(rb"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}\n)*+")
"""Nearly all lists look like this.  Their names need no further check, which is ten times faster."""


def malformed(detail: str) -> Failure:
    return Failure(Trouble.MALFORMED, detail)


WANTS_CREDENTIALS: Final = "it wants credentials"
NO_TLS: Final = "no TLS connection"
_MEANINGS: Final[Mapping[int, str]] = {
    401: f"answered 401: {WANTS_CREDENTIALS} that this cfm does not have",
    403: f"answered 403: {WANTS_CREDENTIALS} other than this cfm's",
}


def wrong_status(status: int, headers: Mapping[str, str], meaning: str = "") -> Failure:
    """`meaning`: what such an answer to this question says of a worker that gives no reason."""
    why = wire.reason_in(_folded(headers)) or meaning
    said = f"answered {status}" + (f": {why}" if why else "")
    return Failure(Trouble.STATUS, _MEANINGS.get(status, said), status)


def no_list(status: int, headers: Mapping[str, str]) -> Failure:
    """An answer to `GET /files` without a list."""
    return wrong_status(status, headers, "it cannot read its base_dir" if status == SERVER_ERROR else "")


def features_from_headers(headers: Mapping[str, str]) -> WorkerFeatures:
    """What a worker says about itself in the headers of `/hb`.  A worker that says no version is an old
    one."""
    said = _folded(headers)
    clock_s = _clock(said.get("date", ""))
    if wire.VERSION.lower() not in said:
        return replace(OLD_WORKER, clock_s=clock_s)
    downloads = wire.decimal(said.get(wire.DOWNLOADS.lower()), _MOST_DOWNLOADS)
    builtin = said.get(wire.TRANSFER.lower()) == Transfer.BUILTIN
    return WorkerFeatures(
        ours=True,
        version=_token(said, wire.VERSION),
        transfer=Transfer.BUILTIN if builtin else Transfer.EXTERNAL,
        serves=said.get(wire.SERVES.lower()) == "true",
        downloads=max(1, downloads or 1),
        boot_id=_token(said, wire.BOOT),
        disk_id=_token(said, wire.DISK),
        probe=_token(said, wire.PROBE),
        clock_s=clock_s,
    )


def _clock(date: str) -> int | None:
    """The time in a `Date` header, as unix seconds; None where there is none, or none that can be read."""
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None


def parse_listing(
    body: bytes | bytearray, headers: Mapping[str, str] | None = None, before: Names = frozenset()
) -> Listing | Failure:
    """Read the answer to `GET /files`.  A list whose last line has no end is incomplete, and not accepted.

    `before`: the names on the last list of this worker.
    """
    if body and not body.endswith(b"\n"):
        return Failure(Trouble.BROKEN, "the list ends in the middle of a line")
    names, odd_lines = _plain(body) if len(body) <= PLAIN_BYTES else _column(body, before)
    return _listing(names, odd_lines, _folded(headers or {}))


def _listing(names: Names, odd_lines: int, said: Mapping[str, str]) -> Listing:
    links = wire.decimal(said.get(wire.LINKS.lower())) or 0
    return Listing(names, _token(said, wire.DISK), _token(said, wire.PROBE), odd_lines, links, _probes(said))


def changed_listing(
    before: Listing, etag: str, body: bytes | bytearray, headers: Mapping[str, str]
) -> tuple[Listing, int] | str:
    """Read a difference to the list with this ETag: the new list, and in how many names it differs.

    Or why it is not used: it has to fit this list in every name, and to lead to as many files as the worker
    says that it has.  Then the whole list is asked for.
    """
    said = _folded(headers)
    if said.get(wire.DELTA_BASE.lower()) != etag or said.get(wire.MANIPULATION.lower()) != wire.NAMES_CHANGED:
        return "it is a difference to another list"
    try:
        changed = wire.parse_difference(bytes(body))
    except wire.WireError as error:
        return str(error)
    added, removed = _names(changed.added), _names(changed.removed)
    if added is None or removed is None:
        return "it has lines that cannot be file names"
    if among(added, before.names) or len(among(removed, before.names)) < len(removed):
        return "it does not fit the list before"
    names = (before.names - removed) | added
    if len(names) != wire.decimal(said.get(wire.FILES.lower())):
        return "it does not lead to as many files as the worker has"
    return _listing(names, 0, said), len(changed)


def _names(lines: frozenset[bytes]) -> frozenset[str] | None:
    """The names on some lines; None where one cannot be a file name."""
    names = frozenset(name for line in lines if (name := _name(line)) is not None)
    return names if len(names) == len(lines) else None


def _plain(body: bytes | bytearray) -> tuple[Names, int]:
    """The names of a list, and how many lines are none."""
    if _PLAIN_LIST.fullmatch(body):
        return frozenset(body.decode("ascii").split("\n")[:-1]), 0
    names = [_name(line) for line in body.split(b"\n")[:-1]]
    good = [name for name in names if name is not None]
    return frozenset(good), len(names) - len(good)


def _column(body: bytes | bytearray, before: Names) -> tuple[Names, int]:
    """The same for a list of any length: only unusual lines are looked at one by one."""
    odd = [line for line in unusual_lines(body) if _name(line) is None]
    if odd:
        bad = frozenset(odd)
        body = b"".join(line for line in _lines(body) if line[:-1] not in bad)
    return NameColumn.of_lines(body, before), len(odd)


def _lines(body: bytes | bytearray) -> Iterator[bytes]:
    return (line + b"\n" for line in bytes(body).split(b"\n")[:-1])


def listed_again(listing: Listing, headers: Mapping[str, str]) -> Listing:
    """The same names, from a worker that may have started anew since then."""
    said = _folded(headers)
    disk_id = _token(said, wire.DISK) or listing.disk_id
    probe = _token(said, wire.PROBE) or listing.probe
    links = wire.decimal(said.get(wire.LINKS.lower()))
    again = replace(
        listing,
        disk_id=disk_id,
        probe=probe,
        links=listing.links if links is None else links,
        probes=_probes(said) or listing.probes,
    )
    return listing if again == listing else again


def _name(line: bytes | bytearray) -> str | None:
    try:
        name = line.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return name if is_file_name(name) else None


def parse_df(body: bytes, headers: Mapping[str, str] | None = None) -> DiskReport | Failure:
    """Read the answer to `GET /df`.  Sizes are decimal strings.  Figures that cannot be true are `ABSURD`."""
    try:
        message = wire.parse_json_object(body)
    except wire.WireError as error:
        return malformed(str(error))
    sizes = [wire.decimal(message.get(key)) for key in ("total_size", "used_size", "avail_size")]
    total, used, avail = sizes
    if total is None or used is None or avail is None:
        return malformed("its sizes are not decimal strings")
    why = _absurdity(DiskUsage(total, used, avail), message)
    if why is not None:
        return Failure(Trouble.ABSURD, why)
    # btrfs estimates what is available, and may name a little more than is free.
    usage = DiskUsage(total, used, min(avail, total - used))
    return _report(usage, message, _folded(headers or {}))


def _report(usage: DiskUsage, message: Mapping[str, Any], said: Mapping[str, str]) -> DiskReport | Failure:
    limit = message.get("limit_percent", wire.decimal(said.get(wire.LIMIT_PERCENT.lower())))
    if limit is not None and (type(limit) is not int or not 1 <= limit <= 100):
        return malformed("its limit is not a percentage")
    disk_id = message.get("disk_id", said.get(wire.DISK.lower(), ""))
    if not isinstance(disk_id, str):
        return malformed("its disk id is not a string")
    arriving = wire.decimal(message.get("arriving_size")) or 0
    return DiskReport(usage, limit, wire.token(disk_id), min(arriving, usage.used_bytes))


def _absurdity(usage: DiskUsage, message: Mapping[str, Any]) -> str | None:
    percent = message.get("used_percent")
    if usage.total_bytes == 0:
        return "its disk has 0 bytes"
    if usage.used_bytes > usage.total_bytes:
        return "more bytes are used than its disk has"
    if usage.avail_bytes > usage.total_bytes:
        return "more bytes are available than its disk has"
    if isinstance(percent, int) and not 0 <= percent <= 100:
        return "its disk usage is not between 0 and 100 percent"
    return None


def copy_seen(status: int, headers: Mapping[str, str]) -> CopySeen | Failure:
    """Read the answer to `HEAD /content/{name}?in=base`.  Only workers of this project know this request."""
    said = _folded(headers)
    if wire.VERSION.lower() not in said:
        return Failure(Trouble.STATUS, "an old worker cannot be asked about one copy", status)
    if status == NOT_FOUND:
        return CopySeen(present=False)
    if status != OK:
        return wrong_status(status, headers)
    size_bytes = wire.decimal(said.get("content-length"))
    if size_bytes is None:
        return malformed("it did not say the size of the copy")
    if said.get(wire.WHERE.lower(), "base") != "base":
        return malformed("the copy is not in its base_dir")
    return CopySeen(present=True, size_bytes=size_bytes, disk_id=_token(said, wire.DISK))


def _probes(said: Mapping[str, str]) -> frozenset[str]:
    return frozenset(filter(None, said.get(wire.PROBES.lower(), "").split(",")))


def _folded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value.strip() for name, value in headers.items()}


def _token(said: Mapping[str, str], name: str) -> str:
    return wire.token(said.get(name.lower(), ""))
