"""Is a server's disk a source folder?  Pure.

A delete on a disk that is a source folder deletes an original.  So nothing is deleted on a disk before this
book has ruled that out, and a disk that is found to be one is not used at all.  Two kinds of evidence count,
and for both cfm looks for a name in its source folders:

- A worker of ours keeps a *probe file* in its `base_dir`, with a name that was never used before.  Where cfm
  finds that name, the disk is that folder.
- An old worker has none.  A file that its list lacks has to do: where cfm finds that file, the disk is
  another folder.  A server that lacks no file of a folder is suspected to be it.

Neighbours: `observed` asks here; `controller.decide` brings what the source folders told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from cfm.model import Addr, Known, Names, ProbeSight, SanCheck, Unknown
from cfm.name_column import among, common, in_order
from cfm.revision import Revision

CLEARLY_LACKING = 3
LACKING_PART = 10
"""A server that lacks a tenth of a folder's files, and at least three of them, is clearly not that folder."""
LASTING_MS = 90_000
"""Fewer names have to be missing for so long.  Network file systems show an old list for up to a minute."""
WITNESSES = 8
"""How many of the names that a list lacks are looked for."""
SORTED_UP_TO = 10_000
LIBRARY = 100
"""A server may well have all files of a smaller folder, and be another disk.  Its files go on counting
as copies then."""


@dataclass(frozen=True, slots=True)
class _Lack:
    """Names in a source folder that a server's list lacks."""

    witnesses: frozenset[str]
    since_ms: int
    clearly: bool
    """They are so many that no old list explains it."""

    def proves(self, found: Iterable[str], now_ms: int) -> bool:
        """The list lacks a file that was found in the folder later: it is the list of another folder."""
        lasts = self.clearly or now_ms - self.since_ms >= LASTING_MS
        return lasts and not self.witnesses.isdisjoint(found)


@dataclass(slots=True)
class _Lookout:
    """What is known of one server's disk and the source folders."""

    probe: str = ""
    found: dict[str, str] = field(default_factory=dict)
    """Source folder → where the probe file was seen: there, above or below."""
    covers: set[str] = field(default_factory=set)
    """Source folders of which its list lacks no file."""
    lacks: dict[str, _Lack] = field(default_factory=dict)
    """By source folder."""
    ruled_out: dict[str, int] = field(default_factory=dict)
    """Source folder → when it was last found to be another folder."""
    check: SanCheck = field(init=False)
    """What others see of all this.  `ruled_out` in it is the mapping above."""

    def __post_init__(self) -> None:
        self.check = SanCheck(self.probe, ruled_out=self.ruled_out)

    @property
    def folder(self) -> str:
        return min(self.found or self.covers, default="")

    def add_names(self, names: set[str]) -> None:
        """Add what is to be looked for in the source folders."""
        if self.probe:
            names.add(self.probe)
        else:
            for lack in self.lacks.values():
                names |= lack.witnesses

    @property
    def summary(self) -> tuple[str, Names]:
        """What decides."""
        return self.folder, frozenset(self.ruled_out)


