"""What a simulated worker of ours answers: the product's shelf, fencing and streams behind its requests.

The product decides.  Here is what the API does around it, in virtual time: disks that hang or fail, and
sicknesses.  Neighbours: `worker` is the process that answers; the network carries requests and answers.
"""

from __future__ import annotations

import errno
from abc import abstractmethod
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from cfm.model import CopySeen, DiskReport, DiskUsage, Failure, Listing, Transfer, Trouble, WorkerFeatures
from cfm.wire import TaskOffer
from cfm.worker.act.download_files import DownloadFiles
from cfm.worker.act.fencing import Authority
from cfm.worker.act.shelf import Shelf
from cfm.worker.act.state import WorkerState
from cfm.worker.decide.download_events import BookEvent, CfmSpoke
from cfm.worker.decide.fencing import Issuer
from cfm.worker.decide.shelf_rules import DELETION_STATUS, Usage
from cfm_lab.sim.environment.network import ERROR_500, Reply
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.processes.at_once import at_once
from cfm_lab.sim.processes.sending import Sender, SenderWitness
from cfm_lab.sim.processes.server import ServerWitness, SimServer
from cfm_lab.sim.processes.transfer import Download, raise_io_error

CONFLICT: Final = Failure(Trouble.STATUS, "answered 409", 409)


def _unheard(_answer: object) -> None:
    """The answer is lost on its way."""


class WorkerWitness(ServerWitness, SenderWitness, Protocol):
    """Who is told what a worker of ours does."""

    def epoch_heard(self, worker: AnsweringWorker, issuer: Issuer, ours: bool) -> None: ...

    def fenced(self, worker: AnsweringWorker, issuer: Issuer, fence: int) -> None: ...

    def transfer_started(self, worker: AnsweringWorker, offer: TaskOffer) -> None: ...


