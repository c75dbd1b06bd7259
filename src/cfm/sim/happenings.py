"""What befalls a simulated node by itself: the faults of the form *event*, and a node's ordinary days.

Each fault is a function of the world and a stream of luck; what it breaks it also mends, later, or when the
faults stop.  `FAULTS` is their table; `set_going` starts everything that happens every so often.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING

from cfm.controller import events as ev
from cfm.model import Addr, DeleteOrder, File, Hits, Status, Task
from cfm.sim.disks import SimDisk, content_of
from cfm.sim.faults import Kind
from cfm.sim.metadata import Version, grade_text
from cfm.sim.old_worker import OldWorker
from cfm.sim.profile import HOUR_MS, MINUTE_MS
from cfm.sim.rng import Rng
from cfm.sim.worker import SimWorker
from cfm.worker.disk import Kind as FileKind

if TYPE_CHECKING:
    from cfm.sim.controller import SimCfm
    from cfm.sim.world import Server, World

DAY_MS = 24 * HOUR_MS
SECOND_MS = 1_000


# ── ordinary days ───────────────────────────────────────────────────────────────────────────────────────


def set_going(world: World) -> None:
    """Start what happens every so often, faults among it."""
    world.metadata.on_change = world.metadata_changed
    world.write_metadata()
    rng = world.rng.fork("happenings")
    world.schedule.after(50, start_again, world, world.main)
    _every(world, rng, world.profile.metadata_ms, _write_metadata)
    _every(world, rng, world.profile.viewers_ms, _viewers)
    _every(world, rng, world.profile.operator_ms, _operator)
    _every(world, rng, 10 * MINUTE_MS, lambda world, _rng: world.tell_san_index())
    for kind in world.swarm.events():
        _recur(world, rng.fork(kind.name), kind)


def calm_down(world: World) -> None:
    """Faults have stopped: everybody is there again, and the people tidy up."""
    world.san.mend({file.name: file.size_bytes for file in world.library})
    for server in world.servers.values():
        server.process.reachable = True
        server.process.go_on()
        server.restart()
    for cfm in [one for one in world.cfms if one is not world.main]:
        _bury(world, cfm)
    world.main.process.go_on()
    _settings_right(world)
    start_again(world, world.main)
    world.writes_metadata = True
    world.set_hits(Hits())
    world.write_metadata()
    world.tell_san_index()


def _settings_right(world: World) -> None:
    cfm = world.main
    if cfm.config.destinations != world.destinations:
        cfm.kill()
        cfm.config = replace(cfm.config, destinations=world.destinations)
    rules = world.profile.rules
    _configure(world, {field.name: getattr(rules, field.name) for field in fields(rules)})


def _every(world: World, rng: Rng, mean_ms: int, call: Callable[[World, Rng], None]) -> None:
    def due() -> None:
        call(world, rng)
        world.schedule.after(rng.between(mean_ms // 2, mean_ms * 3 // 2), due)

    world.schedule.after(rng.between(0, mean_ms), due)


def _recur(world: World, rng: Rng, kind: Kind) -> None:
    mean_ms = kind.rate * MINUTE_MS * 100 // world.profile.intensity_percent

    def due() -> None:
        if world.calm:
            return
        world.swarm.counts[kind.name] += 1
        world.note("fault", kind.name)
        FAULTS[kind.name](world, rng)
        world.schedule.after(rng.between(mean_ms // 4, mean_ms * 7 // 4), due)

    world.schedule.after(rng.between(MINUTE_MS, mean_ms), due)


def _write_metadata(world: World, rng: Rng) -> None:
    if not world.calm:
        drift(world, rng)
    if world.writes_metadata:
        world.write_metadata()


def drift(world: World, rng: Rng) -> None:
    """Popularity moves a little: some files change places, a few jump."""
    order = sorted(world.library, key=lambda file: file.rank)
    for _ in range(rng.below(6)):
        i = rng.below(len(order) - 1)
        order[i], order[i + 1] = order[i + 1], order[i]
    if rng.below(3) == 0:
        order.insert(rng.below(len(order)), order.pop(rng.below(len(order))))
    set_ranks(world, order)


def set_ranks(world: World, order: list[File]) -> None:
    count = len(order)
    world.library = [replace(file, rank=i, hits=count - i) for i, file in enumerate(order, start=1)]


def _viewers(world: World, rng: Rng) -> None:
    """The window of the event log moves."""
    if world.calm:
        world.set_hits(Hits())
        return
    rising = {rng.pick(world.library).name: 5 + rng.below(20) for _ in range(rng.pick((0, 0, 1, 2)))}
    if world.ads and rng.below(4) == 0:
        rising[rng.pick(world.ads)] = 9
    if rng.below(5) == 0:
        rising["UNKNOWN01.mpg"] = 7
    watched = frozenset(rng.pick(world.library).name for _ in range(rng.below(3)))
    if (going := _going(world)) and rng.below(2):  # viewers come at the worst moment
        watched |= {rng.pick(going)}
    if (going := _going(world)) and rng.below(3) == 0:
        rising[rng.pick(going)] = 5 + rng.below(20)
    world.set_hits(Hits(rising, watched))


def _being_deleted(world: World) -> list[DeleteOrder]:
    states = world.check.facts.states.values()
    return [known.order for state in states for known in state.open_orders.values()]


def _going(world: World) -> list[str]:
    """Files that are being deleted, or would be next where a disk is full."""
    going = [order.file.name for order in _being_deleted(world)]
    core = world.main.core
    if core is not None:
        going += [file.name for files in core.shortlist.evictable.values() for file in files[:2]]
    return going


def _operator(world: World, rng: Rng) -> None:
    if world.calm or rng.below(3) == 0:
        world.main.confirm()


# ── helpers ─────────────────────────────────────────────────────────────────────────────────────────────


def _some_server(world: World, rng: Rng) -> Server:
    return world.servers[rng.pick((*world.sources, *world.destinations))]


def _some_destination(world: World, rng: Rng) -> Server:
    return world.servers[rng.pick(world.destinations)]


def _some_disk(world: World, rng: Rng) -> SimDisk:
    return _some_destination(world, rng).disk


def _ours(world: World, rng: Rng) -> SimWorker | None:
    server = _some_destination(world, rng)
    return server if isinstance(server, SimWorker) else None


# ── processes ───────────────────────────────────────────────────────────────────────────────────────────


def cfm_killed(world: World, rng: Rng) -> None:
    cfm = world.main
    cfm.kill()
    world.heal_after(rng.between(200, 90_000), lambda: start_again(world, cfm))


def start_again(world: World, cfm: SimCfm) -> None:
    """Somebody starts it until it runs."""
    if cfm is world.main and not cfm.running and not cfm.start():
        world.schedule.after(5_000, start_again, world, cfm)


def cfm_stopped(world: World, rng: Rng) -> None:
    cfm = world.main
    if cfm.running and not cfm.process.stopped:
        cfm.process.stop()
        world.heal_after(rng.between(1_000, 300_000), cfm.process.go_on)


def cfm_second(world: World, _rng: Rng) -> None:
    """It must not start while the first runs."""
    second = world.another_cfm(world.main.state)
    started = second.start()
    world.check.second_started(world.main, second, started=started)
    if started:
        second.kill()
    world.cfms.remove(second)


def cfm_superseded(world: World, rng: Rng) -> None:
    """The old one is stopped, its state's lock is lost, a new one starts; then the old one goes on."""
    old = world.main
    if not old.running or old.process.stopped:
        return
    old.process.stop()
    old.state.held_by = None
    new = world.another_cfm(old.state)
    world.main = new
    world.check.taken_over(old, new)
    new.start()
    world.heal_after(rng.between(5_000, 240_000), old.process.go_on)
    world.heal_after(10 * MINUTE_MS, lambda: _bury(world, old))


