"""How soon a file rises beside a large event log, after a hole in it, and what is read until then.

    PYTHONPATH=src python bench/bench_event_log.py [MEGABYTES] [HOLE_BYTES]

Every row starts a follower on real files in a temporary folder, writes six hits, and waits for the file to
rise.  It prints the time, the CPU time and the bytes that were read until then.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cfm.inputs.log_follower import LogFollower
from cfm.model import Hits, Now

IP = "125.159.40.3"
TERM_S = 600
PATIENCE_S = 600.0
streams = itertools.count(1)


def clock() -> Now:
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


def line(name: str, at_s: float) -> bytes:
    return (
        f"0x40ffff,1,{int(at_s)},Server {IP} Selected for Client StreamID : 609d8714-096a-475e-994c-"
        f"{next(streams):012x}, ClientID : 0, GLB IP : 125.159.40.5's file({name}) Request\n"
    ).encode()


def hits(name: str) -> bytes:
    return b"".join(line(name, time.time()) for _ in range(6))


def main(megabytes: int = 200, hole_bytes: int = 3_000_000_000) -> None:
    asyncio.run(rows(megabytes, hole_bytes))


async def rows(megabytes: int, hole_bytes: int) -> None:
    day = time.strftime("%Y%m%d")
    for label, hours in (("its window holds 1/60 of it", 10.0), ("its window holds all of it", 9 / 60)):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / f"EventLog[{day}].log"
            fill(log, megabytes * 1_000_000, hours)
            await measure(f"start beside {megabytes} MB, {label}", log, before=add)
            await measure(f"six lines more beside {megabytes} MB, {label}", log, after=add)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / f"EventLog[{day}].log"
        log.touch()
        cut = partial(cut_and_go_on, offset=hole_bytes)
        await measure("hole before the start", log, before=cut)
        await measure("hole while running", log, after=cut)


def fill(log: Path, size_bytes: int, hours: float) -> None:
    """Lines of one size, evenly over the last hours, for a thousand files."""
    lines, now_s = size_bytes // len(line("M000.mpg", 0)), time.time()
    with log.open("wb") as file:
        for number in range(lines):
            file.write(line(f"M{number % 1000:03}.mpg", now_s - hours * 3600 * (1 - number / lines)))


def add(log: Path) -> None:
    with log.open("ab") as file:
        file.write(hits("NEW.mpg"))


def cut_and_go_on(log: Path, offset: int) -> None:
    """As by copytruncate, beside a writer that goes on where it was."""
    log.write_bytes(b"")
    with log.open("r+b") as file:
        file.seek(offset)
        file.write(hits("NEW.mpg"))


async def measure(
    label: str,
    log: Path,
    *,
    before: Callable[[Path], None] | None = None,
    after: Callable[[Path], None] | None = None,
) -> None:
    """The time from the start (`before`), or from the deed of a running follower's log (`after`)."""
    risen = asyncio.Event()

    def on_hits(seen: Hits) -> None:
        if "NEW.mpg" in seen.rising:
            risen.set()

    if before:
        before(log)
    begun = used()
    follower = LogFollower(log.parent, IP, term_s=TERM_S, base=5, clock=clock, on_hits=on_hits)
    running = asyncio.create_task(follower.run())
    if after:
        await settled(follower)
        risen.clear()
        begun = used()
        after(log)
    try:
        await asyncio.wait_for(risen.wait(), PATIENCE_S)
        told = ""
    except TimeoutError:
        told = "  NOT RISEN"
    wall_s, cpu_s, read = (end - start for start, end in zip(begun, used(), strict=True))
    print(f"{label:58} {wall_s:8.2f} s  CPU {cpu_s:7.2f} s  read {read / 1e6:10.2f} MB{told}", flush=True)
    running.cancel()
    await asyncio.wait([running])


async def settled(follower: LogFollower) -> None:
    """Until all that was there has been read."""
    await asyncio.sleep(1)
    while follower.status().behind_bytes:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)


def used() -> tuple[float, float, float]:
    """Wall clock, CPU seconds and bytes read by this process."""
    counters = dict(row.split(": ") for row in Path("/proc/self/io").read_text().splitlines())
    return time.monotonic(), time.process_time(), float(counters["rchar"])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
