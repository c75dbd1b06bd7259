"""Prepares the demo: its addresses, folders and settings files, and the files on the disks at the start.

Nothing runs yet.  The sizes follow from the library.  The destinations have room for about a third of it, one
disk is too full, and some files have two copies.  Neighbours: `library` has the content; `play` runs the
demo.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from cfm.config import split_address
from cfm.demo import library as lib
from cfm.demo import metadata
from cfm.demo.library import AD_PREFIX, Library, Taste, Title
from cfm.demo.processes import Program
from cfm.errors import CfmError
from cfm.model import Addr

LIMIT_PERCENT: Final = 90
SHARE: Final = 0.36
"""The share of the library that fits on the destinations within their limits."""
FULL_AT_START: Final = 0.6
OVERFULL_PERCENT: Final = 97
TWICE_AT_START: Final = 4
SAN_IP: Final = "127.0.0.9"
"""The address of the server that serves from the SAN, in the event log."""
COPY_SPEED_BPS: Final = 7_000_000
PORT_TRIES: Final = 50
DATABASE: Final = "database"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    seconds: float | None = 60.0
    """None: until somebody stops it."""
    files: int = 120
    sources: int = 3
    destinations: int = 3
    port: int = 0
    """0: any free port."""
    folder: Path | None = None
    """None: a new temporary folder."""
    keep: bool = False
    seed: int = 1
    controllers: int = 1
    """With more than one, they share a state in PostgreSQL."""


@dataclass(slots=True)
class Center:
    """One cfm: its address, its folder and its program."""

    addr: Addr
    folder: Path
    program: Program


@dataclass(slots=True)
class Server:
    """One cfw: its address, its folder and its program."""

    addr: Addr
    is_source: bool
    folder: Path
    program: Program
    quota_bytes: int

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def ip(self) -> str:
        return split_address(self.addr)[0]


@dataclass(slots=True)
class Stage:
    """All parts of the demo."""

    options: Options
    root: Path
    library: Library
    taste: Taste
    centers: tuple[Center, ...]
    servers: tuple[Server, ...]
    digests: dict[str, str] = field(default_factory=dict)
    state_url: str = ""
    """Of PostgreSQL, once it runs."""

    @property
    def sources(self) -> list[Server]:
        return [server for server in self.servers if server.is_source]

    @property
    def destinations(self) -> list[Server]:
        return [server for server in self.servers if not server.is_source]

    @property
    def san(self) -> Path:
        return self.root / "san"

    @property
    def lb(self) -> Path:
        return self.root / "lb"

    @property
    def center(self) -> Path:
        """The folder with the metadata."""
        return self.root / "cfm"

    @property
    def dashboard(self) -> str:
        return dashboard_of(self.centers[0])

    @property
    def programs(self) -> list[Program]:
        return [*(one.program for one in self.centers), *(one.program for one in self.servers)]

    def write_metadata(self, holders: Mapping[str, list[str]], at_s: float) -> None:
        """Write the metadata files, as the node's other software does after looking at what viewers want."""
        history = metadata.history_text(self.library, self.taste, holders, int(at_s))
        metadata.replace(self.center / ".hitcount.history", history)
        metadata.replace(self.center / ".grade.info", metadata.grade_text(self.library, self.taste))


def dashboard_of(center: Center) -> str:
    return f"http://{center.addr}/"


def parts(options: Options) -> list[str]:
    """The folders of the demo."""
    numbered = (("source", options.sources), ("destination", options.destinations))
    several = [DATABASE, *(_center_name(i) for i in range(1, options.controllers))]
    return [
        *("cfm", "lb", "san", *(several if options.controllers > 1 else ())),
        *(f"{kind}-{i + 1}" for kind, n in numbered for i in range(n)),
    ]


def _center_name(index: int) -> str:
    return f"cfm-{index + 1}" if index else "cfm"


# ── building ────────────────────────────────────────────────────────────────────────────────────────────


def make_stage(options: Options, root: Path) -> Stage:
    """Plan everything.  No file is written yet."""
    library = lib.make_library(options.seed, options.files, options.destinations)
    quota_bytes = int(SHARE * library.total_bytes * 100 / LIMIT_PERCENT / options.destinations) + lib.AD_BYTES
    port = _free_port(options)
    addresses = [
        *((Addr(f"127.0.1.{i + 1}:{port}"), True) for i in range(options.sources)),
        *((Addr(f"127.0.2.{i + 1}:{port}"), False) for i in range(options.destinations)),
    ]
    servers = tuple(_server(root, addr, is_source, quota_bytes) for addr, is_source in addresses)
    centers = tuple(_center(root, options, i) for i in range(options.controllers))
    return Stage(options, root, library, Taste(library), centers, servers)


def _center(root: Path, options: Options, index: int) -> Center:
    name, host = _center_name(index), f"127.0.0.{index + 1}"
    folder = root / name
    program = Program(name, ("-m", "cfm.cli.cfm", "run", "-c", str(folder / "cfm.yml")), folder / "output")
    return Center(Addr(f"{host}:{options.port or _any_free_port(host)}"), folder, program)


def _server(root: Path, addr: Addr, is_source: bool, quota_bytes: int) -> Server:
    kind, number = ("source" if is_source else "destination"), split_address(addr)[0].rpartition(".")[2]
    folder = root / f"{kind}-{number}"
    program = Program(addr, ("-m", "cfm.cli.cfw", "run", "-c", str(folder / "cfw.yml")), folder / "output")
    return Server(addr, is_source, folder, program, quota_bytes)


