"""The line to cfm, on real sockets: what is sent, and what each kind of answer means."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import structlog

from cfm.errors import StoreFullError
from cfm.model import Addr, Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.fencing import Authority
from cfm.worker.act.link import CfmLink
from cfm.worker.decide.download_events import (
    Ask,
    AskNext,
    AskOutcome,
    NothingOffered,
    ReportAnswered,
    SendReport,
    TaskOffered,
)
from cfm.worker.decide.execution import as_told, event_of
from cfm.worker.decide.fencing import Binding
from cfm.worker.decide.offers import Neighbourhood, failure
from cfm_lab.fakes.memory_worker import MemoryState
from cfm_lab.testing.old_controller import OldController
from cfm_lab.testing.waiting_cfm import WaitingCfm

OWN = Addr("127.0.2.1:8888")
OFFER = TaskOffer(
    id=7,
    status=Status.READY,
    file_name="A.mpg",
    path="/data2/A.mpg",
    source=Addr("127.0.1.1:8888"),
    destination=OWN,
    copy_speed_bps=0,
    lease_s=60,
)
NOBODY: frozenset[int] = frozenset()


@dataclass
class UnderstoodLink:
    """A link, and what the worker understands of the answers that it brings."""

    link: CfmLink

    async def ask(self, how: Ask, holding: frozenset[int]) -> object:
        return event_of(AskNext(how, holding), await self.link.ask(how, holding), 0)

    async def report(self, offer: TaskOffer, report: TaskReport) -> int | None:
        answer = await self.link.report(offer, as_told(offer, report, is_bound=self.link.is_bound))
        event = event_of(SendReport(offer, report), answer, 0)
        assert isinstance(event, ReportAnswered)
        return event.status


@asynccontextmanager
async def link_to(
    addr: Addr, authority: Authority | None = None, *, wait_s: int = 1, answer_s: float = 2
) -> AsyncIterator[UnderstoodLink]:
    authority = authority or Authority(MemoryState(), None)
    async with CfmLink(Neighbourhood(OWN, addr), authority, wait_s=wait_s, answer_s=answer_s) as link:
        yield UnderstoodLink(link)


@pytest.fixture
async def cfm() -> AsyncIterator[WaitingCfm]:
    async with WaitingCfm() as cfm:
        yield cfm


async def test_waits_for_a_task(cfm: WaitingCfm) -> None:
    async with link_to(cfm.addr) as link:
        await link.ask(Ask.NOW, NOBODY)  # which is answered at once
        assert cfm.asks[0]["wait_s"] == "0"
        asking = asyncio.create_task(link.ask(Ask.WAIT, frozenset({5, 3})))
        await cfm.asked(2)
        assert dict(cfm.asks[1]) == {"dst_addr": OWN, "wait_s": "1", "claim": "1", "holding": "3,5"}
        await cfm.offer(id="9", src_addr="127.0.1.1:8888", dst_addr=OWN, size_bytes=5, lease_s=30)
        answer = await asking
    assert isinstance(answer, TaskOffered)
    assert (answer.offer.id, answer.offer.size_bytes, answer.offer.lease_s) == (9, 5, 30)


async def test_hears_that_there_is_nothing(cfm: WaitingCfm) -> None:
    async with link_to(cfm.addr) as link:
        assert await link.ask(Ask.NOW, NOBODY) == NothingOffered(AskOutcome.EMPTY)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, AskOutcome.OLD),
        (405, AskOutcome.OLD),
        (400, AskOutcome.REFUSED),
        (302, AskOutcome.REFUSED),
        (500, AskOutcome.DOWN),
        (503, AskOutcome.DOWN),
    ],
)
async def test_what_a_status_means(cfm: WaitingCfm, status: int, answer: AskOutcome) -> None:
    cfm.next_status = status
    async with link_to(cfm.addr) as link:
        assert await link.ask(Ask.NOW, NOBODY) == NothingOffered(answer)


async def test_the_same_unexpected_answer_is_logged_once(cfm: WaitingCfm) -> None:
    cfm.next_status = 302
    with structlog.testing.capture_logs() as lines:
        async with link_to(cfm.addr) as link:
            for _ in range(3):
                await link.ask(Ask.NOW, NOBODY)
            cfm.next_status = 204
            await link.ask(Ask.NOW, NOBODY)
    assert [line["event"] for line in lines] == ["cannot get work from cfm", "cfm answers again"]


async def test_nobody_there_is_down() -> None:
    with structlog.testing.capture_logs() as lines:
        async with link_to(Addr("127.0.0.1:1")) as link:
            await link.ask(Ask.WAIT, NOBODY)
    assert [line["why"] for line in lines] == ["Connection refused"]
    async with link_to(Addr("127.0.0.1:1")) as link:
        assert await link.ask(Ask.WAIT, NOBODY) == NothingOffered(AskOutcome.DOWN)
        assert await link.ask(Ask.LIST, NOBODY) == NothingOffered(AskOutcome.DOWN)
        assert await link.report(OFFER, failure("x")) is None


async def test_what_cannot_be_read_is_no_task(cfm: WaitingCfm) -> None:
    await cfm.offer(id="nine", src_addr="127.0.1.1:8888", dst_addr=OWN)
    async with link_to(cfm.addr) as link:
        assert await link.ask(Ask.NOW, NOBODY) == NothingOffered(AskOutcome.REFUSED)


async def test_reports_say_all_to_a_cfm_of_ours(cfm: WaitingCfm) -> None:
    async with link_to(cfm.addr) as link:
        assert await link.report(OFFER, failure("busy", 7)) == 200
        assert await link.report(OFFER, TaskReport(Status.WORKING, done_bytes=5, received=True)) == 200
        assert await link.report(OFFER, TaskReport(Status.DONE, verified=True)) == 200
        cfm.answers[7] = 409
        assert await link.report(OFFER, TaskReport(Status.DONE, verified=True)) == 409
    assert [report for _, report in cfm.reports[:3]] == [
        TaskReport(Status.FAILED, error="busy", retry_after_s=7),
        TaskReport(Status.WORKING, done_bytes=5, received=True),
        TaskReport(Status.DONE, verified=True),
    ]


@pytest.mark.parametrize("binding", [None, Binding("c", 3)])
@pytest.mark.parametrize("how", [Ask.WAIT, Ask.LIST])
async def test_who_refuses_credentials_is_not_another_controller(
    binding: Binding | None, how: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cfw release` would not help, and would make the worker obey whoever comes next."""
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"
    _, server, addr = await raw([refusal, refusal])
    async with server, link_to(addr, Authority(MemoryState(), binding)) as link:
        assert await link.ask(how, NOBODY) == NothingOffered(AskOutcome.REFUSED)
        assert await link.report(OFFER, failure("x")) == 401
    said = "".join(capsys.readouterr())
    assert "does not accept the credentials of this worker" in said
    assert "cfw release" not in said


