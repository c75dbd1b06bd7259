"""The load balancer's log torn, rotated, cut, from the future and gone: hits are counted all the same, once.

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


def _cut_beside_its_writer(log: Path, _name: str) -> None:
    """As by copytruncate; the writer goes on at its old offset, behind a hole."""
    log.write_bytes(b"")
    with log.open("r+b") as out:
        out.seek(3_000_000_000)
        out.write(_line("FILE0013_K2026.mpg", time.time()).encode())


def _late_block(log: Path, _name: str) -> None:
    """As on NFS: the second block of a log is there before the first."""
    first = _line("FILE0013_K2026.mpg", time.time()).encode()
    start = log.stat().st_size
    with log.open("r+b") as out:
        out.seek(start + len(first))
        out.write(_line("FILE0013_K2026.mpg", time.time()).encode())
        out.flush()
        hold(1.0)
        out.seek(start)
        out.write(first)


TROUBLES: dict[str, Callable[[Path, str], object]] = {
    "torn": _torn,
    "garbage": _garbage,
    "cut to nothing": lambda log, _name: log.write_bytes(b""),
    "replaced by a new one": _replaced,
    "gone": lambda log, _name: log.unlink(),
    "from the future": _from_the_future,
    "cut beside its writer": _cut_beside_its_writer,
    "a block that comes late": _late_block,
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


def test_hits_that_come_twice_count_once(story: Story) -> None:
    """The log is copied, emptied and restored; then its front is cut off."""
    story.begin()
    name, log = story.node.ranks[0], story.node.root / f"EventLog[{time.strftime('%Y%m%d')}].log"
    story.node.hit(name, 3)
    hold(1.0)
    text = log.read_bytes()
    log.write_bytes(b"")
    hold(1.0)
    with log.open("ab") as out:
        out.write(text)
    hold(1.0)
    fresh = log.with_name("fresh")
    fresh.write_bytes(b"".join(text.splitlines(keepends=True)[2:]))
    fresh.rename(log)
    hold(2.0)
    assert name not in _rising(story)
    story.node.hit(name, 2)
    story.wait(lambda: name in _rising(story), "five hits to count", 30)
    story.settle()


def test_a_log_that_is_gone_is_told_and_so_is_its_return(story: Story) -> None:
    def told() -> set[str]:
        return {one["name"] for one in story.node.status()["conditions"]}

    story.begin()
    log = story.node.root / f"EventLog[{time.strftime('%Y%m%d')}].log"
    story.node.hit(story.node.ranks[0], ENOUGH)
    story.wait(lambda: bool(_rising(story)), "the log to be read", 30)
    log.rename(log.with_name("moved"))
    story.wait(lambda: "event_log_gone" in told(), "the verdict to name the log", 60)
    assert story.node.status()["event_log"]["hits_known"] is False
    log.with_name("moved").rename(log)
    story.wait(lambda: "event_log_gone" not in told(), "the log to be back", 30)
    story.settle()
