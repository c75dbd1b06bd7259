"""The liveness rules: after the faults have stopped, does the world come to rest in time?

At rest means that nothing is under way, no file has two copies, every disk keeps its limit unless nothing on
it may go, no wanted file would fit anywhere, and a new plan would do nothing.  These looks are at the truth.
The controller's own books count only where they say how long something has to wait.  On its way to rest, the
world may not pause again and again while a plan would do something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from cfm.controller.decide import dispatch
from cfm.controller.decide.core import Core
from cfm.fleet.disk_account import LANDED_LATE_MS
from cfm.fleet.likeness import are_alike
from cfm.model import Addr, File, Known, bytes_over
from cfm.plan import reference
from cfm.plan.view import is_ad
from cfm_lab.sim import inventory
from cfm_lab.sim.environment.disks import SimDisk
from cfm_lab.sim.environment.profile import MINUTE_MS
from cfm_lab.sim.processes.controller import SimCfm
from cfm_lab.sim.processes.old_worker import SimOldWorker
from cfm_lab.sim.processes.worker import SimWorker
from cfm_lab.sim.world import World

LOOK_MS = MINUTE_MS
STEADY_MS = 6 * MINUTE_MS
IDLE_LOOKS = 2
"""How many looks in a row make a pause: nothing is under way, and each time a plan would do the same."""
PAUSES = 3
"""How many pauses are allowed, because some things wait for the next full look.  A controller that pauses
after each thing that it does has many more."""


def bound_ms(world: World) -> int:
    """How long a calm world may take to rest: its longest waiting time, and the time to copy and delete."""
    rules = world.profile.rules
    waiting_ms = max(rules.minimum_stay_ms, rules.unknown_grace_ms, rules.task_timeout_ms, rules.lease_ms)
    largest = max(file.size_bytes for file in world.library)
    copy_ms = largest * 8_000 // rules.copy_speed_bps + 10_000
    copies_ms = 2 * len(world.library) * copy_ms // len(world.sources)
    deletes_ms = len(world.library) * MINUTE_MS // min(rules.trims_per_minute, rules.space_deletes_per_minute)
    return waiting_ms + copies_ms + 2 * deletes_ms + 90 * MINUTE_MS


def come_to_rest(world: World) -> str | None:
    """Run the calm world until it rests.  Says why not, where it does not rest within its bound."""
    end_ms = world.schedule.now_ms + bound_ms(world)
    looks, idle = 0, Idle()
    while world.schedule.now_ms < end_ms:
        world.schedule.run_until(world.schedule.now_ms + LOOK_MS)
        looks += 1
        if looks % 5 == 0:
            world.main.confirm()
        if idle.look(world) > PAUSES:
            return f"it pauses again and again, and could do something: {idle.could_do}"
        if next(unrest(world), None) is None and _steady(world):
            return None
    return "; ".join(list(unrest(world))[:4]) or "it rests, and goes on, again and again"


class Idle:
    """Counts the pauses: nothing is under way for a while, although a plan would do something."""

    def __init__(self) -> None:
        self.could_do = ""
        self.looks = 0
        self.pauses = 0

    def look(self, world: World) -> int:
        could_do = "" if _is_busy(world) else next(_next_plan(world), "")
        self.looks = self.looks + 1 if could_do and could_do == self.could_do else bool(could_do)
        self.could_do = could_do
        self.pauses += self.looks == IDLE_LOOKS
        return self.pauses


def _is_busy(world: World) -> bool:
    """Is something under way, or is a plan being made or about to be made?"""
    core = world.main.core
    if core is None or not world.main.running or core.plans.running or core.plans.is_outdated:
        return True
    return next(_under_way(world, core), None) is not None


def _next_plan(world: World) -> Iterator[str]:
    """What a plan would do now, if the SAN had just been asked for every file."""
    cfm, core = world.main, world.main.core
    if core is None or core.state.snapshot is None or cfm.pair is None:
        return
    now = cfm.clock.now()
    answers = {file.name: world.san.answer(file.name, now.mono_ms) for file in cfm.pair.files}
    view = replace(
        core.state.view(now), san={name: Known(told, now.mono_ms) for name, told in answers.items()}
    )
    fresh = reference.shortlist(cfm.pair.files, core.plan_inputs(now))
    for wish in dispatch.propose(view, fresh, core.state).booked:
        yield str(wish)


def _steady(world: World) -> bool:
    """Does it still rest some minutes later?  A young file, or one in a pause, may have waited till then."""
    before = world.facts.unlinks, _tasks(world)
    world.schedule.run_until(world.schedule.now_ms + STEADY_MS)
    after = world.facts.unlinks, _tasks(world)
    return before == after


def _tasks(world: World) -> int:
    return sum(len(state.tasks) for state in world.facts.states.values())


def unrest(world: World) -> Iterator[str]:
    """What is not at rest, each as a text."""
    cfm = world.main
    if not cfm.running or cfm.core is None:
        yield "cfm does not run"
        return
    yield from _under_way(world, cfm.core)
    yield from _servers(world, cfm.core)
    files = inventory.known_files(world)
    if not files:
        yield "no metadata is in force"
    holders = inventory.holders(world)
    yield from _surplus(world, files, holders)
    yield from over_limit(world, files, world.destinations)
    yield from _unplaced(world, cfm, files, holders)
    yield from (f"the next plan would do something: {deed}" for deed in _next_plan(world))


def _under_way(world: World, core: Core) -> Iterator[str]:
    state = core.state
    for task in state.tasks.active.values():
        yield f"a task is unfinished: {task.file.name} to {task.destination}, {task.status}"
    for order in state.orders.active.values():
        yield f"a delete is unfinished: {order.file.name} on {order.server}, {order.status}"
    for task in state.tasks.uncut.values():
        yield f"the stream of {task.file.name} at {task.source} is not cut"
    for server in world.servers.values():
        if isinstance(server, SimWorker) and (server.transfers or server.sender.sending):
            yield f"{server.addr} transfers {sorted(server.transfers)}, sends {len(server.sender.sending)}"


def _servers(world: World, core: Core) -> Iterator[str]:
    for addr, view in core.state.view(world.main.clock.now()).servers.items():
        if not view.up or (view.is_destination and not view.usable):
            yield f"{addr} is not usable"


def _surplus(world: World, files: Mapping[str, File], holders: dict[str, list[SimDisk]]) -> Iterator[str]:
    for name, disks in holders.items():
        file = files.get(name)
        if file is None or is_ad(name, world.profile.rules.ad_prefixes):
            continue
        if len(disks) > 1 and world.san.holds(name, file.size_bytes) and not _kept_apart(world, name, disks):
            yield f"{name} has {len(disks)} copies"


def _kept_apart(world: World, name: str, disks: list[SimDisk]) -> bool:
    """Must the surplus copy stay for good?

    Yes, if one copy has a wrong size, is on the shared disk, or is on one of two disks that nobody can tell
    from one disk with two addresses.
    """
    if len(disks) == 2 and _look_like_one(world, *disks):
        return True
    file = world.file(name)
    right = [disk for disk in disks if file is not None and disk.names[name].size_bytes == file.size_bytes]
    shared = world.profile.shared_disk and any(disk is world.disk_at(world.destinations[0]) for disk in disks)
    return len(right) < len(disks) or (shared and len(disks) < 3)


def _look_like_one(world: World, one: SimDisk, other: SimDisk) -> bool:
    """An old worker tells no disk id.  Other software has made its disk like another of that size."""
    are_old = any(isinstance(s, SimOldWorker) and s.disk in (one, other) for s in world.servers.values())
    return (
        are_old
        and one.total_bytes == other.total_bytes
        and are_alike(frozenset(one.visible()), frozenset(other.visible()))
    )


def over_limit(world: World, files: Mapping[str, File], among: Iterable[Addr]) -> Iterator[str]:
    """Which of these servers are over their limit, although something may go there?"""
    for addr in among:
        space = inventory.space_of(world, addr)
        limit = inventory.limit_of(world, addr)
        if not bytes_over(space.total_bytes - space.free_bytes, space.avail_bytes, limit):
            continue
        names = world.disk_at(addr).visible()
        goers = [name for name in names if inventory.may_go(world, files, name, addr)]
        if goers:
            yield f"{addr} is over its limit, and {goers[0]} may go"


def _unplaced(
    world: World, cfm: SimCfm, files: Mapping[str, File], holders: dict[str, list[SimDisk]]
) -> Iterator[str]:
    """Wanted files that are on no destination, although one has room for them."""
    assert cfm.core is not None
    left = cfm.core.state.departures.left
    is_placed = cfm.core.state.is_placed
    for name, file in files.items():
        if (
            (name in holders and is_placed(name))
            or name in left
            or is_ad(name, world.profile.rules.ad_prefixes)
        ):
            continue
        if not world.san.holds(name, file.size_bytes):
            continue
        room = next((addr for addr in world.destinations if _takes(world, cfm, addr, file, files)), None)
        if room is not None:
            where = "stale" if name in holders else "nowhere"
            yield f"{name} is {where}, and would fit on {room}"


def _takes(world: World, cfm: SimCfm, addr: Addr, file: File, files: Mapping[str, File]) -> bool:
    """May a copy of the file arrive there, and would the disk keep within its limit?

    A file of that name is replaced only by a worker of ours with the built-in transfer.  Copies that landed
    and that its `/df` has not shown keep their room: one may have taken the place of a file that other
    software brought.  Then `/df` stands still, and nobody can tell that from a `/df` that is broken.  Nor can
    anybody tell from it a `/df` that is right, where copies are shorter than the metadata say.
    """
    worker, disk = world.worker_at(addr), world.disk_at(addr)
    is_able = worker is not None and worker.kind == "builtin"
    known_bytes = sum(files[name].size_bytes for name in disk.visible() if name in files)
    unshown_bytes = max(_unshown_bytes(cfm, addr), known_bytes - disk.used_bytes)
    room = inventory.takes(world, addr, file.size_bytes + unshown_bytes)
    return room and (is_able or file.name not in disk.names)


def _unshown_bytes(cfm: SimCfm, addr: Addr) -> int:
    """Copies that cfm waits for, and that no reading can have shown: those that came since the last but one
    that moved, and for a while any others."""
    assert cfm.core is not None
    heard, account = cfm.evidence.servers[addr], cfm.core.state.fleet.records[addr].account
    moves_ms = sorted({reading.still_since_ms for reading in heard.readings})[-2:]
    since_ms = min([*moves_ms, heard.disk_asked_ms - LANDED_LATE_MS])
    return sum(copy.size_bytes for copy in account.overdue if copy.at_ms >= since_ms)
