"""How long the reductions of a full plan take, in columns and in plain Python, on a made-up node.

    python bench/bench_plan.py            100,000 files on 6 and on 300 servers, with the plain twin beside
    python bench/bench_plan.py --large    also 10,000,000 files on 300 servers (a minute, some 3 GB)
    python bench/bench_plan.py --json     one JSON object

`first` is a plan on a snapshot that was never seen before; `next` one after a server's list changed and
all small sets (rising, watched, left alone, recent arrivals) came anew.  Medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import polars as pl

from cfm.model import Addr, File
from cfm.name_column import NameColumn
from cfm.plan import reduce, reference
from cfm.plan.shortlist import PlanInputs


@dataclass(frozen=True, slots=True)
class Case:
    """A node: its library, its servers, and how many of the files are placed on them altogether."""

    files: int
    servers: int
    placed: int = 60_000
    san_index: bool = True
    """Whether the names on the SAN come as a complete set."""
    twin: bool = True
    repeats: int = 21


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured in one case."""

    files: int
    servers: int
    san_index: bool
    first_ms: float
    next_ms: float
    twin_ms: float | None
    twin_to_next: float | None
    """How many times as long the plain twin takes."""
    peak_rss_mb: int
    """Of the process until then, the making of the library included."""


CASES = (Case(files=100_000, servers=6), Case(files=100_000, servers=300))
LARGE = (
    Case(files=10_000_000, servers=300, san_index=False, twin=False, repeats=5),
    Case(files=10_000_000, servers=300, twin=False, repeats=3),
)


def make_frame(files: int) -> pl.DataFrame:
    """A library with names, sizes and a popularity curve as they are seen in the field."""
    number = pl.col("rank").cast(pl.Int64)
    mixed = (number * 2_654_435_761) % 4_294_967_291
    ips = [pl.format("10.0.0.{}", mixed % 7), pl.format("10.0.1.{}", mixed % 11)]
    return pl.select(rank=pl.int_range(1, files + 1, dtype=pl.UInt32)).select(
        "rank",
        name=pl.format("M{}SGL{}_K20180531174730.mpg", mixed % 1_000_000, number),
        size_bytes=100_000_000 + mixed * 2,
        hits=files // number,
        history_ips=pl.concat_list(ips),
    )


def make_inputs(case: Case, frame: pl.DataFrame) -> PlanInputs:
    """The best ranks are placed, one in a hundred twice; half of the rest is on the SAN."""
    chance = random.Random(case.servers)
    servers = [Addr(f"10.1.{number // 250}.{number % 250}:18888") for number in range(case.servers)]
    held: dict[Addr, set[str]] = {server: {"unknown.mpg"} for server in servers}
    placed = frame["name"].head(case.placed).to_list()
    for name in placed + placed[::100]:
        held[chance.choice(servers)].add(name)
    on_san = None
    if case.san_index:
        on_san = NameColumn.of_names({*placed, *frame["name"].gather_every(2)})
    return PlanInputs(
        snapshot_id="bench",
        listings={server: NameColumn.of_names(names) for server, names in held.items()},
        unlisted_ips=frozenset({"10.0.0.3", "10.0.1.5"}),
        rising={},
        watched=frozenset(),
        young={},
        ad_prefixes=("M1", "AD_", "M99"),
        left_alone=frozenset(),
        on_san=on_san,
        largest_room_bytes=8_000_000_000,
    )


def later(inputs: PlanInputs, frame: pl.DataFrame) -> Iterator[PlanInputs]:
    """The world at each following plan: one more server has got a file; what is small is all new."""
    chance = random.Random(1)
    servers = list(inputs.listings)
    near = frame["name"].head(80_000).to_list()
    while True:
        server = chance.choice(servers)
        grown = inputs.listings[server] | {chance.choice(near)}
        inputs = replace(
            inputs,
            listings={**inputs.listings, server: grown},
            rising={name: chance.randrange(5, 500) for name in chance.sample(near, 200)},
            watched=frozenset(chance.sample(near, 200)),
            young={server: frozenset(chance.sample(near, 20)) for server in servers},
            left_alone=frozenset(chance.sample(near, 50)),
        )
        yield inputs


def files_of(frame: pl.DataFrame) -> list[File]:
    rows = frame.select("name", "rank", "size_bytes", "hits", "history_ips").iter_rows()
    return [File(name, rank, size, hits, tuple(ips)) for name, rank, size, hits, ips in rows]


def median_ms(repeats: int, act: Callable[[], object]) -> float:
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return round(1000 * statistics.median(times), 1)


def measure(case: Case) -> Figures:
    frame = make_frame(case.files)
    world = later(make_inputs(case, frame), frame)
    inputs = next(world)
    first_ms = median_ms(max(1, case.repeats // 3), lambda: reduce.shortlist(frame, inputs))
    next_ms = measure_next(case, frame, world)
    twin_ms = measure_twin(case, frame, inputs) if case.twin else None
    return Figures(
        files=case.files,
        servers=case.servers,
        san_index=case.san_index,
        first_ms=first_ms,
        next_ms=next_ms,
        twin_ms=twin_ms,
        twin_to_next=round(twin_ms / next_ms, 1) if twin_ms else None,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


def measure_next(case: Case, frame: pl.DataFrame, world: Iterator[PlanInputs]) -> float:
    reducer = reduce.Reducer(frame)
    reducer.shortlist(next(world))
    plans = [next(world) for _ in range(case.repeats)]
    plan = iter(plans)
    return median_ms(len(plans), lambda: reducer.shortlist(next(plan)))


def measure_twin(case: Case, frame: pl.DataFrame, inputs: PlanInputs) -> float:
    """The twin is given its files and sets ready made.  For once both are held against each other in full."""
    files, plain = files_of(frame), in_plain_sets(inputs)
    if reference.shortlist(files, plain) != reduce.shortlist(frame, inputs):
        raise AssertionError("the reduction and its plain twin differ")
    return median_ms(max(1, case.repeats // 4), lambda: reference.shortlist(files, plain))


def in_plain_sets(inputs: PlanInputs) -> PlanInputs:
    return replace(
        inputs,
        listings={server: frozenset(names) for server, names in inputs.listings.items()},
        on_san=frozenset(inputs.on_san) if inputs.on_san is not None else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the reductions of a full plan.")
    parser.add_argument("--large", action="store_true", help="also ten million files")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    figures = [measure(case) for case in CASES + (LARGE if options.large else ())]
    if options.json:
        print(json.dumps({"plan_reductions": [asdict(row) for row in figures]}))
        return
    with pl.Config(
        tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_cols=-1, tbl_width_chars=120
    ):
        print(pl.DataFrame(list(map(asdict, figures))))


if __name__ == "__main__":
    main()
