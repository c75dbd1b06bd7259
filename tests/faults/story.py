"""A node in which everything is going on: the stage of the fault tests, and the check at the end of each.

Two destinations begin with surplus copies to be trimmed, with files of others to be left alone, and with
most of the library still to be copied.  Whatever a test does to it, the end is the same: the faults stop,
the node comes to rest with every file in one place, and the audit finds nothing.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from cfm_lab.testing.audit import Audit
from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.fault_proxy import FaultProxy
from cfm_lab.testing.processes import Daemon

SETTLE_S: Final = 120.0
"""How long the world may take to heal: pauses after a failure are tens of seconds."""
QUICK: Final[dict[str, Any]] = {
    "servers": {
        "heartbeat_interval_sec": 1,
        "heartbeat_timeout_sec": 1,
        "request_timeout_sec": 1,
        "list_timeout_sec": 2,
    },
    "runner": {"between_events_run_interval_sec": 2},
    "tasker": {"lease_sec": 10},
    "ignore": {"prefixes": ["AD_"]},
}
"""Seconds instead of minutes, so that what is waited for comes soon."""
AD: Final = "AD_SUMMER_K2026.mpg"
AD_BYTES: Final = 300_000
"""It makes its disk the fuller one, from which surplus copies go."""
STRANGER: Final = "STRANGER_K2026.mpg"
SURPLUS: Final = 4
"""The best so many files begin on both destinations."""


class Story:
    """A context manager: leaves no process and no thread behind."""

    def __init__(self, root: Path, *, proxied: bool = False, **keys: Any) -> None:
        self._stack = ExitStack()
        self._proxied = proxied
        self.proxies: dict[str, FaultProxy] = {}
        settings: dict[str, Any] = {
            "sources": 1,
            "destinations": 2,
            "files": 14,
            "quota_bytes": 2_000_000,
            "copy_speed_bps": 2_000_000,
            **keys,
        }
        cfm_keys = {**QUICK, **settings.pop("cfm_keys", {})}
        self.node = Cluster(root / "node", seen_at=self._seen_at, cfm_keys=cfm_keys, **settings)
        self.cfm, self.source = self.node.cfm, self.node.worker("127.0.1.1")
        self.here, self.there = self.node.destination_addrs[:2]
        """The two destinations; tests hurt the first."""
        self.audit: Audit

    def _seen_at(self, addr: str) -> str:
        if not self._proxied:
            return addr
        host = addr.rpartition(":")[0]
        proxy = self._stack.enter_context(FaultProxy(addr, f"{host}:0"))
        self.proxies[host] = proxy
        return proxy.addr

    def __enter__(self) -> Self:
        self._stack.enter_context(self.node)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ── the course of a story ───────────────────────────────────────────────────────────────────────────

    def furnish(self) -> None:
        """What lies on the disks when it begins, whatever the SAN holds by then."""
        for addr in (self.here, self.there):
            shelf = self.node.shelf(addr)
            for name in self.node.ranks[:SURPLUS]:
                (shelf / name).write_bytes(self.node.content(name))
            (shelf / STRANGER).write_bytes(b"somebody else's")
        (self.node.shelf(self.here) / AD).write_bytes(bytes(AD_BYTES))

    def begin(self, *, graded: bool = True) -> Self:
        """All programs run and know each other before there is anything to do."""
        self.furnish()
        self.audit = Audit(self.node)
        (self.node.root / "grade.info").unlink()
        self.restart(*self.node.daemons)
        self.wait(self._all_up, "everybody to be up")
        if graded:
            self.node.write_metadata()
        return self

    def wait(self, holds: Callable[[], bool], what: str, within_s: float = SETTLE_S) -> float:
        return self.node.wait_for(lambda: self._all_live_or_killed() and holds(), what, within_s)

    def _all_live_or_killed(self) -> bool:
        """Nothing ends by itself, whatever is done to it."""
        for daemon in self.node.daemons:
            ended = None if daemon.running is None else daemon.running.poll()
            assert ended in (None, -signal.SIGKILL), f"{daemon.name} ended: {daemon.output()[-5000:]}"
        return True

    def until_copying(self) -> None:
        """Until bytes arrive at the destination that is going to be hurt."""
        self.wait(lambda: bool(self.node.litter(self.here)), "a copy to be under way")

    def until_copied(self, files: int) -> None:
        self.wait(lambda: self.copied() >= files, f"{files} copies")

    def dies(self, *daemons: Daemon) -> None:
        """kill -9, all at the same moment."""
        self.audit.killed = self.audit.killed or self.cfm in daemons
        for daemon in daemons:
            daemon.kill()

    def restart(self, *daemons: Daemon) -> None:
        """All at the same moment, and in their own time."""
        for daemon in daemons:
            daemon.start()
        for daemon in daemons:
            self.wait(daemon.listens, f"{daemon.name} to listen")

    def settle(self, within_s: float = SETTLE_S) -> None:
        """The faults have stopped: within a bound everything wanted is in one place, and the audit is clean.

        What arrives late (a copy whose task had ended meanwhile) may lie twice for a moment.
        """
        problems: list[str] = ["it did not come to rest"]

        def healed() -> bool:
            if self._settled():
                problems[:] = self.audit.problems()
            return not problems

        try:
            self.wait(healed, "the node to heal", within_s)
        except AssertionError as error:
            raise AssertionError("\n".join([*problems, str(error)])) from None

    def _settled(self) -> bool:
        if not self._all_in_place():
            return False
        status = self.node.status()
        idle = not status["transfers"] and not status["deletes"]
        return self._all_up() and idle and self.node.is_idle(status)

    def _all_up(self) -> bool:
        return all(server["state"] == "up" for server in self.node.status()["servers"])

    def _all_in_place(self) -> bool:
        """Each file once; but what went to keep a disk under its limit is not copied back that day."""
        wrong = {name for name in self.node.ranks if len(self.node.holders(name)) != 1}
        return not wrong or (not self._doubled() and wrong <= self._went_for_space())

    def _doubled(self) -> bool:
        return any(len(self.node.holders(name)) > 1 for name in self.node.ranks)

    def _went_for_space(self) -> set[str]:
        deeds = self.audit.deeds()
        return {deed.place.name for deed in deeds if deed.kind == "space" and deed.status == "confirmed"}

    # ── the log ─────────────────────────────────────────────────────────────────────────────────────────

    def deleted(self) -> int:
        """By the workers' word: a cfm that is killed may have written a deed down, and not said it yet."""
        said = (worker.output() for worker in self.node.workers.values())
        return sum(output.count(" info deleted file ") for output in said)

    def copied(self) -> int:
        return len(self.cfm.deeds("copied"))

    def has(self, condition: str) -> bool:
        """Does cfm name this condition?"""
        return condition in self.node.conditions()


def hold(seconds: float) -> None:
    """A fault lasts a while: the one wait that nothing can replace, as its end is ours to choose."""
    time.sleep(seconds)
