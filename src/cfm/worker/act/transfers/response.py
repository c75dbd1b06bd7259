"""What a source's answer must look like: a pure judgement of its status and headers.

`source_request` collects the header lines.  Here it is decided whether the bytes after them may be written,
and where to.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cfm import wire
from cfm.errors import CfmError
from cfm.worker.act.transfers.contract import TransferError
from cfm.worker.decide.offers import BUSY

DEFAULT_BUSY_S = 5
MOST_BUSY_S = 3600
DIGEST_BYTES = 16

_STATUS_LINE = re.compile(r"HTTP/1\.[01] (\d{3})(?: .*)?", re.ASCII)
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_REPR_DIGEST = re.compile(r"(?:^|,)\s*xxh3-128=:([A-Za-z0-9+/=]{1,64}):\s*(?:,|$)", re.ASCII)


class InterruptionError(CfmError):
    """The transfer broke off, and another attempt may succeed."""


class Restart(enum.Enum):
    NEEDED = enum.auto()
    """The answer brings the bytes from the first one on."""
    NOT_NEEDED = enum.auto()
    """The answer brings the bytes that are missing."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer.  Names are in lower case; the values of a repeated name are joined."""

    status: int
    fields: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, lines: Sequence[str]) -> Head:
        match = _STATUS_LINE.fullmatch(lines[0]) if lines else None
        fields: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            fields[key] = f"{fields[key]}, {value.strip()}" if key in fields else value.strip()
        return cls(int(match[1]) if match else 0, fields)

    @property
    def length(self) -> int | None:
        text = self.fields.get("content-length", "")
        return int(text) if _NUMBER.fullmatch(text) else None

    @property
    def etag(self) -> str:
        """The strong ETag; empty where there is none."""
        tag = self.fields.get("etag", "")
        return tag if tag.startswith('"') else ""


def judge_content(head: Head, *, have: int, etag: str, size_bytes: int | None) -> Restart:
    """Which bytes an answer to `GET /content` brings.

    Args:
        have: how many bytes are there from earlier attempts.
        etag: the ETag of those bytes; empty where the source gave none.
        size_bytes: the size that the whole file must have; None: the one that the source says.

    Raises:
        TransferError: it brings no bytes that may be written.
        InterruptionError: it brings none now, but part of the file is here already.
    """
    if head.status == 503:
        raise InterruptionError("the source is busy") if have else TransferError(BUSY, _retry_after_s(head))
    if head.status not in (200, 206):
        raise TransferError(_refusal(head))
    _no_encodings(head)
    if head.length is None:
        raise TransferError("the source does not say how many bytes it sends")
    if head.status == 206:
        return _rest(head, have, etag, size_bytes)
    if size_bytes is not None and head.length != size_bytes:
        raise TransferError(f"the source has {head.length} bytes instead of {size_bytes}")
    if head.length == 0:
        raise TransferError("the source has 0 bytes")
    return Restart.NEEDED


def _rest(head: Head, have: int, etag: str, size_bytes: int | None) -> Restart:
    """A partial answer must be exactly the rest of the same version of the file."""
    match = _CONTENT_RANGE.fullmatch(head.fields.get("content-range", ""))
    first, last, total = (int(number) for number in match.groups()) if match else (-1, -1, -1)
    if not have or (first, last, total) != (have, total - 1, size_bytes) or head.length != total - have:
        raise TransferError("the source sends another part of the file than the one asked for")
    if not etag or head.etag != etag:
        raise TransferError("the source's file changed during the transfer")
    return Restart.NOT_NEEDED


def judge_digest(head: Head, etag: str, size_bytes: int | None) -> bytes:
    """The checksum in an answer to `HEAD /content`, of the same version of the file that was received."""
    if head.status in (500, 502, 503, 504):
        raise InterruptionError(f"the source gives no checksum now ({head.status})")
    if head.status != 200:
        raise TransferError(_refusal(head))
    if head.etag != etag or head.length != size_bytes:
        raise TransferError("the source's file changed during the transfer")
    match = _REPR_DIGEST.search(head.fields.get("repr-digest", ""))
    try:
        digest = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise TransferError("the source gives no checksum")
    return digest


def _no_encodings(head: Head) -> None:
    if head.fields.get("content-encoding", "identity").lower() != "identity":
        raise TransferError("the source sends the file in an encoding, such as gzip")
    if "transfer-encoding" in head.fields:
        raise TransferError("the source does not say how many bytes it sends")


def _refusal(head: Head) -> str:
    if head.status == 404:
        return "the source does not serve the file: it answered 404 (an earlier cfw serves no files)"
    why = wire.reason_in(head.fields)
    return f"the source answered {head.status}" + (f": {why}" if why else "")


def _retry_after_s(head: Head) -> int:
    text = head.fields.get("retry-after", "")
    return min(MOST_BUSY_S, max(1, int(text))) if _NUMBER.fullmatch(text) else DEFAULT_BUSY_S
