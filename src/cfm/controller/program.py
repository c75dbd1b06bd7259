"""`cfm run`: the controller, put together from its parts.

What is wrong with us (the state in use, the port taken) ends the start with one clear sentence; what is
wrong with the world (a folder that is not there, a silent server) is said, and waited for.  Neighbours:
`composing` has the parts, `several` runs one of several cfm.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from cfm import wire
from cfm.config import CfmSettings
from cfm.controller.act.from_settings import node_of, worker_client
from cfm.controller.act.loop import Controller, clock
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.teller import Teller
from cfm.controller.composing import care_of, inputs_of, jobs_of, server_of, until_told
from cfm.controller.decide.core import Core
from cfm.controller.serve.api import ControllerApi
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.security import ControllerCredentials, controller_credentials, status_of
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import Recovered, TaskStore
from cfm.threads import HungError, ThreadPool

CLOSING_S = 1.0


async def run(settings: CfmSettings) -> None:
    """Serve and decide until SIGTERM or SIGINT; `StateError` where that cannot begin."""
    if settings.state.is_shared:
        from cfm.controller import several

        await several.run(settings)
        return
    credentials = await asyncio.to_thread(controller_credentials, settings)
    store = SqliteStore(settings.state.path)
    recovered = await asyncio.to_thread(store.open)
    try:
        await _run_on(settings, credentials, store, recovered)
    finally:
        # A commit may hang on its disk, and holds the store.  The end of the process gives it up as well.
        with suppress(HungError):
            await ThreadPool("the state", 1).run(CLOSING_S, store.close)


async def _run_on(
    settings: CfmSettings, credentials: ControllerCredentials, store: TaskStore, recovered: Recovered
) -> None:
    inputs = inputs_of(settings, recovered.measure)
    identity = (recovered.controller_id, recovered.epoch)
    async with worker_client(settings, credentials, *identity) as client:
        controller = Controller(Core(node_of(settings), recovered, clock()), store, client, inputs.san)
        inputs.serve(controller)
        metrics = ControllerMetrics(controller, inputs.follower)
        told = {wire.CONTROLLER: recovered.controller_id, wire.EPOCH: str(recovered.epoch)}
        said = status_of(settings.security, settings.listen_addr)
        own = OwnSettings(settings, controller)
        api = ControllerApi(controller, metrics, Teller(controller, store), own, told, said)
        server = server_of(settings, credentials, api)
        await server.start()
        try:
            jobs = [*jobs_of(controller, inputs, own), *care_of(settings, controller, store)]
            await until_told(asyncio.Event(), settings, controller, server, own.reloader, jobs)
        finally:
            await server.stop()
            await controller.writer.close()
