"""Conditions about disks that are not what they seem: the SAN, a copy of another disk, one with links.

Pure.  Neighbours: `conditions` puts these among the others; `fleet.source_disks` and `fleet.same_disk` know
them.
"""

from __future__ import annotations

from collections.abc import Iterator

from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.words import count_words, some_of
from cfm.model import Addr
from cfm.plan import refusals


def source_disks(scene: Scene) -> Iterator[Condition]:
    """Servers whose files are the originals: one condition for each folder and for mere suspicion."""
    disks = scene.state.fleet.source_disks
    groups: dict[tuple[bool, str], list[Addr]] = {}
    for addr in scene.state.config.destinations:
        if (check := disks.check(addr)).folder:
            groups.setdefault((check.suspected, check.folder), []).append(addr)
    for (suspected, folder), addrs in sorted(groups.items()):
        there = scene.in_order(addrs)
        names = some_of([scene.names[addr] for addr in there])
        what = "may be" if suspected else "is"
        yield Condition(
            name=refusals.SOURCE_DISK.name,
            level=Severity.DEGRADED if suspected else Severity.CRITICAL,
            text=f"The disk of {names} {what} the source folder {folder}, so it is not used",
            remedy="install the new cfw there, which tells it, or give it another base_dir"
            if suspected
            else "stop that cfw, and name another base_dir in cfw.yml",
            servers=there,
            holds=True,
        )


def copied_markers(scene: Scene) -> Iterator[Condition]:
    if copied := scene.state.fleet.sharing.copied_markers():
        there = scene.in_order(copied)
        names = some_of([scene.names[addr] for addr in there])
        yield Condition(
            name="marker_copied",
            level=Severity.DEGRADED,
            text=f"A disk was copied with its marker: {names} are two disks with one id, so one is used",
            remedy="stop the cfw of the copy, remove `.cfw-id` in its base_dir and its `cfw.db`; start it",
            servers=there,
        )


def links(scene: Scene) -> Iterator[Condition]:
    """An earlier cfw listed what links lead to; ours follows none."""
    records = scene.state.fleet.records.values()
    if links := {record.addr: record.links for record in records if record.links}:
        there = scene.in_order(links)
        what = count_words(sum(links.values()), "link in base_dir is", "links in base_dir are")
        yield Condition(
            name="links_not_served",
            level=Severity.NOTE,
            text=f"{what} not served {scene.at(there)}",
            remedy="move the files themselves there",
            servers=there,
            files=sum(links.values()),
        )
