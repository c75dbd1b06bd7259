"""Results: what one world came to, and many worlds added up, in the form that `cfm simulate --json` prints.

Neighbours: `run` plays worlds, and `goodput` plays pairs of them.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cfm_lab.sim.environment.profile import HOUR_MS
from cfm_lab.sim.environment.rng import MASK
from cfm_lab.sim.violations import Violation
from cfm_lab.sim.world import World

STORY_LINES: Final = 40
IN_TWOS: Final = "two together"
GOOD_GOODPUT: Final = 0.95
GOOD_WORTH: Final = 0.99


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """The median and the least of some shares; None where there are none."""
    if not values:
        return {"median": None, "least": None}
    return {"median": round(statistics.median(values), 4), "least": round(min(values), 4)}


@dataclass(slots=True)
class SickFigures:
    """How a world with a sick part did, beside its twin."""

    kinds: tuple[str, ...]
    goodput: float
    """Wanted bytes placed, summed over time, as a share of what its twin placed."""
    worth: float
    twin_worth: float
    twin_rests: bool
    """Nothing is under way in the twin at the end, and nothing is missing.  Else worth says little."""
    rates: dict[str, float]
    """What happened an hour and sick thing, above what happened in the twin."""
    named_after_min: int | None
    """When the verdict first named what is sick; None where it never did."""


@dataclass(slots=True)
class WorldRun:
    """The result of one seed."""

    seed: int
    hours_ms: int
    steps: int
    digest: int
    faults: Counter[str]
    checks: dict[str, int]
    violations: list[Violation]
    story: list[str]
    happened: frozenset[str]
    """The faults that this world had."""
    cpu_ns: int = 0
    worth: float | None = None
    """How good what is placed at the end is beside the plain ideal.  None where the world does not rest, or
    where the twin of a sick world does not."""
    sick: SickFigures | None = None

    @property
    def failed(self) -> bool:
        return bool(self.violations)

    @property
    def poor(self) -> bool:
        """Was less placed than should be?  Such a world broke no rule, but it is worth a look."""
        goodput = self.sick.goodput if self.sick is not None else None
        return _is_below(goodput, GOOD_GOODPUT) or _is_below(self.worth, GOOD_WORTH)


def _is_below(share: float | None, wanted: float) -> bool:
    return share is not None and share < wanted


@dataclass(slots=True)
class SimulationReport:
    """The results of many seeds, added up."""

    seed: int
    hours: int
    seeds: int = 0
    steps: int = 0
    cpu_ns: int = 0
    simulated_ms: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    digest: int = 0
    first_failed: WorldRun | None = None
    worths: list[float] = field(default_factory=list)
    sick: list[SickFigures] = field(default_factory=list)
    poor: list[WorldRun] = field(default_factory=list)

    def add(self, run: WorldRun) -> None:
        self.seeds += 1
        self.steps += run.steps
        self.cpu_ns += run.cpu_ns
        self.simulated_ms += run.hours_ms
        self.faults.update(run.faults)
        self.checks.update(run.checks)
        self.violations += run.violations
        self.worths += [run.worth] if run.worth is not None else []
        self.sick += [run.sick] if run.sick is not None else []
        self.poor += [run] if run.poor else []
        self.digest = (self.digest * 1_099_511_628_211 + run.digest) & MASK
        if run.failed and self.first_failed is None:
            self.first_failed = run

    @property
    def hours_per_cpu_s(self) -> float:
        simulated_hours = self.simulated_ms / HOUR_MS
        return round(simulated_hours / max(1e-9, self.cpu_ns / 1e9), 2)

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "seeds": self.seeds,
            "hours": round(self.simulated_ms / HOUR_MS, 2),
            "steps": self.steps,
            "cpu_s": round(self.cpu_ns / 1e9, 2),
            "hours_per_cpu_s": self.hours_per_cpu_s,
            "faults": dict(sorted(self.faults.items())),
            "checks": dict(sorted(self.checks.items())),
            "goodput": spread([one.goodput for one in self.sick]),
            "worth": spread(self.worths),
            "poor_worlds": [_poor_to_json(run) for run in self.poor],
            "violations": [
                {"seed": v.seed, "step": v.step, "invariant": v.invariant, "text": v.text}
                for v in self.violations
            ],
            "trace_hash": f"{self.digest:016x}",
        } | (
            {"sick": {kind: kind_to_json(some) for kind, some in self.by_kind().items()}} if self.sick else {}
        )

    def by_kind(self) -> dict[str, list[SickFigures]]:
        """The figures of the sick worlds, by sickness.  Worlds with two sicknesses come last, together."""
        found: dict[str, list[SickFigures]] = {}
        for one in sorted(self.sick, key=lambda one: len(one.kinds)):
            found.setdefault(one.kinds[0] if len(one.kinds) == 1 else IN_TWOS, []).append(one)
        return found


def _poor_to_json(run: WorldRun) -> dict[str, Any]:
    told: dict[str, Any] = {"seed": run.seed, "worth": run.worth and round(run.worth, 4)}
    if run.sick is not None:
        told |= {"goodput": round(run.sick.goodput, 4), "kinds": list(run.sick.kinds)}
    return told


def kind_to_json(figures: Sequence[SickFigures]) -> dict[str, Any]:
    """The figures of all worlds with one sickness."""
    named = [one.named_after_min for one in figures if one.named_after_min is not None]
    return {
        "worlds": len(figures),
        "goodput": spread([one.goodput for one in figures]),
        "worth": spread([one.worth for one in figures if one.twin_rests]),
        "twin_worth": spread([one.twin_worth for one in figures if one.twin_rests]),
        "most_an_hour": {
            name: round(max(one.rates[name] for one in figures), 1) for name in figures[0].rates
        },
        "named": len(named),
        "named_after_min": max(named, default=None),
    }


# ── stories ─────────────────────────────────────────────────────────────────────────────────────────────


def told_error(error: Exception) -> str:
    """An error with the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename.rpartition('/src/')[2]}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {error} ({where})"


def story_of(world: World) -> list[str]:
    """What led to the first violation of a world."""
    if not world.violations.found:
        return []
    first = world.violations.found[0]
    return world.trace.story(STORY_LINES, about=_file_in(first.text), until_ms=first.at_ms)


def _file_in(text: str) -> str:
    """The file that a violation is about."""
    at = text.find(".mpg")
    return text[max(0, at - 4) : at + 4] if at >= 0 else ""
