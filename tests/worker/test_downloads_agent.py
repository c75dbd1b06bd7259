"""The download agent with everything real around it: a cfm, a source, a disk, a state."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cfm.config import CfwSettings
from cfm.model import Addr, Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.agent import LAST_WORDS_S, DownloadAgent
from cfm.worker.act.base_dir import Folder
from cfm.worker.act.download_files import DiskThreads, DownloadFiles, disk_threads
from cfm.worker.act.download_settings import make_book, neighbourhood, transfer_settings
from cfm.worker.act.fencing import Authority
from cfm.worker.act.link import CfmLink
from cfm.worker.act.real_base_dir import RealBaseDir
from cfm.worker.act.shelf import Shelf
from cfm.worker.act.state import Memory
from cfm.worker.act.transfers import TransferSettings, make_transfer
from cfm.worker.act.transfers.builtin import BuiltinSettings
from cfm.worker.act.transfers.contract import FileTransfer, Landing, Received, TransferError, Watch
from cfm.worker.act.transfers.external import ExternalSettings
from cfm.worker.decide.cfm_answers import CfmAnswer
from cfm.worker.decide.download_events import Ask
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.decide.offers import HeldTask, Neighbourhood
from cfm_lab.fakes.memory_worker import MemoryState, NoOtherWorkers
from cfm_lab.testing.faulty_source import FaultySource, SourceFault
from cfm_lab.testing.old_controller import OldController
from cfm_lab.testing.waiting_cfm import WaitingCfm, usual_offer

OWN = Addr("127.0.2.1:8888")
CONTENT = bytes(range(256)) * 400


class WatchedState(MemoryState):
    """Tells when no task is held any more."""

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__(memory)
        self.empty = asyncio.Event()

    async def forget(self, task_id: int) -> None:
        await super().forget(task_id)
        if not (await self.recall()).held:
            self.empty.set()


class WatchedFiles(DownloadFiles):
    """Tells when there is no litter any more."""

    def __init__(self, shelf: Shelf, threads: DiskThreads) -> None:
        super().__init__(shelf, threads)
        self.cleaned = asyncio.Event()

    async def clean(self) -> bool:
        left = await super().clean()
        if not left:
            self.cleaned.set()
        return left


@dataclass
class Worker:
    """The fetching half of a worker, in this process."""

    folder: Path
    cfm: Addr
    state: WatchedState = field(default_factory=WatchedState)
    slots: int = 1
    quota_bytes: int | None = None
    script: str = ""
    """An external downloader's; the built-in transfer where there is none."""
    disk: RealBaseDir | None = None
    """Another disk than the plain folder."""
    files: WatchedFiles | None = None
    """Those of the run that was started last."""

    @property
    def base(self) -> Path:
        return self.folder / "data"

    def visible(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.base.iterdir() if path.suffix == ".mpg"}

    def litter(self) -> list[str]:
        temp = self.base / "temp.downloaded"
        return [path.name for path in temp.iterdir()] if temp.exists() else []

    def transfer(self) -> FileTransfer:
        external = None
        if self.script:
            program = self.folder / "downloader.sh"
            program.write_text(f"#!/bin/sh\n{self.script}\n")
            program.chmod(0o755)
            external = ExternalSettings(program, re.compile("Successfully"))
        return make_transfer(TransferSettings(BuiltinSettings(loopback_ok=True, pauses_s=()), external))

    def book(self) -> DownloadBook:
        return DownloadBook(Neighbourhood(OWN, self.cfm), slots=self.slots, poll_ms=50)

    def shelf(self) -> Shelf:
        self.base.mkdir(exist_ok=True)
        return Shelf(
            self.disk or RealBaseDir(self.base),
            disk_id=None,
            new_id="0123456789abcdef",
            remember=lambda _: None,
            disk_locks=NoOtherWorkers(),
            limit_percent=90,
            quota_bytes=self.quota_bytes,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[DownloadAgent]:
        here = Neighbourhood(OWN, self.cfm)
        async with CfmLink(here, Authority(self.state, None), wait_s=5, answer_s=2) as link:
            book = self.book()
            self.files = files = WatchedFiles(self.shelf(), disk_threads(self.slots))
            agent = DownloadAgent(book, link, self.transfer(), files, self.state)
            run = asyncio.create_task(agent.run())
            try:
                yield agent
            finally:
                run.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await run

    async def forgotten(self) -> None:
        """Wait until nothing is held any more, and the litter is gone."""
        assert self.files is not None
        async with asyncio.timeout(10):
            await self.state.empty.wait()
            await self.files.cleaned.wait()


@pytest.fixture
async def cfm() -> AsyncIterator[WaitingCfm]:
    async with WaitingCfm() as cfm:
        yield cfm


@pytest.fixture
async def source() -> AsyncIterator[FaultySource]:
    async with FaultySource(CONTENT) as source:
        yield source


def task(source: FaultySource, **more: Any) -> dict[str, Any]:
    return {"src_addr": source.addr, "dst_addr": OWN, "size_bytes": len(CONTENT), **more}


async def test_fetches_tells_and_asks_again(cfm: WaitingCfm, source: FaultySource, tmp_path: Path) -> None:
    worker = Worker(tmp_path, cfm.addr)
    async with worker.running() as agent:
        await cfm.offer(**task(source))
        await cfm.heard(1, status=Status.DONE, verified=True)
        assert worker.visible() == {"A.mpg": CONTENT}
        assert worker.litter() == []
        await cfm.asked(2)
        await worker.forgotten()
        assert agent.counts.done == 1
    told = [(report.status, report.received) for _, report in cfm.reports]
    assert told[0] == (Status.WORKING, False)
    assert (Status.WORKING, True) in told
    assert told[-1] == (Status.DONE, False)


async def test_several_at_a_time_but_no_more_than_the_setting(cfm: WaitingCfm, tmp_path: Path) -> None:
    async with FaultySource(CONTENT, SourceFault.STALL) as slow:
        worker = Worker(tmp_path, cfm.addr, slots=2)
        async with worker.running() as agent:
            for number in (1, 2, 3):
                await cfm.offer(**task(slow, id=str(number), file_name=f"{number}.mpg"))
            for number in (1, 2):
                await cfm.heard(number, status=Status.WORKING)
            await slow.streaming.wait()
            assert set(agent.book.states()) == {1, 2}
        assert worker.litter() == []


@pytest.mark.parametrize(
    "fault", [SourceFault.CORRUPT, SourceFault.SHORT_FILE, SourceFault.CUT_ALWAYS, SourceFault.REDIRECT]
)
async def test_a_failed_copy_leaves_nothing_and_is_told(
    cfm: WaitingCfm, source: FaultySource, tmp_path: Path, fault: SourceFault
) -> None:
    source.fault = fault
    worker = Worker(tmp_path, cfm.addr)
    async with worker.running():
        await cfm.offer(**task(source))
        report = await cfm.heard(1, status=Status.FAILED)
        assert report.error
        assert worker.visible() == {}
        assert worker.litter() == []


async def test_a_busy_source_is_told_as_such(cfm: WaitingCfm, source: FaultySource, tmp_path: Path) -> None:
    source.fault = SourceFault.BUSY
    async with Worker(tmp_path, cfm.addr).running():
        await cfm.offer(**task(source))
        await cfm.heard(1, status=Status.FAILED, error="busy", retry_after_s=7)


async def test_a_name_that_leaves_the_folder_writes_nothing(
    cfm: WaitingCfm, source: FaultySource, tmp_path: Path
) -> None:
    worker = Worker(tmp_path, cfm.addr)
    async with worker.running():
        await cfm.offer(**task(source, file_name="../escape.mpg"))
        await cfm.heard(1, status=Status.FAILED)
    assert source.requests == []
    assert not (tmp_path / "escape.mpg").exists()


async def test_room_is_looked_at_again(cfm: WaitingCfm, source: FaultySource, tmp_path: Path) -> None:
    worker = Worker(tmp_path, cfm.addr, quota_bytes=len(CONTENT))  # of which 90 % may be used
    async with worker.running():
        await cfm.offer(**task(source))
        report = await cfm.heard(1, status=Status.FAILED)
        assert "no room" in report.error
    assert source.requests == []


async def test_a_refused_claim_downloads_nothing(
    cfm: WaitingCfm, source: FaultySource, tmp_path: Path
) -> None:
    cfm.answers[1] = 409
    async with Worker(tmp_path, cfm.addr).running():
        await cfm.offer(**task(source))
        await cfm.asked(2)
    assert source.requests == []
    assert [report.status for _, report in cfm.reports] == [Status.WORKING]


async def test_a_task_that_cfm_ends_is_stopped(cfm: WaitingCfm, source: FaultySource, tmp_path: Path) -> None:
    source.fault = SourceFault.STALL
    worker = Worker(tmp_path, cfm.addr)
    async with worker.running():
        await cfm.offer(**task(source))
        await source.streaming.wait()
        cfm.answers[1] = 409
        await source.ended.wait()
        await worker.forgotten()
        assert worker.litter() == []
        await cfm.asked(2)


class SlowState(MemoryState):
    """Task 2 is written down only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.writing = asyncio.Event()
        self.go_on = asyncio.Event()

    async def hold(self, offer: TaskOffer) -> None:
        if offer.id == 2:
            self.writing.set()
            await self.go_on.wait()
        await super().hold(offer)


class ScriptedLink:
    """A cfm that has two tasks, and ends the first one when the test says so."""

    def __init__(self) -> None:
        self.offers = [replace(parsed(number), status=Status.WORKING) for number in ("2", "1")]
        self.end = asyncio.Event()
        self.answered = asyncio.Event()
        self.asked_again = asyncio.Event()
        self.is_bound = True

    async def ask(self, how: Ask, holding: frozenset[int]) -> CfmAnswer:  # noqa: ARG002
        if not self.offers:
            self.asked_again.set()
            await asyncio.Event().wait()
        return CfmAnswer(200, offer=self.offers.pop())

    async def report(self, offer: TaskOffer, report: TaskReport) -> CfmAnswer:  # noqa: ARG002
        if offer.id == 2:
            return CfmAnswer(200)
        await self.end.wait()
        self.answered.set()
        return CfmAnswer(409)


class OpenTransfer:
    """A transfer that fails when the test says so."""

    def __init__(self) -> None:
        self.fail = asyncio.Event()
        self.failing = asyncio.Event()

    def prepare(self) -> None: ...

    async def fetch(self, offer: TaskOffer, landing: Landing, watch: Watch) -> Received:  # noqa: ARG002
        await self.fail.wait()
        self.failing.set()
        raise TransferError("the source is gone")

    async def close(self) -> None: ...


class BuggyLink(ScriptedLink):
    """It trips over the first answer."""

    def __init__(self) -> None:
        super().__init__()
        self.tripped = False

    async def ask(self, how: Ask, holding: frozenset[int]) -> CfmAnswer:
        if not self.tripped:
            self.tripped = True
            raise KeyError("x-odd-header")
        return await super().ask(how, holding)


async def test_an_error_on_the_way_to_an_answer_does_not_end_the_worker(tmp_path: Path) -> None:
    state, link = SlowState(), BuggyLink()
    state.go_on.set()
    worker = Worker(tmp_path, Addr("127.0.0.1:1"), slots=2)
    files = DownloadFiles(worker.shelf(), disk_threads(2))
    agent = DownloadAgent(worker.book(), link, OpenTransfer(), files, state)
    run = asyncio.create_task(agent.run())
    async with asyncio.timeout(20):
        asked = asyncio.create_task(link.asked_again.wait())
        await asyncio.wait({run, asked}, return_when=asyncio.FIRST_COMPLETED)
    assert not run.done()
    link.end.set()
    run.cancel()
    await asyncio.wait((run,))


async def test_a_transfer_that_ended_by_itself_is_not_stopped_as_well(tmp_path: Path) -> None:
    """cfm ends a task, and its transfer ends; both are heard only when another task has been written down."""
    state, link, transfer = SlowState(), ScriptedLink(), OpenTransfer()
    worker = Worker(tmp_path, Addr("127.0.0.1:1"), slots=2)
    files = DownloadFiles(worker.shelf(), disk_threads(2))
    agent = DownloadAgent(worker.book(), link, transfer, files, state)
    run = asyncio.create_task(agent.run())
    async with asyncio.timeout(10):
        await state.writing.wait()
        link.end.set()
        await link.answered.wait()
        transfer.fail.set()
        await transfer.failing.wait()
        state.go_on.set()
        await asyncio.wait(
            {run, asyncio.create_task(link.asked_again.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        assert not run.done()
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run


async def test_while_a_write_hangs_only_one_sign_of_cfm_waits(tmp_path: Path) -> None:
    state, link = SlowState(), ScriptedLink()
    link.end.set()
    worker = Worker(tmp_path, Addr("127.0.0.1:1"), slots=2)
    files = DownloadFiles(worker.shelf(), disk_threads(2))
    agent = DownloadAgent(worker.book(), link, OpenTransfer(), files, state)
    run = asyncio.create_task(agent.run())
    async with asyncio.timeout(10):
        await state.writing.wait()
    before = agent._events.qsize()
    for _heartbeat in range(1_000):
        agent.cfm_spoke()
    assert agent._events.qsize() == before + 1
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run


async def test_a_worker_that_ends_while_it_writes_a_task_down_ends_soon(tmp_path: Path) -> None:
    state, link = SlowState(), ScriptedLink()
    link.end.set()
    worker = Worker(tmp_path, Addr("127.0.0.1:1"), slots=2)
    files = DownloadFiles(worker.shelf(), disk_threads(2))
    agent = DownloadAgent(worker.book(), link, OpenTransfer(), files, state)
    run = asyncio.create_task(agent.run())
    async with asyncio.timeout(10):
        await state.writing.wait()
    async with asyncio.timeout(LAST_WORDS_S / 2):
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
    assert agent.book.quiet


class SlowEnd(WatchedState):
    """How a task ended is durable when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.writing = asyncio.Event()
        self.go_on = asyncio.Event()

    async def conclude(self, offer: TaskOffer, final: TaskReport) -> None:
        self.writing.set()
        await self.go_on.wait()
        await super().conclude(offer, final)


async def test_a_worker_that_ends_while_it_writes_down_an_end_tells_of_it_first(
    cfm: WaitingCfm, source: FaultySource, tmp_path: Path
) -> None:
    state = SlowEnd()
    worker = Worker(tmp_path, cfm.addr, state)
    async with asyncio.timeout(LAST_WORDS_S), worker.running() as agent:
        await cfm.offer(**task(source))
        await state.writing.wait()
        asyncio.get_running_loop().call_soon(state.go_on.set)
    assert agent.book.quiet
    assert cfm.reports[-1][1].status is Status.DONE
    assert (await state.recall()).held == ()


async def test_the_end_of_the_worker_is_told(cfm: WaitingCfm, source: FaultySource, tmp_path: Path) -> None:
    source.fault = SourceFault.STALL
    worker = Worker(tmp_path, cfm.addr)
    async with worker.running():
        await cfm.offer(**task(source))
        await source.streaming.wait()
    await cfm.heard(1, status=Status.FAILED, error="the worker was stopped")
    assert worker.litter() == []
    assert (await worker.state.recall()).held == (), (
        "cfm has heard of its end: the next start repeats nothing"
    )


async def test_a_restart_tells_what_became_of_its_tasks(cfm: WaitingCfm, tmp_path: Path) -> None:
    done = TaskReport(Status.DONE, verified=True)
    state = WatchedState(Memory(held=(HeldTask(parsed("1")), HeldTask(parsed("2"), done))))
    litter = tmp_path / "data" / "temp.downloaded" / "A.mpg.1"
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b"half")
    worker = Worker(tmp_path, cfm.addr, state)
    async with worker.running():
        await cfm.heard(1, status=Status.FAILED, error="the worker was restarted")
        await cfm.heard(2, status=Status.DONE)
        await worker.forgotten()
        assert worker.litter() == []


