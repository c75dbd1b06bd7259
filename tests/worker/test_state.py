"""The worker's memory: one conformance check for both, and what only the durable one can get wrong."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cfm.errors import StateError, StoreFullError
from cfm.model import Addr, Status
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.state import Memory, SqliteState, WorkerState
from cfm.worker.decide.fencing import Binding
from cfm.worker.decide.offers import HeldTask, failure
from cfm_lab.fakes.memory_worker import MemoryState

OFFER = TaskOffer(
    id=1795396962684063661,
    status=Status.READY,
    file_name="A.mpg",
    path="/data2/A.mpg",
    source=Addr("10.0.1.1:8888"),
    destination=Addr("10.0.2.1:8888"),
    copy_speed_bps=10_000_000,
    rank=3,
    size_bytes=1000,
    lease_s=60,
)
OLD_OFFER = replace(OFFER, id=2, size_bytes=None, lease_s=None)
DONE = TaskReport(Status.DONE, verified=True)
BUSY = failure("busy", 7)


@pytest.fixture(params=["memory", "sqlite"])
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[WorkerState]:
    made: WorkerState = MemoryState()
    if request.param == "sqlite":
        made = await SqliteState.open(tmp_path / "cfw.db")
    yield made
    await made.close()


async def test_remembers_nothing_at_first(state: WorkerState) -> None:
    assert await state.recall() == Memory()


async def test_remembers_the_disk_and_the_controller(state: WorkerState) -> None:
    await state.keep_disk_id("0123abcd")
    await state.bind(Binding("c1", 4, fence=2**62))
    await state.bind(Binding("c1", 5, fence=2**62))
    assert await state.recall() == Memory("0123abcd", Binding("c1", 5, fence=2**62))
    await state.bind(None)
    assert await state.recall() == Memory("0123abcd")


async def test_remembers_tasks_and_how_they_ended(state: WorkerState) -> None:
    for offer in (OFFER, OLD_OFFER, replace(OFFER, id=3)):
        await state.hold(offer)
    await state.conclude(OFFER, DONE)
    await state.conclude(OLD_OFFER, BUSY)
    third = HeldTask(replace(OFFER, id=3))
    assert (await state.recall()).held == (HeldTask(OLD_OFFER, BUSY), third, HeldTask(OFFER, DONE))
    await state.forget(OFFER.id)
    await state.forget(OLD_OFFER.id)
    assert (await state.recall()).held == (third,)


async def test_a_task_may_end_without_having_been_held(state: WorkerState) -> None:
    await state.conclude(OFFER, BUSY)
    assert (await state.recall()).held == (HeldTask(OFFER, BUSY),)


async def test_forgetting_what_is_not_there_is_fine(state: WorkerState) -> None:
    await state.forget(99)
    assert await state.recall() == Memory()


# --- the durable one


async def test_outlives_the_program(tmp_path: Path) -> None:
    first = await SqliteState.open(tmp_path / "cfw.db")
    await first.bind(Binding("c1", 4))
    await first.conclude(OFFER, DONE)
    before = await first.recall()
    await first.close()
    second = await SqliteState.open(tmp_path / "cfw.db")
    assert await second.recall() == before
    await second.close()


KILLED = """
import asyncio, os, sys
from pathlib import Path
from cfm.worker.act.state import SqliteState
from cfm.worker.decide.fencing import Binding

async def main():
    state = await SqliteState.open(Path(sys.argv[1]))
    await state.bind(Binding("c1", 9))
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


async def test_outlives_kill_9_and_its_lock_does_not(tmp_path: Path) -> None:
    path = tmp_path / "cfw.db"
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(path)], timeout=20, check=False
    )
    state = await SqliteState.open(path)
    assert (await state.recall()).binding == Binding("c1", 9)
    await state.close()


async def test_a_second_worker_on_the_same_state_is_told(tmp_path: Path) -> None:
    state = await SqliteState.open(tmp_path / "cfw.db")
    with pytest.raises(StateError, match="another cfw uses it"):
        await SqliteState.open(tmp_path / "cfw.db")
    await state.keep_disk_id("still works")
    await state.close()


async def test_a_damaged_state_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "cfw.db"
    path.write_bytes(b"this is no database, whatever it is" * 100)
    with pytest.raises(StateError, match="move it away"):
        await SqliteState.open(path)


async def test_rows_that_make_no_sense_are_called_damage(tmp_path: Path) -> None:
    path = tmp_path / "cfw.db"
    await (await SqliteState.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO held VALUES (1, '{}', NULL)")
    connection.close()
    state = await SqliteState.open(path)
    with pytest.raises(StateError, match="move it away"):
        await state.recall()
    await state.close()


async def test_a_row_of_an_earlier_version_may_tell_more(tmp_path: Path) -> None:
    path = tmp_path / "cfw.db"
    await (await SqliteState.open(path)).close()
    offer = asdict(OFFER) | {"src_transfer": "builtin", "reason": "rank 3 of 58"}
    final = asdict(DONE) | {"boot_id": "b00t"}
    with sqlite3.connect(path) as connection:
        row = OFFER.id, json.dumps(offer), json.dumps(final)
        connection.execute("INSERT INTO held VALUES (?, ?, ?)", row)
    connection.close()
    state = await SqliteState.open(path)
    assert (await state.recall()).held == (HeldTask(OFFER, DONE),)
    await state.close()


async def test_a_newer_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cfw.db"
    await (await SqliteState.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StateError, match="newer cfw"):
        await SqliteState.open(path)


async def test_a_folder_that_is_not_there_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file"):
        await SqliteState.open(tmp_path / "missing" / "cfw.db")


async def test_a_disk_that_hangs_is_like_one_that_is_full_until_it_answers(tmp_path: Path) -> None:
    """Another connection holds the database, so that a change waits for it."""
    state = await SqliteState.open(tmp_path / "cfw.db", patience_s=0.01)
    with closing(sqlite3.connect(tmp_path / "cfw.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreFullError, match="did not answer"):
            await state.hold(OFFER)
        with pytest.raises(StoreFullError, match="earlier calls still hang"):
            await state.conclude(OFFER, DONE)
        holder.execute("ROLLBACK")
    async with asyncio.timeout(10):
        while not await _is_held(state, replace(OFFER, id=8)):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
    await state.close()


async def _is_held(state: WorkerState, offer: TaskOffer) -> bool:
    try:
        await state.hold(offer)
    except StoreFullError:
        return False
    return True
