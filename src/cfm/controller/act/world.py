"""Who answers the core's questions: the workers over HTTP, the SAN, and the planner.

Whatever can block runs elsewhere: plans in a thread of their own, the SAN in its own bounded ones.  What is
asked and what an answer means stands in `decide.questions`.  Neighbours: `loop` asks here; `fleet.client` and
`inputs.san` do the work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from cfm.fleet.client import DeleteAnswer, WorkerClient
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.model import Addr, CopySeen, DiskReport, Failure, Listing, ProbeSight, SanAnswer, WorkerFeatures
from cfm.plan.reduce import Reducer
from cfm.plan.shortlist import PlanInputs, Shortlist
from cfm.threads import ThreadPool

SAN_PATIENCE_S = 5.0
"""How long the SAN is waited for."""


class OutsideWorld:
    """Everything outside of cfm that the core may ask."""

    def __init__(self, client: WorkerClient, san: SanIndex, *, only_looks: bool = False) -> None:
        """Who `only_looks` raises no fence, and tells no worker anything."""
        self.snapshot: Snapshot | None = None
        """The metadata that plans are made from."""
        self._client, self._only_looks = client, only_looks
        self._san = san
        self._planner = ThreadPool("plan", 1)
        self._reducer: tuple[Snapshot, Reducer] | None = None

    def close(self) -> None:
        self._planner.close()

    def act_by(self, client: WorkerClient) -> None:
        """From now on workers are told things as well, by this client."""
        self._client, self._only_looks = client, False

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────

    def heartbeat(self, addr: Addr) -> Awaitable[WorkerFeatures | Failure]:
        return self._client.heartbeat(addr)

    def list_files(self, addr: Addr, fence: int | None, source_folder: str) -> Awaitable[Listing | Failure]:
        if self._only_looks:
            return self._client.list_files(addr)
        return self._client.list_files(addr, fence, source_folder)

    def disk_usage(self, addr: Addr) -> Awaitable[DiskReport | Failure]:
        return self._client.disk_usage(addr)

    def see_copy(self, addr: Addr, name: str) -> Awaitable[CopySeen | Failure]:
        return self._client.see_copy(addr, name)

    def delete(
        self, addr: Addr, order_id: int, name: str, *, probe: str, within_s: float
    ) -> Awaitable[DeleteAnswer]:
        return self._client.delete(addr, order_id, name, probe=probe, within_s=within_s)

    def cut_stream(self, addr: Addr, task_id: int) -> Awaitable[bool | Failure]:
        return self._client.cut_stream(addr, task_id)

    # ── the SAN and the planner ─────────────────────────────────────────────────────────────────────────

    def stat_files(self, sizes: Mapping[str, int]) -> Awaitable[Mapping[str, SanAnswer]]:
        return self._san.stat_files(sizes, self.san_patience_s(), sizes)

    def san_patience_s(self) -> float:
        return SAN_PATIENCE_S

    def seek_names(self, names: frozenset[str]) -> Awaitable[Mapping[str, ProbeSight]]:
        return self._san.seek(names, SAN_PATIENCE_S)

    def reduce(self, inputs: PlanInputs) -> Awaitable[Shortlist]:
        return self._planner.run(None, lambda: self._reduce(inputs))

    def _reduce(self, inputs: PlanInputs) -> Shortlist:
        """In the planner's thread; a new snapshot is prepared at its first plan."""
        snapshot = self.snapshot
        assert snapshot is not None
        if self._reducer is None or self._reducer[0] is not snapshot:
            self._reducer = (snapshot, Reducer(snapshot.frame))
        return self._reducer[1].shortlist(inputs)
