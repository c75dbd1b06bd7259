"""One of several cfm in one process, with the state in memory: who leads, who passes on, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp import ClientSession, web

from cfm import wire
from cfm.controller import several
from cfm.controller.act.lease_keeper import ALONE_MS, KeptError, LeaseKeeper
from cfm.controller.act.loop import clock
from cfm.controller.decide import events as ev
from cfm.controller.decide import questions
from cfm.controller.decide.leadership import Leadership, LeaderState, LeaseTerms
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.serve import worker_api
from cfm.controller.serve.pass_on import PassOn, is_for_the_leader
from cfm.jobs import Job
from cfm.model import Addr, DeleteKind, DeleteOrder, File, Now, OrderStatus
from cfm.tasks.store import Member
from cfm.web.server import serve
from cfm_lab.fakes.shared_store import SharedState, SharedStore

TERMS = LeaseTerms(lease_ms=400, renew_ms=40, margin_ms=100, watch_ms=10, retry_ms=10, answer_ms=200)
HERE, THERE = Addr("127.0.0.1:1"), Addr("127.0.0.1:2")


class Told:
    """What a keeper told last of each trouble."""

    def __init__(self) -> None:
        self.of: dict[OwnTroubleKind, str] = {}
        self._news = asyncio.Event()

    def __call__(self, kind: OwnTroubleKind, why: str) -> None:
        self.of[kind] = why
        self._news.set()

    async def until(self, kind: OwnTroubleKind, word: str) -> None:
        """An empty word means that it is over."""
        async with asyncio.timeout(20):
            while not (word in self.of.get(kind, "") if word else not self.of.get(kind, "")):
                self._news.clear()
                await self._news.wait()


class Bench:
    """Keepers on one state, and what they told."""

    def __init__(self) -> None:
        self.shared = SharedState(lambda: clock().mono_ms)
        self.told: dict[Addr, Told] = {}

    def keeper(self, address: Addr, now: Callable[[], Now] = clock) -> LeaseKeeper:
        told = self.told[address] = Told()
        store = SharedStore(self.shared, address, TERMS.lease_ms)
        return LeaseKeeper(store, Leadership(TERMS, now().mono_ms), now, told, lambda: ("pair 1", None))


async def becomes(keeper: LeaseKeeper, state: LeaderState) -> None:
    async with asyncio.timeout(20):
        while keeper.leadership.state is not state:
            keeper.changed.clear()
            await keeper.changed.wait()


async def end(*running: asyncio.Task[None]) -> None:
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_one_leads_and_the_next_one_does_when_it_resigns() -> None:
    bench = Bench()
    first, second = bench.keeper(HERE), bench.keeper(THERE)
    leads = asyncio.create_task(first.run())
    await becomes(first, LeaderState.LEADING)
    follows = asyncio.create_task(second.run())
    await bench.told[THERE].until(OwnTroubleKind.FOLLOWS, f"{HERE} leads")
    assert second.told_json(clock())["leader"]["addr"] == HERE
    await bench.told[HERE].until(OwnTroubleKind.FOLLOWS, "")

    first.stop_acting()
    assert not first.leadership.may_act(clock().mono_ms)
    await first.resign()
    await becomes(second, LeaderState.LEADING)
    assert second.leadership.epoch == 2
    await end(leads, follows)


async def test_the_lead_is_handed_over_only_by_who_has_it_and_only_where_somebody_follows() -> None:
    bench = Bench()
    first, second = bench.keeper(HERE), bench.keeper(THERE)
    leads = asyncio.create_task(first.run())
    await becomes(first, LeaderState.LEADING)
    with pytest.raises(KeptError, match="no one to hand over to"):
        first.hand_over("alice")
    with pytest.raises(KeptError, match="does not lead"):
        second.hand_over("alice")
    assert first.leadership.may_act(clock().mono_ms)

    first.followers = [Member("other", THERE, "", None, seen_ms=0)]
    assert first.hand_over("alice") == {"from": HERE, "epoch": 1, "others": [THERE]}
    assert first.leadership.state is LeaderState.RESIGNED
    await end(leads)


async def test_a_job_of_the_leader_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs that care for the state begin when this cfm leads, beside all others."""
    heard: asyncio.Queue[ev.Event] = asyncio.Queue()

    async def fail() -> None:
        raise OSError("no disk")

    monkeypatch.setattr(several, "care_of", lambda *_: [Job("forgetting", fail)])
    life, controller = Mock(_leads=asyncio.Event()), Mock(feed=heard.put_nowait)
    life._leads.set()
    caring = asyncio.create_task(several._Life._care(life, controller))
    told = await asyncio.wait_for(heard.get(), 10)
    assert told == ev.OwnTrouble(OwnTroubleKind.JOB_FAILING, "forgetting", "OSError: no disk")
    await end(caring)


