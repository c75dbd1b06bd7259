"""A node of 3 + 3 real processes for as long as one likes, with kill -9 of everything in turn.

    .venv/bin/python bench/soak.py [--minutes N] [--seed S] [--folder DIR]

Viewers change their taste every few seconds, files become popular, stray copies appear; and one program after
the other is killed and started again.  All the while the disks are looked at: none over its limit,
no source that sends two files.  At the end the faults stop, the node must come to rest with full disks, and
the audit holds them against the SAN and cfm's own books and log.  Prints one JSON object; exit 3 where
something was violated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path

from cfm_lab.testing.audit import Audit, FileOnServer
from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.processes import Daemon

SERVERS = 3
FILES, FILE_BYTES, QUOTA_BYTES = 90, 400_000, 8_000_000
SPEED_BPS = 8_000_000
CALM_S = 3.0
"""Between one recovery and the next kill."""
TASTE_EVERY_S = 8.0
LOOK_EVERY_S = 0.1
RECOVERY_S, REST_S = 60.0, 180.0
STRAY_S = 60.0
"""How long a stray copy may lie there: its server has to be seen again, and it to be trimmed."""
KEYS = {
    "remover": {"minimum_stay_sec": 0, "just_deleted_sec": 5},
    "servers": {"heartbeat_interval_sec": 5},
    "watch_term_min": 1,
}


@dataclass
class Summary:
    """What the run came to."""

    seconds: float = 0
    seed: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    strays: int = 0
    """Surplus copies that lay on a disk when its worker came back."""
    deeds: dict[str, int] = field(default_factory=dict)
    """Rows in cfm's books, by what and how they ended."""
    bytes_delivered: int = 0
    max_recovery_s: float = 0
    max_recovery_after_start_s: float = 0
    """Without what the program took to start, which is the processor's share."""
    rest_after_s: float = 0
    looks: int = 0
    placed: int = 0
    violations: list[str] = field(default_factory=list)