def _bury(world: World, old: SimCfm) -> None:
    old.process.go_on()
    if old.running:
        old.process.end()
    if old in world.cfms:
        world.cfms.remove(old)


def cfm_rival(world: World, rng: Rng) -> None:
    """Its orders are refused by all workers of ours; old ones would obey, so it meets none."""
    if any(isinstance(server, OldWorker) for server in world.servers.values()):
        return
    rival = world.another_cfm()
    rival.start()
    world.heal_after(rng.between(MINUTE_MS, 15 * MINUTE_MS), lambda: _end_rival(world, rival))


def _end_rival(world: World, rival: SimCfm) -> None:
    rival.kill()
    world.cfms.remove(rival)


def cfm_state_full(world: World, rng: Rng) -> None:
    cfm = world.main
    cfm.store_full = True

    def mend() -> None:
        cfm.store_full = False

    world.heal_after(rng.between(10_000, 600_000), mend)


def cfm_descriptors(world: World, rng: Rng) -> None:
    cfm = world.main
    cfm.no_descriptors = True

    def mend() -> None:
        cfm.no_descriptors = False

    world.heal_after(rng.between(5_000, 120_000), mend)


def worker_killed(world: World, rng: Rng) -> None:
    server = _some_server(world, rng)
    if server.process.up:
        server.kill()
        world.heal_after(rng.between(100, 120_000), server.restart)


