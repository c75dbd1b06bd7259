"""The rule about disks that are a source folder: the files on them are the originals."""

from __future__ import annotations

from cfm.model import DeleteOrder
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.san_disk import SanDisk
from cfm_lab.sim.environment.services import DeleteRequest
from cfm_lab.sim.invariants.base import Invariant


class SameStorage(Invariant):
    """No worker ever deletes a file on a disk that is the source folder, whoever configured what.

    Scope: all orders, of any cfm, and whatever cfm could know.
    """

    number = "27"
    title = "no original is deleted"

    def unlinked(
        self, disk: SimDisk, name: str, _node: Inode, by: DeleteRequest, _order: DeleteOrder | None
    ) -> None:
        self.hold(not isinstance(disk, SanDisk), f"the original of {name} was deleted on {by.server.addr}")
