"""Which event logs are followed, and when one is given up: the part that touches the disk, in a thread.

The newest two `EventLog[YYYYMMDD].log` are followed, by their names.  A log that is renamed, unlinked or
replaced may still be written to: its descriptor is kept until nothing has come for a while after a new log
has begun.  `followed_log` reads a single log; `log_follower` is the edge on the event loop.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cfm.inputs.event_log import Batch, Hit, parse_line
from cfm.inputs.file_system import FileSystem
from cfm.inputs.followed_log import BACKLOG_BYTES, SETTLE_MS, FollowedLog
from cfm.model import Now

QUIET_MS = 60_000
"""A log without a name is given up when nothing has come for so long, and a newer one has begun."""
ALONE_MS = 600_000
"""It is given up after so long where none has begun: its disk gets the room back some day."""
GONE_MS = 30_000
"""A log without a name and without new lines counts as gone after so long, where there is no other."""
MAX_NAMELESS = 4

_log_name = re.compile(r"EventLog\[([0-9]{8})\]\.log")


@dataclass(slots=True)
class _Nameless:
    """A log whose name has gone, or leads to another file now."""

    name: str
    log: FollowedLog
    heard_ms: int
    """When something came from it last, or when it lost its name."""


@dataclass(slots=True)
class _Found:
    """What the logs gave until one of them had something new."""

    lines: list[bytes] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    live: bool = False
    more: bool = False


class LogReader:
    """Reads the logs of a folder, in one thread at a time.  `OSError` means that the folder cannot be
    read."""

    def __init__(
        self,
        folder: str,
        our_ip: str,
        file_system: FileSystem,
        *,
        backlog_bytes: int = BACKLOG_BYTES,
        settle_ms: int = SETTLE_MS,
    ) -> None:
        self._folder, self._our_ip, self._file_system = folder, our_ip, file_system
        self._backlog_bytes, self._settle_ms = backlog_bytes, settle_ms
        self._named: dict[str, FollowedLog] = {}
        self._nameless: list[_Nameless] = []
        self._ever = False
        """There was a log since our start."""

    def read_some(self, oldest_s: int, now: Now) -> Batch:
        """Read the next new piece, from the older log first.  Events before `oldest_s` are not wanted."""
        there = set(self._file_system.plain_names(self._folder))
        names = newest_logs(there, now.wall_s)
        self._ever = self._ever or bool(names)
        none_yet = not self._ever and self._file_system.is_occupied(self._folder)
        found = _Found()
        self._lose_names(names, there, now)
        self._find_names(names, now, found)
        for log in [*(one.log for one in self._nameless), *self._named.values()]:
            if log.is_open and not found.more:
                self._read(log, oldest_s, now, found)
        self._give_up(now)
        hits = tuple(self._hits(found))
        return Batch(
            hits,
            found.live,
            len(found.lines),
            found.skipped,
            sum(log.behind_bytes for log in self._named.values()),
            found.more,
            tuple(names),
            gone=not names and not none_yet and not self._is_written_nameless(now),
            none_yet=none_yet,
            trouble="; ".join(found.troubles) or None,
        )

    def close(self) -> None:
        """Give every descriptor back.  A reading after this begins anew; no hit counts twice by that."""
        logs = [*(one.log for one in self._nameless), *self._named.values()]
        self._nameless.clear()
        self._named.clear()
        for log in logs:
            log.close()

    def _lose_names(self, names: list[str], there: set[str], now: Now) -> None:
        for name in [name for name in self._named if name not in names]:
            log = self._named.pop(name)
            if name in there:  # two newer ones have come
                log.close()
            else:
                self._nameless.append(_Nameless(name, log, now.mono_ms))

    def _find_names(self, names: list[str], now: Now, found: _Found) -> None:
        """Open what the names lead to now; a log that another one has taken the place of is kept."""
        named: dict[str, FollowedLog] = {}
        for name in names:
            before = self._named.get(name)
            try:
                log = self._under(name, before)
            except OSError as error:
                found.troubles.append(f"{name}: {error.strerror}")
                log = before
            if before is not None and log is not before and before.is_open:
                self._nameless.append(_Nameless(name, before, now.mono_ms))
            if log is not None:
                named[name] = log
        self._named = named

    def _under(self, name: str, before: FollowedLog | None) -> FollowedLog | None:
        """The log that is under this name now; None where it has just vanished."""
        path = f"{self._folder}/{name}"
        version = self._file_system.version(path)
        if version is None:
            return None
        if before is not None and before.is_open and before.identity == version.identity:
            return before
        for one in self._nameless:
            if one.log.identity == version.identity:  # its name has come back
                self._nameless.remove(one)
                return one.log
        log = self._open(path)
        if log is not None and before is not None:
            log.go_on_from(before)
        return log

    def _open(self, path: str) -> FollowedLog | None:
        try:
            file = self._file_system.open(path)
        except FileNotFoundError:
            return None
        try:
            return FollowedLog(path, file, settle_ms=self._settle_ms, backlog_bytes=self._backlog_bytes)
        except OSError:
            file.close()
            raise

    def _read(self, log: FollowedLog, oldest_s: int, now: Now, found: _Found) -> None:
        try:
            found.lines += log.patched_lines(now.mono_ms, found.skipped)
            piece = log.next_lines(oldest_s, now.mono_ms, found.skipped)
        except OSError as error:  # it is opened again, if it has a name
            log.close()
            if log in self._named.values():
                found.troubles.append(f"{log.path}: {error.strerror}")
            return
        if piece is not None:
            found.lines += piece
            found.live, found.more = log.is_live, True
            for one in self._nameless:
                if one.log is log:
                    one.heard_ms = now.mono_ms

    def _is_written_nameless(self, now: Now) -> bool:
        return any(now.mono_ms - one.heard_ms < GONE_MS for one in self._nameless)

    def _give_up(self, now: Now) -> None:
        kept = [one for one in self._nameless if one.log.is_open and not self._is_over(one, now)]
        kept = kept[-MAX_NAMELESS:]
        for one in self._nameless:
            if one not in kept:
                one.log.close()
        self._nameless = kept

    def _is_over(self, one: _Nameless, now: Now) -> bool:
        newer = any(name >= one.name for name in self._named)
        return now.mono_ms - one.heard_ms >= (QUIET_MS if newer else ALONE_MS)

    def _hits(self, found: _Found) -> Iterator[Hit]:
        for line in found.lines:
            parsed = parse_line(line, self._our_ip)
            if isinstance(parsed, Hit):
                yield parsed
            elif parsed is not None:
                found.skipped[parsed] += 1


def newest_logs(names: Iterable[str], wall_s: int) -> list[str]:
    """The two logs to follow, the older one first.  A date that is still to come in every time zone is
    wrong."""
    tomorrow = datetime.fromtimestamp(wall_s, UTC) + timedelta(days=1)
    dated = sorted(name for name in names if _log_name.fullmatch(name))
    possible = [name for name in dated if name <= f"EventLog[{tomorrow:%Y%m%d}].log"]
    return (possible or dated)[-2:]
