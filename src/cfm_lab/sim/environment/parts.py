"""The parts of the product that a simulated node is built from.

A world is built from `PARTS`, which are the real ones.  The zoo hands in broken ones, to see whether the
invariants notice.  The product itself has no such switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cfm.controller.decide.core import Core
from cfm.controller.decide.leadership import Leadership
from cfm.controller.decide.state import NodeConfig
from cfm.fleet import answers
from cfm.inputs.event_log import parse_line
from cfm.inputs.reference import PlainReading, read_hit_history
from cfm.inputs.snapshot import judge
from cfm.model import Now
from cfm.tasks.store import Recovered
from cfm.worker.act.fencing import Authority
from cfm.worker.act.shelf import Shelf
from cfm.worker.decide.downloads import DownloadBook
from cfm.worker.serve.streams import Streams
from cfm_lab.fakes.memory_store import MemoryStore
from cfm_lab.fakes.shared_store import SharedStore
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.event_log import ParseLine
from cfm_lab.sim.environment.schedule import Clock


@dataclass(frozen=True, slots=True)
class Parts:
    """The product's classes and functions that a simulated node uses."""

    core: Callable[[NodeConfig, Recovered, Now], Core] = Core
    store: type[MemoryStore] = MemoryStore
    leadership: type[Leadership] = Leadership
    shared_store: type[SharedStore] = SharedStore
    lease_clock: Callable[[Clock], int] = Clock.mono_ms
    """The clock by which one of several cfm counts its lease."""
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
