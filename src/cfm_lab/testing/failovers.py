"""Several cfm under load whose leader falls again and again, in each way that there is.

The load and the audits are those of `kills`.  After each blow the time is measured until another cfm (or the
same one, where the database fell) has ordered the next copy, and until a worker has taken it: both is in the
books in PostgreSQL, which nobody else writes (a busy machine may let us see it late, but the id of a task is
when it was ordered).  `bench/failover.py` runs this.
"""

from __future__ import annotations

import http.client
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Final, LiteralString

import psycopg

from cfm.demo.postgres import PostgresServer
from cfm_lab.testing.audit import Audit
from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.kills import FILE_BYTES, KEYS, PATIENCE_S, Kills
from cfm_lab.testing.processes import Daemon

LOOK_S: Final = 0.02
_ORDERED: Final = "SELECT min(id) FROM cfm.tasks WHERE id > %s"
"""The id of a task is when it was ordered, in nanoseconds."""
_TAKEN: Final = "SELECT count(*) FROM cfm.tasks WHERE id > %s AND status <> 'ready'"
COPY_SPEED_BPS: Final = 2_500_000
"""A copy takes more than a second.  So files that are wanted always wait, and the sources are busy."""


@dataclass(slots=True)
class Failovers(Kills):
    """Blows to one node with several cfm.  Whoever made `server` ends it."""

    server: PostgresServer | None = None
    controllers: int = 2
    disks_are_full: bool = False
    """Then a copy needs a delete before, and a new leader deletes nothing on a disk that it has not measured
    twice, five seconds apart."""
    taken_s: dict[str, list[float]] = field(default_factory=dict)
    """Kind of blow → how long it took each time until a worker had taken the next copy."""
    ways: tuple[str, ...] = ("kill", "freeze", "terminate", "database")

    def __post_init__(self) -> None:
        assert self.server is not None
        self._random = random.Random(self.seed)  # noqa: S311 - it chooses blows, and no secrets
        self.node = Cluster(
            self.root / "node",
            sources=2,
            destinations=3,
            files=30,
            file_bytes=FILE_BYTES,
            quota_bytes=(10 if self.disks_are_full else 20_000) * FILE_BYTES,
            copy_speed_bps=COPY_SPEED_BPS,
            state_url=self.server.url(),
            controllers=self.controllers,
            cfm_keys=KEYS,
        )
        self.audit = Audit(self.node, killed=True)

    def _kill(self) -> None:
        way = self._random.choice(self.ways)
        leader = next(one for one in self.node.cfms if one.addr == self._leader())
        time.sleep(self._random.uniform(0, 1))  # it may come at any moment of a copy, delete or report
        began_s, began_ns = time.monotonic(), time.time_ns()
        self._strike(way, leader)
        self._wait_for(_TAKEN, began_ns)
        taken_s = time.monotonic() - began_s
        took_s = (self._asked(_ORDERED, began_ns) - began_ns) / 1e9
        self.recovered_s.setdefault(way, []).append(took_s)
        self.taken_s.setdefault(way, []).append(taken_s)
        self._mend(leader, way)
        self.tell(
            f"blow {self.kills}, {way}: the next copy was ordered after {took_s:.2f} s, and taken by its "
            f"worker after {taken_s:.2f} s"
        )

    def _until_busy(self) -> float:
        """A busy machine may not let all sources send at one moment; some copy has to be under way."""

        def busy() -> bool:
            self._publish()
            return bool(self._sending())

        return self.node.wait_for(busy, "some source to send", PATIENCE_S)

    def _sending(self) -> set[str]:
        try:
            transfers = self.node.status()["transfers"]
        except (OSError, ValueError, http.client.HTTPException):
            return set()
        return {one["source"] for one in transfers if one["status"] == "working"}

    def _leader(self) -> str:
        self.node.wait_for(lambda: bool(self.node.leader_addr), "somebody to lead", PATIENCE_S)
        return self.node.leader_addr

    def _asked(self, question: LiteralString, since_ns: int) -> int:
        with psycopg.connect(self.node.state_url) as books:
            row = books.execute(question, (since_ns,)).fetchone()
            return 0 if row is None else int(row[0])

    def _wait_for(self, question: LiteralString, since_ns: int) -> None:
        """Until the books show a newer task of which that is true."""
        ends_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends_s:
            try:
                if self._asked(question, since_ns):
                    return
            except psycopg.OperationalError:
                pass  # the database is away
            time.sleep(LOOK_S)
            if time.monotonic() > ends_s - PATIENCE_S / 2:
                self._publish()
        raise AssertionError(f"no copy began: {[one.output()[-2000:] for one in self.node.cfms]}")

    def _mend(self, leader: Daemon, way: str) -> None:
        """Bring the one back that was hit; it follows then."""
        if way == "freeze":
            leader.send(signal.SIGCONT)
        if way == "terminate":
            leader.wait_ended()
        if way in ("kill", "terminate"):
            leader.start()
        self.node.wait_for(leader.listens, f"{leader.name} to listen", PATIENCE_S)

    def _strike(self, way: str, leader: Daemon) -> None:
        match way:
            case "kill":
                leader.kill()
            case "freeze":  # it goes on in the middle of whatever it did, when another one leads
                leader.send(signal.SIGSTOP)
            case "terminate":
                leader.send(signal.SIGTERM)
            case _:
                assert self.server is not None
                self.server.stop(signal.SIGKILL)
                time.sleep(self._random.uniform(0, 5))
                self.server.start()
