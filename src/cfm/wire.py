"""JSON and the HTTP contract in one place: the names of headers, and the forms of what is sent.

Pure: values in, values out; no sockets, no clock.  `docs/http-api.md` describes the same contract for people.
cfm's API writes tasks and reads reports with it; a worker reads tasks and writes reports with it.
(`fleet.answers` reads a worker's other answers.)

A reader accepts what the earlier programs were seen to send.  A writer of the old form gives exactly the old
keys, types and order: an earlier program throws a whole list away if it cannot read one element of it.

Readers raise `WireError` and nothing else, whatever bytes they get.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from cfm.model import Addr, DiskUsage, Status, Task, host_of

CONTROLLER: Final = "Cfm-Controller"
EPOCH: Final = "Cfm-Epoch"
LEADER: Final = "Cfm-Leader"
"""In requests of one of several cfm: where workers reach it, because it leads in that epoch."""
USER: Final = "Cfm-User"
ORDER: Final = "Cfm-Order"
FENCE: Final = "Cfm-Fence"
TASK: Final = "Cfm-Task"
PROBED: Final = "Cfm-Probe"
SOURCE_FOLDER: Final = "Cfm-Source-Folder"
PASSED_ON: Final = "Cfm-Passed-On"
"""In a request that another cfm passes on to the one that leads: the host that asked."""
VERSION: Final = "Cfw-Version"
BOOT: Final = "Cfw-Boot"
DISK: Final = "Cfw-Disk"
PROBE: Final = "Cfw-Probe"
TRANSFER: Final = "Cfw-Transfer"
SERVES: Final = "Cfw-Serves"
LIMIT_PERCENT: Final = "Cfw-Limit-Percent"
SLOTS: Final = "Cfw-Slots"
DOWNLOADS: Final = "Cfw-Downloads"
WHERE: Final = "Cfw-Where"
LINKS: Final = "Cfw-Links"
PROBES: Final = "Cfw-Probes"
FILES: Final = "Cfw-Files"
ACCEPTS_MANIPULATION: Final = "A-IM"
MANIPULATION: Final = "IM"
DELTA_BASE: Final = "Delta-Base"
NAMES_CHANGED: Final = "cfm-names"
"""The list as a difference, in the form of RFC 3229: the asker names it in `A-IM`, beside `If-None-Match`."""
IM_USED: Final = 226
REASON: Final = "Cfm-Reason"
"""Why a request was refused.  It goes with each refusal, for the old ones have no body."""

OLD_JSON: Final = "application/json;charset=UTF-8"
OLD_TEXT: Final = "text/plain;charset=UTF-8"
PROBLEM_JSON: Final = "application/problem+json"

MAX_INTEGER: Final = 2**63 - 1
"""Integers from the wire are stored in 64-bit columns, here and in the earlier programs."""
MAX_TEXT_CHARS: Final = 2000
MAX_RETRY_AFTER_S: Final = 86_400

_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_TOKEN: Final = re.compile(r"[!-~]{0,128}")

Json: TypeAlias = dict[str, Any]


class WireError(ValueError):
    """The bytes do not have the form of the contract.

    The text says what is wrong, for a 400 or a log line.
    """


# --- JSON, strictly ---------------------------------------------------------------------------------


def to_json(value: object) -> bytes:
    """Compact JSON in ASCII.  Every reader understands it, and every string can be encoded."""
    return _ENCODER.encode(value).encode("ascii")


def parse_json(body: bytes) -> Any:  # JSON may be anything, and this is the one place where it comes in
    """Read UTF-8 JSON.  NaN, infinities, duplicate keys, lone surrogates and absurd depth are refused."""
    try:
        text = body.decode("utf-8")
        value = _DECODER.decode(text)
        if "\\u" in text:  # only an escape can contain half a character
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise WireError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise WireError(f"this is not JSON: {_printable(str(error))}") from None
    return value


def parse_json_object(body: bytes) -> Json:
    """The same, for a message that must be an object."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise WireError("the JSON is not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise WireError("the JSON has the same key twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise WireError(f"{name} is not allowed in JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise WireError("the JSON has a number that is too large")
    return number


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
)
"""Made once: `json.loads` makes another one for each message."""


def _printable(text: str) -> str:
    """Text from outside, made fit for one log line."""
    return "".join(char if char.isprintable() else "?" for char in text[:200])


def reason_to_header(detail: str) -> dict[str, str]:
    """The header that says why; nothing where nobody said it."""
    return {REASON: quote(_printable(detail), safe=" /:;,()'=", errors="replace")} if detail else {}


def reason_in(headers: Mapping[str, str]) -> str:
    """Why the other side refused; empty where it did not say.  The names of headers are in lower case."""
    return _printable(unquote(headers.get(REASON.lower(), ""))).strip()


