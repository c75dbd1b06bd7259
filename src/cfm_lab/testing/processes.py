"""Daemons as real processes, for tests and benches that judge the programs from outside.

A `Daemon` is one cfm, cfw or stand-in.  It can be started, killed and frozen, and its output can be read.  It
dies with the process that started it, as in the demo, and is only ever ended by its own pid.  Neighbour:
`cluster` puts a node together from daemons.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 20.0
_POLL_S = 0.02
_DEED = re.compile(r" (?P<event>copied|deleted) file file=(?P<file>\S+) server=(?P<server>\S+)")


@dataclass(frozen=True, slots=True)
class LoggedAction:
    """One log line about a copy or a delete."""

    event: str
    """`copied` or `deleted`."""
    file: str
    server: str
    line: str


@dataclass
class Daemon:
    """One program.  Its output goes to `output.txt` in its folder."""

    name: str
    folder: Path
    addr: str
    module: str
    arguments: Sequence[str]
    wrapper: Sequence[str] = ()
    """A command that runs the program in its place, such as `/usr/bin/env NAME=VALUE`."""
    running: subprocess.Popen[bytes] | None = None
    frozen: bool = False
    _ended: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        assert self.running is not None, f"{self.name} was never started"
        return self.running.pid

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def start(self) -> None:
        """Start it."""
        die_with_parent = [sys.executable, "-m", "cfm.demo.die_with_parent", str(os.getpid())]
        with (self.folder / "output.txt").open("ab") as output:
            self.running = subprocess.Popen(
                [*die_with_parent, *self.wrapper, sys.executable, "-m", self.module, *self.arguments],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        assert self.running is not None
        self.running.send_signal(number)

    def kill(self) -> None:
        """kill -9.  Returns when the process is gone."""
        self._end(signal.SIGKILL)

    def terminate(self) -> tuple[int, float]:
        """Ask it to end.  Returns its exit code, and how long it took."""
        began = time.monotonic()
        return self._end(signal.SIGTERM), time.monotonic() - began

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self.send(signal.SIGCONT)
        self.frozen = False

    def stop(self) -> None:
        """End it at once, whatever it is doing."""
        if self.alive:
            self._end(signal.SIGKILL)

    def wait_ended(self) -> None:
        assert self.running is not None
        self.running.wait(PATIENCE_S)

    def _end(self, number: signal.Signals) -> int:
        assert self.running is not None
        self.running.send_signal(number)
        return self.running.wait(PATIENCE_S)

    def output(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "output.txt").read_text(errors="replace")
        return ""

    def deeds(self, event: str) -> list[LoggedAction]:
        """What it has copied and deleted by its log, over all its starts."""
        found = ((_DEED.search(line), line) for line in self.output().splitlines())
        deeds = [LoggedAction(m["event"], m["file"], m["server"], line) for m, line in found if m]
        return [deed for deed in deeds if deed.event == event]

    def listens(self) -> bool:
        """Does it accept connections?  Fails if it has ended."""
        assert self.alive, f"{self.name} ended:\n{self.output()[-3000:]}"
        host, _, port = self.addr.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return True
        return False


def wait_for(
    holds: Callable[[], bool], what: str, witnesses: Iterable[Daemon] = (), within_s: float = PATIENCE_S
) -> float:
    """Look again and again until something holds.  Returns how long that took, in seconds.

    Raises:
        AssertionError: it did not hold in time.  The message has the last output of the witnesses.
    """
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > within_s:
            words = "\n".join(f"--- {one.name}\n{one.output()[-3000:]}" for one in witnesses)
            raise AssertionError(f"waited {within_s:g} s in vain for {what}\n{words}")
        time.sleep(_POLL_S)
    return time.monotonic() - began


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
