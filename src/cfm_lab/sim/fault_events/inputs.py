"""Faults of what cfm reads: grade file and history, the popularity behind them, the event log, the SAN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cfm.model import File, Hits, LogCondition
from cfm_lab.sim.environment.metadata import MetadataVersion, grade_text
from cfm_lab.sim.environment.profile import MINUTE_MS
from cfm_lab.sim.environment.rng import Rng
from cfm_lab.sim.fault_events.luck import FaultEvent
from cfm_lab.sim.fault_events.machines import start_again
from cfm_lab.sim.world import World


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


def ranks_turned(world: World, rng: Rng) -> None:
    set_ranks(world, rng.shuffled(world.library))
    world.write_metadata()


def _spoil(world: World, spoil: Callable[[bytes], bytes], rng: Rng) -> None:
    """Replace one of the two files by something worse."""
    files = world.metadata
    if files.grade is None or files.history is None:
        return
    now_s = world.main.clock.wall_ms() // 1000
    if rng.below(2):
        files.put(MetadataVersion(spoil(files.grade.data), now_s, good=False), files.history)
    else:
        files.put(files.grade, MetadataVersion(spoil(files.history.data), now_s, good=False))


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
    world.metadata.put(MetadataVersion(grade_text(files), now_s, good=False), world.metadata.history)


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


def log_missing(world: World, _rng: Rng) -> None:
    world.set_hits(Hits())


def _lose_log(world: World, rng: Rng, condition: LogCondition) -> None:
    if world.log.hits_known:
        world.lose_log(condition)
        world.heal_after(rng.between(1, 240) * MINUTE_MS, world.mend_log)


def log_gone(world: World, rng: Rng) -> None:
    _lose_log(world, rng, LogCondition.GONE)


def log_unreadable(world: World, rng: Rng) -> None:
    _lose_log(world, rng, LogCondition.UNREADABLE)


def log_burst(world: World, rng: Rng) -> None:
    names = [file.name for file in rng.shuffled(world.library)[: rng.between(5, 25)]]
    world.set_hits(Hits({name: 5 + i for i, name in enumerate(names[::2])}, frozenset(names[1::2])))


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
    found = world.san.files.get(file.name)
    if found is None or found.writing:
        return
    world.san.change(file.name, size_bytes(file))
    world.heal_after(rng.between(10, 240) * MINUTE_MS, lambda: world.san.put_back([file.name]))


def san_file_gone(world: World, rng: Rng) -> None:
    _change_san(world, rng, lambda _file: None)


def san_file_empty(world: World, rng: Rng) -> None:
    _change_san(world, rng, lambda _file: 0)


def san_file_resized(world: World, rng: Rng) -> None:
    _change_san(world, rng, lambda file: file.size_bytes + 1)


def _write_anew(world: World, rng: Rng, lasts_ms: int, ahead_ms: int = 0) -> None:
    """Somebody writes one of the wanted files anew, under its name and with its size."""
    ranked = sorted(world.library, key=lambda file: file.rank)
    name = rng.pick(ranked[: rng.pick((5, 20, len(ranked)))]).name
    if world.san.begin_writing(name):
        world.note("written anew", name, lasts_ms)
        world.heal_after(lasts_ms, lambda: world.san.end_writing(name, ahead_ms))


def san_file_rewritten(world: World, rng: Rng) -> None:
    _write_anew(world, rng, 1)


def san_file_being_written(world: World, rng: Rng) -> None:
    _write_anew(world, rng, rng.between(5_000, 60 * MINUTE_MS))


def san_file_of_the_future(world: World, rng: Rng) -> None:
    _write_anew(world, rng, rng.between(1, 60_000), ahead_ms=rng.between(1, 100_000) * MINUTE_MS)


def restart_with_less(world: World, rng: Rng) -> None:
    """A grade file that lacks most of its lines is there when cfm starts again."""
    files = world.metadata
    if files.grade is None or files.history is None or not world.main.running:
        return
    lines = files.grade.data.split(b"\n")
    few = b"\n".join(lines[: 1 + len(lines) // rng.between(3, 10)]) + b"\n"
    world.main.kill()
    now_s = world.main.clock.wall_ms() // 1000
    files.put(MetadataVersion(few, now_s, good=False), files.history)
    world.heal_after(rng.between(200, 20_000), lambda: start_again(world, world.main))


FAULTS: Final[tuple[FaultEvent, ...]] = (
    metadata_half_written,
    metadata_emptied,
    metadata_missing,
    metadata_old_back,
    metadata_mismatched,
    metadata_garbage,
    metadata_stale,
    ranks_turned,
    log_missing,
    log_gone,
    log_unreadable,
    log_burst,
    san_unmounted,
    san_file_gone,
    san_file_empty,
    san_file_resized,
    san_file_rewritten,
    san_file_being_written,
    san_file_of_the_future,
    restart_with_less,
)
