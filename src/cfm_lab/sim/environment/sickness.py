"""Sicknesses: what is broken in a world from its beginning, and does not heal.

The faults in `faults` strike by chance and are mended.  A sickness has a place instead: one machine, some
files, one source folder, or cfm itself.  `Sick` says which parts of a world are sick; the processes ask it
where a sickness acts.  In a usual world nothing is sick.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from cfm_lab.sim.environment.rng import Rng


class SickPlace(enum.Enum):
    """What kind of part a sickness is in."""

    SOURCE = "source"
    DESTINATION = "destination"
    FILES = "files"
    FOLDER = "folder"
    CFM = "cfm"


class Sickness(NamedTuple):
    name: str
    place: SickPlace
    text: str


CFM: Final = "cfm"
"""The part that is sick where a sickness is in cfm itself."""

SICKNESSES: Final[Mapping[str, Sickness]] = {
    name: Sickness(name, place, text)
    for place, rows in (
        (
            SickPlace.SOURCE,
            (
                ("no_mount", "a source answers, and its SAN mount is empty"),
                ("wrong_sizes", "a source has every file with another size"),
                ("trickles", "a source sends 2 kB a second, hardly more than a stalled one"),
                ("breaks_streams", "a source breaks every stream after a second"),
            ),
        ),
        (
            SickPlace.DESTINATION,
            (
                ("deaf", "a destination answers, and never takes a task"),
                ("hangs", "a destination hangs in its downloads"),
                ("refuses", "a destination fails every copy at once: it has no inodes left"),
                ("loses_arrivals", "other software removes what arrives at a destination"),
                ("df_stands_still", "a destination tells the disk usage of its beginning for ever"),
                ("df_dips", "now and then a destination tells of a much smaller disk"),
                ("freed_late", "players keep all deleted files of a destination open for hours"),
                (
                    "other_data",
                    "other software fills a destination, where few known files lie",
                ),
                ("loses_role", "a destination is taken out of the settings with copies and deletes open"),
                ("has_the_san", "the SAN is mounted as the disk of a destination"),
                ("gets_the_san", "after a while the SAN is mounted as the disk of a destination"),
                ("old_has_the_san", "the SAN is mounted as the disk of an old destination"),
            ),
        ),
        (
            SickPlace.FILES,
            (
                ("file_fails", "the most wanted file cannot be read by any source"),
                ("files_fail", "a quarter of all files cannot be read by any source"),
                ("files_fit_nowhere", "no disk can make the room for any of the twenty most wanted files"),
                ("files_resized", "files on a disk over its limit have another size on the SAN"),
                ("files_written", "the ten most wanted files are being written all the time"),
            ),
        ),
        (
            SickPlace.FOLDER,
            (
                ("folder_hangs", "one of two source folders hangs on cfm's host"),
                ("folder_silent", "one of two source folders is not there on cfm's host"),
            ),
        ),
        (
            SickPlace.CFM,
            (
                ("state_full", "the disk under cfm's state is full for two hours"),
                ("plans_slow", "every plan takes a minute"),
                ("log_gone", "the event log is gone"),
                ("log_unreadable", "the event log cannot be read"),
                ("log_doubled", "every line of the event log comes twice"),
                ("log_clock_behind", "the event log's clock is three hours behind"),
            ),
        ),
    )
    for name, text in rows
}

OLD: Final = frozenset({"old_has_the_san"})
"""These befall old workers, and all others those of ours."""
NO_HITS: Final = frozenset({"log_gone", "log_unreadable"})
"""While they last, nothing may be deleted to make room."""
WISHED: Final = frozenset({"loses_role"})
"""What a person wishes for need not be named."""
LOG: Final = NO_HITS | {"log_doubled", "log_clock_behind"}
EVERY_THIRD: Final = 3
NOBODY: Final[frozenset[str]] = frozenset()


def sicknesses_of(seed: int) -> tuple[str, ...]:
    """Each sickness has its turn, seed by seed.  In every third round it comes with another one."""
    names = list(SICKNESSES)
    turn, first = divmod(seed, len(names))
    if turn % EVERY_THIRD != EVERY_THIRD - 1:
        return (names[first],)
    others = [name for name in names if name != names[first]]
    return names[first], Rng(seed).fork("second sickness").pick(others)


class Sick:
    """Which parts of one world are sick, and of what."""

    def __init__(self) -> None:
        self._parts: dict[str, frozenset[str]] = {}

    def strike(self, kind: str, parts: Iterable[str]) -> None:
        self._parts[kind] = frozenset(parts)

    def has(self, kind: str, part: str) -> bool:
        """Has this machine, file or program this sickness?"""
        return part in self._parts.get(kind, NOBODY)

    def of(self, kind: str) -> frozenset[str]:
        """The machines, files or programs that have this sickness."""
        return self._parts.get(kind, NOBODY)

    def parts(self, *places: SickPlace) -> frozenset[str]:
        """All sick parts in these places."""
        return frozenset().union(
            *(parts for kind, parts in self._parts.items() if SICKNESSES[kind].place in places)
        )

    @property
    def machines(self) -> frozenset[str]:
        """The addresses of the sick machines."""
        return self.parts(SickPlace.SOURCE, SickPlace.DESTINATION)

    @property
    def files(self) -> frozenset[str]:
        """The names of the files that cannot be placed, or cannot be deleted."""
        return self.parts(SickPlace.FILES, SickPlace.FOLDER)

    @property
    def things(self) -> int:
        """How many things are sick.  A source folder is one thing, however many files it has."""
        folders = sum(SICKNESSES[kind].place is SickPlace.FOLDER for kind in self._parts)
        return folders + len(self.machines) + len(self.parts(SickPlace.FILES, SickPlace.CFM))
