"""A simulated worker of the earlier implementation, as it was seen to behave.

It polls the whole list and takes the first ready task of its address.  It downloads even if its `working` was
refused.  It reports `done` once, whatever came of the download.  It carries out every order, whoever sent it,
and does not look for a marker on its disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from cfm.model import OLD_WORKER, Addr, CopySeen, DiskReport, DiskUsage, Failure, Listing, Status, Trouble
from cfm.wire import TaskOffer, TaskReport
from cfm.worker.decide.disk_entries import EntryKind
from cfm.worker.decide.fencing import Issuer
from cfm_lab.sim.environment.disks import SimDisk, content_of
from cfm_lab.sim.environment.network import ERROR_500, Reply
from cfm_lab.sim.environment.san import HALF
from cfm_lab.sim.environment.schedule import Clock
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.environment.shared import Environment
from cfm_lab.sim.processes.server import ServerWitness, SimServer

ANSWER_MS: Final = 10_000
SENDS_NOTHING: Final = ("no_mount", "breaks_streams")
"""The sicknesses of a source from which its downloader gets no file."""
NO_SUCH: Final = Failure(Trouble.STATUS, "an old worker cannot be asked about one copy", 404)


class SimOldWorker(SimServer):
    """One server with an old worker."""

    ours = False

    def __init__(
        self, env: Environment, addr: Addr, disk: SimDisk, clock: Clock, witness: ServerWitness
    ) -> None:
        super().__init__(env, addr, disk, clock)
        self.witness = witness
        self.downloading: TaskOffer | None = None
        self._restart()

    def _restart(self) -> None:
        self.process.up = True
        self.downloading = None
        self.env.note("old worker starts", self.addr)
        self.later(1_000 + self.rng.below(2_000), self._poll)

    def kill(self) -> None:
        self.env.note("old worker dies", self.addr)
        self.process.end()
        self.downloading = None
        for temp in list(self.disk.temp_names):
            del self.disk.temp_names[temp]
        self.disk.version += 1

    def restart(self) -> None:
        if not self.process.up:
            self._restart()

    def stop_softly(self) -> None:
        self.kill()
        self.env.schedule.after(2_000, self.restart)

    # ── downloads ───────────────────────────────────────────────────────────────────────────────────────

    def _poll(self) -> None:
        if self.is_sick("deaf"):
            return
        cfm = self.env.cfm_for(self)
        self.env.net.call(
            self.process, cfm.process, partial(cfm.serve_tasks, self.addr), self._listed, ANSWER_MS
        )

    def _listed(self, answer: object) -> None:
        offer = None
        if isinstance(answer, tuple):
            offers = [o for o in answer[1] if o.status is Status.READY and o.destination == self.addr]
            offer = offers[0] if offers else None
        if offer is None:
            self.later(self.env.profile.old_poll_ms, self._poll)
        else:
            self._tell(offer, Status.WORKING, lambda: self._download(offer))

    def _tell(self, offer: TaskOffer, status: Status, then: Callable[[], None]) -> None:
        cfm = self.env.cfm_for(self)
        report = TaskReport(status)
        self.witness.reported(self, offer, report)
        self.env.net.call(
            self.process,
            cfm.process,
            lambda reply: cfm.serve_report(self, offer.id, report, reply),
            lambda _answer: then(),
            ANSWER_MS,
        )

    def _download(self, offer: TaskOffer) -> None:
        """Download, whatever cfm answered."""
        self.downloading = offer
        sends = not any(self.env.sick.has(kind, offer.source) for kind in SENDS_NOTHING)
        found = self.env.san.read(offer.file_name) if sends else None
        size_bytes = found[0] if found else 0
        temp = self.disk.new_node()
        self.disk.temp_names[f"{offer.file_name}.{offer.id}"] = temp
        self.disk.version += 1
        took_ms = size_bytes * 8_000 // max(1, offer.copy_speed_bps)
        fails = found is None or self.env.swarm.strikes("old_done_for_failed")
        version = found[1] if found else 0
        self.later(took_ms + 1, lambda: self._end(offer, size_bytes, version, failed=fails))

    def _end(self, offer: TaskOffer, size_bytes: int, version: int, *, failed: bool) -> None:
        node = self.disk.temp_names.pop(f"{offer.file_name}.{offer.id}", None)
        self.disk.version += 1
        self.downloading = None
        if not self.disk.mounted:
            failed = True
        room_bytes = self.disk.total_bytes - self.disk.reserved_bytes - self.disk.used_bytes
        if not failed and node is not None and size_bytes <= room_bytes:
            now = self.env.san.read(offer.file_name)
            mixed = now is not None and now[1] != version
            node.data[:] = content_of(offer.file_name, version | (HALF if mixed else 0))
            node.size_bytes = size_bytes
            node.sync()
            replaced = self.disk.names.get(offer.file_name)
            self.disk.names[offer.file_name] = node
            self.disk.sync_names()
            self.disk.came(offer.file_name, node)
            self.disk.witness.published(self.disk, offer.file_name, node, replaced)
            self.arrived(offer.file_name)
        self._tell(offer, Status.DONE, lambda: self.later(self.env.profile.old_poll_ms, self._poll))

    # ── the API ─────────────────────────────────────────────────────────────────────────────────────────

    def serve_heartbeat(self, _claim: Issuer, reply: Reply) -> None:
        reply(OLD_WORKER)

    def serve_list(self, _claim: Issuer, _fence: int | None, _source_folder: str, reply: Reply) -> None:
        self.when_disk_answers(lambda: reply(self._listing()))

    def _listing(self) -> Listing | Failure:
        if self.env.swarm.strikes("list_eio") or self.disk.failing.get("kinds"):
            return ERROR_500
        if not self.disk.mounted:
            return Listing(frozenset())
        names = frozenset(self.disk.visible())
        if self.env.swarm.strikes("list_phantoms"):
            return Listing(names | {f"PHANTOM{self.env.swarm.counts['list_phantoms']}.mpg"})
        return Listing(names)

    def serve_disk(self, _claim: Issuer, reply: Reply) -> None:
        self.when_disk_answers(lambda: reply(self._usage()))

    def _usage(self) -> DiskReport | Failure:
        disk = self.disk
        if not disk.mounted:
            return DiskReport(DiskUsage(disk.total_bytes // 20, 0, disk.total_bytes // 20))
        used_bytes = disk.used_bytes
        avail_bytes = max(0, disk.total_bytes - used_bytes - disk.reserved_bytes)
        usage = DiskUsage(disk.total_bytes, min(used_bytes, disk.total_bytes), avail_bytes)
        if self.env.swarm.strikes("df_absurd"):
            return self.absurd_usage(usage)
        return self.told(DiskReport(usage))

    def serve_copy(self, _claim: Issuer, _name: str, reply: Reply) -> None:
        answer: CopySeen | Failure = NO_SUCH
        reply(answer)

    def serve_delete(self, issuer: Issuer, order_id: int, name: str, _probe: str, reply: Reply) -> None:
        self.later(
            1 + self.rng.below(20),
            lambda: self.when_disk_answers(lambda: self._delete(issuer, order_id, name, reply)),
        )

    def _delete(self, issuer: Issuer, order_id: int, name: str, reply: Reply) -> None:
        disk = self.disk
        node = disk.names.get(name)
        if not disk.mounted or node is None:
            reply(404)
        elif node.kind is EntryKind.FOLDER:
            reply(406)
        elif disk.failing.get("remove") or self.env.swarm.strikes("unlink_eio"):
            reply(500)
        else:
            self.env.deleting = DeleteRequest(self, issuer, order_id)
            disk.lose(name)
            disk.witness.unlinked(disk, name, node)
            self.env.deleting = None
            reply(200)

    def serve_cut(self, _claim: Issuer, _task_id: int, reply: Reply) -> None:
        reply(Failure(Trouble.STATUS, "answered 404", 404))

    def serve_content(self, _offer: TaskOffer, reply: Reply) -> None:
        reply("the source answered 404")
