"""A cluster of real cfm and cfw processes on loopback, and the ground truth about it.

The library is made of small files with known bytes, so that what lies on a disk can be checked against
what should lie there.  Every process is ended by its pid when the cluster ends, whatever happened.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

START_S = 20.0
EVENT = (
    "0x40ffff,1,{at},Server {ip} Selected for Client StreamID : 609d8714-096a-475e-994c-135deea7177f, "
    "ClientID : 0, GLB IP : 125.159.40.5's file({name}) Request\n"
)
SAN_IP = "125.159.40.3"


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Process:
    """One daemon; its output goes to a file beside its settings."""

    name: str
    folder: Path
    addr: str
    command: list[str]
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "output.txt").open("ab") as output:
            self.running = subprocess.Popen(
                self.command, cwd=self.folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal; wait for the end where the signal means one.  Returns the exit code, else 0."""
        assert self.running is not None
        self.running.send_signal(number)
        ends = number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
        return self.running.wait(START_S) if ends else 0

    def stop(self) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.send_signal(signal.SIGCONT)
            self.running.kill()
            self.running.wait(START_S)

    def output(self) -> str:
        return (self.folder / "output.txt").read_text(errors="replace")


@dataclass
class Cluster:
    """`sources` and `destinations` workers and one controller in `root`."""

    root: Path
    sources: int = 2
    destinations: int = 2
    files: int = 20
    file_bytes: int = 100_000
    quota_bytes: int = 1_000_000
    copy_speed_bps: int = 0
    downloader: str | None = None
    cfm_keys: dict[str, Any] = field(default_factory=dict)
    cfw_keys: dict[str, Any] = field(default_factory=dict)
    limit_percent: int = 90
    workers: dict[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.san = self.root / "san"
        self.san.mkdir(parents=True)
        self.ranks = [f"FILE{i:04}_K2026.mpg" for i in range(1, self.files + 1)]
        for name in self.ranks:
            (self.san / name).write_bytes(self.content(name))
        self.write_metadata()
        port = free_port("127.0.0.1")
        self.cfm_addr = f"127.0.0.1:{port}"
        self.source_addrs = [self._add_worker(f"127.0.1.{i + 1}", source=True) for i in range(self.sources)]
        self.destination_addrs = [
            self._add_worker(f"127.0.2.{i + 1}", source=False) for i in range(self.destinations)
        ]
        self.cfm = self._cfm()

    # ── files ───────────────────────────────────────────────────────────────────────────────────────────

    def content(self, name: str) -> bytes:
        seed = hashlib.sha256(name.encode()).digest()
        return (seed * (self.file_bytes // len(seed) + 1))[: self.file_bytes]

    def write_metadata(self, ranks: list[str] | None = None) -> None:
        """Grade and history, each replaced by rename."""
        self.ranks = ranks or self.ranks
        grade = ["filename\tweightcount\tbitrate\tgrade\tsumHitCount\thistoryCount\tTargetCopyCount"]
        history = ["historyheader:1527951000"]
        for place, name in enumerate(self.ranks, 1):
            grade.append(f"{name}\t{1000 - place}\t6399785\t1\t{1000 - place}\t24\t1")
            history.append(f"{name},1508301143,6399785,{self.file_bytes},,2,0,0,1={1000 - place} 0")
        for path, lines in (("grade.info", grade), ("hitcount.history", history)):
            fresh = self.root / f"{path}.new"
            fresh.write_text("\n".join(lines) + "\n")
            fresh.rename(self.root / path)

    def hit(self, name: str, times: int, ip: str = SAN_IP) -> None:
        """Viewers ask for a file at a server."""
        log = self.root / f"EventLog[{time.strftime('%Y%m%d')}].log"
        with log.open("a") as out:
            out.writelines(EVENT.format(at=int(time.time()), ip=ip, name=name) for _ in range(times))

    # ── settings ────────────────────────────────────────────────────────────────────────────────────────

    def _add_worker(self, host: str, *, source: bool) -> str:
        addr = f"{host}:{free_port(host)}"
        folder = self.root / f"cfw-{host}"
        (folder / "data").mkdir(parents=True)
        settings: dict[str, Any] = {
            "listen_addr": addr,
            "cfm_addr": self.cfm_addr,
            "base_dir": "data",
            "storage_usage_limit_percent": self.limit_percent,
            "downloader_sleep_sec": 5,
            **({"source_dirs": [str(self.san)]} if source else {"quota_bytes": self.quota_bytes}),
            **({"downloader_bin": self.downloader} if self.downloader else {}),
            **self.cfw_keys,
        }
        (folder / "cfw.yml").write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "cfm.cli.cfw", "run", "-c", "cfw.yml"]
        self.workers[addr] = Process(f"cfw-{host}", folder, addr, command)
        return addr

    def _cfm(self) -> Process:
        folder = self.root / "cfm"
        folder.mkdir()
        self.write_cfm_settings()
        return Process(
            "cfm", folder, self.cfm_addr, [sys.executable, "-m", "cfm.cli.cfm", "run", "-c", "cfm.yml"]
        )

    def write_cfm_settings(self, **more: Any) -> None:
        settings: dict[str, Any] = {
            "listen_addr": self.cfm_addr,
            "grade_info_file": str(self.root / "grade.info"),
            "hitcount_history_file": str(self.root / "hitcount.history"),
            "watch_dir": str(self.root),
            "watch_ip_string": SAN_IP,
            "source_dirs": [str(self.san)],
            "remover": {"storage_usage_limit_percent": self.limit_percent, "minimum_stay_sec": 0},
            "tasker": {"task_copy_speed_bps": self.copy_speed_bps or 1_000_000_000},
            "servers": {
                "heartbeat_interval_sec": 5,
                "sources": self.source_addrs,
                "destinations": self.destination_addrs,
            },
        }
        for section, value in {**self.cfm_keys, **more}.items():
            if isinstance(value, dict):
                settings[section] = {**settings.get(section, {}), **value}
            else:
                settings[section] = value
        (self.root / "cfm" / "cfm.yml").write_text(yaml.safe_dump(settings))

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.cfm, *self.workers.values()):
            process.stop()

    def start(self) -> None:
        for worker in self.workers.values():
            worker.start()
        self.cfm.start()
        for process in (self.cfm, *self.workers.values()):
            self.wait_listening(process)

    def wait_listening(self, process: Process) -> None:
        host, _, port = process.addr.rpartition(":")

        def answers() -> bool:
            if process.running is not None and process.running.poll() is not None:
                raise AssertionError(f"{process.name} ended:\n{process.output()}")
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return True
            return False

        self.wait_for(answers, f"{process.name} to listen")

    def wait_for(self, holds: Callable[[], bool], what: str, within_s: float = START_S) -> float:
        """Poll the world until something holds; how long that took.  Fails with the daemons' words."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > within_s:
                words = "\n".join(f"--- {p.name}\n{p.output()[-3000:]}" for p in self._all())
                raise AssertionError(f"waited {within_s} s in vain for {what}\n{words}")
            select_pause()
        return time.monotonic() - began

    def _all(self) -> list[Process]:
        return [self.cfm, *self.workers.values()]

    def get(self, path: str, addr: str = "", method: str = "GET") -> Any:
        host, _, port = (addr or self.cfm_addr).rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            return json.loads(body) if body else answer.status
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        value: dict[str, Any] = self.get("/api/v1/status")
        return value

    # ── ground truth ────────────────────────────────────────────────────────────────────────────────────

    def shelf(self, addr: str) -> Path:
        return self.workers[addr].folder / "data"

    def visible(self, addr: str) -> dict[str, Path]:
        return {p.name: p for p in self.shelf(addr).iterdir() if p.is_file() and not p.name.startswith(".")}

    def holders(self, name: str) -> list[str]:
        return [addr for addr in self.destination_addrs if name in self.visible(addr)]

    def placed(self) -> set[str]:
        return {name for addr in self.destination_addrs for name in self.visible(addr)}

    def problems(self) -> Iterator[str]:
        """What is wrong on the disks: wrong bytes, surplus copies, disks over their limit, litter."""
        for addr in self.destination_addrs:
            files = self.visible(addr)
            used = sum(path.stat().st_size for path in files.values())
            if 100 * used > self.limit_percent * self.quota_bytes:
                yield f"{addr} is over its limit with {used} bytes"
            for name, path in files.items():
                if name in self.ranks and path.read_bytes() != self.content(name):
                    yield f"{name} on {addr} has other bytes"
            litter = self.shelf(addr) / "temp.downloaded"
            if litter.exists() and any(litter.iterdir()):
                yield f"{addr} has litter: {[p.name for p in litter.iterdir()]}"
        for name in self.placed():
            if len(self.holders(name)) > 1:
                yield f"{name} is on {self.holders(name)}"

    def at_rest(self) -> bool:
        status = self.status()
        return not status["transfers"] and not status["deletes"]


def select_pause() -> None:
    """Give the world a moment: what is waited for happens in other processes."""
    os.sched_yield()
    time.sleep(0.02)
