"""Writes what cfm reads, in the real formats: the grade file, the hit-count history and the event log.

A new metadata file replaces the old one by a rename, as in real nodes.  The event log grows line by line.
Neighbours: `library` has the content; `cfm.inputs` reads the files.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

from cfm.demo.library import Library, Taste

BITRATE: Final = 6_399_785
GRADE_HEADER: Final = "filename\tweightcount\tbitrate\tgrade\tsumHitCount\thistoryCount\tTargetCopyCount"
LB_IP: Final = "127.0.0.5"


def grade_text(library: Library, taste: Taste) -> str:
    """The grade file: the most wanted title first, and the ads last."""
    names = [*taste.order, *(ad.name for ad in library.ads)]
    lines = [
        f"{name}\t{BITRATE * taste.hits(rank)}\t{BITRATE}\t{rank}\t{taste.hits(rank)}\t24\t1"
        for rank, name in enumerate(names, 1)
    ]
    return "\n".join([GRADE_HEADER, *lines, ""])


def history_text(library: Library, taste: Taste, holders: Mapping[str, Sequence[str]], written_s: int) -> str:
    """The history: the size of each file, its past hits, and the servers that hold it."""
    ranks = {name: rank for rank, name in enumerate(taste.order, 1)}
    lines = []
    for title in (*library.titles, *library.ads):
        hits = taste.hits(ranks.get(title.name, len(ranks) + 1))
        ips = " ".join(holders.get(title.name, ()))
        counts = f"{hits - hits // 3} {hits // 3}"
        lines.append(f"{title.name},{title.registered_s},{BITRATE},{title.size_bytes},{ips},1,0,0,1={counts}")
    return "\n".join([f"historyheader:{written_s}", *lines, ""])


def replace(path: Path, text: str) -> None:
    """Replace a file.  A reader sees the old or the new content, and never a part of it."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


@dataclass(frozen=True, slots=True)
class View:
    """A viewer begins to watch a file at the server that the load balancer chose."""

    name: str
    server_ip: str


class EventLog:
    """The load balancer's log, with one file for each local day."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = Random(f"streams {seed}")  # noqa: S311 - made-up ids

    def begin(self, at_s: float) -> None:
        """The log is there before the first viewer, for an empty folder is as one that is not mounted."""
        self.path(at_s).touch()

    def append(self, views: Iterable[View], at_s: float) -> None:
        lines = [self._line(view, int(at_s)) for view in views]
        if lines:
            with self.path(at_s).open("a", encoding="utf-8") as log:
                log.write("".join(lines))

    def path(self, at_s: float) -> Path:
        day = datetime.fromtimestamp(at_s, UTC).astimezone().strftime("%Y%m%d")
        return self._folder / f"EventLog[{day}].log"

    def _line(self, view: View, at_s: int) -> str:
        stream = uuid.UUID(int=self._random.getrandbits(128), version=4)
        return (
            f"0x40ffff,1,{at_s},Server {view.server_ip} Selected for Client StreamID : {stream}, "
            f"ClientID : 0, GLB IP : {LB_IP}'s file({view.name}) Request\n"
        )
