"""A simulated worker of ours: the machine around the product's own code.

Here are the process (killed, stopped, restarted), its state that survives, and what a new process is put
together from.  Neighbours: `agent` drives the book of downloads, `worker_requests` answers requests, and
`sending` sends.
"""

from __future__ import annotations

from collections.abc import Callable

from cfm import __version__
from cfm.errors import StateError
from cfm.model import Addr, Transfer, WorkerFeatures
from cfm.wire import TaskOffer
from cfm.worker.act.download_files import DownloadFiles
from cfm.worker.decide.download_events import BookEvent, Restarted, Stopping
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.decide.offers import Neighbourhood
from cfm_lab.fakes.memory_worker import MemoryState, NoOtherWorkers
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.shared import Environment
from cfm_lab.sim.processes.agent import SimAgent
from cfm_lab.sim.processes.at_once import NoLog, NoThreads, at_once
from cfm_lab.sim.processes.executor import SimExecutor
from cfm_lab.sim.processes.sending import Sender
from cfm_lab.sim.processes.worker_requests import AnsweringWorker, WorkerWitness


class TroubledState(MemoryState):
    """A worker's state on a disk that may be full."""

    def __init__(self, full: Callable[[], bool]) -> None:
        super().__init__()
        self._full = full

    async def hold(self, offer: TaskOffer) -> None:
        if self._full():
            raise StateError("the disk under the state is full")
        await super().hold(offer)


class SimWorker(AnsweringWorker):
    """One server with a worker of ours."""

    ours = True

    def __init__(
        self,
        env: Environment,
        addr: Addr,
        disk: SimDisk,
        clock: Clock,
        witness: WorkerWitness,
        *,
        serves: bool,
        transfer: Transfer = Transfer.BUILTIN,
        limit_percent: int = 90,
        downloads: int = 4,
        slots: int = 1,
    ) -> None:
        super().__init__(env, addr, disk, clock)
        self.witness = witness
        self.state = TroubledState(lambda: env.swarm.strikes("worker_state_full"))
        self.limit_percent = limit_percent
        self.downloads = downloads
        self.slots = slots
        self.claims = sum(addr.encode()) % 2 == 0
        self.serves = serves
        self.kind = transfer
        self.here = Neighbourhood(addr, env.cfm_addr)
        self._boots = self._probes = 0
        self._start()

    def _start(self) -> None:
        """A new process, which knows only the durable state."""
        parts, env = self.env.parts, self.env
        self._boots += 1
        memory = at_once(self.state.recall())
        self.features = WorkerFeatures(
            ours=True,
            version=__version__,
            transfer=self.kind,
            serves=self.serves,
            downloads=self.downloads,
            boot_id=f"boot-{self.addr}-{self._boots}",
        )
        self.authority = parts.authority(self.state, memory.binding)
        self.shelf = parts.shelf(
            self.disk,
            disk_id=memory.disk_id,
            new_id=f"disk-{self.addr}".replace(":", "-").replace(".", "-"),
            remember=lambda disk_id: at_once(self.state.keep_disk_id(disk_id)),
            disk_locks=NoOtherWorkers(),
            limit_percent=self.limit_percent,
            new_probe=self._new_probe,
        )
        self.sender = Sender(env, self.addr, self.slots, self.witness)
        self.listed = self.measured = None
        self.process.up = True
        book = parts.book(self.here, slots=self.downloads, poll_ms=5_000)
        self.files = DownloadFiles(self.shelf, NoThreads(), NoLog())
        self.executor = SimExecutor(self, self.act)
        self.transfers = self.executor.transfers
        self.agent = SimAgent(book, self.executor, env.schedule, self.clock)
        env.note("worker starts", self.addr)
        self.act(Restarted(memory.held))

    def _new_probe(self) -> str:
        self._probes += 1
        return f"{self.machine}-{self._probes}".replace(":", "-").replace(".", "-")

    @property
    def book(self) -> DownloadBook:
        return self.agent.book

    def act(self, event: BookEvent) -> None:
        self.agent.act(event)

    # ── the process ─────────────────────────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        self.env.note("worker dies", self.addr)
        self.process.end()
        self.executor.die()
        self.sender.die()

    def restart(self) -> None:
        if not self.process.up:
            self._start()

    def move_to(self, addr: Addr) -> None:
        """The machine gets another address, and its settings with it."""
        self.addr = addr
        self.moved_ms = self.env.schedule.now_ms
        self.process.name = addr
        self.here = Neighbourhood(addr, self.env.cfm_addr)

    def stop_softly(self) -> None:
        """SIGTERM: it reports what it can, then it ends."""
        self.act(Stopping())
        self.later(3_000, self._end_softly)

    def _end_softly(self) -> None:
        self.kill()
        self.env.schedule.after(2_000, self.restart)
