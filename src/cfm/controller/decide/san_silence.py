"""Source folders that do not answer: asked again by a few trials, with pauses that grow.

A silent folder may have thousands of wanted files.  To ask for each of them again and again would cost a
fifth of a core, and tell nothing.  So a file that was not answered for is left alone until the silence ends.
Meanwhile a trial asks for a few of these files.  Its pauses grow; one answer ends the silence.  While no
folder answers at all, other files are asked for by such trials as well.

Neighbours: `san_book` keeps this book; the policies see its `Silence`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from cfm.backoff import Backoff
from cfm.model import File, SanAnswer, Unknown
from cfm.plan.view import Silence

TRIALS: Final = Backoff(first_ms=2_000, longest_ms=300_000)
FILES_EACH: Final = 4
"""How many files are asked for in one trial: some may be in a folder that answers."""
MOST_FILES: Final = 50_000
"""How many files are remembered as not answered for; further ones may be asked for twice."""


@dataclass(slots=True)
class SilenceBook:
    """What was not answered for since a silence began.  Without a silence it is empty."""

    _silent: dict[str, File] = field(default_factory=dict)
    """The files by name; those that were tried last stand last."""
    why: str = ""
    """What was said instead of an answer; empty without a silence."""
    since_ms: int = 0
    _somebody_answers: bool = True
    """Did any folder answer since the silence began?"""
    _trials: int = 0
    """Trials in a row without an answer."""
    _trial_ms: int = 0
    """When the next trial is due."""
    _looks: int = 0
    """The same for looks at other files, while no folder answers."""
    _look_ms: int = 0

    @property
    def now(self) -> Silence | None:
        """What the policies see of it; None where there is no silence."""
        if not self._silent:
            return None
        nobody = not self._somebody_answers
        return Silence(self._silent.keys(), self._look_ms if nobody else 0, nobody)

    @property
    def names(self) -> Collection[str]:
        """What one silent folder of several may have; empty where no folder answers, as then it is all."""
        return self._silent.keys() if self._somebody_answers else ()

    def admit(self, files: Iterable[File], now_ms: int) -> list[File]:
        """The files that may be asked for now."""
        others = [file for file in files if file.name not in self._silent]
        if not self._silent or self._somebody_answers or not others:
            return others
        if now_ms < self._look_ms:
            return []
        self._looks += 1
        self._look_ms = now_ms + TRIALS.pause_ms(self._looks)
        return others[:FILES_EACH]

    def heard(self, answers: Mapping[str, SanAnswer], asked: Mapping[str, File], now_ms: int) -> bool:
        """Answers came.  Returns True where they end the silence."""
        unknown = {name: answer for name, answer in answers.items() if isinstance(answer, Unknown)}
        if any(name in self._silent for name in answers.keys() - unknown.keys()):
            return True
        if unknown and not self._silent:
            self.why, self.since_ms = next(iter(unknown.values())).why, now_ms
            self._begin(now_ms, somebody_answers=len(unknown) < len(answers))
        elif len(unknown) < len(answers):
            self._somebody_answers = True
        for name in unknown:
            file = self._silent.pop(name, None) or asked.get(name)
            if file is not None and len(self._silent) < MOST_FILES:
                self._silent[name] = file
        return False

    def _begin(self, now_ms: int, *, somebody_answers: bool) -> None:
        self._somebody_answers = somebody_answers
        self._trials = self._looks = 1
        self._trial_ms = self._look_ms = now_ms + TRIALS.pause_ms(1)

    def is_silent(self, name: str) -> bool:
        return name in self._silent

    def next_trial_ms(self) -> int | None:
        return self._trial_ms if self._silent else None

    def trial(self, now_ms: int) -> list[File]:
        """The files of a trial that is due; nothing where none is."""
        if not self._silent or now_ms < self._trial_ms:
            return []
        self._trials += 1
        self._trial_ms = now_ms + TRIALS.pause_ms(self._trials)
        return list(islice(self._silent.values(), FILES_EACH))

    def end(self) -> None:
        self._silent.clear()
        self.why = ""
        self._somebody_answers = True
