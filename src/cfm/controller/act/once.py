"""One look at the world, and what would be done about it: `cfm plan`.  Nothing is changed anywhere.

It drives the same core as the daemon, without a store: questions are asked, orders and tasks never leave.
Works beside a running cfm.  Neighbours: `loop` does the same in earnest, `report` shapes the result.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from cfm.config import CfmSettings
from cfm.controller.act.from_settings import node_of, worker_client
from cfm.controller.decide import dispatch
from cfm.controller.decide import events as ev
from cfm.controller.decide.core import Core
from cfm.controller.explain import report
from cfm.fleet.client import WorkerClient
from cfm.inputs.log_follower import replay
from cfm.inputs.san import SanIndex
from cfm.inputs.snapshot import Snapshot
from cfm.inputs.watching import look_once
from cfm.model import Addr, Failure, Hits, Known, Now, SnapshotFacts
from cfm.plan import reduce
from cfm.plan.shortlist import Shortlist
from cfm.security import controller_credentials
from cfm.tasks.store import Recovered

SAN_S = 20.0
DAY_S = 86_400


@dataclass(slots=True)
class Look:
    """Everything that one look finds out."""

    core: Core
    snapshot: Snapshot | None
    client: WorkerClient
    san: SanIndex
    now: Now


async def plan(settings: CfmSettings, wall_s: int | None = None) -> report.Json:
    """The contract's plan object, as of now or of another wall clock."""
    now = Now(time.monotonic_ns() // 1_000_000, wall_s * 1000 if wall_s else time.time_ns() // 1_000_000)
    core = Core(node_of(settings), Recovered("", 0, 0), now)
    san = SanIndex(settings.source_dirs, clock=lambda: now, on_change=lambda _names: None)
    async with worker_client(settings, controller_credentials(settings), "", 0) as client:
        snapshot, hits = await asyncio.gather(
            asyncio.to_thread(_metadata, settings, core, now),
            asyncio.to_thread(_hits, settings, now),
        )
        look = Look(core, snapshot, client, san, now)
        files = tuple(snapshot.files(hits.rising).values()) if snapshot and hits.rising else ()
        core.handle(ev.HitsChanged(hits, files), now)
        await asyncio.gather(_san(look), *(_server(look, addr) for addr in settings.servers.addresses))
        await _decide(look)
        return report.plan_json(core, now)


def _metadata(settings: CfmSettings, core: Core, now: Now) -> Snapshot | None:
    found = look_once(settings.grade_info_file, settings.hitcount_history_file, now)
    if isinstance(found, SnapshotFacts):
        core.handle(ev.SnapshotRejected(found), now)
        return None
    age_ms = max(0, now.wall_ms - 1000 * found.facts.read_wall_s)
    core.handle(ev.SnapshotAccepted(found.facts, age_ms), now)
    return found


def _hits(settings: CfmSettings, now: Now) -> Hits:
    if settings.watch_dir is None or settings.watch_ip_string is None:
        return Hits()
    term_s, base = 60 * settings.watch_term_min, settings.watch_hit_base
    return replay(settings.watch_dir, settings.watch_ip_string, term_s=term_s, base=base, now=now)[0]


async def _san(look: Look) -> None:
    await look.san.look()
    names = look.san.names
    found = ev.SanIndexed(names.value) if isinstance(names, Known) else ev.SanIndexed(None, names.why)
    look.core.handle(found, look.now)


async def _server(look: Look, addr: Addr) -> None:
    """A server's heartbeat, and then its list and disk; one that misses is down for this look."""
    at_ms = look.now.mono_ms
    features = await look.client.heartbeat(addr)
    look.core.handle(ev.HeartbeatAnswer(addr, features), look.now)
    if isinstance(features, Failure):
        look.core.handle(ev.HeartbeatAnswer(addr, features), look.now)
        return
    listing, disk = await asyncio.gather(look.client.list_files(addr), look.client.disk_usage(addr))
    look.core.handle(ev.ListAnswer(addr, at_ms, listing), look.now)
    look.core.handle(ev.DiskAnswer(addr, at_ms, disk), look.now)


async def _decide(look: Look) -> None:
    """Reduce, propose, look up on the SAN what that waits for, and propose again."""
    if look.snapshot is None:
        return
    shortlist: Shortlist = reduce.shortlist(look.snapshot.frame, look.core.plan_inputs(look.now))
    look.core.shortlist = shortlist
    for _round in range(3):
        state = look.core.state
        round_ = dispatch.propose(state.view(look.now), look.core.backlog(), state)
        state.san_asked.clear()
        asked = (*round_.ask_san, *round_.ask_ahead)
        sizes = {file.name: file.size_bytes for file in asked if file.name not in state.san}
        if not sizes:
            return
        answers = await look.san.stat_files(sizes, SAN_S, sizes)
        state.san.update({name: Known(answer, look.now.mono_ms) for name, answer in answers.items()})
