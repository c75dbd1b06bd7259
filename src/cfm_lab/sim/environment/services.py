"""The requests that the programs of a simulated node answer.

The programs know each other only by these classes.  They give their answers to `reply`, at once or later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from cfm.model import Addr
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.fencing import Issuer
from cfm_lab.sim.environment.network import Process, Reply


class WorkerService(ABC):
    """A worker, as others reach it."""

    ours: ClassVar[bool]
    """False: it is of the earlier implementation."""
    addr: Addr
    machine: Addr
    """Its first address.  The address may change; the machine stays."""
    process: Process
    moved_ms: int | None
    """When it last got another address."""

    @abstractmethod
    def serve_heartbeat(self, issuer: Issuer, reply: Reply) -> None: ...

    @abstractmethod
    def serve_list(self, issuer: Issuer, fence: int | None, source_folder: str, reply: Reply) -> None: ...

    @abstractmethod
    def serve_disk(self, issuer: Issuer, reply: Reply) -> None: ...

    @abstractmethod
    def serve_copy(self, issuer: Issuer, name: str, reply: Reply) -> None: ...

    @abstractmethod
    def serve_delete(self, issuer: Issuer, order_id: int, name: str, probe: str, reply: Reply) -> None: ...

    @abstractmethod
    def serve_cut(self, issuer: Issuer, task_id: int, reply: Reply) -> None: ...

    @abstractmethod
    def serve_content(self, offer: TaskOffer, reply: Reply) -> None: ...


class CfmService(ABC):
    """A cfm, as workers reach it."""

    process: Process

    @abstractmethod
    def serve_next(
        self, addr: Addr, holding: frozenset[int], wait_s: int, claims: bool, reply: Reply
    ) -> None: ...

    @abstractmethod
    def serve_tasks(self, addr: Addr, reply: Reply) -> None: ...

    @abstractmethod
    def serve_report(self, worker: WorkerService, task_id: int, report: TaskReport, reply: Reply) -> None: ...


class DeleteRequest(NamedTuple):
    """A delete that a worker is carrying out."""

    server: WorkerService
    issuer: Issuer
    order_id: int
