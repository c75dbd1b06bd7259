"""The source folder as the disk of a server: what goes from the one, goes from the other.

So it is where an operator has mounted the SAN as a worker's `base_dir`.  The names of the folder are the
names of the disk.  What a worker keeps there besides (its marker, its probe file) is no file of the library,
but can be found on the SAN.
"""

from __future__ import annotations

from cfm.worker.act.base_dir import MARKER
from cfm_lab.fakes.memory_base_dir import Inode
from cfm_lab.sim.environment.disks import DiskWitness, SimDisk, content_of
from cfm_lab.sim.environment.san import San, SanFile

FULL_PERCENT = 97
"""How full it is at the beginning: a worker that took it for a disk would have to delete."""


class SanDisk(SimDisk):
    """See the module's text."""

    def __init__(self, label: str, san: San, witness: DiskWitness) -> None:
        used_bytes = sum(file.size_bytes for file in san.files.values())
        super().__init__(label, used_bytes * 100 // FULL_PERCENT, witness)
        self._san = san
        self._shown: dict[str, int] = {}
        """File of the SAN → the size with which it lies on this disk."""
        san.disks.append(self)

    @property
    def names(self) -> dict[str, Inode]:
        self._look()
        return self._names

    @names.setter
    def names(self, names: dict[str, Inode]) -> None:
        self._names = names
        self._shown = {}

    def mark(self, disk_id: str) -> None:
        """Somebody copied the marker of a worker's disk there, as for a new, empty disk."""
        self.place(MARKER, len(disk_id), disk_id.encode())

    def went(self, name: str) -> None:
        self._san.files.pop(name, None)
        self._shown.pop(name, None)

    def came(self, name: str, node: Inode) -> None:
        self._san.files[name] = SanFile(node.size_bytes)
        self._shown[name] = node.size_bytes

    def _look(self) -> None:
        """Let the disk hold what the folder holds now."""
        if not hasattr(self, "_san"):
            return
        there = {name: file.size_bytes for name, file in self._san.files.items()}
        if there == self._shown:
            return
        for name in self._shown.keys() - there.keys():
            self._names.pop(name, None)
        for name, size_bytes in there.items():
            if self._shown.get(name) != size_bytes:
                node = self._names[name] = self.new_node()
                node.data, node.size_bytes = bytearray(content_of(name)), size_bytes
                node.sync()
        self._shown = there
        self.version += 1
