"""A simulated server, whichever worker runs on it: an address, a disk, clocks and a process."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from cfm import wire
from cfm.model import Addr, DiskReport, DiskUsage, Failure
from cfm.wire import TaskOffer, TaskReport
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.network import Process
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.services import WorkerService
from cfm_lab.sim.environment.shared import Environment

VANISH_MS: Final = 1_000
DIP_EVERY: Final = 10


class ServerWitness(Protocol):
    """Who is told what a worker does, old or ours."""

    def reported(self, worker: SimServer, offer: TaskOffer, report: TaskReport) -> None: ...


class SimServer(WorkerService):
    """One server of a node."""

    def __init__(self, env: Environment, addr: Addr, disk: SimDisk, clock: Clock) -> None:
        self.env = env
        self.addr = addr
        self.machine = addr
        self.disk = disk
        self.clock = clock
        self.rng = env.rng.fork(addr)
        """The luck of this machine alone."""
        self.process = Process(addr, env.schedule)
        self.moved_ms: int | None = None
        self._first_report: DiskReport | None = None
        self._reports = 0
        self._stands_still = False

    @abstractmethod
    def kill(self) -> None:
        """End the process at once.  It forgets what was not durable."""

    @abstractmethod
    def restart(self) -> None:
        """Start the process, if it does not run."""

    @abstractmethod
    def stop_softly(self) -> None:
        """Stop the process as SIGTERM does, and start it again soon."""

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Do something after a while, if this very process still runs then."""
        self.process.later(delay_ms, call)

    def when_disk_answers(self, call: Callable[[], None]) -> None:
        """Do something with the disk: now, or when the disk no longer hangs."""
        wait_ms = self.disk.hung_until_ms - self.env.schedule.now_ms
        if wait_ms > 0:
            self.later(wait_ms, call)
        else:
            call()

    # ── sicknesses ──────────────────────────────────────────────────────────────────────────────────────

    def is_sick(self, kind: str) -> bool:
        return self.env.sick.has(kind, self.addr)

    def arrived(self, name: str) -> None:
        """A file has become visible.  Other software may remove it soon."""
        if self.is_sick("loses_arrivals"):
            self.later(VANISH_MS, lambda: self.disk.lose_to_others(name))

    def stand_still(self, *, still: bool) -> None:
        """From now on it tells the same of its disk, or again the truth."""
        self._stands_still, self._first_report = still, None

    def told(self, report: DiskReport) -> DiskReport:
        """What this server tells of its disk, which is not always true."""
        self._reports += 1
        if self._stands_still or self.is_sick("df_stands_still"):
            self._first_report = self._first_report or report
            return self._first_report
        dips = self.is_sick("df_dips") and self._reports % DIP_EVERY == 0
        if dips or self.env.swarm.strikes("df_dips"):
            return replace(report, usage=_much_smaller(report.usage))
        return report

    def absurd_usage(self, usage: DiskUsage) -> DiskReport | Failure:
        """Impossible figures of a disk, as the product's own parser reads them."""
        total, used = usage.total_bytes, usage.used_bytes
        message = self.rng.pick(
            (
                {"total_size": "0", "used_size": "0", "avail_size": "0", "used_percent": 0},
                {
                    "total_size": str(total),
                    "used_size": str(total * 2),
                    "avail_size": "0",
                    "used_percent": 99,
                },
                {"total_size": str(total), "used_size": str(used), "avail_size": str(total * 3)},
                {"total_size": total, "used_size": used, "avail_size": 5},
                {"total_size": str(total), "used_size": "0", "avail_size": str(total), "used_percent": 150},
            )
        )
        answer = self.env.parts.parse_df(wire.to_json(message))
        assert isinstance(answer, DiskReport | Failure)
        return answer


def _much_smaller(usage: DiskUsage) -> DiskUsage:
    """The same bytes on a disk of little more than half the size, as where another data set has grown."""
    total_bytes = max(usage.used_bytes, usage.total_bytes * 6 // 10)
    lost_bytes = usage.total_bytes - total_bytes
    return DiskUsage(total_bytes, usage.used_bytes, max(0, usage.avail_bytes - lost_bytes))
