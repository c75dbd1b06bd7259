"""`cfw release`: free a worker from its controller, whether it runs or not."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path
from typing import Final

from cfm import wire
from cfm.config import CfwSettings
from cfm.errors import CfmError
from cfm.security import connect_here, worker_credentials
from cfm.worker.act.state import SqliteState
from cfm.worker.decide.fencing import Binding

ANSWER_S: Final = 5.0


def release(settings: CfwSettings) -> Binding | None:
    """Free the worker of these settings from its controller.  Returns to whom it belonged; None: to nobody.

    Raises:
        CfmError: the worker does not answer, or refuses.
    """
    try:
        return _release_running(settings)
    except ConnectionRefusedError:
        path = settings.state.path
        return asyncio.run(_release_stopped(path)) if path.exists() else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CfmError(f"{settings.listen_addr} does not answer as a worker does: {error}") from error


def _release_running(settings: CfwSettings) -> Binding | None:
    keys = worker_credentials(settings).to_cfm  # to itself the worker shows what it shows to cfm
    connection = connect_here(settings.listen_addr, keys, ANSWER_S)
    try:
        connection.request("POST", "/release", headers=dict(keys.headers))
        answer = connection.getresponse()
        body = answer.read(65536)
        if answer.status != 200:
            raise CfmError(f"{settings.listen_addr} refused with {answer.status}: {body[:200]!a}")
        was = wire.parse_json_object(body)
        if not {"controller", "epoch"} <= was.keys():
            raise ValueError("the answer names no controller")
        return None if was["controller"] is None else Binding(was["controller"], was["epoch"])
    finally:
        connection.close()


async def _release_stopped(path: Path) -> Binding | None:
    state = await SqliteState.open(path)
    try:
        was = (await state.recall()).binding
        await state.bind(None)
        return was
    finally:
        await state.close()
