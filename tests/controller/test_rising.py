"""The look-up of the files that rise: a slow one is not overtaken, and its answer counts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, cast

from cfm.controller.act.rising import SLOW_S, RisingFiles
from cfm.inputs.snapshot import Snapshot
from cfm.model import File, Hits


class SlowSnapshot:
    """Metadata that knows every name but `unknown`, and answers when it is let."""

    def __init__(self, rank: int = 1, *, broken: bool = False) -> None:
        self.let = threading.Semaphore(0)
        self.asked: list[frozenset[str]] = []
        self.broken = broken
        self._rank = rank

    def files(self, names: Iterable[str]) -> dict[str, File]:
        self.asked.append(frozenset(names))
        self.let.acquire()
        if self.broken:
            raise ZeroDivisionError
        return {name: File(name, self._rank, 100) for name in names if name != "unknown"}


def metadata(snapshot: SlowSnapshot) -> Snapshot:
    return cast("Snapshot", snapshot)


class Rig:
    """Rising files whose look-ups the test lets end one by one."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.told: list[tuple[set[str], dict[str, int]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.rising = RisingFiles(self._heard, self._begin, lambda: self.now_s)

    def _heard(self, hits: Hits, files: tuple[File, ...]) -> None:
        self.told.append((set(hits.rising), {file.name: file.rank for file in files}))

    def _begin(self, work: Coroutine[Any, Any, None]) -> bool:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def rise(self, *names: str) -> None:
        self.rising.hits_changed(Hits(dict.fromkeys(names, 5)))

    async def end_look_up(self, snapshot: SlowSnapshot) -> None:
        """Let the look-up that runs end."""
        (task,) = self._tasks
        snapshot.let.release()
        await asyncio.wait_for(task, 10)


async def test_a_look_up_that_is_slower_than_the_poll_is_used_all_the_same() -> None:
    rig, snapshot = Rig(), SlowSnapshot()
    rig.rising.metadata_changed(metadata(snapshot))
    rig.rise("a")
    rig.rise("a", "b")  # the window moves while the look-up runs, again and again
    rig.rise("a", "b", "c")
    assert rig.told[-1] == ({"a", "b", "c"}, {})  # protected by name at once
    await rig.end_look_up(snapshot)
    assert rig.told[-1] == ({"a", "b", "c"}, {"a": 1})
    await rig.end_look_up(snapshot)
    assert rig.told[-1] == ({"a", "b", "c"}, {"a": 1, "b": 1, "c": 1})
    assert snapshot.asked == [{"a"}, {"b", "c"}]


async def test_a_name_is_looked_up_once_in_each_metadata() -> None:
    rig, snapshot, newer = Rig(), SlowSnapshot(), SlowSnapshot(rank=2)
    rig.rising.metadata_changed(metadata(snapshot))
    rig.rise("a", "unknown")
    await rig.end_look_up(snapshot)
    rig.rise("unknown", "a")
    assert len(snapshot.asked) == 1
    rig.rising.metadata_changed(metadata(newer))
    await rig.end_look_up(newer)
    assert rig.told[-1] == ({"a", "unknown"}, {"a": 2})


async def test_what_the_metadata_before_said_is_not_used() -> None:
    rig, snapshot, newer = Rig(), SlowSnapshot(), SlowSnapshot(rank=2)
    rig.rising.metadata_changed(metadata(snapshot))
    rig.rise("a")
    rig.rising.metadata_changed(metadata(newer))
    await rig.end_look_up(snapshot)
    assert [files for _names, files in rig.told if files] == []
    await rig.end_look_up(newer)
    assert rig.told[-1] == ({"a"}, {"a": 2})


async def test_after_an_error_the_names_count_and_are_looked_up_at_the_next_change() -> None:
    rig, snapshot = Rig(), SlowSnapshot(broken=True)
    rig.rising.metadata_changed(metadata(snapshot))
    rig.rise("a")
    await rig.end_look_up(snapshot)
    assert rig.told[-1] == ({"a"}, {})
    snapshot.broken = False
    rig.rise("a", "b")
    await rig.end_look_up(snapshot)
    assert rig.told[-1] == ({"a", "b"}, {"a": 1, "b": 1})


async def test_the_lag_has_a_name() -> None:
    rig, snapshot = Rig(), SlowSnapshot()
    rig.rising.metadata_changed(metadata(snapshot))
    assert rig.rising.behind_s == 0
    rig.rise("a")
    rig.now_s = SLOW_S + 1
    assert (rig.rising.behind_s, set(rig.rising.missing)) == (SLOW_S + 1, {"a"})
    await rig.end_look_up(snapshot)
    assert (rig.rising.behind_s, set(rig.rising.missing)) == (0, set())