class LateDisk(RealBaseDir):
    """A disk that is mounted when the test says so."""

    def __init__(self, base_dir: Path) -> None:
        super().__init__(base_dir)
        self.looked_for = threading.Event()
        self.mounted = threading.Event()

    @contextlib.contextmanager
    def open(self) -> Iterator[Folder]:
        if not self.mounted.is_set():
            self.looked_for.set()
            raise OSError("not mounted")
        with super().open() as folder:
            yield folder


class HungDisk(RealBaseDir):
    """A disk that does not answer before the test says so."""

    def __init__(self, base_dir: Path) -> None:
        super().__init__(base_dir)
        self.answers = threading.Event()

    @contextlib.contextmanager
    def open(self) -> Iterator[Folder]:
        self.answers.wait()
        with super().open() as folder:
            yield folder


async def test_a_disk_that_hangs_at_the_start_does_not_keep_the_worker_from_asking(tmp_path: Path) -> None:
    """Its first question tells it whom it belongs to, and its reports must go out."""
    disk = HungDisk(tmp_path / "data")
    worker = Worker(tmp_path, Addr("127.0.0.1:1"), disk=disk)
    files = WatchedFiles(worker.shelf(), disk_threads(1))
    link = ScriptedLink()
    link.offers.clear()
    agent = DownloadAgent(worker.book(), link, OpenTransfer(), files, worker.state)
    run = asyncio.create_task(agent.run())
    async with asyncio.timeout(10):
        await link.asked_again.wait()
        assert not files.cleaned.is_set()
        disk.answers.set()
        await files.cleaned.wait()
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run


