"""The serving half of a controller in this process: the real endpoints and core, on a free loopback port.

Nobody listens at the addresses of its servers.  Its state is in memory, and the test chooses the tasks with
which it begins.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cfm import wire
from cfm.config import CfmSettings, load_cfm
from cfm.controller.act.from_settings import node_of, worker_client
from cfm.controller.act.loop import Controller, clock
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.teller import Teller
from cfm.controller.decide.core import Core
from cfm.controller.serve.api import ACCESS_POLICY, ControllerApi
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.inputs.san import SanIndex
from cfm.model import Addr, File, Status, Task
from cfm.security import controller_credentials, status_of
from cfm.web import Limits, WebServer
from cfm_lab.fakes.memory_store import CommittedState, MemoryStore
from cfm_lab.testing.raw_http import request, say
from cfm_lab.testing.worker_rig import RigAnswer, parse

SOURCE = Addr("127.0.1.1:9")
DESTINATIONS = (Addr("127.0.2.1:9"), Addr("127.0.2.2:9"))
"""The discard port, where nobody listens."""
SETTINGS = f"""
servers:
  sources:
    - {SOURCE}
  destinations:
    - {DESTINATIONS[0]}
    - {DESTINATIONS[1]}
  heartbeat_interval_sec: 3600
  heartbeat_misses: 100
"""


@dataclass(frozen=True, slots=True)
class ControllerRig:
    addr: str
    api: ControllerApi
    controller: Controller
    store: MemoryStore
    settings: CfmSettings

    async def ask(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> RigAnswer:
        return parse(await say(self.addr, request(method, path, body=body, **headers)))

    def status_of(self, task_id: int) -> Status:
        """The task as the state on disk has it."""
        return self.store.state.tasks[task_id].status


def a_task(task_id: int, name: str = "A.mpg", destination: Addr = DESTINATIONS[0]) -> Task:
    now_s = clock().wall_s
    file = File(name, 1, 1_000_000)
    return Task(
        task_id, Status.READY, now_s, now_s, file, f"/san/{name}", SOURCE, destination, 10_000_000, "a test"
    )


@contextlib.asynccontextmanager
async def controller_rig(
    folder: Path, tasks: Sequence[Task] = (), *, more_settings: str = "", limits: Limits | None = None
) -> AsyncIterator[ControllerRig]:
    (folder / "cfm.yml").write_text(SETTINGS + more_settings)
    settings = load_cfm(folder / "cfm.yml")
    credentials = controller_credentials(settings)
    store = MemoryStore(CommittedState(tasks={task.id: task for task in tasks}, last_id=len(tasks)))
    recovered = store.open()
    san = SanIndex((), clock=clock, on_change=lambda _names: None)
    async with worker_client(settings, credentials, recovered.controller_id, recovered.epoch) as client:
        controller = Controller(Core(node_of(settings), recovered, clock()), store, client, san)
        told = {wire.CONTROLLER: recovered.controller_id, wire.EPOCH: str(recovered.epoch)}
        said = status_of(settings.security, settings.listen_addr)
        api = ControllerApi(
            controller,
            ControllerMetrics(controller, None),
            Teller(controller, store),
            OwnSettings(settings, controller),
            told,
            said,
        )
        server = WebServer(
            api.application(),
            "127.0.0.1:0",
            limits=limits,
            admission=credentials.admission,
            access_policy=ACCESS_POLICY,
        )
        await server.start()
        running = asyncio.create_task(controller.run())
        try:
            yield ControllerRig(f"127.0.0.1:{server.port}", api, controller, store, settings)
        finally:
            await server.stop()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await controller.writer.close()
            store.close()
