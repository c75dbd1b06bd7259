"""The book of the SAN: what the source folders said of single files, and the index of all their names.

`absences` keeps what follows where a file is not there, and `san_silence` what follows where nothing answers.
Neighbours: `state` asks, and `core` brings the answers; the view of the node shows them to the guards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cfm.controller.decide.absences import AbsenceBook
from cfm.controller.decide.san_silence import SilenceBook
from cfm.model import File, Known, Names, NotOnSan, Now, OnSan, SanAnswer, Sighting, Unknown
from cfm.plan.view import is_at_rest, next_look_ms
from cfm.revision import Revision
from cfm.tasks.orders import OrderBook

SEEK_AGAIN_MS = 2_000
"""The same name is not looked for again in the source folders before."""


@dataclass(slots=True)
class SanBook:
    """What the source folders said of single files, and the index of all names in them."""

    revision: Revision
    orders: OrderBook
    absences: AbsenceBook
    answers: dict[str, Known[SanAnswer]] = field(default_factory=dict)
    asked_ms: dict[str, int] = field(default_factory=dict)
    """Files that the SAN is being asked for, and since when."""
    _asked: dict[str, File] = field(default_factory=dict)
    """The same files as they were when they were asked for, with their sizes."""
    ahead: set[str] = field(default_factory=set)
    """Those of them that nothing waits for yet."""
    _for_versions: set[str] = field(default_factory=set)
    """Those of them whose copies are looked at.  Their size is that of a copy, and not of the history."""
    sightings: dict[str, Sighting] = field(default_factory=dict)
    """The version of a file that was seen last, and since when: a file that is being written changes."""
    silence: SilenceBook = field(default_factory=SilenceBook)
    seeking: set[str] = field(default_factory=set)
    """Names that are being looked for, to find out whose disk it is."""
    sought_ms: dict[str, int] = field(default_factory=dict)
    """When each of them was looked for last."""
    unsure: dict[str, None] = field(default_factory=dict)
    """Files that may not be at rest.  It is found out when somebody asks, so that no book is searched."""
    index: Names | None = None
    index_why: str = "not looked at yet"
    index_since_ms: int = 0
    """Since when the index is known, or is not."""

    def ask(
        self, files: Sequence[File], now: Now, *, ahead: bool, for_versions: bool = False
    ) -> dict[str, int]:
        """The files to be asked for now, with their sizes.  Left out are those that are being asked for, and
        those for which the SAN is silent.

        `ahead`: the answer is for later, and makes nothing possible yet.  `for_versions`: it says only which
        version of the file there is.
        """
        open_ = [file for file in files if file.name not in self.asked_ms]
        due = self.silence.admit(open_, now.mono_ms)
        if ahead:
            self.ahead.update(file.name for file in due)
        else:
            self.ahead.difference_update(file.name for file in files)
        if for_versions:
            self._for_versions.update(file.name for file in due)
        return self._note_asked(due, now)

    def try_again(self, now: Now) -> dict[str, int]:
        """The files of a trial that is due because the SAN is silent."""
        trial = self.silence.trial(now.mono_ms)
        return self._note_asked([file for file in trial if file.name not in self.asked_ms], now)

    def _note_asked(self, files: Iterable[File], now: Now) -> dict[str, int]:
        sizes = {}
        for file in files:
            self.asked_ms[file.name], self._asked[file.name] = now.mono_ms, file
            sizes[file.name] = file.size_bytes
        return sizes

    def answered(self, answers: Mapping[str, SanAnswer], asked_ms: int) -> None:
        still_silent = {name for name in answers if self.silence.is_silent(name)}
        left_alone = len(self.silence.names)
        if self.silence.heard(answers, self._asked, asked_ms):
            self.forget_silences()
            still_silent.clear()
        elif len(self.silence.names) > left_alone:
            self.revision.plan += 1  # they must not hide what other folders have
        for name, answer in answers.items():
            self.asked_ms.pop(name, None)
            self.answers[name] = Known(answer, asked_ms)
            self._sight(name, answer, asked_ms)
            file = self._asked.pop(name, None)
            if name in self._for_versions:
                self._for_versions.discard(name)
                self.absences.heard_of_version(name, answer, asked_ms)
            elif file is not None:
                self.absences.heard(file, answer, asked_ms)
            if name in self.ahead:
                self.ahead.discard(name)
            elif not self.orders.heard_of(name) and name not in still_silent:
                self.revision.dispatch += 1

    def _sight(self, name: str, answer: SanAnswer, asked_ms: int) -> None:
        """Note since when the file is the same.  No answer says nothing about the file."""
        before = self.sightings.get(name)
        if isinstance(answer, NotOnSan):
            self.sightings.pop(name, None)
        elif isinstance(answer, OnSan) and (before is None or asked_ms > before.last_ms):
            if before is not None and before.found == answer:
                self.sightings[name] = before._replace(last_ms=asked_ms)
            else:
                restless = before is not None and before.last_ms == before.since_ms
                changes = before.changes + 1 if before is not None and restless else 0
                self.sightings[name] = Sighting(answer, asked_ms, asked_ms, changes)
                self.unsure[name] = None
                if changes == 1:  # what waited for a second look that agrees waits no longer
                    self.revision.dispatch += 1

    def next_look_ms(self, rest_ms: int, now: Now) -> int | None:
        """When the next file that was not at rest may be looked at again."""
        return min((due_ms for _name, due_ms in self._unrested(rest_ms, now)), default=None)

    def restless(self, rest_ms: int, now: Now) -> dict[str, int]:
        """Files that somebody is writing: they changed between two looks.  Until when they are left alone."""
        unrested = self._unrested(rest_ms, now)
        return {name: due_ms for name, due_ms in unrested if self.sightings[name].changes}

    def _unrested(self, rest_ms: int, now: Now) -> Iterator[tuple[str, int]]:
        """Files that are not at rest, and when they may be looked at again, where that is not now."""
        for name in list(self.unsure):
            seen = self.sightings.get(name)
            if seen is None or is_at_rest(seen, rest_ms, now):
                del self.unsure[name]
            elif (due_ms := next_look_ms(seen, rest_ms)) > now.mono_ms:
                yield name, due_ms

    def seek(self, names: Iterable[str], now_ms: int) -> frozenset[str]:
        """Those of the names that are to be looked for now."""
        latest_ms = now_ms - SEEK_AGAIN_MS
        due = (name for name in names if self.sought_ms.get(name, latest_ms) <= latest_ms)
        new = frozenset(due) - self.seeking
        self.seeking |= new
        self.sought_ms.update(dict.fromkeys(sorted(new), now_ms))
        return new

    def sought(self, names: Iterable[str]) -> None:
        self.seeking.difference_update(names)

    def indexed(self, names: Names | None, why: str, now_ms: int) -> None:
        if (names is None) != (self.index is None):
            self.index_since_ms = now_ms
        self.index, self.index_why = names, why
        self.revision.plan += 1

    def forget_silences(self) -> None:
        """The source folders are back: whatever they did not answer may be asked for again."""
        answers = self.answers.items()
        self.answers = {name: asked for name, asked in answers if not isinstance(asked.value, Unknown)}
        self.silence.end()
        self.revision.dispatch += 1
        self.revision.plan += 1

    def forget_old(self, before_ms: int) -> None:
        self.answers = {name: asked for name, asked in self.answers.items() if asked.at_ms > before_ms}
        self.asked_ms = {name: at_ms for name, at_ms in self.asked_ms.items() if at_ms > before_ms}
        self._asked = {name: file for name, file in self._asked.items() if name in self.asked_ms}
        self.sought_ms = {name: at_ms for name, at_ms in self.sought_ms.items() if at_ms > before_ms}
        self.ahead &= self.asked_ms.keys()
        self._for_versions &= self.asked_ms.keys()

    def forget_sightings(self, before_ms: int) -> None:
        self.sightings = {name: seen for name, seen in self.sightings.items() if seen.last_ms > before_ms}
