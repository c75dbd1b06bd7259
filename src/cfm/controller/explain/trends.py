"""What the node did over the last hour and the last day: the numbers behind the pictures.  Pure.

Counters that grow are read every few seconds.  What they grew by is added up in steps of equal length, in two
rings: a fine one for an hour and a coarse one for a day.  They live in memory only, and never grow: some
30 kB, and 528 bytes for each server.  Neighbours: `act.sampling` brings the readings, the pages draw them.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

from cfm.controller.decide.core import Core
from cfm.model import Addr, Known, Now

Json: TypeAlias = dict[str, Any]

HOUR: Final = (15, 240)
DAY: Final = (300, 288)
"""Seconds in a step, and steps in the ring."""

CURVES_KEPT: Final = 64
CURVE_STEPS: Final = 40
"""Files that rise keep the curve of their hits for ten minutes; more files than that have none."""

NOT_SEEN, DISK_UNKNOWN, DOWN = 253, 254, 255
"""How a server was in a step, where the step does not say how full its disk was in percent.  The largest of
one step counts."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters at one moment.  All of them only grow."""

    copied_bytes: int = 0
    freed_bytes: int = 0
    busy_ms: int = 0
    """Of all sources together."""
    hits_on_disks: int = 0
    """Requests of viewers that were served from a destination's disks."""
    hits_on_san: int = 0

    def since(self, before: Counters) -> list[int]:
        """How much each counter has grown; one that was set back begins anew."""
        grown = ((getattr(self, name), getattr(before, name)) for name in SERIES)
        return [now - then if now >= then else now for now, then in grown]


SERIES: Final = tuple(field.name for field in fields(Counters))


class Ring:
    """Sums over steps of equal length; the oldest step is overwritten."""

    def __init__(self, step_s: int, steps: int, now_ms: int) -> None:
        self.step_s, self.steps = step_s, steps
        self._sums = {name: array("d", bytes(8 * steps)) for name in SERIES}
        self._servers: dict[Addr, bytearray] = {}
        self._first = self._last = self._step(now_ms)
        self._begun_ms = self._read_ms = now_ms

    def _step(self, now_ms: int) -> int:
        return now_ms // (1000 * self.step_s)

    def _advance(self, now_ms: int) -> int:
        """Empty the steps that begin; where the present one lies."""
        now = self._step(now_ms)
        for step in range(max(self._last + 1, now - self.steps + 1), now + 1):
            place = step % self.steps
            for sums in self._sums.values():
                sums[place] = 0
            for states in self._servers.values():
                states[place] = NOT_SEEN
        self._last = max(now, self._last)
        return self._last % self.steps

    def add(self, amounts: Iterable[float], servers: Mapping[Addr, int], now_ms: int) -> None:
        """`amounts`: one for each of `SERIES`; `servers`: how full each disk is, or one of the codes."""
        place, self._read_ms = self._advance(now_ms), now_ms
        for sums, amount in zip(self._sums.values(), amounts, strict=True):
            sums[place] += amount
        for addr, state in servers.items():
            states = self._servers.setdefault(addr, bytearray([NOT_SEEN]) * self.steps)
            before = states[place]
            states[place] = state if before <= DISK_UNKNOWN else max(before, state)

    def _shown(self) -> range:
        """The steps that there are, oldest first."""
        return range(max(self._first, self._last - self.steps + 1), self._last + 1)

    def _places(self) -> list[int]:
        return [step % self.steps for step in self._shown()]

    def lasted_ms(self) -> list[int]:
        """How long each step lasted until the last reading: the first began late, the last has not ended."""
        step_ms = 1000 * self.step_s
        return [
            max(0, min(self._read_ms, (step + 1) * step_ms) - max(self._begun_ms, step * step_ms))
            for step in self._shown()
        ]

    def busy_shares(self, sources: int) -> list[float]:
        """The share of the sources' time in which they were sending, in each step, from 0 to 1."""
        return [
            min(1.0, busy_ms / (lasted_ms * max(1, sources))) if lasted_ms else 0.0
            for busy_ms, lasted_ms in zip(self.series("busy_ms"), self.lasted_ms(), strict=True)
        ]

    def series(self, name: str) -> list[float]:
        return [self._sums[name][place] for place in self._places()]

    def whole_steps(self, name: str) -> list[float]:
        """Without the step that has not ended, unless there is no other."""
        return ended(self.series(name))

    def states(self, addr: Addr) -> list[int]:
        """How a server was in each step; empty where it was never looked at."""
        states = self._servers.get(addr)
        return [] if states is None else [states[place] for place in self._places()]


