"""How soon a source that becomes free sends the next file: real processes, old settings, the old downloader.

    .venv/bin/python bench/bench_dispatch.py [--seconds S] [--folder DIR] [--postgres] [--json]

Three sources, three destinations, transfers of two seconds by an external downloader, and settings files as
they are found in service, with their intervals of 5 s and 60 s.  The figures come from the downloader's own
log: when a transfer began and ended, told by the program that made it.  The targets are stated
below; exit 3 where one is missed.  Four of the steps in between are synced to the disk that `--folder` is on.

With --postgres, a second node runs beside it, with its state in a PostgreSQL of its own on that disk.  Its
median pause may be half as long again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from cfm.demo.postgres import PostgresServer, find_postgres
from cfm_lab.testing.cluster import SAN_IP, Cluster
from cfm_lab.testing.processes import Daemon

SERVERS = 3
"""Sources, and as many destinations."""
TRANSFER_S = 2
DOWNLOADER = """#!/bin/bash
# SRC_IP TARGET SOURCE_PATH BITS_PER_SECOND
echo "began $EPOCHREALTIME $1 $2" >> {log}
cp "$3" "$2" && sleep {seconds} && echo Successfully >&2
echo "ended $EPOCHREALTIME $1 $2" >> {log}
"""
MEDIAN_MS, P99_MS, BUSY_FRACTION = 50.0, 100.0, 0.97
MOST_TIMES_SQLITE = 1.5


@dataclass(frozen=True, slots=True)
class Transfer:
    """One run of the downloader, in seconds of the wall clock."""

    source: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What the downloader's log tells of all sources together."""

    seconds: float
    transfers: int
    overlaps: int
    gap_median_ms: float
    gap_p99_ms: float
    gap_max_ms: float
    busy_fraction: float

    @property
    def good(self) -> bool:
        quick = self.gap_median_ms <= MEDIAN_MS and self.gap_p99_ms <= P99_MS
        return quick and not self.overlaps and self.busy_fraction >= BUSY_FRACTION


def old_settings(cluster: Cluster, downloader: Path) -> None:
    """Settings files as they were found in service: no key of ours, and their own intervals."""
    settings = {
        "listen_addr": cluster.cfm_addr,
        "hitcount_history_file": str(cluster.root / "hitcount.history"),
        "grade_info_file": str(cluster.root / "grade.info"),
        "watch_dir": str(cluster.root),
        "watch_ip_string": SAN_IP,
        "source_dirs": [str(cluster.san)],
        "remover": {"storage_usage_limit_percent": 90},
        "tasker": {"task_timeout_sec": 3600, "task_copy_speed_bps": 10_000_000},
        "watcher": {"fire_initial_event": True, "event_timeout_sec": 3600, "poll_interval_sec": 60},
        "runner": {"between_events_run_interval_sec": 60},
        "servers": {
            "heartbeat_timeout_sec": 5,
            "heartbeat_interval_sec": 5,
            "sources": cluster.source_addrs,
            "destinations": cluster.destination_addrs,
        },
    }
    if cluster.state_url:
        settings["state"] = {"url": cluster.state_url}
    (cluster.cfm.folder / "cfm.yml").write_text(yaml.safe_dump(settings))
    for worker in cluster.workers.values():
        (worker.folder / "cfw.yml").write_text(yaml.safe_dump(_old_worker(cluster, worker, downloader)))


def _old_worker(cluster: Cluster, worker: Daemon, downloader: Path) -> dict[str, object]:
    return {
        "storage_usage_limit_percent": 90,
        "listen_addr": worker.addr,
        "cfm_addr": cluster.cfm_addr,
        "base_dir": "data",
        "downloader_sleep_sec": 5,
        "downloader_bin": str(downloader),
        "downloader_download_success_match_string": "Successfully",
    }