def _free_port(options: Options) -> int:
    """A port that is free for all workers, each on its own loopback address."""
    hosts = [
        f"127.0.{net}.{i + 1}"
        for net, n in ((1, options.sources), (2, options.destinations))
        for i in range(n)
    ]
    for _try in range(PORT_TRIES):
        port = _any_free_port(hosts[0])
        if all(_is_free(host, port) for host in hosts):
            return port
    raise CfmError(f"no port is free on all of {hosts[0]} to {hosts[-1]}")


def _any_free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────


def needed_bytes(stage: Stage) -> int:
    """How much disk space the demo needs at most."""
    disks = sum(server.quota_bytes for server in stage.destinations)
    return stage.library.total_bytes + disks


def set_up(stage: Stage, at_s: float) -> None:
    """Write all folders and files.

    Raises:
        CfmError: there is not enough room.
    """
    free_bytes = shutil.disk_usage(stage.root).free
    if free_bytes < needed_bytes(stage) + 50_000_000:
        raise CfmError(
            f"{stage.root} has {free_bytes // 10**6} MB free, and the demo needs "
            f"{needed_bytes(stage) // 10**6} MB: choose another folder with --dir, or fewer files"
        )
    centers = (center.folder for center in stage.centers)
    for folder in (stage.san, stage.lb, *centers, *(server.disk for server in stage.servers)):
        folder.mkdir(parents=True)
    metadata.EventLog(stage.lb, stage.options.seed).begin(at_s)
    for center in stage.centers:
        (center.folder / "cfm.yml").write_text(_cfm_yml(stage, center), encoding="utf-8")
    for server in stage.servers:
        (server.folder / "cfw.yml").write_text(_cfw_yml(stage, server), encoding="utf-8")
    placed = _placement(stage)
    for title in (*stage.library.titles, *stage.library.ads):
        on = [server.disk for server in placed.get(title.name, ())]
        stage.digests[title.name] = lib.write(stage.library, title, stage.san, *on)
    stage.write_metadata({name: [server.ip for server in on] for name, on in placed.items()}, at_s)


def _placement(stage: Stage) -> dict[str, list[Server]]:
    """Which files are where at the start: files that were wanted once, some of them twice, and one full
    disk."""
    random = Random(f"placement {stage.options.seed}")  # noqa: S311 - a made-up past
    room = {server.addr: _start_bytes(server, i) for i, server in enumerate(stage.destinations)}
    placed: dict[str, list[Server]] = {}

    def put(title: Title, server: Server) -> None:
        placed.setdefault(title.name, []).append(server)
        room[server.addr] -= title.size_bytes

    for ad, server in zip(stage.library.ads, stage.destinations, strict=True):
        put(ad, server)
    past = sorted(
        stage.library.titles,
        key=lambda t: stage.taste.rank(t.name) + random.gauss(0, len(stage.library.titles) / 3),
    )
    for title in past:
        fitting = [server for server in stage.destinations if room[server.addr] >= title.size_bytes]
        if fitting:
            put(title, max(fitting, key=lambda server: room[server.addr]))
    for title in [t for t in past if len(placed.get(t.name, ())) == 1][:TWICE_AT_START]:
        for server in stage.destinations[1:]:
            has_room = room[server.addr] + server.quota_bytes // 5 >= title.size_bytes
            if has_room and server not in placed[title.name] and len(placed[title.name]) == 1:
                put(title, server)
    return placed


def _start_bytes(server: Server, index: int) -> int:
    """How full a disk is at the start: the first one is above its limit, and the others have room."""
    return (
        server.quota_bytes * OVERFULL_PERCENT // 100
        if index == 0
        else int(server.quota_bytes * FULL_AT_START)
    )


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────


def _cfm_yml(stage: Stage, center: Center) -> str:
    """As an operator would write it, but with short times: what takes hours in service takes seconds here."""
    sources = "".join(f"\n    - {server.addr}" for server in stage.sources)
    destinations = "".join(f"\n    - {server.addr}" for server in stage.destinations)
    beside = "" if center.folder == stage.center else f"{stage.center}/"
    state = f"state:\n  url: {stage.state_url}\n" if stage.state_url else ""
    return f"""\
listen_addr: {center.addr}
{state}grade_info_file: {beside}.grade.info
hitcount_history_file: {beside}.hitcount.history
watch_dir: {stage.lb}
watch_ip_string: {SAN_IP}
watch_hit_base: 8
watch_term_min: 1
source_dirs:
  - {stage.san}
ignore:
  prefixes:
    - {AD_PREFIX}
remover:
  storage_usage_limit_percent: {LIMIT_PERCENT}
  minimum_stay_sec: 5
  just_deleted_sec: 300
  space_deletes_per_minute: 300
  breaker_percent: 30
tasker:
  task_copy_speed_bps: {COPY_SPEED_BPS}
  task_timeout_sec: 20
  incoming_per_destination: {min(100, len(stage.sources))}
  lease_sec: 10
runner:
  between_events_run_interval_sec: 5
servers:
  heartbeat_interval_sec: 2
  heartbeat_timeout_sec: 2
  unknown_grace_sec: 3
  sources:{sources}
  destinations:{destinations}
"""


def _cfw_yml(stage: Stage, server: Server) -> str:
    source = f"source_dirs:\n  - {stage.san}\n" if server.is_source else ""
    several = "".join(f"\n  - {center.addr}" for center in stage.centers)
    addresses = several if len(stage.centers) > 1 else stage.centers[0].addr
    return f"""\
listen_addr: {server.addr}
cfm_addr: {addresses}
base_dir: disk
quota_bytes: {server.quota_bytes}
storage_usage_limit_percent: {LIMIT_PERCENT}
downloads: {min(100, len(stage.sources))}
{source}"""
