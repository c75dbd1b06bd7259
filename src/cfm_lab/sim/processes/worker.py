"""A simulated worker of ours: the product's book of downloads, shelf, streams and fencing.

The product decides.  Here are the process (killed, stopped, restarted), its state that survives, and what the
API and the agent do around the deciding code.  Neighbours: `transfer` downloads, `sending` sends, and the
network carries the requests to and from cfm.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

from cfm.errors import StateError
from cfm.model import (
    Addr,
    CopySeen,
    DiskReport,
    DiskUsage,
    Failure,
    Listing,
    Transfer,
    Trouble,
    WorkerFeatures,
)
from cfm.wire import TaskOffer
from cfm.worker.act.shelf import DeclinedError
from cfm.worker.decide.download_events import (
    Abandon,
    Abandoned,
    Ask,
    AskNext,
    AskOutcome,
    BookEvent,
    Conclude,
    DownloadTick,
    Forget,
    HeldDurably,
    Hold,
    Instruction,
    NotHeld,
    NothingOffered,
    Progress,
    Publish,
    Published,
    ReportAnswered,
    Restarted,
    SendReport,
    StartTransfer,
    Stopping,
    StopTransfer,
    TaskOffered,
    TransferEnded,
)
from cfm.worker.decide.fencing import Issuer, raises_epoch
from cfm.worker.decide.offers import Neighbourhood, failure
from cfm.worker.decide.shelf_rules import DeletionOutcome, Receipt, Usage
from cfm_lab.fakes.memory_worker import MemoryState, NoOtherWorkers
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.network import ERROR_500, Reply
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.environment.shared import Environment
from cfm_lab.sim.processes.sending import Sender, SenderWitness
from cfm_lab.sim.processes.server import ServerWitness, SimServer
from cfm_lab.sim.processes.transfer import Download, raise_io_error

T = TypeVar("T")

STATUS: Final = {
    DeletionOutcome.DELETED: 200,
    DeletionOutcome.ABSENT: 404,
    DeletionOutcome.NOT_PLAIN: 406,
    DeletionOutcome.RECEIVING: 409,
    DeletionOutcome.OVERTAKEN: 409,
}
ANSWER_MS: Final = 10_000
CONFLICT: Final = Failure(Trouble.STATUS, "answered 409", 409)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as those of the product's state in memory."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


class TroubledState(MemoryState):
    """A worker's state on a disk that may be full."""

    def __init__(self, full: Callable[[], bool]) -> None:
        super().__init__()
        self._full = full

    async def hold(self, offer: TaskOffer) -> None:
        if self._full():
            raise StateError("the disk under the state is full")
        await super().hold(offer)


class WorkerWitness(ServerWitness, SenderWitness, Protocol):
    """Who is told what a worker of ours does."""

    def epoch_heard(self, worker: SimWorker, issuer: Issuer, ours: bool) -> None: ...

    def fenced(self, worker: SimWorker, issuer: Issuer, fence: int) -> None: ...

    def transfer_started(self, worker: SimWorker, offer: TaskOffer) -> None: ...


