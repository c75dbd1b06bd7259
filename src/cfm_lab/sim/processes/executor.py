"""Who carries out the instructions of a simulated worker: over its network, on its disk, in virtual time.

What an instruction and its outcome mean stands in the product's own table.  Here is only what takes time and
what goes wrong: the way to cfm and back, a slow disk, a full state, a disk that fails.  Neighbours: `agent`
asks for it; `transfer` downloads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cfm.errors import StateError
from cfm.model import Failure, Transfer
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.cfm_answers import EMPTY, NOT_OURS, OK, CfmAnswer
from cfm.worker.decide.download_events import Ask, BookEvent, TransferEnded
from cfm_lab.sim.environment.network import Reply
from cfm_lab.sim.environment.shared import Environment
from cfm_lab.sim.processes.at_once import at_once
from cfm_lab.sim.processes.transfer import Download
from cfm_lab.sim.processes.worker_requests import AnsweringWorker

ANSWER_MS: Final = 10_000
SLOW_DISK_MS: Final = 20_000
Work = Callable[[Reply], None]
"""Something that is ready to be done; it takes whoever hears the outcome."""


class SimExecutor:
    """It belongs to one start of the worker's process.  `tell` hears what transfers say of themselves."""

    def __init__(self, worker: AnsweringWorker, tell: Callable[[BookEvent], None]) -> None:
        self.process = worker.process
        self.transfers: dict[int, Download] = {}
        self._worker = worker
        self._tell = tell
        self._env: Environment = worker.env

    def die(self) -> None:
        """The process is gone."""
        for download in list(self.transfers.values()):
            download.died()

    # ── cfm ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_bound(self) -> bool:
        return self._worker.authority.binding is not None

    def ask_for_work(self, how: Ask, holding: frozenset[int]) -> Work:
        worker = self._worker

        def ask(done: Reply) -> None:
            if worker.is_sick("deaf"):
                return
            cfm = self._env.cfm_for(worker)
            wait_s = self._env.profile.wait_s if how is Ask.WAIT else 0
            self._env.net.call(
                worker.process,
                cfm.process,
                lambda reply: cfm.serve_next(worker.addr, holding, wait_s, worker.claims, reply),
                lambda answer: done(self._answer(answer)),
                ANSWER_MS + wait_s * 1000,
            )

        return ask

    def report(self, offer: TaskOffer, report: TaskReport) -> Work:
        worker = self._worker

        def tell(done: Reply) -> None:
            cfm = self._env.cfm_for(worker)
            worker.witness.reported(worker, offer, report)
            self._env.net.call(
                worker.process,
                cfm.process,
                lambda reply: cfm.serve_report(worker, offer.id, report, reply),
                lambda answer: done(self._answer(answer)),
                ANSWER_MS,
            )

        return tell

    def _answer(self, answer: object) -> CfmAnswer:
        if isinstance(answer, Failure):
            return CfmAnswer(answer.status or None)
        assert isinstance(answer, tuple)
        issuer, said = answer
        if not self._worker.hears(issuer):
            return NOT_OURS
        if isinstance(said, TaskOffer):
            return CfmAnswer(OK, offer=self._spoilt(said), knows_epochs=True)
        return CfmAnswer(EMPTY if said is None else said, knows_epochs=True)

    def _spoilt(self, offer: TaskOffer) -> TaskOffer:
        """Now and then an attacker changes the offer."""
        if self._env.swarm.strikes("evil_offer"):
            names = ("../escape.txt", "..", "a/b.mpg", ".cfw-id", "\x00x")
            name = self._worker.rng.pick(names)
            return replace(offer, file_name=name, path=f"/san/{name}")
        return offer

    # ── the state ───────────────────────────────────────────────────────────────────────────────────────

    def hold(self, offer: TaskOffer) -> Work:
        try:
            at_once(self._worker.state.hold(offer))
        except StateError as error:
            why = str(error)
            return lambda done: done(why)
        return lambda done: done(None)

    def conclude(self, offer: TaskOffer, final: TaskReport) -> Work:
        at_once(self._worker.state.conclude(offer, final))
        return lambda done: done(None)

    def forget(self, task_id: int) -> Work:
        at_once(self._worker.state.forget(task_id))
        return lambda done: done(None)

    # ── the disk and the transfers ──────────────────────────────────────────────────────────────────────

    def publish(self, offer: TaskOffer, *, verified: bool) -> Work:
        delay_ms = SLOW_DISK_MS if self._env.swarm.strikes("disk_slow") else 15
        return lambda done: self._worker.later(delay_ms, lambda: done(self._published(offer, verified)))

    def _published(self, offer: TaskOffer, verified: bool) -> str | None:
        """Why the file is not visible; None where it is."""
        env = self._env
        if env.swarm.strikes("fsync_eio"):
            return str(OSError(errno.EIO, os.strerror(errno.EIO)))
        env.publishing = offer
        try:
            why = at_once(self._worker.files.publish(offer.id, verified=verified))
        finally:
            env.publishing = None
        if why is None:
            self._worker.arrived(offer.file_name)
        return why

    def abandon(self, offer: TaskOffer) -> Work:
        worker = self._worker
        return lambda done: worker.later(5, lambda: done(at_once(worker.files.abandon(offer))))

    def clean(self) -> Work:
        left = at_once(self._worker.files.clean())
        return lambda done: done(left)

    def start_transfer(self, offer: TaskOffer) -> None:
        worker, external = self._worker, self._worker.kind is Transfer.EXTERNAL
        download = Download(worker, worker.files, offer, self._transferred, external=external)
        self.transfers[offer.id] = download
        worker.witness.transfer_started(worker, offer)
        download.start()

    def stop_transfer(self, offer: TaskOffer, why: str) -> None:  # noqa: ARG002 - for the log in service
        self.transfers[offer.id].stop()

    def _transferred(self, event: BookEvent) -> None:
        """A download tells how it goes."""
        if isinstance(event, TransferEnded):
            self.transfers.pop(event.task_id, None)
        self._tell(event)