class AnsweringWorker(SimServer):
    """A worker of ours, as far as it answers requests.  `worker` gives it new parts at each start."""

    witness: WorkerWitness
    serves: bool
    claims: bool
    """True: asking for work takes the offered task.  False: the first report takes it."""
    kind: Transfer
    downloads: int
    """How many files it receives at a time."""
    limit_percent: int
    state: WorkerState
    authority: Authority
    shelf: Shelf
    sender: Sender
    features: WorkerFeatures
    files: DownloadFiles
    transfers: dict[int, Download]
    listed: tuple[int, Listing] | None
    """The version of the disk, and its list as the shelf gave it then."""
    measured: tuple[int, Usage] | None
    """The version of the disk, and its figures as the shelf measured them then."""

    @abstractmethod
    def act(self, event: BookEvent) -> None:
        """Tell the book of downloads."""

    def hears(self, issuer: Issuer) -> bool:
        """Take in for whom an answer of cfm speaks.  Is it our controller?"""
        ours = at_once(self.authority.hear(issuer))
        self.witness.epoch_heard(self, issuer, ours)
        return ours

    def serve_heartbeat(self, issuer: Issuer, reply: Reply) -> None:
        self._hear_request(issuer)
        disk_id, probe = self.shelf.seen_disk_id, self.shelf.seen_probe
        if (self.features.disk_id, self.features.probe) != (disk_id, probe):
            self.features = replace(self.features, disk_id=disk_id, probe=probe)
        reply(self.features)

    def _hear_request(self, issuer: Issuer) -> None:
        if self.authority.may_obey(issuer):
            self.act(CfmSpoke())

    def _heed(self, issuer: Issuer) -> None:
        self._hear_request(issuer)
        is_bound = self.authority.binding is not None
        at_once(self.authority.heed(issuer))
        self.witness.epoch_heard(self, issuer, ours=is_bound)

    def serve_list(self, issuer: Issuer, fence: int | None, source_folder: str, reply: Reply) -> None:
        self._heed(issuer)
        if fence is not None and at_once(self.authority.fence(issuer, fence)) is not None:
            reply(CONFLICT)
            return
        if fence is not None:
            self.witness.fenced(self, issuer, fence)
        if self.authority.obeys(issuer) and self.shelf.source_folder != source_folder:
            self.shelf.is_in_source_folder(source_folder)
            self.disk.version += 1
        self.when_disk_answers(lambda: reply(self._listing()))

    def _listing(self) -> Listing | Failure:
        swarm = self.env.swarm
        if swarm.strikes("list_eio"):
            return ERROR_500
        if self.listed is not None and self.listed[0] == self.disk.version:
            return self.listed[1]
        try:
            inventory = self.shelf.inventory()
        except OSError:
            self.listed = None
            return ERROR_500
        names = frozenset(inventory.names)
        if self.listed is not None and (self.listed[1].names, self.listed[1].probe) == (
            names,
            self.shelf.seen_probe,
        ):
            listing = self.listed[1]
        else:
            probes = frozenset(inventory.probes)
            listing = Listing(names, inventory.disk_id, self.shelf.seen_probe, probes=probes)
        self.listed = (self.disk.version, listing)
        if swarm.strikes("list_phantoms"):
            phantom = f"PHANTOM{swarm.counts['list_phantoms']}.mpg"
            return Listing(names | {phantom}, inventory.disk_id, self.shelf.seen_probe)
        return listing

    def serve_disk(self, issuer: Issuer, reply: Reply) -> None:
        self._heed(issuer)
        self.when_disk_answers(lambda: reply(self._usage()))

    def _usage(self) -> DiskReport | Failure:
        if self.measured is None or self.measured[0] != self.disk.version:
            try:
                self.measured = self.disk.version, self.shelf.usage()
            except OSError:
                self.measured = None
                return ERROR_500
        usage = self.measured[1]
        report = DiskUsage(usage.total_bytes, usage.used_bytes, usage.avail_bytes)
        if self.env.swarm.strikes("df_absurd"):
            return self.absurd_usage(report)
        return self.told(DiskReport(report, self.limit_percent, usage.disk_id, usage.arriving_bytes))

    def serve_copy(self, issuer: Issuer, name: str, reply: Reply) -> None:
        self._heed(issuer)
        self.when_disk_answers(lambda: reply(self._copy(name)))

    def _copy(self, name: str) -> CopySeen | Failure:
        try:
            self.shelf.check()
        except OSError:
            return ERROR_500
        with self.disk.open() as folder:
            entry = folder.look(name)
        if entry is None or entry.kind != "file":
            return CopySeen(present=False)
        return CopySeen(present=True, size_bytes=entry.size_bytes, disk_id=self.shelf.seen_disk_id)

    def serve_delete(self, issuer: Issuer, order_id: int, name: str, probe: str, reply: Reply) -> None:
        self._heed(issuer)
        if self.is_sick("loses_role"):
            reply = _unheard  # so that deletes are open there when it loses its role
        why = at_once(self.authority.delete_order(issuer, order_id))
        if why is not None:
            reply(409)
            return
        delay_ms = 1 + self.rng.below(20)
        if self.env.swarm.strikes("delete_hangs"):
            delay_ms = self.rng.between(5_000, 90_000)
        self.later(
            delay_ms,
            lambda: self.when_disk_answers(lambda: self._delete(issuer, order_id, name, probe, reply)),
        )

    def _delete(self, issuer: Issuer, order_id: int, name: str, probe: str, reply: Reply) -> None:
        env = self.env
        try:
            if env.swarm.strikes("unlink_eio"):
                raise_io_error(errno.EIO)
            env.deleting = DeleteRequest(self, issuer, order_id)
            still = partial(self.authority.still, issuer, order_id)
            deletion = self.shelf.delete(name, still, probe or None)
            reply(DELETION_STATUS[deletion])
        except OSError:
            reply(500)
        finally:
            env.deleting = None

    def serve_cut(self, issuer: Issuer, task_id: int, reply: Reply) -> None:
        self._heed(issuer)
        if at_once(self.authority.order(issuer)) is not None:
            reply(False)
            return
        was_sending = self.sender.cut(task_id)
        self.later(30 if was_sending else 0, lambda: reply(True))

    def serve_content(self, offer: TaskOffer, reply: Reply) -> None:
        """A worker of ours wants to read a file of the SAN."""
        if not self.serves:
            reply("the source answered 404")
            return
        answer = self.sender.serve(offer)
        if answer is None:
            self.later(60, lambda: self.serve_content(offer, reply))
        else:
            reply(answer)