def test_who_handed_the_lead_over_leaves_the_lease_to_others_for_a_while() -> None:
    assert Leadership(TERMS, 1_000).next_ms == 1_000
    assert Leadership(TERMS, 1_000, rests_ms=500).next_ms == 1_500


async def test_a_database_that_goes_away_is_told_and_the_lease_goes_on_when_it_is_back() -> None:
    bench = Bench()
    store = SharedStore(bench.shared, HERE, TERMS.lease_ms)
    told = Told()
    keeper = LeaseKeeper(store, Leadership(TERMS, clock().mono_ms), clock, told, lambda: ("", None))
    running = asyncio.create_task(keeper.run())
    await becomes(keeper, LeaderState.LEADING)
    store.trouble = "no route to host"
    await becomes(keeper, LeaderState.LAPSED)
    await told.until(OwnTroubleKind.DATABASE_AWAY, "no route")
    store.trouble = None
    await becomes(keeper, LeaderState.LEADING)
    assert keeper.leadership.epoch == 1
    await told.until(OwnTroubleKind.DATABASE_AWAY, "")
    await told.until(OwnTroubleKind.LEASE_NEARLY_LOST, "late")
    await end(running)


async def test_a_leader_without_followers_says_so_after_a_while() -> None:
    bench = Bench()
    later_ms = [0]
    keeper = bench.keeper(HERE, lambda: Now(clock().mono_ms + later_ms[0], clock().wall_ms))
    running = asyncio.create_task(keeper.run())
    await becomes(keeper, LeaderState.LEADING)
    await bench.told[HERE].until(OwnTroubleKind.NO_FOLLOWER, "")
    later_ms[0] = ALONE_MS + 1
    await bench.told[HERE].until(OwnTroubleKind.NO_FOLLOWER, "none")
    await end(running)


# Orders of whoever may not act any more.


def delete(before_ms: int) -> ev.SendDelete:
    order = DeleteOrder(1, OrderStatus.ORDERED, 0, 0, File("a.mpg", 1, 1), HERE, DeleteKind.SURPLUS, "")
    return ev.SendDelete(order, before_ms=before_ms)


def test_an_order_is_not_sent_by_who_leads_no_more() -> None:
    now = Now(1_000, 0)
    assert questions.too_late(delete(9_000), now, 5_000) is None
    assert questions.too_late(delete(9_000), now, 1_000) == ev.DeleteAnswer(1, ev.LATE)
    cut = ev.CutStream(HERE, 7)
    assert questions.too_late(cut, now, 5_000) is None
    assert questions.too_late(cut, now, 900) == ev.CutAnswer(7, cut=False)


def test_an_order_that_waits_for_its_turn_is_sent_before_the_lease_ends_or_not_at_all() -> None:
    found = questions.in_time(delete(9_000), 5_000)
    assert isinstance(found, ev.SendDelete)
    assert found.before_ms == 5_000
    assert questions.in_time(delete(4_000), 5_000) == delete(4_000)


# Passing on.


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "/tasks", True),
        ("GET", "/tasks/next", True),
        ("PATCH", "/tasks/5", True),
        ("POST", "/api/v1/confirm", True),
        ("GET", "/api/v1/status", False),
        ("GET", "/tasksandmore", False),
        ("GET", "/", False),
    ],
)
def test_what_only_the_leader_may_answer(method: str, path: str, wanted: bool) -> None:
    assert is_for_the_leader(method, path) is wanted