# --- whose cfm it is


async def test_the_first_epoch_that_is_heard_binds(cfm: WaitingCfm) -> None:
    authority = Authority(MemoryState(), None)
    async with link_to(cfm.addr, authority) as link:
        await link.ask(Ask.NOW, NOBODY)
        assert authority.binding == Binding("controller-1", 1)
        cfm.epoch = 2
        await link.report(OFFER, failure("x"))
        assert authority.binding == Binding("controller-1", 2)


@pytest.mark.parametrize(
    ("controller", "epoch", "why"),
    [
        ("other", 9, "belongs to another controller"),
        ("controller-1", 4, "its epoch 4 is over: this worker has heard epoch 5"),
        (None, 0, "does not lead now"),
    ],
)
async def test_what_another_or_an_older_controller_says_is_no_answer(
    cfm: WaitingCfm, controller: str | None, epoch: int, why: str
) -> None:
    cfm.controller, cfm.epoch = controller, epoch
    authority = Authority(MemoryState(), Binding("controller-1", 5))
    await cfm.offer(id="9", src_addr="127.0.1.1:8888", dst_addr=OWN)
    async with link_to(cfm.addr, authority) as link:
        with structlog.testing.capture_logs() as lines:
            assert await link.ask(Ask.NOW, NOBODY) == NothingOffered(AskOutcome.REFUSED)
        assert why in lines[0]["why"]
        cfm.answers[7] = 409
        assert await link.report(OFFER, TaskReport(Status.WORKING, done_bytes=1)) is None