class SimWorker(SimServer):
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
        """True: asking for work takes the offered task.  False: the first report takes it."""
        self.serves = serves
        self.kind = transfer
        self.here = Neighbourhood(addr, env.cfm_addr)
        self._boots = 0
        self._start()

    def _start(self) -> None:
        """A new process, which knows only the durable state."""
        parts, env = self.env.parts, self.env
        self._boots += 1
        memory = at_once(self.state.recall())
        self.features = WorkerFeatures(
            ours=True,
            version="simulated",
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
        )
        self.sender = Sender(env, self.addr, self.slots, self.witness)
        self.book = parts.book(self.here, slots=self.downloads, poll_ms=5_000)
        self.transfers: dict[int, Download] = {}
        self.receipts: dict[int, Receipt] = {}
        self._wake_at_ms: int | None = None
        self._seen: tuple[int, str, Listing] | None = None
        self._measured: tuple[int, Usage] | None = None
        """The version of the disk, and its figures as the shelf measured them then."""
        self._acting = False
        self._events: list[BookEvent] = []
        self._litter = True
        self.process.up = True
        self._clean()
        env.note("worker starts", self.addr)
        self.act(Restarted(memory.held))

    @property
    def incarnation(self) -> int:
        return self.process.incarnation

    # ── the process ─────────────────────────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        self.env.note("worker dies", self.addr)
        self.process.end()
        for download in list(self.transfers.values()):
            download.died()
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

    # ── the agent ───────────────────────────────────────────────────────────────────────────────────────

    def act(self, event: BookEvent) -> None:
        """Let the book handle an event, and carry out its instructions one after the other."""
        self._events.append(event)
        if self._acting:
            return
        self._acting = True
        try:
            while self._events:
                self._act(self._events.pop(0))
        finally:
            self._acting = False
        self._plan_wake()

    def _act(self, event: BookEvent) -> None:
        outcome: HeldDurably | NotHeld | None = None
        for instruction in self.book.handle(event, self.clock.mono_ms()):
            if isinstance(instruction, Hold):
                outcome = self._hold(instruction.offer)
            else:
                self._carry_out(instruction)
        if outcome is not None:
            self._act(outcome)

    def _plan_wake(self) -> None:
        wake_ms = self.book.wake_at_ms()
        if wake_ms is None or (self._wake_at_ms is not None and self._wake_at_ms <= wake_ms):
            return
        self._wake_at_ms = wake_ms
        self.env.schedule.after(self.clock.until(wake_ms), self._wake, wake_ms, self.incarnation)

    def _wake(self, wake_ms: int, incarnation: int) -> None:
        if incarnation == self.incarnation and self.process.up and self._wake_at_ms == wake_ms:
            self._wake_at_ms = None
            self.process.do(self._tick)

    def _tick(self) -> None:
        for task_id, download in list(self.transfers.items()):
            if not download.over:
                self.act(Progress(task_id, download.progress()))
        self.act(DownloadTick())

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case AskNext():
                self._ask(instruction)
            case SendReport():
                self._report(instruction)
            case Conclude():
                at_once(self.state.conclude(instruction.offer, instruction.final))
            case Forget():
                at_once(self.state.forget(instruction.task_id))
            case StartTransfer():
                self._clean()
                self._download(instruction.offer)
            case StopTransfer():
                self.transfers[instruction.offer.id].stop()
            case Publish():
                slow = self.env.swarm.strikes("disk_slow")
                delay_ms = 20_000 if slow else 15
                self.later(delay_ms, lambda: self._publish(instruction))
            case Abandon():
                self.later(5, lambda: self._abandon(instruction.offer))

    def _download(self, offer: TaskOffer) -> None:
        external = self.kind is Transfer.EXTERNAL
        download = Download(self, self.shelf, self.receipts, offer, self._transferred, external=external)
        self.transfers[offer.id] = download
        self.witness.transfer_started(self, offer)
        download.start()

    def _transferred(self, event: BookEvent) -> None:
        """A download reports how it goes."""
        if isinstance(event, TransferEnded):
            self.transfers.pop(event.task_id, None)
        self.act(event)

    def _hold(self, offer: TaskOffer) -> HeldDurably | NotHeld:
        try:
            at_once(self.state.hold(offer))
        except StateError:
            return NotHeld(offer.id)
        return HeldDurably(offer.id)

    def _publish(self, instruction: Publish) -> None:
        task_id = instruction.offer.id
        failed = None
        try:
            if self.env.swarm.strikes("fsync_eio"):
                raise_io_error(errno.EIO)
            self.env.publishing = instruction.offer
            self.shelf.publish(self.receipts[task_id], verified=instruction.verified)
            del self.receipts[task_id]
            self.arrived(instruction.offer.file_name)
        except (DeclinedError, OSError) as error:
            failed = failure(str(error))
        finally:
            self.env.publishing = None
        self.act(Published(task_id, failed))

    def _abandon(self, offer: TaskOffer) -> None:
        receipt = self.receipts.pop(offer.id, None)
        if receipt is not None:
            try:
                self.shelf.abandon(receipt)
            except OSError:
                self._litter = True
        self.act(Abandoned(offer.id))

    def _clean(self) -> None:
        if self._litter:
            try:
                self.shelf.clean()
            except OSError:
                return
            self._litter = False

    # ── to cfm ──────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, instruction: AskNext) -> None:
        if self.is_sick("deaf"):
            return
        cfm = self.env.cfm_for(self)
        wait_s = self.env.profile.wait_s
        timeout_ms = ANSWER_MS + (wait_s * 1000 if instruction.how is Ask.WAIT else 0)
        self.env.net.call(
            self.process,
            cfm.process,
            lambda reply: cfm.serve_next(self.addr, instruction.holding, wait_s, self.claims, reply),
            self._asked,
            timeout_ms,
        )

    def _asked(self, answer: object) -> None:
        if isinstance(answer, Failure):
            refused = AskOutcome.REFUSED if answer.status and answer.status < 500 else AskOutcome.DOWN
            self.act(NothingOffered(refused))
            return
        assert isinstance(answer, tuple)
        issuer, offer = answer
        if not self._hears(issuer):
            self.act(NothingOffered(AskOutcome.REFUSED))
        elif isinstance(offer, TaskOffer):
            self.act(TaskOffered(self._spoilt(offer)))
        else:
            self.act(NothingOffered(AskOutcome.EMPTY if offer is None else AskOutcome.REFUSED))

    def _spoilt(self, offer: TaskOffer) -> TaskOffer:
        """Now and then an attacker changes the offer."""
        if self.env.swarm.strikes("evil_offer"):
            names = ("../escape.txt", "..", "a/b.mpg", ".cfw-id", "\x00x")
            name = self.rng.pick(names)
            return replace(offer, file_name=name, path=f"/san/{name}")
        return offer

    def _hears(self, issuer: Issuer) -> bool:
        ours = at_once(self.authority.hear(issuer))
        self.witness.epoch_heard(self, issuer, ours)
        return ours

    def _report(self, instruction: SendReport) -> None:
        cfm = self.env.cfm_for(self)
        offer, report, sent_ms = instruction.offer, instruction.report, self.clock.mono_ms()

        def told(answer: object) -> None:
            status = None
            if isinstance(answer, tuple) and self._hears(answer[0]):
                status = answer[1]
            elif isinstance(answer, Failure) and answer.status:
                status = answer.status
            self.act(ReportAnswered(offer.id, report, status, sent_ms))

        self.witness.reported(self, offer, report)
        self.env.net.call(
            self.process,
            cfm.process,
            lambda reply: cfm.serve_report(self, offer.id, report, reply),
            told,
            ANSWER_MS,
        )

    # ── the API ─────────────────────────────────────────────────────────────────────────────────────────

    def _with_disk_id(self) -> WorkerFeatures:
        disk_id = self.shelf.seen_disk_id
        if self.features.disk_id != disk_id:
            features = self.features
            self.features = WorkerFeatures(
                ours=True,
                version=features.version,
                transfer=features.transfer,
                serves=features.serves,
                downloads=features.downloads,
                boot_id=features.boot_id,
                disk_id=disk_id,
            )
        return self.features

    def serve_heartbeat(self, reply: Reply) -> None:
        reply(self._with_disk_id())

    def _hear_epoch(self, issuer: Issuer) -> None:
        binding = self.authority.binding
        if raises_epoch(binding, issuer):
            at_once(self.authority.order(issuer))
        self.witness.epoch_heard(self, issuer, ours=binding is not None)

    def serve_list(self, issuer: Issuer, fence: int | None, reply: Reply) -> None:
        self._hear_epoch(issuer)
        if fence is not None and at_once(self.authority.fence(issuer, fence)) is not None:
            reply(CONFLICT)
            return
        if fence is not None:
            self.witness.fenced(self, issuer, fence)
        self.when_disk_answers(lambda: reply(self._listing()))

    def _listing(self) -> Listing | Failure:
        swarm = self.env.swarm
        if swarm.strikes("list_eio"):
            return ERROR_500
        if self._seen is not None and self._seen[0] == self.disk.version:
            return self._seen[2]
        try:
            inventory = self.shelf.inventory()
        except OSError:
            self._seen = None
            return ERROR_500
        names = frozenset(inventory.names)
        if self._seen is not None and self._seen[2].names == names:
            listing = self._seen[2]
        else:
            listing = Listing(names, inventory.disk_id)
        self._seen = (self.disk.version, inventory.disk_id, listing)
        if swarm.strikes("list_phantoms"):
            return Listing(names | {f"PHANTOM{swarm.counts['list_phantoms']}.mpg"}, inventory.disk_id)
        return listing

    def serve_disk(self, issuer: Issuer, reply: Reply) -> None:
        self._hear_epoch(issuer)
        self.when_disk_answers(lambda: reply(self._usage()))

    def _usage(self) -> DiskReport | Failure:
        if self._measured is None or self._measured[0] != self.disk.version:
            try:
                self._measured = self.disk.version, self.shelf.usage()
            except OSError:
                self._measured = None
                return ERROR_500
        usage = self._measured[1]
        report = DiskUsage(usage.total_bytes, usage.used_bytes, usage.avail_bytes)
        if self.env.swarm.strikes("df_absurd"):
            return self.absurd_usage(report)
        return self.told(DiskReport(report, self.limit_percent, usage.disk_id, usage.arriving_bytes))

    def serve_copy(self, issuer: Issuer, name: str, reply: Reply) -> None:
        self._hear_epoch(issuer)
        self.when_disk_answers(lambda: reply(self._copy(name)))

    def _copy(self, name: str) -> CopySeen | Failure:
        try:
            self.shelf.check()
        except OSError:
            return ERROR_500
        with self.disk.open() as folder:
            entry = folder.look(name)
        if entry is None or entry.kind != "file":
            return CopySeen(present=False)
        return CopySeen(present=True, size_bytes=entry.size_bytes, disk_id=self.shelf.seen_disk_id)

    def serve_delete(self, issuer: Issuer, order_id: int, name: str, reply: Reply) -> None:
        self._hear_epoch(issuer)
        why = at_once(self.authority.delete_order(issuer, order_id))
        if why is not None:
            reply(409)
            return
        delay_ms = 1 + self.rng.below(20)
        if self.env.swarm.strikes("delete_hangs"):
            delay_ms = self.rng.between(5_000, 90_000)
        self.later(
            delay_ms, lambda: self.when_disk_answers(lambda: self._delete(issuer, order_id, name, reply))
        )

    def _delete(self, issuer: Issuer, order_id: int, name: str, reply: Reply) -> None:
        env = self.env
        try:
            if env.swarm.strikes("unlink_eio"):
                raise_io_error(errno.EIO)
            env.deleting = DeleteRequest(self, issuer, order_id)
            deletion = self.shelf.delete(name, lambda: self.authority.still(issuer, order_id))
            reply(STATUS[deletion])
        except OSError:
            reply(500)
        finally:
            env.deleting = None

    def serve_cut(self, issuer: Issuer, task_id: int, reply: Reply) -> None:
        self._hear_epoch(issuer)
        if at_once(self.authority.order(issuer)) is not None:
            reply(False)
            return
        was_sending = self.sender.cut(task_id)
        self.later(30 if was_sending else 0, lambda: reply(True))

    def serve_content(self, offer: TaskOffer, reply: Reply) -> None:
        """A worker of ours wants to read a file of the SAN."""
        if not self.serves:
            reply("the source answered 404")
            return
        answer = self.sender.serve(offer)
        if answer is None:
            self.later(60, lambda: self.serve_content(offer, reply))
        else:
            reply(answer)