def measure(seconds: float, where: Path | None, state_url: str = "") -> Figures:
    """Run a node for so long from its first transfer on, and read the log."""
    files = int(2 * SERVERS * seconds / TRANSFER_S) + 50
    with (
        tempfile.TemporaryDirectory(prefix="bench-dispatch-", dir=where) as folder,
        Cluster(Path(folder), SERVERS, SERVERS, files, file_bytes=50_000, state_url=state_url) as cluster,
    ):
        log, downloader = cluster.root / "transfers.log", cluster.root / "downloader.sh"
        log.touch()
        downloader.write_text(DOWNLOADER.format(log=log, seconds=TRANSFER_S))
        downloader.chmod(0o755)
        old_settings(cluster, downloader)
        cluster.start()
        cluster.wait_for(lambda: bool(log.read_text()), "the first transfer")
        time.sleep(seconds)
        for daemon in cluster.daemons:
            daemon.terminate()
        return figures(read(log.read_text()), seconds)


def measure_both(seconds: float, where: Path | None) -> tuple[Figures, Figures]:
    """A node with SQLite and one with PostgreSQL, side by side, so that both are disturbed alike."""
    programs = find_postgres()
    if programs is None:
        sys.exit("needs PostgreSQL (on Debian: apt install postgresql)")
    with PostgresServer(programs, durable=True, folder=where) as server, ThreadPoolExecutor(2) as threads:
        urls = ("", server.url())
        first, second = [threads.submit(measure, seconds, where, url) for url in urls]
        return first.result(), second.result()


def read(log: str) -> list[Transfer]:
    """The transfers that came to their end, in the order of their beginning."""
    began: dict[str, float] = {}
    found = []
    for line in log.splitlines():
        what, at_s, source, target = line.split()
        if what == "began":
            began[target] = float(at_s)
        else:
            found.append(Transfer(source, began.pop(target), float(at_s)))
    return sorted(found, key=lambda transfer: transfer.began_s)


def figures(transfers: Sequence[Transfer], seconds: float) -> Figures:
    """Pauses between one transfer's end and the next one's beginning, source by source."""
    gaps_ms: list[float] = []
    busy_s = span_s = 0.0
    for source in {transfer.source for transfer in transfers}:
        mine = [transfer for transfer in transfers if transfer.source == source]
        gaps_ms += [1000 * (b.began_s - a.ended_s) for a, b in itertools.pairwise(mine)]
        busy_s += sum(transfer.ended_s - transfer.began_s for transfer in mine)
        span_s += mine[-1].ended_s - mine[0].began_s
    return Figures(
        seconds=seconds,
        transfers=len(transfers),
        overlaps=sum(gap < 0 for gap in gaps_ms),
        gap_median_ms=round(statistics.median(gaps_ms), 1),
        gap_p99_ms=round(statistics.quantiles(gaps_ms, n=100, method="inclusive")[98], 1),
        gap_max_ms=round(max(gaps_ms), 1),
        busy_fraction=round(busy_s / span_s, 4),
    )


def shown(found: Figures) -> str:
    return (
        f"{found.transfers} transfers in {found.seconds:g} s, {found.overlaps} overlaps; "
        f"pause median {found.gap_median_ms} ms (target {MEDIAN_MS:g}), p99 {found.gap_p99_ms} ms "
        f"(target {P99_MS:g}), longest {found.gap_max_ms} ms; "
        f"sources busy {100 * found.busy_fraction:.2f} % (target {100 * BUSY_FRACTION:g})"
    )


def compare(sqlite: Figures, postgres: Figures) -> int:
    times = postgres.gap_median_ms / sqlite.gap_median_ms
    print(f"SQLite:     {shown(sqlite)}\nPostgreSQL: {shown(postgres)}")
    print(f"median with PostgreSQL {times:.2f} times that with SQLite (target {MOST_TIMES_SQLITE:g})")
    return 0 if times <= MOST_TIMES_SQLITE else 3


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="where the node's files are; else the temporary folder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--postgres", action="store_true", help="compare with PostgreSQL")
    args = parser.parse_args()
    if args.postgres:
        return compare(*measure_both(args.seconds, args.folder))
    found = measure(args.seconds, args.folder)
    values = {name: getattr(found, name) for name in Figures.__slots__}
    print(json.dumps({**values, "good": found.good}) if args.json else shown(found))
    return 0 if found.good else 3


if __name__ == "__main__":
    sys.exit(main())
