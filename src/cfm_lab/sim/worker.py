"""A simulated worker of ours: the product's book of downloads, shelf, streams and obedience, no real machine.

What is decided is decided by the product; here are the process (killed, stopped, restarted), its state that
survives, and what the API and the agent do around the deciding code.  Neighbours: `transfer` moves bytes,
`network` carries requests, `controller` is the other end.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

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
from cfm.worker.act.disk_lock import FreeForAll
from cfm.worker.act.fencing import Claim
from cfm.worker.act.shelf import DeclinedError, Receipt
from cfm.worker.act.shelf_rules import Deletion, Usage
from cfm.worker.act.state import MemoryState
from cfm.worker.decide.download_events import (
    Abandon,
    Abandoned,
    Answer,
    Ask,
    AskNext,
    Conclude,
    Event,
    Forget,
    HeldDurably,
    Hold,
    Instruction,
    NotHeld,
    NothingOffered,
    Publish,
    Published,
    ReportAnswered,
    Restarted,
    SendReport,
    StartTransfer,
    Stopping,
    StopTransfer,
    TaskOffered,
    Tick,
)
from cfm.worker.decide.offers import Neighbourhood, failure
from cfm_lab.sim.disks import SimDisk
from cfm_lab.sim.network import ERROR_500, Process, Reply
from cfm_lab.sim.schedule import Clock
from cfm_lab.sim.transfer import Download, Sending, progress_events, raise_io_error, serve_stream

if TYPE_CHECKING:
    from cfm_lab.sim.world import World

T = TypeVar("T")

STATUS: Final = {
    Deletion.DELETED: 200,
    Deletion.ABSENT: 404,
    Deletion.NOT_PLAIN: 406,
    Deletion.RECEIVING: 409,
    Deletion.OVERTAKEN: 409,
}
ANSWER_MS: Final = 10_000
CONFLICT: Final = Failure(Trouble.STATUS, "answered 409", 409)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits: the product's state in memory, and its lock, do not."""
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