# --- differences of file lists ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """What one list has that an earlier one had not, and the other way round.  Names are bytes, as sent."""

    added: frozenset[bytes] = frozenset()
    removed: frozenset[bytes] = frozenset()

    def __len__(self) -> int:
        return len(self.added) + len(self.removed)

    @property
    def size_bytes(self) -> int:
        """How long it is when it is sent."""
        return sum(map(len, self.added)) + sum(map(len, self.removed)) + 2 * len(self)

    def then(self, next_: Difference) -> Difference:
        """Both, one after the other, as one.  What came and went again is in neither half."""
        return Difference(
            (self.added - next_.removed) | (next_.added - self.removed),
            (self.removed - next_.added) | (next_.removed - self.added),
        )


def difference_to_text(changed: Difference) -> bytes:
    """One line for each name: `+` or `-`, the name, and the line's end."""
    lines = [b"-" + name for name in sorted(changed.removed)] + [
        b"+" + name for name in sorted(changed.added)
    ]
    return b"".join(line + b"\n" for line in lines)


def parse_difference(text: bytes) -> Difference:
    """Read it back.  A line without its end, or a name that both came and went, is refused."""
    if text and not text.endswith(b"\n"):
        raise WireError("the difference ends in the middle of a line")
    halves: dict[bytes, set[bytes]] = {b"+": set(), b"-": set()}
    for line in text.split(b"\n")[:-1]:
        if line[:1] not in halves:
            raise WireError("a line of the difference begins with neither + nor -")
        halves[line[:1]].add(line[1:])
    added, removed = halves[b"+"], halves[b"-"]
    if not added.isdisjoint(removed):
        raise WireError("the difference says of one name that it came and that it went")
    return Difference(frozenset(added), frozenset(removed))


# --- problems ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HttpProblem:
    """The body of an error on a new endpoint (RFC 9457)."""

    status: int
    detail: str = ""

    def to_json(self) -> Json:
        title = _phrase(self.status)
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


# --- tasks: what cfm writes -------------------------------------------------------------------------

_OLD_STATUS: Final[Mapping[Status, str]] = {
    Status.READY: "ready",
    Status.WORKING: "working",
    Status.DONE: "done",
    Status.FAILED: "timeout",
    Status.TIMED_OUT: "timeout",
    Status.CANCELLED: "timeout",
}
_FROM_OLD: Final[Mapping[str, Status]] = {
    "ready": Status.READY,
    "working": Status.WORKING,
    "done": Status.DONE,
    "timeout": Status.TIMED_OUT,
}


def old_status(status: Status) -> str:
    """A task's status as the old list names it.  Each bad end is called `timeout` there."""
    return _OLD_STATUS[status]


def task_to_old_json(task: Task) -> Json:
    """One element of `GET /tasks`, with exactly the old keys, types and order."""
    return {
        "id": str(task.id),
        "ctime": task.created_s,
        "mtime": task.changed_s,
        "status": old_status(task.status),
        "src_ip": host_of(task.source),
        "dst_ip": host_of(task.destination),
        "file_path": task.path,
        "file_name": task.file.name,
        "grade": task.file.rank,
        "copy_speed": str(task.copy_speed_bps),
        "src_addr": task.source,
        "dst_addr": task.destination,
    }


def offer_to_json(task: Task, *, lease_s: int) -> Json:
    """The answer to `GET /tasks/next`: the old keys, and what only a worker of ours reads."""
    return {**task_to_old_json(task), "size_bytes": task.file.size_bytes, "lease_s": lease_s}


# --- tasks: what a worker reads ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskOffer:
    """A task as a worker reads it.

    Only its form is checked here.  The worker checks the file name, the path and the source before it writes
    anything or connects to anybody (`worker.decide.offers`).
    """

    id: int
    status: Status
    file_name: str
    path: str
    """The full path on the source."""
    source: Addr
    destination: Addr
    copy_speed_bps: int
    """0: as fast as possible."""
    rank: int = 0
    size_bytes: int | None = None
    """None: an old cfm, which does not say it.  Then the source's word is taken."""
    lease_s: int | None = None
    """None: an old cfm, which has no leases."""


def parse_offer(element: object) -> TaskOffer:
    """Read one element of the task list of either cfm, or the answer to `GET /tasks/next`.

    Raises:
        WireError: the element cannot be read.  In a list, this costs the element and not the list.
    """
    if not isinstance(element, Mapping):
        raise WireError("a task is not an object")
    status = _FROM_OLD.get(_text(element, "status"))
    if status is None:
        raise WireError("a task has an unknown status")
    return TaskOffer(
        id=_required_integer(element, "id"),
        status=status,
        file_name=_text(element, "file_name"),
        path=_text(element, "file_path"),
        source=Addr(_text(element, "src_addr")),
        destination=Addr(_text(element, "dst_addr")),
        copy_speed_bps=_required_integer(element, "copy_speed"),
        rank=_integer(element, "grade") or 0,
        size_bytes=_integer(element, "size_bytes"),
        lease_s=_integer(element, "lease_s"),
    )