async def test_litter_goes_as_soon_as_the_disk_is_there_again(tmp_path: Path) -> None:
    """Not only with the next download: litter takes room, and there may be none for long."""
    temp = tmp_path / "data" / "temp.downloaded"
    temp.mkdir(parents=True)
    (temp / "A.mpg.1").write_bytes(b"half")
    disk = LateDisk(tmp_path / "data")
    worker = Worker(tmp_path, Addr("127.0.0.1:1"), disk=disk)
    files = WatchedFiles(worker.shelf(), disk_threads(1))
    link = ScriptedLink()
    link.offers.clear()
    book = DownloadBook(Neighbourhood(OWN, worker.cfm), clean_again_ms=20)
    agent = DownloadAgent(book, link, OpenTransfer(), files, worker.state)
    run = asyncio.create_task(agent.run())
    async with asyncio.timeout(10):
        await asyncio.to_thread(disk.looked_for.wait)
        disk.mounted.set()
        await files.cleaned.wait()
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    assert worker.litter() == []


def parsed(task_id: str) -> TaskOffer:
    return usual_offer(id=task_id, src_addr="127.0.1.1:8888", dst_addr=OWN)


async def test_a_report_survives_a_cfm_that_is_away(source: FaultySource, tmp_path: Path) -> None:
    source.fault = SourceFault.SILENT
    async with contextlib.AsyncExitStack() as stack:
        async with WaitingCfm() as before:
            worker = Worker(tmp_path, before.addr)
            await stack.enter_async_context(worker.running())
            await before.offer(**task(source))
            await source.streaming.wait()
        await source.cut()
        async with WaitingCfm(worker.cfm) as after:
            await after.heard(1, status=Status.FAILED)
            await worker.forgotten()