class SourceDisks:
    """What is known of each destination's disk and the source folders."""

    def __init__(self, destinations: Iterable[Addr], revision: Revision) -> None:
        self._revision = revision
        self._folders: dict[str, Names] = {}
        """The names in each source folder, when they were last known."""
        self._lists: dict[Addr, Known[Names]] = {}
        """The last list of each worker that has no probe file."""
        self._lookouts = {addr: _Lookout() for addr in destinations}
        self._unsettled: frozenset[str] | None = None
        """What is to be looked for where nothing was ruled out yet; None where that may have changed."""

    # ── what workers tell ───────────────────────────────────────────────────────────────────────────────

    def told_probe(self, addr: Addr, probe: str) -> None:
        """A worker told the name of its probe file.  With a new one, nothing is known of its disk."""
        lookout = self._lookouts.get(addr)
        if lookout is not None and lookout.probe != probe:
            self._lookouts[addr] = _Lookout(probe)
            self._unsettled = None
            self._lists.pop(addr, None)
            self._revision.dispatch += 1

    def listed(self, addr: Addr, files: Known[Names]) -> None:
        """A new list is believed."""
        lookout = self._lookouts.get(addr)
        if lookout is None or lookout.probe:
            return
        self._lists[addr] = files
        for folder in self._folders:
            self._compare(lookout, folder, files)

    def _compare(self, lookout: _Lookout, folder: str, files: Known[Names]) -> None:
        """Which names of a source folder does this list lack?"""
        before = lookout.lacks.get(folder)
        if before is not None and before.clearly and files.value.isdisjoint(before.witnesses):
            return  # the usual case
        self._unsettled = None
        was, there = lookout.summary, self._folders[folder]
        many = min(len(there), max(CLEARLY_LACKING, len(there) // LACKING_PART))
        number = len(there) - len(files.value)  # it lacks at least so many
        if number < many:
            number = len(there) - common(there, files.value)
        if number:
            clearly = number >= many
            still = _not_in(files.value, before.witnesses) if before is not None else None
            witnesses, since_ms = (still, before.since_ms) if before and still else (None, files.at_ms)
            lookout.lacks[folder] = _Lack(witnesses or _some(there, files.value), since_ms, clearly)
        else:
            lookout.lacks.pop(folder, None)
            lookout.ruled_out.pop(folder, None)
            lookout.covers.add(folder)
        self._tell(lookout, was)

    # ── what the source folders tell ────────────────────────────────────────────────────────────────────

    def indexed(self, folders: Mapping[str, Names]) -> None:
        """The names in those source folders that are known."""
        self._folders.update(folders)
        for addr, files in self._lists.items():
            for folder in folders:
                if folder not in self._lookouts[addr].ruled_out:
                    self._compare(self._lookouts[addr], folder, files)

    def sought(self, names: Names, sights: Mapping[str, ProbeSight], asked_ms: int) -> None:
        """The source folders were searched for these names."""
        self._unsettled = None
        for addr, lookout in self._lookouts.items():
            wanted = set[str]()
            lookout.add_names(wanted)
            if wanted.isdisjoint(names):
                continue
            was = lookout.summary
            for folder, sight in sights.items():
                if isinstance(sight, Unknown):
                    continue
                if lookout.probe:
                    _look_for_probe(lookout, folder, sight, asked_ms)
                else:
                    self._look_for_witnesses(addr, lookout, folder, names, sight, asked_ms)
            self._tell(lookout, was)

    def _look_for_witnesses(
        self,
        addr: Addr,
        lookout: _Lookout,
        folder: str,
        asked: Names,
        found: Mapping[str, str],
        asked_ms: int,
    ) -> None:
        lack = lookout.lacks.get(folder)
        if lack is None or lack.witnesses.isdisjoint(asked):
            return
        there = [name for name, place in found.items() if place == folder]
        if lack.proves(there, asked_ms):
            lookout.covers.discard(folder)
            lookout.ruled_out[folder] = asked_ms
        elif lack.witnesses.isdisjoint(there):  # they have left the folder since it was listed
            others = _some(self._folders[folder], self._lists[addr].value, lack.witnesses)
            lookout.lacks[folder] = _Lack(others, asked_ms, lack.clearly)

    def _tell(self, lookout: _Lookout, was: tuple[str, Names]) -> None:
        covered = any(len(self._folders[folder]) >= LIBRARY for folder in lookout.covers)
        folder, originals = lookout.folder, bool(lookout.found) or covered
        suspected = bool(folder) and not lookout.found
        lookout.check = SanCheck(lookout.probe, folder, suspected, lookout.ruled_out, originals)
        if lookout.summary != was:
            self._revision.dispatch += 1
            self._revision.plan += lookout.folder != was[0]

    # ── what is known ───────────────────────────────────────────────────────────────────────────────────

    def names(
        self, addrs: Iterable[Addr] | None = None, *, asked_before_ms: int | None = None
    ) -> frozenset[str]:
        """What is to be looked for: of these servers, or of all.

        `asked_before_ms`: only where the last look that ruled a source folder out was made before.
        """
        if addrs is None and asked_before_ms == 0 and self._unsettled is not None:
            return self._unsettled  # every heartbeat asks, and there is nothing to look for
        there = self._lookouts if addrs is None else [addr for addr in addrs if addr in self._lookouts]
        names = set[str]()
        for lookout in map(self._lookouts.__getitem__, there):
            if asked_before_ms is None or min(lookout.ruled_out.values(), default=-1) < asked_before_ms:
                lookout.add_names(names)
        if addrs is None and asked_before_ms == 0:
            self._unsettled = frozenset(names)
        return frozenset(names)

    def check(self, addr: Addr) -> SanCheck:
        """Is the disk at this address a source folder?"""
        lookout = self._lookouts.get(addr)
        return SanCheck() if lookout is None else lookout.check

    def has_originals(self, addr: Addr) -> bool:
        """Is what it lists originals, and no copies?"""
        lookout = self._lookouts.get(addr)
        return lookout is not None and lookout.check.originals


def _look_for_probe(lookout: _Lookout, folder: str, found: Mapping[str, str], asked_ms: int) -> None:
    place = found.get(lookout.probe)
    if place is None:
        lookout.found.pop(folder, None)
        lookout.ruled_out[folder] = asked_ms
    else:
        lookout.found[folder] = place
        lookout.ruled_out.pop(folder, None)


def _not_in(there: Names, names: frozenset[str]) -> frozenset[str]:
    return names - among(names, there)


def _some(there: Names, but: Names, nor: frozenset[str] = frozenset()) -> frozenset[str]:
    """A few names.  They are the same ones each time where that costs little."""
    names = in_order(there) if len(there) <= SORTED_UP_TO else iter(there)
    return frozenset(islice((name for name in names if name not in but and name not in nor), WITNESSES))
