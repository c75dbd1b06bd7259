"""What is wrong with a settings file, as values: line, key, text and remedy.

`yaml_text` and `load` collect them, `SettingsFileError` carries all of them to whoever started the
program, and `cli.check` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cfm.errors import SettingsError
from cfm.logs import escaped

MOST_SHOWN = 200
"""A file of garbage must not bury the terminal."""


@dataclass(frozen=True, slots=True)
class SettingsProblem:
    """One refusal: where, what is wrong, and what to write instead."""

    line: int | None
    """From 1; None where the file as a whole could not be read."""
    key: str
    """Dotted, e.g. `servers.sources`; empty where no key is meant."""
    text: str
    remedy: str

    def told_of(self, file: Path) -> str:
        """`cfm.yml:17: remover.storage_usage_limit_percent: …; write …`."""
        where = str(file) if self.line is None else f"{file}:{self.line}"
        return escaped(": ".join(filter(None, (where, self.key, f"{self.text}; {self.remedy}"))))


class SettingsFileError(SettingsError):
    """Every problem of one settings file; the text has a line for each, in the file's order."""

    def __init__(self, file: Path, problems: list[SettingsProblem]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        lines = [problem.told_of(file) for problem in self.problems[:MOST_SHOWN]]
        left_out = len(self.problems) - len(lines)
        if left_out:
            lines.append(f"{escaped(str(file))}: and {left_out} more problems")
        super().__init__("\n".join(lines))


def shown(text: str, most: int = 60) -> str:
    """A text from the file as a refusal quotes it: short, and harmless on a terminal."""
    return escaped(text if len(text) <= most else text[: most - 1] + "…")
