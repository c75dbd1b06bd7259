"""A node under load whose programs are killed again and again; and the checks that must hold meanwhile.

New files are published all the time, each wanted more than all before.  So sources always have something to
send, and destinations always have to make room.  After each kill the victims are started again.  The time is
measured until every source sends again, and every copy that was acknowledged must still be there.  From time
to time the load stops, and the whole node is audited at rest.

Neighbours: `cluster` and `audit`.  `bench/kill_thousand.py` and a fault test run this.
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cfm_lab.testing.audit import Audit, BookEntry, FileOnServer
from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.processes import Daemon

BUSY_WITHIN_S: Final = 5.0
PATIENCE_S: Final = 60.0
"""How long to wait for what should take seconds."""
REST_S: Final = 180.0
STILL_S: Final = 3.0
AT_A_TIME: Final = 12
"""How many files are published together, every two seconds.  cfm looks at the SAN every five seconds, and the
sources must not run out of files until then."""
FILE_BYTES: Final = 400_000
COPY_SPEED_BPS: Final = 5_000_000
"""A copy takes two thirds of a second.  Much smaller files would arrive before the speed limit has effect."""
LIBRARY: Final = 120
"""How many files are graded.  Files beyond that leave the library, unless they are on a disk."""
KEYS: Final[dict[str, Any]] = {
    "remover": {"minimum_stay_sec": 0, "space_deletes_per_minute": 6_000, "breaker_percent": 100},
    "servers": {"heartbeat_interval_sec": 5},
}


@dataclass(slots=True)
class Kills:
    """Kills in one node.  Whoever made `root` removes it."""

    root: Path
    seed: int = 1
    rest_every: int = 50
    """After this many kills the load stops, and everything is audited."""
    recovered_s: dict[str, list[float]] = field(default_factory=dict)
    """Kind of victim → how long it took each time until all sources sent again."""
    listening_s: list[float] = field(default_factory=list)
    """How much of that time the programs needed to start, which depends on the processor."""
    working_s: list[float] = field(default_factory=list)
    """The rest of that time."""
    late: list[str] = field(default_factory=list)
    """The output of cfm and of the victims, each time that it took too long."""
    problems: list[str] = field(default_factory=list)
    odd_answers: list[str] = field(default_factory=list)
    """What cfm answered when it was asked for its status and did not give it."""
    rests: int = 0
    tell: Callable[[str], None] = lambda _line: None
    """Called with a line after each kill, because a thousand kills take hours."""
    node: Cluster = field(init=False)
    audit: Audit = field(init=False)
    _random: random.Random = field(init=False)
    _published: int = 0
    _published_at_s: float = 0.0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - it chooses victims, and no secrets
        self.node = Cluster(
            self.root / "node",
            sources=2,
            destinations=3,
            files=30,
            file_bytes=FILE_BYTES,
            quota_bytes=10 * FILE_BYTES,
            copy_speed_bps=COPY_SPEED_BPS,
            cfm_keys=KEYS,
        )
        self.audit = Audit(self.node, killed=True)

    def run(self, kills: int, within_s: float) -> None:
        """Kill this many times, or as often as the time allows.  In any case the node rests at the end."""
        until_s = time.monotonic() + within_s
        with self.node:
            self.node.start()
            for number in range(1, kills + 1):
                self._until_busy()
                self._kill()
                self._acknowledged()
                last = number == kills or time.monotonic() >= until_s
                if last or number % self.rest_every == 0:
                    self._rest()
                if last:
                    return

    @property
    def kills(self) -> int:
        return sum(map(len, self.recovered_s.values()))

    def figures(self) -> dict[str, Any]:
        """The figures of a run."""
        times = [time_s for times in self.recovered_s.values() for time_s in times]
        return {
            "seed": self.seed,
            "kills": self.kills,
            "by_victim": {who: len(times) for who, times in sorted(self.recovered_s.items())},
            "deeds": dict(self.audit.counted()),
            "audits_at_rest": self.rests,
            "programs_listen_s": spread(self.listening_s),
            "busy_again_s": spread(times),
            "busy_after_listening_s": spread(self.working_s),
            "late": len(self.late),
            "odd_answers": len(self.odd_answers),
            "problems": self.problems,
        }

    # ── load ────────────────────────────────────────────────────────────────────────────────────────────

    def _publish(self) -> None:
        """Publish new files at the top.  The worst files that are on no disk leave the library."""
        if time.monotonic() - self._published_at_s < 2:  # files are read when they have been at rest
            return
        self._published_at_s = time.monotonic()
        new = [f"NEW{self._published + i:06}_K2026.mpg" for i in range(AT_A_TIME)]
        self._published += AT_A_TIME
        for name in new:
            self.node.put_on_san(name)
        kept, placed = [*new, *self.node.ranks], self.node.placed() | self._under_way()
        gone = {name for name in kept[LIBRARY:] if name not in placed}
        self.node.write_metadata([name for name in kept if name not in gone])
        for name in gone:
            (self.node.san / name).unlink()

    def _under_way(self) -> set[str]:
        """The file names in names of temporary files, which are `NAME.TASK`."""
        temps = (temp for addr in self.node.destination_addrs for temp in self.node.litter(addr))
        return {temp.rpartition(".")[0] for temp in temps}

    def _sending(self) -> set[str]:
        """The sources that are sending, by cfm's status; none if cfm does not answer."""
        try:
            status, body = self.node.ask("/api/v1/status")
        except (OSError, http.client.HTTPException):
            return set()
        if status != http.HTTPStatus.OK:
            self.odd_answers.append(body.decode(errors="replace"))
            return set()
        transfers = json.loads(body)["transfers"]
        return {one["source"] for one in transfers if one["status"] == "working"}

    def _until_busy(self) -> float:
        """Keep up the load until all sources send.  Returns how long that took."""
        everybody = set(self.node.source_addrs)

        def busy() -> bool:
            self._publish()
            return self._sending() == everybody

        try:
            return self.node.wait_for(busy, "all sources to send", PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{json.dumps(self.node.status(), indent=1)}\n{error}") from None

    # ── kills ───────────────────────────────────────────────────────────────────────────────────────────

    def _victims(self) -> tuple[str, list[Daemon]]:
        destination = self.node.workers[self._random.choice(self.node.destination_addrs)]
        source = self.node.workers[self._random.choice(self.node.source_addrs)]
        kinds = {
            "cfm": [self.node.cfm],
            "destination": [destination],
            "source": [source],
            "cfm and destination": [self.node.cfm, destination],
            "all": self.node.daemons,
        }
        who = self._random.choice(list(kinds))
        return who, kinds[who]

    def _kill(self) -> None:
        who, victims = self._victims()
        time.sleep(self._random.uniform(0, 1))  # a kill may come at any moment of a copy, delete or report
        for victim in victims:
            victim.kill()
        said = {daemon.name: len(daemon.output()) for daemon in [self.node.cfm, *victims]}
        began_s = time.monotonic()
        for victim in victims:
            victim.start()
        for victim in victims:
            self.node.wait_for(victim.listens, f"{victim.name} to listen", PATIENCE_S)
        listening_s = time.monotonic() - began_s
        self._until_busy()
        busy_s = time.monotonic() - began_s
        self.listening_s.append(listening_s)
        self.working_s.append(busy_s - listening_s)
        self.recovered_s.setdefault(who, []).append(busy_s)
        self.tell(f"kill {self.kills}, {who}: all sources send again after {busy_s:.1f} s")
        if busy_s > BUSY_WITHIN_S:
            self.late.append(
                self._story(f"{who}: {listening_s:.1f} s to listen, {busy_s:.1f} s to send", said)
            )

    def _story(self, title: str, said: dict[str, int]) -> str:
        """The output of each program after the given number of characters."""
        words = [
            f"--- {daemon.name}\n{daemon.output()[said[daemon.name] :]}"
            for daemon in self.node.daemons
            if daemon.name in said
        ]
        return "\n".join([title, *words])

    # ── what must hold ──────────────────────────────────────────────────────────────────────────────────

    def _acknowledged(self) -> None:
        """Every copy that was reported as done is there, unless cfm has ordered its delete since.

        The books are read before the disks and after them, because an order in between may delete a file.
        """
        before = list(_standing(self.audit.deeds()))
        there = {
            FileOnServer(addr, name)
            for addr in self.node.destination_addrs
            for name in self.node.visible(addr)
        }
        missing = [deed for deed in before if deed.place not in there]
        after = set(_standing(self.audit.deeds())) if missing else set()
        for deed in missing:
            if deed in after:
                self.problems.append(f"after {self.kills} kills: {deed.place} was acknowledged, and is gone")

    def _rest(self) -> None:
        """Stop the load, wait until the node rests, and audit everything."""
        self.node.wait_for(self._stays_at_rest, "the node to come to rest", REST_S)
        self.rests += 1
        found = [f"after {self.kills} kills: {problem}" for problem in self.audit.problems()]
        self.tell(f"at rest after {self.kills} kills: {len(found)} problems")
        self.problems += found

    def _stays_at_rest(self) -> bool:
        """Is it at rest, and still so some seconds later?  A plan may be under way at the first look."""
        deeds = self.audit.deeds() if self._is_at_rest() else None
        if deeds is None:
            return False
        time.sleep(STILL_S)
        return self._is_at_rest() and self.audit.deeds() == deeds

    def _is_at_rest(self) -> bool:
        status = self.node.status()
        idle = not status["transfers"] and not status["deletes"]
        up = all(server["state"] == "up" for server in status["servers"])
        return up and idle and self._all_read(status) and self.node.is_idle(status)

    def _all_read(self, status: dict[str, Any]) -> bool:
        return bool(status["snapshot"]["graded_files"] == len(self.node.ranks))


def spread(times_s: list[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    spread = {"median": statistics.median(ordered), "p99": p99, "max": ordered[-1]}
    return {name: round(time_s, 2) for name, time_s in spread.items()}


def _standing(deeds: list[BookEntry]) -> Iterator[BookEntry]:
    """Copies that were done, and that no later order may have deleted."""
    last: dict[FileOnServer, BookEntry] = {}
    for deed in deeds:
        if deed.what == "deleted" and deed.status != "dropped":
            last.pop(deed.place, None)
        elif deed.status == "done":
            last[deed.place] = deed
    yield from last.values()
