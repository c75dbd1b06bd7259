"""Where a name is: in a source folder, in the folders above it, or in those directly below it.

So cfm finds out which server's disk is a source folder, holds one, or lies in one (`fleet.source_disks`).
A folder above or below is only searched where it has a worker's marker, so that this costs next to nothing.
All calls block, and may hang; `san` makes them in the threads of that folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cfm.inputs.file_system import FileSystem
from cfm.threads import LifeSign

MARKER = ".cfw-id"
"""As in `worker.act.base_dir`, which cfm does not know."""
MOST_BELOW = 1_000
"""Of more folders below a source folder, only so many are looked at."""


def seek(
    file_system: FileSystem, folder: str, below: Iterable[str], names: Iterable[str], sign: LifeSign
) -> dict[str, str]:
    """Which of the names exist, and in which folder."""
    found: dict[str, str] = {}
    for place in _places(file_system, folder, below, sign):
        for name in names:
            if name not in found and file_system.plain_version(f"{place}/{name}") is not None:
                found[name] = place.rstrip("/") or "/"
            sign.beat()
    return found


def _places(file_system: FileSystem, folder: str, below: Iterable[str], sign: LifeSign) -> Iterator[str]:
    yield folder
    for place in (*file_system.folders_above(folder), *(f"{folder}/{name}" for name in below)):
        if file_system.plain_version(f"{place}/{MARKER}") is not None:
            yield place
        sign.beat()
