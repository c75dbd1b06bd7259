"""What is wrong with a settings file, as values: line, key, text and remedy.

`yaml_text` and `load` collect the problems.  `SettingsFileError` carries all of them to whoever started the
program.  `cli.check` prints them, and uses the same values for what is only doubtful.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cfm.errors import SettingsError
from cfm.logs import escaped

MOST_SHOWN = 200
"""More lines than this would bury the terminal."""


@dataclass(frozen=True, slots=True)
class SettingsProblem:
    """One problem: where it is, what is wrong, and what to write instead."""

    line: int | None
    """Counted from 1; None where the problem is one of the whole file."""
    key: str
    """With dots, as `servers.sources`; empty where the problem has no key."""
    text: str
    remedy: str

    def told_of(self, file: Path) -> str:
        """`cfm.yml:17: remover.storage_usage_limit_percent: …; write …`."""
        where = str(file) if self.line is None else f"{file}:{self.line}"
        return escaped(": ".join(filter(None, (where, self.key, f"{self.text}; {self.remedy}"))))


class SettingsFileError(SettingsError):
    """All problems of one settings file.  The text has one line for each, in the order of the file."""

    def __init__(self, file: Path, problems: list[SettingsProblem]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        lines = [problem.told_of(file) for problem in self.problems[:MOST_SHOWN]]
        left_out = len(self.problems) - len(lines)
        if left_out:
            lines.append(f"{escaped(str(file))}: and {left_out} more problems")
        super().__init__("\n".join(lines))

    @property
    def brief(self) -> str:
        """The first problem, without the folder of the file, which would hide the key in a long line."""
        first, more = self.problems[0].told_of(Path(self.file.name)), len(self.problems) - 1
        return f"{first} (and {more} more)" if more else first


def shown(text: str, most: int = 60) -> str:
    """A text from the file as messages quote it: short, and harmless on a terminal."""
    return escaped(text if len(text) <= most else text[: most - 1] + "…")