def ended(series: list[float]) -> list[float]:
    """Without the last step, which has not ended, unless there is no other."""
    return series[:-1] if len(series) > 1 else series


class Trends:
    """The rings of one node, and the curves of the files that rise."""

    def __init__(self, now: Now) -> None:
        self.hour, self.day = (Ring(*shape, now.mono_ms) for shape in (HOUR, DAY))
        self.curves: dict[str, deque[int]] = {}
        """Hits in the window of each rising file, a number for each step of the fine ring."""
        self._started_ms = now.mono_ms
        self._lasted_ms = 0
        self._before: Counters | None = None
        self._curve_step = -1

    @property
    def shown(self) -> Ring:
        """The fine ring until it is full, then the coarse one."""
        full_ms = 1000 * self.hour.step_s * self.hour.steps
        return self.hour if self._lasted_ms < full_ms else self.day

    def add(
        self, reading: Counters, servers: Mapping[Addr, int], rising: Mapping[str, int], now: Now
    ) -> None:
        """The first reading only says where the counters stand."""
        amounts = reading.since(self._before) if self._before is not None else [0] * len(SERIES)
        self._before, self._lasted_ms = reading, now.mono_ms - self._started_ms
        for ring in (self.hour, self.day):
            ring.add(amounts, servers, now.mono_ms)
        self._draw_curves(rising, now.mono_ms // (1000 * self.hour.step_s))

    def _draw_curves(self, rising: Mapping[str, int], step: int) -> None:
        self.curves = {name: curve for name, curve in self.curves.items() if name in rising}
        first, self._curve_step = step != self._curve_step, step
        for name, hits in rising.items():
            curve = self.curves.get(name)
            if curve is None and len(self.curves) < CURVES_KEPT:
                self.curves[name] = deque([hits], CURVE_STEPS)
            elif curve is not None and first:
                curve.append(hits)
            elif curve is not None:
                curve[-1] = hits


def server_states(core: Core) -> dict[Addr, int]:
    """How each server is now: how full its disk is in percent, or a code."""
    return {addr: _state(core, addr) for addr in core.state.fleet.records}


def _state(core: Core, addr: Addr) -> int:
    up = core.state.health.pulse(addr).up
    if up is not True:
        return NOT_SEEN if up is None else DOWN
    disk = core.state.fleet.records[addr].disk
    return min(100, disk.value.used_percent) if isinstance(disk, Known) else DISK_UNKNOWN


def trends_json(trends: Trends, sources: int, now: Now) -> Json:
    """Both rings as lists, oldest step first; the last step has not ended yet.

    `sources`: how many there are, for the share of their time in which they were sending.
    """
    return {
        "at": now.wall_s,
        "hour": _ring_json(trends.hour, sources),
        "day": _ring_json(trends.day, sources),
    }


def _ring_json(ring: Ring, sources: int) -> Json:
    return {
        "step_s": ring.step_s,
        "lasted_s": [lasted_ms / 1000 for lasted_ms in ring.lasted_ms()],
        **{name: [int(value) for value in ring.series(name)] for name in SERIES if name != "busy_ms"},
        "sources_busy": [round(share, 3) for share in ring.busy_shares(sources)],
    }
