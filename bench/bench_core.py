"""What a full look at a large node costs the controller's core, which decides one event after another.

    .venv/bin/python bench/bench_core.py [--workers N] [--files N] [--looks N] [--json]

All in memory and in virtual time: N destinations of ours with their lists and disks, full to their limits,
and wanted files that find no room.  Each look is answered by every worker; in each, one disk in ten is used
otherwise than before, so that there is something to decide anew.  Printed: the time of all answers of a look,
and of the slowest single one, as medians of the looks.  Exit 3 where the target below is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator

from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.state import NodeConfig
from cfm.model import (
    Addr,
    DiskReport,
    DiskUsage,
    File,
    Listing,
    Now,
    SnapshotFacts,
    Transfer,
    WorkerFeatures,
)
from cfm.plan.shortlist import Shortlist
from cfm.plan.view import Rules
from cfm.tasks.store import Recovered

LOOK_MS = 1_000.0
"""One loop, of which a look every minute may take a small part."""
SOURCES = tuple(Addr(f"10.1.0.{number + 1}:8888") for number in range(3))
TOTAL_BYTES, FILE_BYTES = 10**12, 10**9
LOOK_EVERY_MS = 60_000


class Node:
    """A core, and workers that answer whatever it asks."""

    def __init__(self, workers: int, files: int) -> None:
        self.destinations = tuple(Addr(f"10.0.{n // 250}.{n % 250 + 1}:8888") for n in range(workers))
        config = NodeConfig(SOURCES, self.destinations, Rules(), heartbeat_interval_ms=10**9)
        self.now = Now(1_000_000, 1_700_000_000_000)
        self.core = Core(config, Recovered("bench", 1, 0), self.now)
        held = [[f"H{n:04}{i:05}.mpg" for i in range(files)] for n in range(workers)]
        self.listings = dict(zip(self.destinations, map(frozenset, held), strict=True))
        self.answers_ms: list[float] = []
        self.look = 0

    def feed(self, event: ev.Event) -> list[ev.Effect]:
        began_ns = time.perf_counter_ns()
        step = self.core.handle(event, self.now)
        self.core.next_wakeup_ms(self.now)
        self.answers_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
        return [*step.at_once, *step.after_commit]

    def begin(self) -> None:
        """Everything is up, listed, measured and planned once."""
        facts = SnapshotFacts("bench", self.now.wall_s, 10**6, 10**6, accepted=True)
        self.settle(self.feed(ev.SnapshotAccepted(facts, 0)))
        self.settle(self.feed(ev.Tick()))
        wanted = tuple(File(f"W{i:05}.mpg", 1 + i, 500 * FILE_BYTES, 0) for i in range(64))
        evictable: dict[Addr, tuple[File, ...]] = {
            addr: (File(min(names), 10, FILE_BYTES, 0),) for addr, names in self.listings.items()
        }
        shortlist = Shortlist("bench", wanted, len(wanted), (), 0, evictable, cut=False)
        self.settle(self.feed(ev.PlanReady(shortlist, 1)))

    def take_a_look(self) -> tuple[float, float]:
        """The time of all its answers, and of the slowest, in ms."""
        self.look += 1
        self.now = Now(self.now.mono_ms + LOOK_EVERY_MS, self.now.wall_ms + LOOK_EVERY_MS)
        asked = self.feed(ev.Tick())
        self.answers_ms.clear()
        self.settle(asked)
        return sum(self.answers_ms), max(self.answers_ms)

    def settle(self, effects: list[ev.Effect]) -> None:
        """Answer, and what follows from the answers, until nothing more is asked."""
        while effects:
            effects = [
                more for effect in effects for event in self.answer(effect) for more in self.feed(event)
            ]

    def answer(self, effect: ev.Effect) -> Iterator[ev.Event]:
        at_ms = self.now.mono_ms
        match effect:
            case ev.SendHeartbeat(addr):
                yield ev.HeartbeatAnswer(addr, self._features(addr))
            case ev.AskList(addr):
                names = self.listings.get(addr, frozenset())
                yield ev.ListAnswer(addr, at_ms, Listing(names, disk_id=_disk_of(addr)))
            case ev.AskDisk(addr):
                yield ev.DiskAnswer(addr, at_ms, DiskReport(self._usage(addr), disk_id=_disk_of(addr)))

    def _features(self, addr: Addr) -> WorkerFeatures:
        return WorkerFeatures(
            ours=True, boot_id=f"boot-{addr}", disk_id=_disk_of(addr), transfer=Transfer.BUILTIN, serves=True
        )

    def _usage(self, addr: Addr) -> DiskUsage:
        number = self.destinations.index(addr) if addr in self.listings else 0
        moved = (self.look + number) % 10 == 0
        used_bytes = 90 * TOTAL_BYTES // 100 - (self.look * FILE_BYTES // 100 if moved else 0)
        return DiskUsage(TOTAL_BYTES, used_bytes, TOTAL_BYTES - used_bytes)


def _disk_of(addr: Addr) -> str:
    return f"disk-of-{addr}".replace(".", "-").replace(":", "-")


def measure(workers: int, files: int, looks: int) -> dict[str, float]:
    node = Node(workers, files)
    node.begin()
    took = [node.take_a_look() for _look in range(looks)]
    return {
        "workers": workers,
        "answers_a_look": len(node.answers_ms),
        "look_ms": round(statistics.median(whole for whole, _slowest in took), 1),
        "slowest_answer_ms": round(statistics.median(slowest for _whole, slowest in took), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=300)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--looks", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args.workers, args.files, args.looks)
    good = found["look_ms"] <= LOOK_MS
    if args.json:
        print(json.dumps({**found, "good": good}))
    else:
        print(
            f"{found['workers']} workers: the {found['answers_a_look']} answers of a look take "
            f"{found['look_ms']} ms (target {LOOK_MS:g}), the slowest {found['slowest_answer_ms']} ms"
        )
    return 0 if good else 3


if __name__ == "__main__":
    sys.exit(main())
