"""`cfm run` with its state in PostgreSQL: one of several cfm, which leads or follows.

Each begins as a follower.  It reads metadata, event log and SAN, looks at the servers now and then, and shows
what it would do; it gives no orders.  Once it has the lease it reads the state, and a new core goes on from
there with what the files said already.  A cfm that was deposed knows a former epoch, so it begins anew.

Neighbours: `decide.leadership` decides who leads, `act.lease_keeper` asks the database, `composing` has the
parts, and `serve.pass_on` sends on what only the leader may answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import structlog

from cfm import wire
from cfm.addresses import is_wildcard
from cfm.config import CfmSettings, split_address
from cfm.controller.act.from_settings import node_of, worker_client
from cfm.controller.act.lease_keeper import LeaseKeeper
from cfm.controller.act.loop import Controller, clock
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.teller import Teller
from cfm.controller.composing import Inputs, care_of, inputs_of, jobs_of, keep, server_of, tell, until_told
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.decide.leadership import Leadership, LeaderState, LeaseTerms
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.decide.state import NodeConfig
from cfm.controller.serve.api import ControllerApi
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.controller.serve.pass_on import PassOn
from cfm.errors import SettingsError, StoreFullError
from cfm.fleet.client import WorkerClient
from cfm.jobs import Job
from cfm.model import Addr, Failure, Measure, Trouble
from cfm.security import ControllerCredentials, controller_credentials, status_of
from cfm.tasks.opening import shared_store_at
from cfm.tasks.store import Change, PutEvent, Recovered, SupersededError
from cfm.threads import HungError, ThreadPool

log = structlog.get_logger(__name__)

FIRST_LOOK_S: Final = 2.0
RECOVER_S: Final = 60.0
RETRY_S: Final = 0.5
EPOCHS_S: Final = 2.0
LOOKS_RARER: Final = 2
"""A follower asks the servers so many times less often than a leader does."""
CLOSING_S: Final = 1.0
RESTS_MS: Final = 1_000
"""So long a cfm that handed the lead over leaves it to the others, who ask three times a second."""


async def run(settings: CfmSettings) -> None:
    """Lead or follow until SIGTERM or SIGINT.

    Raises:
        StateError: the database can never be used as it is, or this cfm cannot listen.
        SettingsError: the others could not reach this cfm.
    """
    if is_wildcard(split_address(settings.name)[0]):
        text = f"advertise_addr is missing: {settings.listen_addr} does not say where others reach this cfm"
        raise SettingsError(text)
    credentials = await asyncio.to_thread(controller_credentials, settings)
    ended = asyncio.Event()
    rests_ms = 0
    while not ended.is_set():
        try:
            await _Life(settings, credentials, ended, rests_ms).run()
        except* _HandedOverError:
            rests_ms = RESTS_MS
        except* SupersededError as deposed:
            rests_ms = 0
            log.warning("another cfm leads; this one begins anew and follows", why=_first_words(deposed))


class _HandedOverError(Exception):
    """A person wanted another cfm to lead."""


class _Life:
    """From the start as a follower to the end, or to the moment when another cfm has taken over."""

    def __init__(
        self,
        settings: CfmSettings,
        credentials: ControllerCredentials,
        ended: asyncio.Event,
        rests_ms: int,
    ) -> None:
        self._settings, self._credentials, self._ended = settings, credentials, ended
        self._store = shared_store_at(settings.state.url, settings.name, settings.state.lease_sec)
        self._threads = ThreadPool("the state", 2)
        self._leadership = Leadership(_terms(settings), clock().mono_ms, rests_ms=rests_ms)
        self._leads = asyncio.Event()
        self._client: WorkerClient | None = None
        """The one that gives orders; None while we follow."""
        self._identity: dict[str, str] = {}
        """The headers that tell a worker whose controller this is; none while we follow."""

    async def run(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                await self._run_in(stack)
        finally:
            with suppress(HungError):
                await self._threads.run(CLOSING_S, self._store.close)

    async def _run_in(self, stack: AsyncExitStack) -> None:
        settings, credentials = self._settings, self._credentials
        inputs = inputs_of(settings, await self._last_good())
        looker = await stack.enter_async_context(worker_client(settings, credentials, "", 0))
        core = Core(_rarely(node_of(settings)), Recovered("", 0, 0), clock(), rehearsal=True)
        controller = Controller(core, _Nowhere(), looker, inputs.san, lambda: self._leadership.acts_until_ms)
        inputs.serve(controller)
        keeper = LeaseKeeper(
            self._store,
            self._leadership,
            clock,
            lambda kind, why: tell(controller, kind, "", why),
            lambda: _facts(controller, inputs),
        )
        stack.callback(keeper.close)
        own = OwnSettings(settings, controller)
        metrics = ControllerMetrics(controller, inputs.follower, keeper=keeper)
        said = status_of(settings.security, settings.listen_addr)
        api = ControllerApi(
            controller,
            metrics,
            Teller(controller, self._store),
            own,
            self._identity,
            said,
            keeper.told_json,
            keeper.hand_over,
        )
        passing = PassOn(
            self._leads.is_set, self._leader, credentials.tls.client if credentials.tls else None
        )
        stack.push_async_callback(passing.close)
        server = server_of(settings, credentials, api, [passing.middleware()])
        await server.start()
        stack.push_async_callback(server.stop)
        jobs = [
            *jobs_of(controller, inputs, own),
            Job("lease", keeper.run, is_core=True),
            Job(
                "leadership", partial(self._obey_lease, controller, inputs, keeper, own, stack), is_core=True
            ),
            Job("care of the state", partial(self._care, controller)),
            Job("epochs", partial(self._compare_epochs, controller)),
        ]
        try:
            await until_told(self._ended, settings, controller, server, own.reloader, jobs)
        finally:
            # The next one may lead as soon as our last commit is done; nothing is told after this.
            keeper.stop_acting()
            await controller.writer.close()
            await keeper.resign()

    async def _last_good(self) -> Measure | None:
        """That of the metadata in force, where the database answers already."""
        try:
            return (await self._threads.run(FIRST_LOOK_S, self._store.peek)).measure
        except (StoreFullError, HungError) as error:
            log.warning("the database does not answer yet", why=str(error))
            return None

    def _leader(self) -> Addr | None:
        seen = self._leadership.seen
        return seen.address if seen is not None and seen.left_ms and not seen.ours else None

    # ── what comes of the lease ─────────────────────────────────────────────────────────────────────────

    async def _obey_lease(
        self,
        controller: Controller,
        inputs: Inputs,
        keeper: LeaseKeeper,
        own: OwnSettings,
        stack: AsyncExitStack,
    ) -> None:
        while True:
            await keeper.changed.wait()
            keeper.changed.clear()
            match self._leadership.state:
                case LeaderState.LEADING if not self._leads.is_set():
                    await self._take_over(controller, inputs, own, stack)
                    keeper.say_again()
                case LeaderState.LEADING:
                    controller.feed(ev.StoreRecovered())
                case LeaderState.LAPSED if self._leads.is_set():
                    why = self._leadership.trouble or "it was not renewed in time"
                    controller.feed(ev.StoreTrouble(f"the lease may have ended: {why}"))
                case LeaderState.RESIGNED:
                    raise _HandedOverError
                case LeaderState.DEPOSED:
                    raise SupersededError(f"another cfm has taken over the state in {self._store.name}")

    async def _take_over(
        self, controller: Controller, inputs: Inputs, own: OwnSettings, stack: AsyncExitStack
    ) -> None:
        recovered = await self._recover()
        if recovered is None:
            return
        identity = (recovered.controller_id, recovered.epoch)
        client = await stack.enter_async_context(
            worker_client(self._settings, self._credentials, *identity, leader=self._settings.name)
        )
        core = Core(replace(node_of(self._settings), rules=own.rules), recovered, clock())
        silent = [
            addr for addr in core.state.fleet.records if controller.core.state.health.pulse(addr).up is False
        ]
        inputs.watch.take_measure(recovered.measure)
        await controller.take_over(core, self._store, client)
        self._client = client
        for addr in silent:
            _expect_silence(controller, addr)
        self._identity.update({wire.CONTROLLER: recovered.controller_id, wire.EPOCH: str(recovered.epoch)})
        self._leads.set()
        log.warning("this cfm leads", epoch=recovered.epoch, tasks=len(recovered.tasks))

    async def _recover(self) -> Recovered | None:
        """The state, as soon as the database gives it; None where the lease is not ours any more."""
        while self._leadership.state in (LeaderState.LEADING, LeaderState.LAPSED):
            try:
                return await self._threads.run(RECOVER_S, self._store.recover)
            except (StoreFullError, HungError) as error:
                log.warning("cannot read the state yet", why=str(error))
                await asyncio.sleep(RETRY_S)
        return None

    async def _care(self, controller: Controller) -> None:
        await self._leads.wait()
        await keep(care_of(self._settings, controller, self._store), controller, asyncio.Event())

    async def _compare_epochs(self, controller: Controller) -> None:
        """Have workers heard a higher epoch than there ever was, by the database?"""
        await self._leads.wait()
        told = 0
        while True:
            known, heard = self._leadership.told_epoch, self._client.higher_epoch if self._client else 0
            behind = heard if heard > known else 0
            if told not in (0, behind):
                _tell_of_epochs(controller, told, "")
            if behind:
                _tell_of_epochs(
                    controller, behind, f"it leads in epoch {known}, and they know epoch {behind}"
                )
            told = behind
            await asyncio.sleep(EPOCHS_S)


def _tell_of_epochs(controller: Controller, epoch: int, why: str) -> None:
    tell(controller, OwnTroubleKind.EPOCH_BEHIND, str(epoch), why)


class _Nowhere:
    """The store of a follower: what it decides is a rehearsal, and nothing of it is kept."""

    def open(self) -> Recovered:
        return Recovered("", 0, 0)

    def commit(self, changes: Sequence[Change]) -> None:
        pass

    def events(self, about: str, before_id: int, limit: int) -> list[PutEvent]:  # noqa: ARG002
        return []

    def prune(self, before_wall_s: int, events_bytes: int) -> None:
        pass

    def log_bytes(self) -> int:
        return 0

    def close(self) -> None:
        pass


def _terms(settings: CfmSettings) -> LeaseTerms:
    lease_ms = 1000 * settings.state.lease_sec
    return LeaseTerms(lease_ms=lease_ms, renew_ms=lease_ms // 3)


def _rarely(node: NodeConfig) -> NodeConfig:
    return replace(
        node,
        heartbeat_interval_ms=LOOKS_RARER * node.heartbeat_interval_ms,
        full_look_ms=LOOKS_RARER * node.full_look_ms,
    )


def _expect_silence(controller: Controller, addr: Addr) -> None:
    """A server that was down for the follower need not be waited for again; it is up with its next answer."""
    silence = Failure(Trouble.TIMEOUT, "it was down already before this cfm led")
    for _ in range(controller.core.state.config.misses_to_down):
        controller.feed(ev.HeartbeatAnswer(addr, silence))


def _facts(controller: Controller, inputs: Inputs) -> tuple[str, int | None]:
    snapshot = controller.snapshot
    lag_s = None if inputs.follower is None else inputs.follower.status().lag_s
    return "" if snapshot is None else snapshot.facts.id, lag_s


def _first_words(group: BaseExceptionGroup[Any]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