def cfm(name: str, passing: PassOn) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        told = f"{name} {request.headers.get(wire.PASSED_ON, '')} {await request.text()}"
        return web.Response(text=told, headers={wire.EPOCH: "7", "X-Own": "1"})

    app = web.Application(middlewares=[passing.middleware()])
    app.router.add_route("*", "/{tail:.*}", answer)
    return app


async def test_a_follower_passes_on_and_answers_reads_itself() -> None:
    leading = PassOn(lambda: True, lambda: None, None)
    async with serve(cfm("leader", leading), "127.0.0.1:0") as leader:
        following = PassOn(lambda: False, lambda: leader.addr, None)
        async with serve(cfm("follower", following), "127.0.0.1:0") as follower, ClientSession() as client:
            async with client.patch(f"http://{follower.addr}/tasks/5", data=b"{}") as passed:
                assert await passed.text() == "leader 127.0.0.1 {}"
                assert passed.headers[wire.EPOCH] == "7"
                assert "X-Own" not in passed.headers
            async with client.get(f"http://{follower.addr}/api/v1/status") as own:
                assert (await own.text()).startswith("follower")
        await following.close()


@pytest.mark.parametrize(("several", "asker"), [(True, "10.0.0.9"), (False, "127.0.0.1")])
async def test_only_one_of_several_believes_that_another_cfm_was_asked(
    several: bool, asker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sent the header could speak for any old worker: its polls end its tasks."""
    asked_for = AsyncMock(return_value=b"[]")
    monkeypatch.setattr(worker_api, "OldTaskList", lambda _controller: Mock(asked_for=asked_for))
    app = web.Application(
        middlewares=[PassOn(lambda: True, lambda: None, None).middleware()] if several else []
    )
    app.add_routes(worker_api.WorkerEndpoints(Mock(), {}).routes())
    headers = {wire.PASSED_ON: "10.0.0.9", "User-Agent": "cfw"}
    async with (
        serve(app, "127.0.0.1:0") as server,
        ClientSession() as client,
        client.get(f"http://{server.addr}/tasks", headers=headers) as answer,
    ):
        assert answer.status == 200
    asked_for.assert_awaited_once_with(asker)


async def test_a_request_is_held_until_somebody_leads() -> None:
    leads = asyncio.Event()
    waiting = PassOn(leads.is_set, lambda: Addr("127.0.0.1:1"), None)
    async with serve(cfm("here", waiting), "127.0.0.1:0") as server, ClientSession() as client:
        asking = asyncio.create_task(client.get(f"http://{server.addr}/tasks/next"))
        asyncio.get_running_loop().call_later(0.05, leads.set)
        async with await asking as answer:
            assert (await answer.text()).startswith("here")
    await waiting.close()


async def test_a_request_to_a_leader_that_stands_still_is_answered_by_the_next_one() -> None:
    """Its sender would wait for as long as the old leader stands still."""
    asked, leaders = asyncio.Event(), [Addr("")]
    leads = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await leads.wait()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as still:
        host, port = still.sockets[0].getsockname()
        leaders[0] = Addr(f"{host}:{port}")
        passing = PassOn(leads.is_set, lambda: leaders[0], None)
        async with serve(cfm("here", passing), "127.0.0.1:0") as server, ClientSession() as client:
            asking = asyncio.create_task(client.get(f"http://{server.addr}/tasks/next"))
            await asyncio.wait_for(asked.wait(), 10)
            leaders[0] = Addr("127.0.0.1:1")
            leads.set()
            async with await asyncio.wait_for(asking, 10) as answer:
                assert (await answer.text()).startswith("here")
        await passing.close()


async def test_a_request_is_passed_on_once() -> None:
    lost = PassOn(lambda: False, lambda: None, None)
    async with serve(cfm("here", lost), "127.0.0.1:0") as server, ClientSession() as client:
        headers = {wire.PASSED_ON: "127.0.0.9"}
        async with client.get(f"http://{server.addr}/tasks", headers=headers) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