def parse_task_list(body: bytes) -> tuple[tuple[TaskOffer, ...], int]:
    """Read `GET /tasks`: the tasks in the order of the list, and how many could not be read."""
    elements = parse_json(body)
    if not isinstance(elements, list):
        raise WireError("the task list is not an array")
    tasks = []
    for element in elements:
        try:
            tasks.append(parse_offer(element))
        except WireError:
            continue
    return tuple(tasks), len(elements) - len(tasks)


# --- reports ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskReport:
    """The body of `PATCH /tasks/{id}`: how a worker gets on with a task, or how the task ended."""

    status: Status
    """FAILED is what a worker of ours says together with an `error`."""
    done_bytes: int | None = None
    """None: an old worker, which does not show its progress."""
    received: bool = False
    """All bytes are here: the source is free."""
    error: str = ""
    retry_after_s: int | None = None
    """The source serves others.  Ask it again after so long."""
    verified: bool = False
    """The file is complete, durable and visible.  An old worker does not say so, and its `done` is believed
    only by its file list."""
    own_disk: bool = False
    """The worker's own disk is why the copy failed: no other file would have arrived there either."""


def parse_report(body: bytes) -> TaskReport:
    """Read a report of an old worker, or of ours.  Keys that are not known here are ignored.

    Raises:
        WireError: it is not JSON, or has an unknown status.  The answer is then 400.
    """
    message = parse_json_object(body)
    status = _FROM_OLD.get(_text(message, "status"))
    if status is None:
        raise WireError("the report has an unknown status")
    error = _optional_text(message, "error")
    retry_after_s = _integer(message, "retry_after_s")
    return TaskReport(
        status=Status.FAILED if status is Status.TIMED_OUT and error else status,
        done_bytes=_integer(message, "bytes"),
        received=_flag(message, "received"),
        error=error,
        retry_after_s=None if retry_after_s is None else min(retry_after_s, MAX_RETRY_AFTER_S),
        verified=_flag(message, "verified"),
        own_disk=_flag(message, "own_disk"),
    )


def report_to_json(report: TaskReport) -> Json:
    """What a worker sends.  Without anything but a status, this is exactly the old form."""
    extras: Json = {
        "bytes": report.done_bytes,
        "received": report.received or None,
        "error": report.error or None,
        "retry_after_s": report.retry_after_s,
        "verified": report.verified or None,
        "own_disk": report.own_disk or None,
    }
    said = {key: value for key, value in extras.items() if value is not None}
    return {"status": old_status(report.status), **said}


# --- disk usage -------------------------------------------------------------------------------------


def df_to_json(
    usage: DiskUsage,
    *,
    limit_percent: int | None = None,
    disk_id: str | None = None,
    arriving_bytes: int | None = None,
) -> Json:
    """The answer to `GET /df`: the old keys, with sizes as strings, and our own keys where they are given."""
    extras: Json = {
        "limit_percent": limit_percent,
        "disk_id": disk_id,
        "arriving_size": None if arriving_bytes is None else str(arriving_bytes),
    }
    return {
        "total_size": str(usage.total_bytes),
        "used_size": str(usage.used_bytes),
        "avail_size": str(usage.avail_bytes),
        "used_percent": usage.used_percent,
        "free_size": str(usage.total_bytes - usage.used_bytes),
        **{key: value for key, value in extras.items() if value is not None},
    }


# --- fields -----------------------------------------------------------------------------------------


def decimal(value: object, most: int = MAX_INTEGER) -> int | None:
    """The integer from 0 to `most` in a string of ASCII digits; None for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value) and int(value) <= most:
        return int(value)
    return None


def token(text: str) -> str:
    """`text` if it can be an id in a header (visible ASCII, at most 128 characters), else an empty string."""
    return text if _TOKEN.fullmatch(text) else ""


def _integer(message: Mapping[Any, Any], key: str) -> int | None:
    """An integer, which may be missing, or be written as a string, as on the old wire."""
    value = message.get(key)
    if value is None:
        return None
    number = decimal(value) if isinstance(value, str) else value
    if type(number) is not int or not 0 <= number <= MAX_INTEGER:  # True is an int to isinstance
        raise WireError(f"{key} must be an integer from 0 to 2^63-1")
    return number


def _required_integer(message: Mapping[Any, Any], key: str) -> int:
    number = _integer(message, key)
    if number is None:
        raise WireError(f"{key} is missing")
    return number


def _text(message: Mapping[Any, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise WireError(f"{key} must be a string")
    return value


def _optional_text(message: Mapping[Any, Any], key: str) -> str:
    return _text(message, key)[:MAX_TEXT_CHARS] if message.get(key) is not None else ""


def _flag(message: Mapping[Any, Any], key: str) -> bool:
    value = message.get(key, False)
    if not isinstance(value, bool):
        raise WireError(f"{key} must be true or false")
    return value