class Watcher(threading.Thread):
    """Looks at the disks and at the sources, again and again."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.looks = 0
        self.found: set[str] = set()
        self.strays: dict[str, float] = {}
        """Disks on which we put a copy too many, and when: they may be over their limit by it for a while."""
        self._cluster = cluster
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self.looks += 1
            for addr in self._cluster.destination_addrs:
                self._look_at_disk(addr)
            for addr in self._cluster.source_addrs:
                self._look_at_source(addr)

    def stop(self) -> set[str]:
        self._over.set()
        self.join()
        return self.found

    def _look_at_disk(self, addr: str) -> None:
        cluster = self._cluster
        with contextlib.suppress(FileNotFoundError):  # it was renamed or deleted while we looked
            used_bytes = cluster.used_bytes(addr)
            if time.monotonic() < self.strays.get(addr, 0.0) + STRAY_S:
                used_bytes -= cluster.file_bytes
            if 100 * used_bytes > cluster.limit_percent * cluster.quota_bytes:
                self.found.add(f"{addr} was over its limit with {used_bytes} bytes")

    def _look_at_source(self, addr: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it may be dead
            streams = self._cluster.get("/healthz", addr)["streams"]["controlled"]
            if streams > 1:
                self.found.add(f"{addr} sent {streams} files at a time")


class Viewers:
    """What people want, and what other people's software does."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self._next_s = time.monotonic() + TASTE_EVERY_S

    def live(self) -> None:
        """Change the taste, where it is time to."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + TASTE_EVERY_S
        ranks = list(self._cluster.ranks)
        for _ in range(6):  # some fall from the top, as many rise to it
            ranks.insert(
                self._chance.randrange(10), ranks.pop(self._chance.randrange(len(ranks) // 2, len(ranks)))
            )
        self._cluster.write_metadata(ranks)
        self._cluster.hit(self._chance.choice(ranks[len(ranks) // 2 :]), times=6)


class Fate:
    """Kills one program after the other, and starts it again."""

    def __init__(self, watcher: Watcher, audit: Audit, chance: random.Random, summary: Summary) -> None:
        self._cluster = cluster = audit.cluster
        self._watcher = watcher
        self._audit = audit
        self._chance = chance
        self._summary = summary
        self._victims: Iterator[Daemon] = cycle(cluster.daemons)

    def strike(self) -> None:
        victim = next(self._victims)
        victim.kill()
        self._summary.kills[victim.name] = self._summary.kills.get(victim.name, 0) + 1
        if victim.addr in self._cluster.destination_addrs:
            self._leave_stray(victim.addr)
        pause(self._chance.uniform(0.0, 4.0))
        began_s = time.monotonic()
        self._cluster.restart(victim)
        after_s = self._cluster.wait_for(
            lambda: self._recovered(victim), f"{victim.name} to recover", RECOVERY_S
        )
        took_s = round(time.monotonic() - began_s, 1)
        summary = self._summary
        summary.max_recovery_s = max(summary.max_recovery_s, took_s)
        summary.max_recovery_after_start_s = max(summary.max_recovery_after_start_s, round(after_s, 1))
        number = sum(summary.kills.values())
        print(f"kill {number}, {victim.name}: recovered after {took_s} s", file=sys.stderr, flush=True)

    def _leave_stray(self, addr: str) -> None:
        """A file of another server lies on the dead one's disk, as after a repair."""
        others = sorted(self._cluster.placed() - self._cluster.visible(addr))
        if others and not self._chance.randrange(2):
            name = self._chance.choice(others)
            self._watcher.strays[addr] = time.monotonic()
            self._cluster.place(addr, [name])
            self._audit.strays.add(FileOnServer(addr, name))
            self._summary.strays += 1

    def _recovered(self, victim: Daemon) -> bool:
        """cfm decides again, on all servers; a worker is seen again, with its list."""
        try:
            status = self._cluster.status()
        except OSError:
            return False
        servers = [s for s in status["servers"] if victim is self._cluster.cfm or s["addr"] == victim.addr]
        known = all("source" in s["role"] or s["files"] is not None for s in servers)
        return status["snapshot"]["accepted"] and known and all(s["state"] == "up" for s in servers)


def pause(seconds: float) -> None:
    time.sleep(seconds)


def soak(cluster: Cluster, seconds: float, summary: Summary) -> None:
    chance = random.Random(summary.seed)
    audit, watcher = Audit(cluster, killed=True), Watcher(cluster)
    cluster.start()
    watcher.start()
    viewers, fate = Viewers(cluster, chance), Fate(watcher, audit, chance, summary)
    began_s, next_s = time.monotonic(), time.monotonic() + CALM_S
    while time.monotonic() - began_s < seconds:
        viewers.live()
        audit.look()
        if time.monotonic() >= next_s:
            fate.strike()
            next_s = time.monotonic() + CALM_S
        pause(LOOK_EVERY_S)
    summary.rest_after_s = round(cluster.wait_at_rest(REST_S), 1)
    summary.violations += [*watcher.stop(), *audit.problems()]
    summary.looks = watcher.looks
    summary.deeds = dict(audit.counted())
    summary.bytes_delivered = FILE_BYTES * summary.deeds.get("copied done", 0)
    summary.placed = len(cluster.placed())
    if summary.placed < cluster.fitting():
        summary.violations.append(f"only {summary.placed} of {cluster.fitting()} places are taken")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the node's files are; else the temporary folder")
    args = parser.parse_args()
    summary = Summary(seed=args.seed)
    began_s = time.monotonic()
    if args.folder is not None:
        args.folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="soak-", dir=args.folder) as folder,
        Cluster(
            Path(folder), SERVERS, SERVERS, FILES, FILE_BYTES, QUOTA_BYTES, SPEED_BPS, cfm_keys=KEYS
        ) as cluster,
    ):
        try:
            soak(cluster, 60 * args.minutes, summary)
        except AssertionError as error:
            summary.violations.append(str(error))
    summary.seconds = round(time.monotonic() - began_s, 1)
    print(json.dumps(asdict(summary), indent=2))
    return 3 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
