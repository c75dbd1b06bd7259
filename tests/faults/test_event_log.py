"""The load balancer's log torn, rotated, cut, from the future and gone: hits are counted all the same.

Each trouble is followed by hits for another file; that one has to rise.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from cfm_lab.testing.cluster import SAN_IP
from faults.story import Story, hold

pytestmark = pytest.mark.e2e
ENOUGH = 6
"""One hit more than makes a file rise."""


def _line(name: str, at: float) -> str:
    return (
        f"0x40ffff,1,{int(at)},Server {SAN_IP} Selected for Client StreamID : {uuid.uuid4()}, ClientID : 0, "
        f"GLB IP : 125.159.40.5's file({name}) Request\n"
    )


def _rising(story: Story) -> set[str]:
    return {one["file"] for one in story.node.status()["rising"]}


def _torn(log: Path, name: str) -> None:
    """The last line comes in two pieces."""
    with log.open("a") as out:
        out.write(_line(name, time.time())[:40])
        out.flush()
        hold(1.5)
        out.write(_line(name, time.time())[40:])


def _garbage(log: Path, _name: str) -> None:
    with log.open("ab") as out:
        out.write(bytes(range(256)) + b"\n" + b"x" * 70_000 + b"\n0x40ffff,1,file()\n")


def _from_the_future(log: Path, _name: str) -> None:
    """They do not count, and do not end the window of the others."""
    with log.open("a") as out:
        out.write("".join(_line("FILE0014_K2026.mpg", time.time() + 86_400) for _ in range(ENOUGH)))


def _replaced(log: Path, _name: str) -> None:
    log.rename(log.with_name("moved"))
    log.touch()


TROUBLES: dict[str, Callable[[Path, str], object]] = {
    "torn": _torn,
    "garbage": _garbage,
    "cut to nothing": lambda log, _name: log.write_bytes(b""),
    "replaced by a new one": _replaced,
    "gone": lambda log, _name: log.unlink(),
    "from the future": _from_the_future,
}


def test_hits_are_counted_after_every_trouble(story: Story) -> None:
    story.begin()
    log = story.node.root / f"EventLog[{time.strftime('%Y%m%d')}].log"
    log.touch()
    for name, (trouble, spoil) in zip(story.node.ranks, TROUBLES.items(), strict=False):
        spoil(log, name)
        hold(1.2)
        story.node.hit(name, ENOUGH)
        story.wait(lambda name=name: name in _rising(story), f"{name} to rise: {trouble}", 30)  # type: ignore[misc]
    assert "FILE0014_K2026.mpg" not in _rising(story)
    story.settle()
