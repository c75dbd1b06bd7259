"""Where a name is: in a source folder, in the folders above it, or in those directly below it.

So cfm finds out which server's disk is a source folder, holds one, or lies in one (`fleet.source_disks`).
A folder above or below is only searched where it has a worker's marker, so that this costs next to nothing.
All calls block, and may hang; `san` makes them in the threads of that folder.
"""

from __future__ import annotations

from collections.abc import Iterable

from cfm.inputs.file_system import FileSystem
from cfm.threads import LifeSign

MARKER = ".cfw-id"
"""As in `worker.act.base_dir`, which cfm does not know."""
MOST_BELOW = 1_000
"""So many folders below a source folder are looked at each time.  Of more, those with a marker come first."""


def seek(
    file_system: FileSystem, folder: str, below: Iterable[str], names: Iterable[str], sign: LifeSign
) -> dict[str, str]:
    """Which of the names exist, and in which folder."""
    found: dict[str, str] = {}
    names = list(names)
    others = marked(file_system, around(file_system, folder, below), sign)
    for place in (folder, *others):
        for name in names:
            if name not in found and file_system.plain_version(f"{place}/{name}") is not None:
                found[name] = place.rstrip("/") or "/"
            sign.beat()
    return found


def folders_below(file_system: FileSystem, folder: str, sign: LifeSign) -> tuple[str, ...]:
    """The names of the folders directly below that are worth a look, in a fixed order.

    Of a great many, all are searched for a marker here, once, so that no disk hides behind their number.
    """
    names = []
    for name in file_system.folders_in(folder):
        sign.beat()
        names.append(name)
    names.sort()
    if len(names) <= MOST_BELOW:
        return tuple(names)
    with_marker = marked(file_system, [f"{folder}/{name}" for name in names], sign)
    first = [place.rpartition("/")[2] for place in with_marker]
    return tuple(dict.fromkeys([*first, *names]))[: max(MOST_BELOW, len(first))]


def around(file_system: FileSystem, folder: str, below: Iterable[str]) -> list[str]:
    """The folders above a folder, and those below it that have these names."""
    return [*file_system.folders_above(folder), *(f"{folder}/{name}" for name in below)]


def marked(file_system: FileSystem, places: Iterable[str], sign: LifeSign) -> list[str]:
    """Those of the folders that have a worker's marker."""
    found = []
    for place in places:
        if file_system.plain_version(f"{place}/{MARKER}") is not None:
            found.append(place)
        sign.beat()
    return found