class FullState(MemoryState):
    async def bind(self, binding: Binding | None) -> None:
        raise StoreFullError(f"no room for {binding}")


async def test_an_epoch_that_cannot_be_remembered_does_not_count(cfm: WaitingCfm) -> None:
    await cfm.offer(id="9", src_addr="127.0.1.1:8888", dst_addr=OWN)
    async with link_to(cfm.addr, Authority(FullState(), None)) as link:
        assert await link.ask(Ask.NOW, NOBODY) == NothingOffered(AskOutcome.REFUSED)


# --- an old cfm


async def test_takes_the_first_ready_task_of_an_old_list() -> None:
    async with OldController() as old, link_to(old.addr) as link:
        assert await link.ask(Ask.WAIT, NOBODY) == NothingOffered(AskOutcome.OLD)
        assert await link.ask(Ask.LIST, NOBODY) == NothingOffered(AskOutcome.EMPTY)
        old.add_task("X.mpg", "/data2/X.mpg", "127.0.1.1:8888", "127.0.2.9:8888")
        first = old.add_task("A.mpg", "/data2/A.mpg", "127.0.1.1:8888", OWN)
        second = old.add_task("B.mpg", "/data2/B.mpg", "127.0.1.1:8888", OWN)
        answer = await link.ask(Ask.LIST, NOBODY)
        assert isinstance(answer, TaskOffered)
        assert (answer.offer.id, answer.offer.size_bytes, answer.offer.lease_s) == (first, None, None)
        answer = await link.ask(Ask.LIST, frozenset({first}))
        assert isinstance(answer, TaskOffered)
        assert answer.offer.id == second


async def test_an_old_cfm_hears_its_own_words_only() -> None:
    async with OldController() as old, link_to(old.addr) as link:
        task_id = old.add_task("A.mpg", "/data2/A.mpg", "127.0.1.1:8888", OWN)
        answer = await link.ask(Ask.LIST, NOBODY)
        assert isinstance(answer, TaskOffered)
        for report in (TaskReport(Status.WORKING, done_bytes=0), failure("broken", 7)):
            assert await link.report(answer.offer, report) == 200
        assert old.reports == [
            (task_id, {"status": "working"}, 200),
            (task_id, {"status": "done"}, 200),
        ]


@pytest.mark.parametrize("working_first", [True, False], ids=["failed", "refused"])
async def test_an_old_cfm_frees_both_servers_of_a_copy_that_came_to_nothing(working_first: bool) -> None:
    async with OldController() as old, link_to(old.addr) as link:
        old.add_task("A.mpg", "/data2/A.mpg", "127.0.1.1:8888", OWN)
        answer = await link.ask(Ask.LIST, NOBODY)
        assert isinstance(answer, TaskOffered)
        if working_first:
            await link.report(answer.offer, TaskReport(Status.WORKING, done_bytes=0))
        assert old.occupied() == {"127.0.1.1:8888", OWN}
        await link.report(answer.offer, failure("the disk is full"))
        old.clean()
        assert old.occupied() == set()


async def test_a_cfm_that_was_upgraded_meanwhile_hears_the_truth(cfm: WaitingCfm) -> None:
    from_old_cfm = replace(OFFER, lease_s=None)
    async with link_to(cfm.addr) as link:
        await link.ask(Ask.WAIT, NOBODY)
        await link.report(from_old_cfm, failure("the disk is full"))
    assert cfm.reports == [(OFFER.id, failure("the disk is full"))]


