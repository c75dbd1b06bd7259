"""What a node says while something happens to it, word for word.

Each story drives the real controller in virtual time; its transcript lies beside this file.  A change of what
cfm does or says shows as a difference between two texts that a person can read.  `CFM_WRITE_STORIES=1` writes
the transcripts anew; look at `git diff tests/stories` before you keep them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cfm.controller.decide import events as ev
from cfm.controller.explain import report
from cfm.controller.explain.verdict import verdict
from cfm.model import File, SnapshotFacts
from cfm.plan.view import Rules
from controller.node import OLD, Node, files

HERE = Path(__file__).resolve().parent
WRITE = bool(os.environ.get("CFM_WRITE_STORIES"))
UNTOLD = {"order", "task", "size_bytes", "hits", "rank", "ours", "version", "snapshot", "skipped"}
SECOND_MS = 1000


class Story(Node):
    """A node that writes down what it says, and its verdict whenever that has changed within a second."""

    def __init__(self, library: list[File], **more: Any) -> None:
        self.lines: list[str] = []
        self._verdict = ""
        super().__init__(library, **more)
        self.send(ev.SanIndexed(frozenset(self.san)))

    def tell(self, what: str) -> None:
        """Something that people, viewers or fate do."""
        self.lines += ["", f"{'':9}* {what}"]

    def let(self, seconds: int) -> None:
        """Time passes; the verdict is looked at once a second."""
        for _ in range(seconds):
            self.run(SECOND_MS)
            line = verdict(self.core, self.core.last_round, self.now).line
            if line != self._verdict:
                self._verdict = line
                self.lines.append(f"{self.now_ms / 1000:8.1f}   {line}")

    def _carry_out(self, effect: ev.Effect) -> None:
        if isinstance(effect, ev.Say) and effect.level != "debug":
            self.lines.append(f"{self.now_ms / 1000:8.1f} - {effect.event}{_facts(effect.facts)}")
        super()._carry_out(effect)


def _facts(facts: Any) -> str:
    told = {key: value for key, value in facts.items() if key not in UNTOLD}
    return ": " + ", ".join(f"{key} {value}" for key, value in told.items()) if told else ""


STORIES: dict[str, Callable[[], Story]] = {}


def story(tell: Callable[[], Story]) -> Callable[[], Story]:
    STORIES[tell.__name__] = tell
    return tell


@contextmanager
def a_person(node: Story, does: str) -> Iterator[int]:
    """A request of an operator, and its answer."""
    node.tell(does)
    request = node.request()
    yield request
    reply = node.replies[request]
    released = reply.body.up_to_bytes if isinstance(reply.body, ev.Released) else {}
    told = ", ".join(f"{addr} {size}" for addr, size in released.items())
    node.lines.append(f"{'':9}  answered {reply.status} {told}".rstrip())


# ── the stories ─────────────────────────────────────────────────────────────────────────────────────────


@story
def a_quiet_day() -> Story:
    node = Story(files(5), disk_bytes=400)
    node.tell("cfm starts beside empty disks; the metadata is read")
    node.grade()
    node.let(10)
    node.tell("nothing happens for an hour")
    node.let(3600)
    return node


@story
def a_file_becomes_popular_on_a_full_node() -> Story:
    library = files(20)
    node = Story(library, rules=Rules(minimum_stay_ms=0))
    node.put(node.destinations[0], *library[0:18:2])
    node.put(node.destinations[1], *library[1:18:2])
    node.tell("cfm starts; both disks are at their limit")
    node.grade()
    node.let(6)
    node.tell("viewers ask for F020.mpg")
    node.watch(F020__mpg=12)
    node.let(10)
    node.tell("and forget it")
    node.watch()
    node.let(60)
    return node


@story
def a_server_dies_and_returns() -> Story:
    node = Story(files(5), rules=Rules(unknown_grace_ms=60_000), transfer_ms=3_000)
    node.tell("cfm starts; the metadata is read")
    node.grade()
    node.let(5)
    node.tell("127.0.2.1 loses its power; what it held is doubtful for a minute here, an hour by default")
    node.kill(node.destinations[0])
    node.let(90)
    node.tell("it returns with its old files")
    node.revive(node.destinations[0])
    node.let(10)
    return node


@story
def three_copies_become_one() -> Story:
    library = files(3)
    node = Story(library, destinations=3)
    for addr in node.destinations:
        node.put(addr, *library)
    node.put(node.destinations[1], File("OTHER.mpg", 0, 300))
    node.tell("cfm starts; three servers hold the same three files, 127.0.2.2 something else as well")
    node.grade()
    node.let(10)
    return node


@story
def an_answer_is_lost_after_the_order_was_carried_out() -> Story:
    library = files(2)
    node = Story(library)
    for addr in node.destinations:
        node.put(addr, library[0])
        node.workers[addr].loses_delete_answers = True
    node.put(node.destinations[0], library[1])
    node.tell("cfm starts; F001.mpg lies on both servers, and answers to deletes do not come back")
    node.grade()
    node.let(60)
    return node


@story
def an_old_worker_loses_an_answer() -> Story:
    library = files(2)
    node = Story(library, features=OLD)
    for addr in node.destinations:
        node.put(addr, library[0])
        node.workers[addr].loses_delete_answers = True
    node.put(node.destinations[0], library[1])
    node.tell("the same with old workers, which are left in quiet for ten seconds")
    node.grade()
    node.let(60)
    return node


@story
def a_mistyped_limit_is_held_and_then_confirmed() -> Story:
    library = files(9)
    node = Story(library, destinations=1)
    node.put(node.destinations[0], *library)
    node.tell("cfm starts; the only disk is at its limit of 90 %")
    node.grade()
    node.let(5)
    node.tell("the limit becomes 60 %, by SIGHUP")
    node.send(ev.RulesChanged(Rules(limit_percent=60)))
    node.let(60)
    with a_person(node, "cfm confirm") as request:
        node.send(ev.BreakerReleased(request))
    node.let(30)
    with a_person(node, "cfm confirm, once more") as request:
        node.send(ev.BreakerReleased(request))
    return node


@story
def the_san_is_gone_for_a_minute() -> Story:
    library = files(10)
    node = Story(library, destinations=1)
    node.put(node.destinations[0], *library[1:])
    node.workers[node.destinations[0]].files["MORE.mpg"] = 100
    node.san_answers = False
    node.tell("cfm starts; the disk is over its limit, and the source folders do not answer")
    node.send(ev.SanIndexed(None, "/san does not answer"))
    node.grade()
    # Off the full seconds, at which it looks after what waits, so that the verdict is one of rest.
    node.run(5)
    node.let(63)
    node.tell("they answer again")
    node.san_answers = True
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.let(60)
    return node


@story
def the_metadata_is_cut_off() -> Story:
    library = files(4)
    node = Story(library, sources=1, destinations=1, transfer_ms=3_000)
    node.tell("cfm starts; the metadata is read")
    node.grade()
    node.let(2)
    node.tell("the grade file is rewritten, and one line of it arrives")
    why = "less than half of the last good reading: 1 graded files, 4 before"
    node.send(ev.SnapshotRejected(SnapshotFacts("cut", node.now.wall_s, 1, 1, accepted=False, why=why)))
    node.let(15)
    node.tell("it is whole again")
    node.grade()
    node.let(5)
    return node


@story
def an_old_worker_lies() -> Story:
    node = Story(files(3), sources=1, destinations=2, features=OLD)
    node.workers[node.destinations[0]].fails.add("F001.mpg")
    node.tell("cfm starts; the old worker 127.0.2.1 says done for F001.mpg, which failed")
    node.grade()
    node.let(60)
    return node


@story
def a_restart_in_the_middle_of_copies() -> Story:
    node = Story(files(4), sources=1, destinations=2, transfer_ms=8_000)
    node.tell("cfm starts; the metadata is read")
    node.grade()
    node.let(5)
    node.tell("cfm is killed, and started again; the transfer goes on")
    node.restart()
    node.send(ev.SanIndexed(frozenset(node.san)))
    node.grade()
    node.let(40)
    return node


@story
def migration_day_with_deletes_off() -> Story:
    library = files(12)
    node = Story(library, disk_bytes=1000, rules=Rules(deletes_on=False))
    node.put(node.destinations[0], *library[:10])
    node.put(node.destinations[1], *library[8:10])
    node.tell("cfm starts with `deletes: off`: one disk is full, two files lie twice, two nowhere")
    node.grade()
    node.let(10)
    node.tell("cfm plan")
    for found in report.plan_json(node.core, node.now)["would_delete"]:
        node.lines.append(f"{'':9}  would delete {found['file']} on {found['server']}: {found['reason']}")
    node.tell("`deletes: on`, by SIGHUP")
    node.send(ev.RulesChanged(replace(node.config.rules, deletes_on=True)))
    node.let(30)
    return node


# ── the check ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str) -> None:
    path = HERE / f"{name}.txt"
    lines = [name.replace("_", " "), *STORIES[name]().lines]
    told = "\n".join(line.rstrip() for line in lines) + "\n"
    if WRITE:
        path.write_text(told)
    written = path.read_text() if path.exists() else ""
    difference = difflib.unified_diff(written.splitlines(), told.splitlines(), "written", "told", lineterm="")
    assert told == written, "\n".join(["the story goes otherwise:", *difference])


def test_every_transcript_has_its_story() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == STORIES.keys()
