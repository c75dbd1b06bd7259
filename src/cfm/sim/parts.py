"""The product's pieces that a simulated node is built from.

A world is built from `PARTS`, the real ones.  A test may hand in others, to see whether the invariants
notice; nothing of that is in the product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cfm.controller.core import Core
from cfm.controller.state import NodeConfig
from cfm.fleet import answers
from cfm.inputs.event_log import parse_line
from cfm.inputs.reference import PlainReading, read_hit_history
from cfm.inputs.snapshot import judge
from cfm.model import Now
from cfm.sim.disks import SimDisk
from cfm.sim.event_log import ParseLine
from cfm.tasks.memory_store import MemoryStore
from cfm.tasks.store import Recovered
from cfm.worker.downloads import DownloadBook
from cfm.worker.obedience import Authority
from cfm.worker.shelf import Shelf
from cfm.worker.streams import Streams


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node is made of."""

    core: Callable[[NodeConfig, Recovered, Now], Core] = Core
    store: type[MemoryStore] = MemoryStore
    book: type[DownloadBook] = DownloadBook
    authority: type[Authority] = Authority
    shelf: type[Shelf] = Shelf
    streams: type[Streams] = Streams
    disk: type[SimDisk] = SimDisk
    judge_metadata: Callable[..., str | None] = judge
    read_history: Callable[[bytes], PlainReading] = read_hit_history
    parse_log_line: ParseLine = parse_line
    parse_df: Callable[..., object] = answers.parse_df
    parse_listing: Callable[..., object] = answers.parse_listing


PARTS = Parts()