class SimWorker:
    """One server with a worker of ours."""

    ours = True

    def __init__(
        self,
        world: World,
        addr: Addr,
        disk: SimDisk,
        clock: Clock,
        *,
        serves: bool,
        transfer: Transfer = Transfer.BUILTIN,
        limit_percent: int = 90,
        downloads: int = 4,
        slots: int = 1,
    ) -> None:
        self.world = world
        self.addr = addr
        self.machine = addr
        self.disk = disk
        self.clock = clock
        self.process = Process(addr)
        self.state = TroubledState(lambda: world.swarm.strikes("worker_state_full"))
        self.limit_percent = limit_percent
        self.downloads = downloads
        self.slots = slots
        self.claims = sum(addr.encode()) % 2 == 0
        """Whether its question takes what it is offered; else it takes it by its first report."""
        self.serves = serves
        self.kind = transfer
        self.here = Neighbourhood(addr, world.cfm_addr)
        self.cfm_name = ""
        self.moved_ms: int | None = None
        """When it last got another address."""
        self._boots = 0
        self._start()

    def _start(self) -> None:
        """A new process: nothing but the durable state is remembered."""
        parts, world = self.world.parts, self.world
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
            claims=FreeForAll(),
            limit_percent=self.limit_percent,
        )
        self.streams = parts.streams(self.slots)
        self.book = parts.book(self.here, slots=self.downloads, poll_ms=5_000)
        self.transfers: dict[int, Download] = {}
        self.receipts: dict[int, Receipt] = {}
        self.sending: dict[int, Sending] = {}
        self._wake_at_ms: int | None = None
        self._seen: tuple[int, str, Listing] | None = None
        self._measured: tuple[int, Usage] | None = None
        """What the shelf said of its disk, at which version of it."""
        self._acting = False
        self._events: list[Event] = []
        self._litter = True
        self.process.up = True
        self._clean()
        world.note("worker starts", self.addr)
        self.act(Restarted(memory.held))

    @property
    def incarnation(self) -> int:
        return self.process.incarnation

    # ── the process ─────────────────────────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        self.world.note("worker dies", self.addr)
        self.process.end()
        for download in list(self.transfers.values()):
            download.died()
        for sending in list(self.sending.values()):
            sending.close()
            if sending.transfer is not None:
                self.world.schedule.after(5, sending.transfer.broken, sending)

    def restart(self) -> None:
        if not self.process.up:
            self._start()

    def move_to(self, addr: Addr) -> None:
        """The machine gets another address, and its settings with it."""
        self.addr = addr
        self.moved_ms = self.world.schedule.now_ms
        self.process.name = addr
        self.here = Neighbourhood(addr, self.world.cfm_addr)

    def stop_softly(self) -> None:
        """SIGTERM: it tells what it can, then ends."""
        self.act(Stopping())
        self.later(3_000, self._end_softly)

    def _end_softly(self) -> None:
        self.kill()
        self.world.schedule.after(2_000, self.restart)

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Do something, if this very process still runs."""
        incarnation = self.incarnation

        def due() -> None:
            if self.incarnation == incarnation and self.process.up:
                self.process.do(call)

        self.world.schedule.after(delay_ms, due)

    # ── the agent ───────────────────────────────────────────────────────────────────────────────────────

    def act(self, event: Event) -> None:
        """Bring an event to the book, and carry out what it orders, in order."""
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

    def _act(self, event: Event) -> None:
        not_held: int | None = None
        outcome: HeldDurably | NotHeld | None = None
        for instruction in self.book.handle(event, self.clock.mono_ms()):
            if isinstance(instruction, Hold):
                outcome = self._hold(instruction.offer)
                not_held = outcome.task_id if isinstance(outcome, NotHeld) else None
            elif not (isinstance(instruction, SendReport) and instruction.offer.id == not_held):
                self._carry_out(instruction)
        if outcome is not None:
            self._act(outcome)

    def _plan_wake(self) -> None:
        wake_ms = self.book.wake_at_ms()
        if wake_ms is None or (self._wake_at_ms is not None and self._wake_at_ms <= wake_ms):
            return
        self._wake_at_ms = wake_ms
        self.world.schedule.after(self.clock.until(wake_ms), self._wake, wake_ms, self.incarnation)

    def _wake(self, wake_ms: int, incarnation: int) -> None:
        if incarnation == self.incarnation and self.process.up and self._wake_at_ms == wake_ms:
            self._wake_at_ms = None
            self.process.do(self._tick)

    def _tick(self) -> None:
        progress_events(self)
        self.act(Tick())

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
                download = self.transfers[instruction.offer.id] = Download(self, instruction.offer)
                self.world.check.transfer_started(self, instruction.offer)
                download.start()
            case StopTransfer():
                self.transfers[instruction.offer.id].stop()
            case Publish():
                slow = self.world.swarm.strikes("disk_slow")
                delay_ms = 20_000 if slow else 15
                self.later(delay_ms, lambda: self._publish(instruction))
            case Abandon():
                self.later(5, lambda: self._abandon(instruction.offer))

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
            if self.world.swarm.strikes("fsync_eio"):
                raise_io_error(errno.EIO)
            self.world.publishing = instruction.offer
            self.shelf.publish(self.receipts[task_id], verified=instruction.verified)
            del self.receipts[task_id]
        except (DeclinedError, OSError) as error:
            failed = failure(str(error))
        finally:
            self.world.publishing = None
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
        cfm = self.world.cfm_for(self)
        wait_s = self.world.profile.wait_s
        timeout_ms = ANSWER_MS + (wait_s * 1000 if instruction.how is Ask.WAIT else 0)
        self.world.net.call(
            self.process,
            cfm.process,
            lambda reply: cfm.serve_next(self.addr, instruction.holding, wait_s, self.claims, reply),
            self._asked,
            timeout_ms,
        )

    def _asked(self, answer: object) -> None:
        if isinstance(answer, Failure):
            refused = Answer.REFUSED if answer.status and answer.status < 500 else Answer.DOWN
            self.act(NothingOffered(refused))
            return
        assert isinstance(answer, tuple)
        claim, offer = answer
        if not self._hears(claim):
            self.act(NothingOffered(Answer.REFUSED))
        elif isinstance(offer, TaskOffer):
            self.act(TaskOffered(self._spoilt(offer)))
        else:
            self.act(NothingOffered(Answer.EMPTY if offer is None else Answer.REFUSED))

    def _spoilt(self, offer: TaskOffer) -> TaskOffer:
        """Now and then somebody evil is in the middle."""
        if self.world.swarm.strikes("evil_offer"):
            names = ("../escape.txt", "..", "a/b.mpg", ".cfw-id", "\x00x")
            return self.world.evil(offer, self.world.rng.pick(names))
        return offer

    def _hears(self, claim: Claim) -> bool:
        ours = at_once(self.authority.hear(claim))
        self.world.check.epoch_heard(self, claim, ours)
        return ours

    def _report(self, instruction: SendReport) -> None:
        cfm = self.world.cfm_for(self)
        offer, report, sent_ms = instruction.offer, instruction.report, self.clock.mono_ms()

        def told(answer: object) -> None:
            status = None
            if isinstance(answer, tuple) and self._hears(answer[0]):
                status = answer[1]
            elif isinstance(answer, Failure) and answer.status:
                status = answer.status
            self.act(ReportAnswered(offer.id, report, status, sent_ms))

        self.world.check.reported(self, offer, report)
        self.world.net.call(
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

    def _hear_epoch(self, claim: Claim) -> None:
        binding = self.authority.binding
        if binding and claim.controller == binding.controller and claim.epoch > binding.epoch:
            at_once(self.authority.order(claim))
        self.world.check.epoch_heard(self, claim, ours=binding is not None)

    def serve_list(self, claim: Claim, fence: int | None, reply: Reply) -> None:
        self._hear_epoch(claim)
        if fence is not None and at_once(self.authority.fence(claim, fence)) is not None:
            reply(CONFLICT)
            return
        if fence is not None:
            self.world.check.fenced(self, claim, fence)
        self._when_disk_moves(lambda: reply(self._listing()))

    def _listing(self) -> Listing | Failure:
        swarm = self.world.swarm
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

    def serve_disk(self, claim: Claim, reply: Reply) -> None:
        self._hear_epoch(claim)
        self._when_disk_moves(lambda: reply(self._usage()))

    def _usage(self) -> DiskReport | Failure:
        if self._measured is None or self._measured[0] != self.disk.version:
            try:
                self._measured = self.disk.version, self.shelf.usage()
            except OSError:
                self._measured = None
                return ERROR_500
        usage = self._measured[1]
        report = DiskUsage(usage.total_bytes, usage.used_bytes, usage.avail_bytes)
        if self.world.swarm.strikes("df_absurd"):
            return self.world.absurd_df(report)
        return DiskReport(report, self.limit_percent, usage.disk_id, usage.arriving_bytes)

    def serve_copy(self, claim: Claim, name: str, reply: Reply) -> None:
        self._hear_epoch(claim)
        self._when_disk_moves(lambda: reply(self._copy(name)))

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

    def serve_delete(self, claim: Claim, order_id: int, name: str, reply: Reply) -> None:
        self._hear_epoch(claim)
        why = at_once(self.authority.delete_order(claim, order_id))
        if why is not None:
            reply(409)
            return
        delay_ms = 1 + self.world.rng.below(20)
        if self.world.swarm.strikes("delete_hangs"):
            delay_ms = self.world.rng.between(5_000, 90_000)
        self.later(
            delay_ms, lambda: self._when_disk_moves(lambda: self._delete(claim, order_id, name, reply))
        )

    def _delete(self, claim: Claim, order_id: int, name: str, reply: Reply) -> None:
        world = self.world
        try:
            if world.swarm.strikes("unlink_eio"):
                raise_io_error(errno.EIO)
            world.deleting = (self, claim, order_id)
            deletion = self.shelf.delete(name, lambda: self.authority.still(claim, order_id))
            reply(STATUS[deletion])
        except OSError:
            reply(500)
        finally:
            world.deleting = None

    def serve_cut(self, claim: Claim, task_id: int, reply: Reply) -> None:
        self._hear_epoch(claim)
        if at_once(self.authority.order(claim)) is not None:
            reply(False)
            return
        task = str(task_id)
        self.streams.refuse(task)
        ending = [sending for sending in self.sending.values() if sending.stream.task == task]
        for sending in ending:
            sending.stream.cut()
        self.later(30 if ending else 0, lambda: reply(True))

    def serve_content(self, offer: TaskOffer, reply: Reply) -> None:
        """A reader of ours asks for a file of the SAN."""
        if not self.serves:
            reply("the source answered 404")
            return
        answer = serve_stream(self, offer)
        if answer is None:
            self.later(60, lambda: self.serve_content(offer, reply))
        else:
            reply(answer)

    def _when_disk_moves(self, call: Callable[[], None]) -> None:
        """A hung disk lets everything wait."""
        wait_ms = self.disk.hung_until_ms - self.world.schedule.now_ms
        if wait_ms > 0:
            self.later(wait_ms, call)
        else:
            call()
