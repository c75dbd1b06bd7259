"""A simulated server, whichever worker runs on it: an address, a disk, clocks and a process."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from cfm import wire
from cfm.model import Addr, DiskReport, DiskUsage, Failure
from cfm.wire import TaskOffer, TaskReport
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.network import Process
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.services import WorkerService
from cfm_lab.sim.environment.shared import Environment


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
