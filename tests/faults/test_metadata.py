"""Metadata that are half there, wrong, old or gone: they decide nothing, and what follows them counts again.

The node is at rest when they are spoiled.  Whatever is read then, nothing may be copied or deleted; and when
good files are there again, with a new file among them, that one is copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from faults.story import Story, hold

pytestmark = pytest.mark.e2e
LOOKED_AT_S = 3.5
"""Longer than a file has to be at rest before it is read, and a plan."""
GRADE, HISTORY = "grade.info", "hitcount.history"
ODD_LINES = (
    b"\x00\x00\x00\n" + b"x" * 70_000 + b"\n\r\n\n\xff\xfe\t\t\n"
    b"FILE0001_K2026.mpg\n"
    b"FILE0002_K2026.mpg,1508301143,6399785,100000,127.0.2.1 127.0.2.1,2,0,0,1=1\n"
)
Spoil: TypeAlias = Callable[[Path], object]


def _cut_at(part: float) -> Spoil:
    return lambda path: os.truncate(path, int(part * path.stat().st_size))


def _write_slowly(path: Path) -> None:
    """In place, as an old producer does it: half of it now, the rest when somebody may have looked."""
    text = path.read_bytes()
    with path.open("wb", buffering=0) as out:
        out.write(text[: len(text) // 2])
        hold(LOOKED_AT_S)
        out.write(text[len(text) // 2 :])


def _add_odd_lines(path: Path) -> None:
    """Between the header and the rest."""
    header, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(header + b"\n" + ODD_LINES + rest)


def _end_lines_as_dos_does(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


SPOILS: dict[str, Spoil] = {
    **{f"cut at {part:.0%}": _cut_at(part) for part in (0.02, 0.3, 0.55, 0.8, 0.97)},
    "emptied": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 100),
    "written slowly": _write_slowly,
    "with odd lines": _add_odd_lines,
    "with the ends of lines of DOS": _end_lines_as_dos_does,
}
BOTH = (GRADE, HISTORY)


@pytest.mark.parametrize("spoiled", [(GRADE,), (HISTORY,), BOTH], ids=["grade", "history", "both"])
def test_what_is_spoiled_decides_nothing(story: Story, spoiled: tuple[str, ...]) -> None:
    story.begin().settle()
    deeds = (story.copied(), story.deleted())
    for name, spoil in SPOILS.items():
        story.node.write_metadata()
        for file in spoiled:
            spoil(story.node.root / file)
        hold(LOOKED_AT_S)
        assert (story.copied(), story.deleted()) == deeds, name
    story.node.publish("NEWFILE_K2026.mpg")
    story.settle()
    assert story.copied() == deeds[0] + 1


def test_half_of_the_grade_file_at_the_start(story: Story) -> None:
    """With bad files only, nothing is done, and it says why."""
    whole = (story.node.root / GRADE).read_text()
    story.begin(graded=False)
    story.node.replace(GRADE, whole[: len(whole) // 50])
    story.wait(lambda: story.has("no_metadata"), "the reason")
    hold(1.5)
    assert not story.copied()
    assert not story.deleted()
    story.node.replace(GRADE, whole)
    story.settle()


def test_an_older_pair_is_put_back(story: Story) -> None:
    """From before a file was published: that file is not known any more, and stays where it is."""
    old = {name: (story.node.root / name).read_text() for name in BOTH}
    story.begin().settle()
    story.node.publish("NEWFILE_K2026.mpg")
    story.settle()
    deeds = (story.copied(), story.deleted())
    for name in BOTH:
        new = (story.node.root / name).read_text()
        story.node.replace(name, old[name])
        hold(LOOKED_AT_S)
        story.node.replace(name, new)
        hold(LOOKED_AT_S)
    for name, text in old.items():
        story.node.replace(name, text)
        os.utime(story.node.root / name, (0, 0))
    hold(LOOKED_AT_S)
    assert (story.copied(), story.deleted()) == deeds
    story.node.write_metadata()
    story.settle()
