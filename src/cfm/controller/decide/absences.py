"""The book of absences: known files that the SAN was found not to have, or to have with another size.

A size that is wrong is an answer: such a file is not on the SAN, everywhere, until the source folders say
otherwise.  No order and no task is begun only to find that out again.  The book itself has the file looked up
again, after pauses that grow.  Neighbours: `san_book` writes down here what it hears; the guards read
`plan.view.Absence`; a full plan leaves these files out, and says which of them are still known by that size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from cfm.backoff import Backoff
from cfm.model import File, Names, NotOnSan, Now, OnSan, SanAnswer
from cfm.plan.view import Absence
from cfm.revision import Revision

LOOK_PAUSE = Backoff(first_ms=60_000, longest_ms=1_800_000)
"""How soon another look follows."""
REMEMBERED = 20_000
"""How many files are remembered.  What is beyond is found out again, a minute later, as if it were new."""
LOOKS_AT_A_TIME = 256
"""How many files are looked up again at once, so that thousands of them are no burden for the SAN."""


@dataclass(slots=True)
class AbsenceBook:
    """What the SAN does not have, and when each file is looked up again."""

    revision: Revision
    absent: dict[str, Absence] = field(default_factory=dict)

    def heard(self, file: File, answer: SanAnswer, now_ms: int) -> None:
        """The source folders answered for this file, which has the size of the history.  A silence tells
        nothing new."""
        if isinstance(answer, NotOnSan):
            self._note(file, 0, now_ms)
        elif isinstance(answer, OnSan) and answer.size_bytes != file.size_bytes:
            self._note(file, answer.size_bytes, now_ms)
        elif isinstance(answer, OnSan) and self.absent.pop(file.name, None) is not None:
            self._changed()

    def heard_of_version(self, name: str, answer: SanAnswer, now_ms: int) -> None:
        """A look at the version of a copy was answered.  It knows no size of the history, so it may only find
        that the SAN has the size again that is known here."""
        known = self.absent.get(name)
        if known is not None and isinstance(answer, OnSan) and answer.size_bytes == known.file.size_bytes:
            self.heard(known.file, answer, now_ms)

    def _note(self, file: File, found_bytes: int, now_ms: int) -> None:
        known = self.absent.get(file.name)
        if known is None and len(self.absent) >= REMEMBERED:
            return
        looks = known.looks + 1 if known is not None else 1
        since_ms = known.since_ms if known is not None else now_ms
        again_ms = now_ms + LOOK_PAUSE.pause_ms(looks)
        self.absent[file.name] = Absence(file, found_bytes, since_ms, looks, again_ms)
        if known is None or known.found_bytes != found_bytes:
            self._changed()

    def _changed(self) -> None:
        self.revision.dispatch += 1
        self.revision.plan += 1

    def take_due(self, now: Now) -> list[File]:
        """Files to be looked up again now.  One that gets no answer has its turn again after a while."""
        due = (absence for absence in self.absent.values() if absence.again_ms <= now.mono_ms)
        found = list(islice(due, LOOKS_AT_A_TIME))
        for absence in found:
            again_ms = now.mono_ms + LOOK_PAUSE.first_ms
            self.absent[absence.file.name] = absence._replace(again_ms=again_ms)
        return [absence.file for absence in found]

    def appeared(self, names: Names, now: Now) -> None:
        """These names are on the SAN now: what was missing and is among them is looked up at once."""
        for name, absence in self.absent.items():
            if not absence.found_bytes and name in names:
                self.absent[name] = absence._replace(again_ms=now.mono_ms)

    def planned(self, considered: Iterable[str], absent: Mapping[str, File]) -> None:
        """A plan knew of these absences, and found which of them concern known files of today.

        The others are forgotten: the history has the size by now that the SAN has, or has no such file.
        """
        for name in considered:
            known = self.absent.get(name)
            if known is not None and name not in absent:
                del self.absent[name]
            elif known is not None:
                self.absent[name] = known._replace(file=absent[name])

    @property
    def found_bytes(self) -> dict[str, int]:
        """File → the size that the SAN has instead; 0 where it has none."""
        return {name: absence.found_bytes for name, absence in self.absent.items()}
