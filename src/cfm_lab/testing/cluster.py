"""A node of real cfm and cfw processes on loopback, and the ground truth about it.

The library is small files with known bytes, so that the files on a disk can be compared with what they should
be.  Disks are folders with a quota that the workers keep.  Neighbours: `processes` runs the daemons; the
end-to-end tests and the benches make clusters, break things in them, and look.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from cfm_lab.testing.processes import PATIENCE_S, Daemon, free_port, wait_for

SAN_IP = "125.159.40.3"
"""The address of the server that reads from the SAN.  Hits there make a file rising."""
_EVENT = (
    "0x40ffff,1,{at},Server {ip} Selected for Client StreamID : {stream}, "
    "ClientID : 0, GLB IP : 125.159.40.5's file({name}) Request\n"
)
_LONG_AGO_S = 1_527_951_000
_GRADE_HEADER = "filename\tweightcount\tbitrate\tgrade\tsumHitCount\thistoryCount\tTargetCopyCount"
_ANSWER_S = 10.0


@dataclass
class Cluster:
    """One controller, `sources` and `destinations` workers, all under `root`.  A context manager.

    All files have `file_bytes`; the disk of each destination has `quota_bytes`.  A host in `old` has the
    stand-in for the earlier cfw.
    """

    root: Path
    sources: int = 1
    destinations: int = 2
    files: int = 20
    file_bytes: int = 100_000
    quota_bytes: int = 1_000_000
    copy_speed_bps: int = 1_000_000_000
    limit_percent: int = 90
    downloader: Path | None = None
    old: frozenset[str] = frozenset()
    old_arguments: tuple[str, ...] = ("--poll", "0.2")
    state_url: str = ""
    """Of PostgreSQL, for several cfm."""
    controllers: int = 1
    cfm_keys: Mapping[str, Any] = field(default_factory=dict)
    cfw_keys: Mapping[str, Any] = field(default_factory=dict)
    seen_at: Callable[[str], str] = lambda addr: addr
    """The address that the others are given for a program that listens at `addr`.  It may be a proxy's."""
    workers: dict[str, Daemon] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.san = self.root / "san"
        self.san.mkdir(parents=True)
        self.ranks = [f"FILE{i:04}_K2026.mpg" for i in range(1, self.files + 1)]
        for name in self.ranks:
            self.put_on_san(name)
        self.write_metadata()
        self.cfm_addrs = [f"127.0.0.{i + 1}:{free_port(f'127.0.0.{i + 1}')}" for i in range(self.controllers)]
        self.cfm_addr = self.cfm_addrs[0]
        self.cfm_seen_at = self.seen_at(self.cfm_addr)
        self.source_addrs = [self._worker(f"127.0.1.{i + 1}", source=True) for i in range(self.sources)]
        self.destination_addrs = [
            self._worker(f"127.0.2.{i + 1}", source=False) for i in range(self.destinations)
        ]
        self.cfms = [self._controller(i) for i in range(self.controllers)]
        self.cfm = self.cfms[0]

    # ── files ───────────────────────────────────────────────────────────────────────────────────────────

    def content(self, name: str, size_bytes: int | None = None) -> bytes:
        size_bytes = self.file_bytes if size_bytes is None else size_bytes
        seed = hashlib.sha256(name.encode()).digest()
        return (seed * (size_bytes // len(seed) + 1))[:size_bytes]

    def write_metadata(self, ranks: list[str] | None = None, sizes: Mapping[str, int] | None = None) -> None:
        """Write grade file and history, each by rename.  `sizes`: the files that have one of their own."""
        self.ranks = ranks or self.ranks
        grade, history = [_GRADE_HEADER], ["historyheader:1527951000"]
        for place, name in enumerate(self.ranks, 1):
            weight = len(self.ranks) - place
            grade.append(f"{name}\t{weight}\t6399785\t1\t{weight}\t24\t1")
            size_bytes = (sizes or {}).get(name, self.file_bytes)
            history.append(f"{name},1508301143,6399785,{size_bytes},,2,0,0,1={weight} 0")
        self.replace("grade.info", "\n".join(grade) + "\n")
        self.replace("hitcount.history", "\n".join(history) + "\n")

    def publish(self, name: str) -> None:
        """Add a new file, which is wanted more than all others."""
        self.put_on_san(name)
        self.write_metadata([name, *self.ranks])

    def put_on_san(self, name: str, size_bytes: int | None = None) -> None:
        """Put a file on the SAN that was written long ago.  Nothing waits until it has rested."""
        path = self.san / f".{name}.new"
        path.write_bytes(self.content(name, size_bytes))
        os.utime(path, (_LONG_AGO_S, _LONG_AGO_S))
        path.rename(self.san / name)

    def replace(self, name: str, text: str) -> None:
        """Write one of the metadata files anew, by rename."""
        fresh = self.root / f"{name}.new"
        fresh.write_text(text)
        fresh.rename(self.root / name)

    def hit(self, name: str, times: int, ip: str = SAN_IP) -> None:
        """Log that viewers asked for a file at a server."""
        log = self.root / f"EventLog[{time.strftime('%Y%m%d')}].log"
        with log.open("a") as out:
            for _ in range(times):
                out.write(_EVENT.format(at=int(time.time()), ip=ip, stream=uuid.uuid4(), name=name))

    def place(self, addr: str, names: Iterable[str]) -> None:
        """Put files on a server's disk, as if they had been there before."""
        for name in names:
            os.link(self.san / name, self.shelf(addr) / name)

    # ── settings ────────────────────────────────────────────────────────────────────────────────────────

    def _worker(self, host: str, *, source: bool) -> str:
        listens_at = f"{host}:{free_port(host)}"
        addr = self.seen_at(listens_at)
        folder = self.root / f"cfw-{host}"
        (folder / "data").mkdir(parents=True)
        if host in self.old:
            self.workers[addr] = self._old_worker(host, listens_at, folder)
            return addr
        settings: dict[str, Any] = {
            "listen_addr": listens_at,
            **({"advertise_addr": addr} if addr != listens_at else {}),
            "cfm_addr": self.cfm_seen_at if self.controllers == 1 else self.cfm_addrs,
            "base_dir": "data",
            "storage_usage_limit_percent": self.limit_percent,
            "downloader_sleep_sec": 5,
            **({"source_dirs": [str(self.san)]} if source else {"quota_bytes": self.quota_bytes}),
            **({"downloader_bin": str(self.downloader)} if self.downloader else {}),
            **self.cfw_keys,
        }
        (folder / "cfw.yml").write_text(yaml.safe_dump(settings))
        arguments = ("run", "-c", "cfw.yml")
        self.workers[addr] = Daemon(f"cfw-{host}", folder, listens_at, "cfm.cli.cfw", arguments)
        return addr

    def _old_worker(self, host: str, addr: str, folder: Path) -> Daemon:
        arguments = ["--listen", addr, "--cfm", self.cfm_addr, "--base", "data", *self.old_arguments]
        arguments += ["--capacity", str(self.quota_bytes)]
        if self.downloader:
            arguments += ["--downloader", str(self.downloader)]
        return Daemon(f"old-cfw-{host}", folder, addr, "cfm_lab.testing.old_worker", arguments)

    def _controller(self, number: int) -> Daemon:
        name = f"cfm{number + 1}" if number else "cfm"
        folder, addr = self.root / name, self.cfm_addrs[number]
        folder.mkdir()
        daemon = Daemon(name, folder, addr, "cfm.cli.cfm", ("run", "-c", "cfm.yml"))
        settings: dict[str, Any] = {
            "listen_addr": addr,
            **({"state": {"url": self.state_url}} if self.state_url else {}),
            "grade_info_file": str(self.root / "grade.info"),
            "hitcount_history_file": str(self.root / "hitcount.history"),
            "watch_dir": str(self.root),
            "watch_ip_string": SAN_IP,
            "source_dirs": [str(self.san)],
            "remover": {"storage_usage_limit_percent": self.limit_percent, "minimum_stay_sec": 0},
            "tasker": {"task_copy_speed_bps": self.copy_speed_bps},
            "servers": {"sources": self.source_addrs, "destinations": self.destination_addrs},
        }
        (folder / "cfm.yml").write_text(yaml.safe_dump(_merged(settings, self.cfm_keys)))
        return daemon

    def change(self, daemon: Daemon, keys: Mapping[str, Any]) -> None:
        """Change keys in the settings file of a daemon.  It reads them on SIGHUP or at its next start."""
        path = daemon.folder / ("cfm.yml" if daemon in self.cfms else "cfw.yml")
        path.write_text(yaml.safe_dump(_merged(yaml.safe_load(path.read_text()), keys)))

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self.daemons:
            daemon.stop()

    @property
    def daemons(self) -> list[Daemon]:
        return [*self.cfms, *self.workers.values()]

    def start(self) -> Self:
        """Start all programs at once.  Returns when all of them serve."""
        for daemon in self.daemons:
            daemon.start()
        for daemon in self.daemons:
            self.wait_for(daemon.listens, f"{daemon.name} to listen")
        return self

    def restart(self, daemon: Daemon) -> None:
        """Start a daemon that has ended.  Returns when it serves."""
        daemon.start()
        self.wait_for(daemon.listens, f"{daemon.name} to listen")

    def wait_for(self, holds: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> float:
        return wait_for(holds, what, self.daemons, within_s)

    def worker(self, host: str) -> Daemon:
        return next(daemon for addr, daemon in self.workers.items() if addr.startswith(f"{host}:"))

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `cfm` or `cfw` in cfm's folder, while the daemons run."""
        return subprocess.run(
            [sys.executable, "-m", f"cfm.cli.{program}", *arguments],
            cwd=self.cfm.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def run_json(self, *arguments: str) -> Any:
        """The output of a `cfm` command with `--json`."""
        ended = self.run("cfm", *arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def ask(self, path: str, addr: str = "", method: str = "GET") -> tuple[int, bytes]:
        """Status and body of one request, to cfm or to another address."""
        host, _, port = (addr or self.cfm_addr).rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_ANSWER_S)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str, addr: str = "") -> Any:
        return json.loads(self.ask(path, addr)[1])

    def status(self) -> dict[str, Any]:
        """That of cfm; of several cfm that of the one that leads, or of the first one where none does."""
        value: dict[str, Any] = self.get("/api/v1/status", self.leader_addr or self.cfm_addr)
        return value

    @property
    def leader_addr(self) -> str:
        """Of several cfm the one that leads; empty where none does."""
        for addr in self.cfm_addrs if self.state_url else ():
            with suppress(OSError, http.client.HTTPException, json.JSONDecodeError, KeyError, TypeError):
                if self.get("/api/v1/status", addr)["leadership"]["state"] == "leading":
                    return addr
        return ""

    def server(self, addr: str) -> dict[str, Any]:
        """What cfm's status says about one server."""
        found: dict[str, Any] = next(s for s in self.status()["servers"] if s["addr"] == addr)
        return found

    def at_rest(self) -> bool:
        """Metadata are accepted, and nothing is being done or is about to be done."""
        return self.is_idle(self.status())

    @staticmethod
    def is_idle(status: Mapping[str, Any]) -> bool:
        """By this status of cfm."""
        return bool(status["activity"]["doing"] == "idle")

    def conditions(self) -> dict[str, dict[str, Any]]:
        """What cfm says that an operator should know, by name."""
        return {condition["name"]: condition for condition in self.status()["conditions"]}

    def wait_at_rest(self, within_s: float = PATIENCE_S) -> float:
        return self.wait_for(self.at_rest, "the node to come to rest", within_s)

    # ── ground truth ────────────────────────────────────────────────────────────────────────────────────

    def shelf(self, addr: str) -> Path:
        return self.workers[addr].folder / "data"

    def visible(self, addr: str) -> set[str]:
        """The files on the disk of a server, whoever put them there."""
        with os.scandir(self.shelf(addr)) as found:
            return {entry.name for entry in found if entry.is_file() and not entry.name.startswith(".")}

    def holders(self, name: str) -> list[str]:
        return [addr for addr in self.destination_addrs if name in self.visible(addr)]

    def placed(self) -> set[str]:
        return {name for addr in self.destination_addrs for name in self.visible(addr)}

    def fitting(self) -> int:
        """How many files all destinations together can hold at their limits."""
        return len(self.destination_addrs) * (self.limit_percent * self.quota_bytes // 100 // self.file_bytes)

    def litter(self, addr: str) -> list[str]:
        """The temporary files of downloads, named `NAME.TASK`."""
        folder = self.shelf(addr) / "temp.downloaded"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def hidden(self, addr: str) -> list[str]:
        """Hidden files on the disk, without the worker's marker and its probe file."""
        names = (path.name for path in self.shelf(addr).glob(".*"))
        return sorted(name for name in names if name != ".cfw-id" and not name.startswith(".cfw-probe-"))

    def used_bytes(self, addr: str) -> int:
        return sum((self.shelf(addr) / name).stat().st_size for name in self.visible(addr))

    def problems(self) -> list[str]:
        """What is wrong on the disks of a node at rest."""
        return [*self._wrong_bytes(), *self._wrong_places()]

    def _wrong_bytes(self) -> Iterator[str]:
        for addr in self.destination_addrs:
            for name in self.visible(addr) & set(self.ranks):
                if (self.shelf(addr) / name).read_bytes() != self.content(name):
                    yield f"{name} on {addr} has other bytes"

    def _wrong_places(self) -> Iterator[str]:
        for addr in self.destination_addrs:
            if 100 * self.used_bytes(addr) > self.limit_percent * self.quota_bytes:
                yield f"{addr} is over its limit with {self.used_bytes(addr)} bytes"
            if litter := [*self.litter(addr), *self.hidden(addr)]:
                yield f"{addr} has litter: {litter}"
        for name in sorted(self.placed() & set(self.ranks)):  # ads and unknown files may be there twice
            if len(holders := self.holders(name)) > 1:
                yield f"{name} is on {holders}"

    def remove(self) -> None:
        """Delete everything that the cluster made.  Tests with a temporary folder need not call it."""
        shutil.rmtree(self.root)


def _merged(settings: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with these keys changed.  In a section, all other keys stay."""
    sections = {k: {**settings[k], **v} for k, v in keys.items() if isinstance(v, dict) and k in settings}
    return {**settings, **keys, **sections}