def worker_restarts_soft(world: World, rng: Rng) -> None:
    server = _some_server(world, rng)
    if server.process.up and not server.process.stopped:
        server.stop_softly()


def worker_stopped(world: World, rng: Rng) -> None:
    server = _some_server(world, rng)
    if server.process.up and not server.process.stopped:
        server.process.stop()
        world.heal_after(rng.between(1_000, 400_000), server.process.go_on)


def power_cut(world: World, rng: Rng) -> None:
    server = _some_server(world, rng)
    if server.process.up:
        server.kill()
        world.check.disk_changes(server.disk)
        server.disk.crash()
        world.check.disk_changed(server.disk)
        world.heal_after(rng.between(20_000, 300_000), server.restart)


def old_disk(world: World, rng: Rng) -> None:
    """A machine returns with its disk as it was some time ago."""
    server = _some_destination(world, rng)
    image = server.disk.image()

    def back() -> None:
        if server.process.up:
            server.kill()
            world.check.disk_changes(server.disk)
            server.disk.restore(image)
            world.check.disk_changed(server.disk)
            world.heal_after(rng.between(10_000, 60_000), server.restart)

    world.schedule.after(rng.between(10, 60) * MINUTE_MS, lambda: None if world.calm else back())


def machine_gone(world: World, rng: Rng) -> None:
    server = _some_server(world, rng)
    if server.process.up:
        server.kill()
        server.process.reachable = False

        def back() -> None:
            server.process.reachable = True
            server.restart()

        world.heal_after(rng.between(5, 120) * MINUTE_MS, back)


def cpu_full(world: World, rng: Rng) -> None:
    process = rng.pick((world.main.process, _some_server(world, rng).process))
    process.slow = True

    def mend() -> None:
        process.slow = False

    world.heal_after(rng.between(30_000, 600_000), mend)


# ── network ─────────────────────────────────────────────────────────────────────────────────────────────


def _cut_for(world: World, pairs: list[tuple[str, str]], delay_ms: int) -> None:
    for one, other in pairs:
        world.net.cut(one, other)

    def mend() -> None:
        for one, other in pairs:
            world.net.mend(one, other)

    world.heal_after(delay_ms, mend)


def partition(world: World, rng: Rng) -> None:
    one, other = world.main.process.name, _some_server(world, rng).addr
    _cut_for(world, [(one, other), (other, one)], rng.between(5_000, 1_200_000))


def one_way(world: World, rng: Rng) -> None:
    one, other = world.main.process.name, _some_server(world, rng).addr
    _cut_for(world, [rng.pick(((one, other), (other, one)))], rng.between(5_000, 600_000))


def partial_partition(world: World, rng: Rng) -> None:
    one, other = rng.pick(world.sources), rng.pick(world.destinations)
    if one != other:
        _cut_for(world, [(one, other), (other, one)], rng.between(5_000, 900_000))


LOOKS_FOR_A_COPY = 900


def copy_cut_off(world: World, rng: Rng) -> None:
    """Both ends of the next copy are cut off from cfm; meanwhile somebody copies its file by hand.

    That there is something to copy, a file is lost.
    """
    disk = _some_disk(world, rng)
    names = [file.name for file in world.library if file.name in disk.names]
    if names:
        world.check.lost(disk, names[0])
        disk.lose(names[0])
    _cut_next_copy(world, rng, LOOKS_FOR_A_COPY)


def _cut_next_copy(world: World, rng: Rng, looks: int) -> None:
    core, cfm = world.main.core, world.main.process.name
    active = core.state.tasks.active.values() if core is not None else ()
    running = [task for task in active if task.status is Status.WORKING]
    if world.calm or not looks:
        return
    if not running:
        world.schedule.after(2 * SECOND_MS, _cut_next_copy, world, rng, looks - 1)
        return
    task = rng.pick(running)
    pairs = [(cfm, end) for end in (task.source, task.destination)]
    _cut_for(world, [*pairs, *((end, cfm) for _cfm, end in pairs)], rng.between(6, 15) * MINUTE_MS)
    world.schedule.after(5 * SECOND_MS, _by_hand, world, rng, task)