async def test_no_task_is_taken_from_the_old_list_of_a_cfm_of_ours() -> None:
    listed = json.dumps([{**OldController().task_of("A.mpg", "/d/A.mpg", "127.0.1.1:8888", OWN)}]).encode()
    head = f"HTTP/1.1 200 OK\r\nCfm-Controller: c\r\nCfm-Epoch: 1\r\nContent-Length: {len(listed)}\r\n\r\n"
    _, server, addr = await raw([head.encode() + listed])
    async with server, link_to(addr) as link:
        assert await link.ask(Ask.LIST, NOBODY) == NothingOffered(AskOutcome.NEW)


# --- the connection itself


@dataclass
class RawCfm:
    """Answers each request with the next of `answers`; None closes the connection without one."""

    answers: list[bytes | None]
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), 0
                )
                self.heads.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def raw(answers: list[bytes | None]) -> tuple[RawCfm, asyncio.Server, Addr]:
    cfm = RawCfm(answers)
    server = await asyncio.start_server(cfm.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    return cfm, server, Addr(f"{host}:{port}")


async def test_keeps_its_connection() -> None:
    cfm, server, addr = await raw([OK, OK, OK])
    async with server, link_to(addr) as link:
        for _ in range(3):
            assert await link.report(OFFER, failure("x")) == 200
    assert cfm.connections == 1


async def test_a_connection_that_was_closed_just_then_costs_nothing() -> None:
    cfm, server, addr = await raw([OK, None, OK])
    async with server, link_to(addr) as link:
        assert await link.report(OFFER, failure("x")) == 200
        assert await link.report(OFFER, failure("x")) == 200
    assert len(cfm.heads) == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{{{{{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",
    ],
)
async def test_no_answer_can_break_the_link(answer: bytes) -> None:
    _, server, addr = await raw([answer, answer])
    async with server, link_to(addr) as link:
        offered = await link.ask(Ask.LIST, NOBODY)
    assert isinstance(offered, NothingOffered)
    assert offered.outcome in (AskOutcome.DOWN, AskOutcome.REFUSED)


async def test_a_redirect_is_not_followed() -> None:
    elsewhere = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    cfm, server, addr = await raw([elsewhere])
    async with server, link_to(addr) as link:
        assert await link.report(OFFER, failure("x")) == 302
    assert len(cfm.heads) == 1


async def test_no_proxy_of_the_environment(cfm: WaitingCfm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with link_to(cfm.addr) as link:
        assert await link.report(OFFER, failure("x")) == 200


@dataclass
class SilentCfm:
    """Its host is gone, or it stands still: it takes a connection and never answers."""

    socket: socket.socket

    @property
    def addr(self) -> Addr:
        host, port = self.socket.getsockname()
        return Addr(f"{host}:{port}")

    async def asked(self) -> None:
        self.socket.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(self.socket)
        self.connections = [*getattr(self, "connections", []), connection]


async def test_who_waits_for_a_cfm_that_stands_still_turns_to_the_new_leader_at_once(cfm: WaitingCfm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as old:
        silent = SilentCfm(old)
        here = Neighbourhood(OWN, silent.addr, (cfm.addr,))
        async with CfmLink(here, Authority(MemoryState(), None)) as plain:
            link = UnderstoodLink(plain)
            asking = asyncio.create_task(link.ask(Ask.WAIT, NOBODY))
            await silent.asked()
            plain.turn_to(Addr("127.0.0.1:1"))  # no cfm of ours
            plain.turn_to(silent.addr)
            await asyncio.sleep(0)
            assert not asking.done()
            reporting = asyncio.create_task(link.report(OFFER, failure("x")))
            await silent.asked()
            plain.turn_to(cfm.addr)
            assert await asyncio.wait_for(asking, 1) == NothingOffered(AskOutcome.DOWN)
            assert await asyncio.wait_for(reporting, 1) == 200  # it is repeated at once
            assert await link.ask(Ask.NOW, NOBODY) == NothingOffered(AskOutcome.EMPTY)
        for connection in silent.connections:
            connection.close()


async def test_a_silent_cfm_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        async with link_to(Addr(f"{host}:{port}"), wait_s=0, answer_s=0.2) as link:
            assert await link.ask(Ask.WAIT, NOBODY) == NothingOffered(AskOutcome.DOWN)
            assert await link.report(OFFER, failure("x")) is None
