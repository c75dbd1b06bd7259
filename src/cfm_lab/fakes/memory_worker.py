"""What a worker keeps outside of `base_dir`, in memory: its state, and its lock on the disk.

`MemoryState` passes the same conformance test as the product's `SqliteState`.
"""

from __future__ import annotations

from dataclasses import replace

from cfm.wire import TaskOffer, TaskReport
from cfm.worker.act.state import Memory
from cfm.worker.decide.fencing import Binding
from cfm.worker.decide.offers import HeldTask


class MemoryState:
    """A worker's state that lasts until the program ends."""

    def __init__(self, memory: Memory | None = None) -> None:
        self._memory = memory or Memory()

    async def recall(self) -> Memory:
        return self._memory

    async def keep_disk_id(self, disk_id: str) -> None:
        self._memory = replace(self._memory, disk_id=disk_id)

    async def bind(self, binding: Binding | None) -> None:
        self._memory = replace(self._memory, binding=binding)

    async def hold(self, offer: TaskOffer) -> None:
        self._put(HeldTask(offer))

    async def conclude(self, offer: TaskOffer, final: TaskReport) -> None:
        self._put(HeldTask(offer, final))

    async def forget(self, task_id: int) -> None:
        held = tuple(task for task in self._memory.held if task.offer.id != task_id)
        self._memory = replace(self._memory, held=held)

    async def close(self) -> None:
        return None

    def _put(self, task: HeldTask) -> None:
        others = (held for held in self._memory.held if held.offer.id != task.offer.id)
        held = tuple(sorted((*others, task), key=lambda one: one.offer.id))
        self._memory = replace(self._memory, held=held)


class NoOtherWorkers:
    """The locks of a machine on which no other worker runs."""

    def hold(self, disk_id: str) -> bool:  # noqa: ARG002 - the protocol's argument
        return True

    def is_held(self, disk_id: str) -> bool:  # noqa: ARG002 - the protocol's argument
        return False