# --- an old cfm


async def test_works_for_an_old_cfm(source: FaultySource, tmp_path: Path) -> None:
    async with OldController() as old:
        worker = Worker(tmp_path, old.addr)
        async with worker.running():
            good = old.add_task("A.mpg", "/data2/A.mpg", source.addr, OWN, speed_bps=10**9)
            await old.reached(good, "done")
            assert worker.visible() == {"A.mpg": CONTENT}
            source.fault = SourceFault.CORRUPT
            bad = old.add_task("B.mpg", "/data2/B.mpg", source.addr, OWN, speed_bps=10**9)
            await old.reached(bad, "done")  # an old cfm frees both servers of such a task only
            assert worker.visible() == {"A.mpg": CONTENT}


# --- an external downloader

COPY = 'cp "$3.source" "$2"; echo Successfully >&2'


async def test_runs_the_external_downloader(cfm: WaitingCfm, source: FaultySource, tmp_path: Path) -> None:
    (tmp_path / "A.mpg.source").write_bytes(CONTENT)
    worker = Worker(tmp_path, cfm.addr, script=COPY)
    async with worker.running():
        await cfm.offer(**task(source, file_path=f"{tmp_path}/A.mpg"))
        await cfm.heard(1, status=Status.DONE)
        assert worker.visible() == {"A.mpg": CONTENT}
        await cfm.heard(1, received=True)