def _by_hand(world: World, rng: Rng, task: Task) -> None:
    others = [world.disk_at(addr) for addr in world.destinations if addr != task.destination]
    if not world.calm:
        for disk in rng.shuffled(others)[:4]:
            _bring(disk, task.file.name, task.file.size_bytes, content_of(task.file.name))


def rolling_partition(world: World, rng: Rng) -> None:
    cfm = world.main.process.name
    for i, addr in enumerate(rng.shuffled(world.destinations)):

        def cut(addr: Addr = addr) -> None:
            if not world.calm:
                _cut_for(world, [(cfm, addr), (addr, cfm)], rng.between(60_000, 400_000))

        world.schedule.after(i * 45_000, cut)


# ── disks ───────────────────────────────────────────────────────────────────────────────────────────────


def disk_full(world: World, rng: Rng) -> None:
    """Other software writes a large file."""
    disk = _some_disk(world, rng)
    free_bytes = max(0, disk.total_bytes - disk.reserved_bytes - disk.used_bytes)
    name = f"FOREIGN{world.swarm.counts['disk_full']}.mpg"
    disk.place(name, free_bytes * rng.between(50, 100) // 100, b"foreign")
    world.heal_after(rng.between(5, 90) * MINUTE_MS, lambda: disk.lose(name))


def _break_disk(world: World, rng: Rng, calls: tuple[str, ...], error: int) -> None:
    disk = _some_disk(world, rng)
    for call in calls:
        disk.break_call(call, error)

    def mend() -> None:
        for call in calls:
            disk.mend_call(call)

    world.heal_after(rng.between(1, 40) * MINUTE_MS, mend)


def read_only(world: World, rng: Rng) -> None:
    _break_disk(world, rng, ("open_temp", "write", "remove", "sync", "fsync"), errno.EROFS)


def unmounted(world: World, rng: Rng) -> None:
    worker = _ours(world, rng)
    if worker is not None:
        _unmount(world, worker.disk, rng)


def unmounted_old(world: World, rng: Rng) -> None:
    server = _some_destination(world, rng)
    if isinstance(server, OldWorker):
        _unmount(world, server.disk, rng)


def _unmount(world: World, disk: SimDisk, rng: Rng) -> None:
    disk.mount(mounted=False)
    world.heal_after(rng.between(30_000, 40 * MINUTE_MS), lambda: disk.mount(mounted=True))


def disk_hung(world: World, rng: Rng) -> None:
    """Old workers know no fence: their disks hang no longer than the product allows for."""
    server = _some_destination(world, rng)
    most_ms = 300_000 if isinstance(server, SimWorker) else 5_000
    server.disk.hung_until_ms = world.schedule.now_ms + rng.between(1_000, most_ms)


def bit_rot(world: World, rng: Rng) -> None:
    disk = _some_disk(world, rng)
    names = disk.visible()
    if names:
        disk.names[rng.pick(names)].data[:] = b"rotten!!"


def foreign_copies(world: World, rng: Rng) -> None:
    """Somebody copies files from one disk to another."""
    source, target = _some_disk(world, rng), _some_disk(world, rng)
    for name in rng.shuffled(source.visible())[: rng.between(1, 6)]:
        node = source.names[name]
        _bring(target, name, node.size_bytes, bytes(node.data))


def _bring(disk: SimDisk, name: str, size_bytes: int, content: bytes) -> None:
    room_bytes = disk.total_bytes - disk.reserved_bytes - disk.used_bytes
    if name not in disk.names and size_bytes < room_bytes:
        disk.place(name, size_bytes, content)


def foreign_removal(world: World, rng: Rng) -> None:
    """Half of the time in the worst place: what is just being deleted, or the copy that should stay."""
    orders = _being_deleted(world)
    if orders and rng.below(2):
        order = rng.pick(orders)
        disk, names = world.disk_at(rng.pick((order.server, order.keeper or order.server))), [order.file.name]
    else:
        disk = _some_disk(world, rng)
        names = rng.shuffled(disk.visible())[: rng.between(1, 3)]
    for name in names:
        world.check.lost(disk, name)
        disk.lose(name)


def link_planted(world: World, rng: Rng) -> None:
    disk = _some_disk(world, rng)
    names = disk.visible()
    if names:
        name = rng.pick(names)
        world.check.lost(disk, name)
        disk.place(name, 0, b"", FileKind.OTHER)
        world.heal_after(rng.between(1, 60) * MINUTE_MS, lambda: disk.lose(name))


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────


def wall_jump_day(world: World, rng: Rng) -> None:
    clock = rng.pick((world.main.clock, _some_server(world, rng).clock))
    jump_ms = rng.pick((DAY_MS, -DAY_MS))
    clock.wall_shift_ms += jump_ms

    def back() -> None:
        clock.wall_shift_ms -= jump_ms

    world.heal_after(rng.between(1, 200) * MINUTE_MS, back)


def wall_jump_back(world: World, rng: Rng) -> None:
    world.main.clock.wall_shift_ms -= rng.between(1_000, 3_600_000)


# ── metadata ────────────────────────────────────────────────────────────────────────────────────────────


def _spoil(world: World, spoil: Callable[[bytes], bytes], rng: Rng) -> None:
    """One of the two files is replaced by something worse."""
    files = world.metadata
    if files.grade is None or files.history is None:
        return
    now_s = world.main.clock.wall_ms() // 1000
    if rng.below(2):
        files.put(Version(spoil(files.grade.data), now_s, good=False), files.history)
    else:
        files.put(files.grade, Version(spoil(files.history.data), now_s, good=False))


def metadata_half_written(world: World, rng: Rng) -> None:
    _spoil(world, lambda data: data[: rng.below(len(data) + 1)], rng)


def metadata_emptied(world: World, rng: Rng) -> None:
    _spoil(world, lambda _data: b"", rng)


def metadata_missing(world: World, _rng: Rng) -> None:
    world.metadata.put(None, world.metadata.history)


def metadata_old_back(world: World, _rng: Rng) -> None:
    if world.metadata.older is not None:
        world.metadata.put(*world.metadata.older)


def metadata_mismatched(world: World, _rng: Rng) -> None:
    files = [replace(file, name=f"OTHER{file.rank:03}.mpg") for file in world.library]
    now_s = world.main.clock.wall_ms() // 1000
    world.metadata.put(Version(grade_text(files), now_s, good=False), world.metadata.history)


def metadata_garbage(world: World, rng: Rng) -> None:
    def spoil(data: bytes) -> bytes:
        lines = data.split(b"\n")
        for _ in range(rng.between(1, 8)):
            at = rng.between(1, max(1, len(lines) - 1))
            line = lines[min(at, len(lines) - 1)]
            garbage = rng.pick(
                (b"\0\0", b"x" * 70_000, line + b"\r", line, b"\xff\xfe", b"", b"a\tb", b"a,b")
            )
            lines.insert(at, garbage)
        return b"\n".join(lines)

    _spoil(world, spoil, rng)


def metadata_stale(world: World, rng: Rng) -> None:
    world.writes_metadata = False

    def mend() -> None:
        world.writes_metadata = True
        world.write_metadata()

    world.heal_after(rng.between(60, 600) * MINUTE_MS, mend)


def ranks_turned(world: World, rng: Rng) -> None:
    set_ranks(world, rng.shuffled(world.library))
    world.write_metadata()


def log_missing(world: World, _rng: Rng) -> None:
    world.set_hits(Hits())


def log_burst(world: World, rng: Rng) -> None:
    names = [file.name for file in rng.shuffled(world.library)[: rng.between(5, 25)]]
    world.set_hits(Hits({name: 5 + i for i, name in enumerate(names[::2])}, frozenset(names[1::2])))


# ── SAN ─────────────────────────────────────────────────────────────────────────────────────────────────


def san_unmounted(world: World, rng: Rng) -> None:
    world.san.mounted = False

    def mend() -> None:
        world.san.mounted = True
        world.tell_san_index()

    if rng.below(2):
        world.tell_san_index()
    world.heal_after(rng.between(10_000, 40 * MINUTE_MS), mend)


def _change_san(world: World, rng: Rng, size_bytes: Callable[[File], int | None]) -> None:
    file = rng.pick(world.library)
    now_ms = world.schedule.now_ms
    world.san.change(file.name, size_bytes(file), now_ms)
    world.heal_after(rng.between(10, 240) * MINUTE_MS, lambda: world.san.mend({file.name: file.size_bytes}))


def san_file_gone(world: World, rng: Rng) -> None:
    _change_san(world, rng, lambda _file: None)


def san_file_empty(world: World, rng: Rng) -> None:
    _change_san(world, rng, lambda _file: 0)


def san_file_resized(world: World, rng: Rng) -> None:
    _change_san(world, rng, lambda file: file.size_bytes + 1)


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────


def _change_rules(world: World, rng: Rng, **changed: object) -> None:
    cfm = world.main
    if not cfm.running or cfm.process.stopped:
        return
    right = {name: getattr(world.profile.rules, name) for name in changed}
    _configure(world, changed)
    world.heal_after(rng.between(1, 60) * MINUTE_MS, lambda: _configure(world, right))


def _configure(world: World, changed: Mapping[str, object]) -> None:
    """New settings are read."""
    for cfm in world.cfms:
        rules = replace(cfm.config.rules, **changed)  # type: ignore[arg-type]  # the callers name the fields
        if rules != cfm.config.rules:
            cfm.config = replace(cfm.config, rules=rules)
            if cfm.running:
                cfm.process.do(partial(cfm.feed, ev.RulesChanged(rules)))


def limit_mistyped(world: World, rng: Rng) -> None:
    _change_rules(world, rng, limit_percent=rng.pick((1, 9, 30, 60)))


def prefix_added(world: World, rng: Rng) -> None:
    _change_rules(world, rng, ad_prefixes=("AD_", f"F0{rng.below(10)}"))


def deletes_off(world: World, rng: Rng) -> None:
    _change_rules(world, rng, deletes_on=False)


def server_removed(world: World, rng: Rng) -> None:
    """The settings lose a server, which takes a restart."""
    cfm = world.main
    if len(world.destinations) < 3 or not cfm.running:
        return
    addr = rng.pick(world.destinations)
    cfm.kill()
    cfm.config = replace(
        cfm.config, destinations=tuple(one for one in cfm.config.destinations if one != addr)
    )
    start_again(world, cfm)

    def back() -> None:
        main = world.main
        main.kill()
        main.config = replace(main.config, destinations=world.destinations)
        start_again(world, main)

    world.heal_after(rng.between(2, 90) * MINUTE_MS, back)


def addresses_swapped(world: World, rng: Rng) -> None:
    one, other = (
        rng.shuffled(world.destinations[world.profile.both :])[:2]
        if len(world.destinations) > 3
        else (None, None)
    )
    if one is None or other is None:
        return
    servers = world.servers[one], world.servers[other]
    if not all(isinstance(s, SimWorker) and s.process.up for s in servers):
        return
    for server, addr in zip(servers, (other, one), strict=True):
        assert isinstance(server, SimWorker)
        server.kill()
        server.move_to(addr)
        world.servers[addr] = server
    for server in servers:
        world.heal_after(rng.between(1_000, 30_000), server.restart)


def operator_cancels(world: World, rng: Rng) -> None:
    cfm = world.main
    if cfm.running and cfm.core is not None and cfm.core.state.tasks.active:
        cfm.cancel(rng.pick(sorted(cfm.core.state.tasks.active)))


def operator_confirms(world: World, _rng: Rng) -> None:
    world.main.confirm()


FAULTS: Mapping[str, Callable[[World, Rng], None]] = {
    call.__name__: call
    for call in (
        cfm_killed, cfm_stopped, cfm_second, cfm_superseded, cfm_rival, cfm_state_full, cfm_descriptors,
        worker_killed, worker_restarts_soft, worker_stopped, power_cut, old_disk, machine_gone, cpu_full,
        partition, one_way, partial_partition, copy_cut_off, rolling_partition, disk_full, read_only,
        unmounted, unmounted_old, disk_hung, bit_rot, foreign_copies, foreign_removal, link_planted,
        wall_jump_day,
        wall_jump_back, metadata_half_written, metadata_emptied, metadata_missing, metadata_old_back,
        metadata_mismatched, metadata_garbage, metadata_stale, ranks_turned, log_missing, log_burst,
        san_unmounted, san_file_gone, san_file_empty, san_file_resized, limit_mistyped, prefix_added,
        deletes_off,
        server_removed, addresses_swapped, operator_cancels, operator_confirms,
    )
}  # fmt: skip
