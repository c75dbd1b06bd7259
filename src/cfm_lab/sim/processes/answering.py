"""Who answers a simulated cfm: workers over the simulated network, the SAN, and a planner.

What is asked, and what an answer means, stands in the product's own table of questions.  Here is only the way
there and back: time-outs, slow answers, and a process without file descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from cfm.model import Addr, Failure, SanAnswer, Trouble, Unknown
from cfm.plan import reference
from cfm.plan.shortlist import PlanInputs
from cfm.worker.decide.fencing import Issuer
from cfm_lab.sim.environment.network import Process, Reply
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.services import WorkerService
from cfm_lab.sim.environment.shared import Environment
from cfm_lab.sim.environment.sickness import CFM
from cfm_lab.sim.processes.metadata_watch import Pair

HEARTBEAT_MS: Final = 5_000
LIST_MS: Final = 30_000
DISK_MS: Final = 10_000
COPY_MS: Final = 5_000
DELETE_MS: Final = 30_000
CUT_MS: Final = 5_000
SAN_MS: Final = 5_000
SLOW_PLAN_MS: Final = 60_000
NO_DESCRIPTORS: Final = Failure(Trouble.REFUSED, "too many open files")
Asked = Callable[[Reply], None]
"""A question that is ready to be asked; it takes whoever hears the answer."""


class Asker(Protocol):
    """The cfm that asks."""

    env: Environment
    rng: Rng
    """The luck of this cfm alone."""
    process: Process
    clock: Clock
    pair: Pair | None
    """The metadata that plans are made from."""
    issuer: Issuer
    no_descriptors: bool


class SimAnswerer:
    """See the module's text.  It speaks for the controller and the epoch that asks when it is made."""

    def __init__(self, cfm: Asker) -> None:
        self._cfm = cfm
        self._issuer = cfm.issuer

    def heartbeat(self, addr: Addr) -> Asked:
        issuer = self._issuer
        return self._worker(addr, HEARTBEAT_MS, lambda worker, reply: worker.serve_heartbeat(issuer, reply))

    def list_files(self, addr: Addr, fence: int | None, source_folder: str) -> Asked:
        issuer = self._issuer
        return self._worker(
            addr, LIST_MS, lambda worker, reply: worker.serve_list(issuer, fence, source_folder, reply)
        )

    def disk_usage(self, addr: Addr) -> Asked:
        return self._worker(addr, DISK_MS, lambda worker, reply: worker.serve_disk(self._issuer, reply))

    def see_copy(self, addr: Addr, name: str) -> Asked:
        issuer = self._issuer
        return self._worker(addr, COPY_MS, lambda worker, reply: worker.serve_copy(issuer, name, reply))

    def delete(
        self,
        addr: Addr,
        order_id: int,
        name: str,
        *,
        probe: str,
        within_s: float,  # noqa: ARG002 - the network here is as slow as a real one may be
    ) -> Asked:
        issuer = self._issuer
        return self._worker(
            addr, DELETE_MS, lambda worker, reply: worker.serve_delete(issuer, order_id, name, probe, reply)
        )

    def cut_stream(self, addr: Addr, task_id: int) -> Asked:
        issuer = self._issuer
        return self._worker(addr, CUT_MS, lambda worker, reply: worker.serve_cut(issuer, task_id, reply))

    def stat_files(self, sizes: Mapping[str, int]) -> Asked:
        cfm, asked_ms = self._cfm, self._cfm.clock.mono_ms()
        slow = cfm.env.swarm.strikes("san_slow")
        took_ms = SAN_MS if slow else cfm.env.san.answer_ms(asked_ms)

        def answers() -> dict[str, SanAnswer]:
            if slow:
                return {name: Unknown("no answer in time", asked_ms) for name in sizes}
            return {name: cfm.env.san.answer(name, asked_ms) for name in sizes}

        return lambda reply: cfm.process.later(took_ms, lambda: reply(answers()))

    def seek_names(self, names: frozenset[str]) -> Asked:
        cfm, asked_ms = self._cfm, self._cfm.clock.mono_ms()
        took_ms = cfm.env.san.answer_ms(asked_ms)
        return lambda reply: cfm.process.later(took_ms, lambda: reply(cfm.env.san.seek(names, asked_ms)))

    def reduce(self, inputs: PlanInputs) -> Asked:
        cfm = self._cfm
        shortlist = reference.shortlist(cfm.pair.files if cfm.pair is not None else (), inputs)
        slow = cfm.env.swarm.strikes("plan_slow")
        took_ms = cfm.rng.between(20_000, 180_000) if slow else 40
        took_ms = SLOW_PLAN_MS if cfm.env.sick.has("plans_slow", CFM) else took_ms
        return lambda reply: cfm.process.later(took_ms, lambda: reply(shortlist))

    def _worker(self, addr: Addr, timeout_ms: int, serve: Callable[[WorkerService, Reply], None]) -> Asked:
        cfm = self._cfm

        def asked(done: Reply) -> None:
            worker = cfm.env.server_at(addr)
            if cfm.no_descriptors or worker is None:
                cfm.process.later(1, lambda: done(NO_DESCRIPTORS))
            else:
                cfm.env.net.call(
                    cfm.process, worker.process, lambda reply: serve(worker, reply), done, timeout_ms
                )

        return asked