async def test_a_failed_downloader_s_litter_goes(
    cfm: WaitingCfm, source: FaultySource, tmp_path: Path
) -> None:
    worker = Worker(tmp_path, cfm.addr, script='echo half > "$2"; exit 1')
    async with worker.running():
        await cfm.offer(**task(source))
        report = await cfm.heard(1, status=Status.FAILED)
        assert "ended with 1" in report.error
        assert worker.litter() == []


# --- from the settings


def test_settings_are_understood(tmp_path: Path) -> None:
    plain = CfwSettings(
        listen_addr=OWN,
        cfm_addr=Addr("127.0.0.1:8080"),
        base_dir=tmp_path,
        downloads=3,
        downloader_sleep_sec=7,
    )
    assert neighbourhood(plain) == Neighbourhood(OWN, Addr("127.0.0.1:8080"))
    assert transfer_settings(plain).external is None
    assert transfer_settings(plain).builtin.threads == 6
    assert transfer_settings(plain).builtin.loopback_ok
    assert (make_book(plain).slots, make_book(plain).poll_ms) == (3, 7_000)
    named = plain.model_copy(update={"downloader_bin": tmp_path / "x", "advertise_addr": Addr("vod-7:8888")})
    external = transfer_settings(named).external
    assert external is not None
    assert external.program == tmp_path / "x"
    assert neighbourhood(named).own == "vod-7:8888"
