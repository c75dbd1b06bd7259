"""Results: what one world came to, and many worlds added up, in the form that `cfm simulate --json` prints.

Neighbours: `run` plays worlds, and `goodput` plays pairs of them.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cfm_lab.sim.environment.profile import HOUR_MS
from cfm_lab.sim.environment.rng import MASK
from cfm_lab.sim.violations import Violation


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """The median and the least of some shares; None where there are none."""
    if not values:
        return {"median": None, "least": None}
    return {"median": round(statistics.median(values), 4), "least": round(min(values), 4)}


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
    """How good what is placed at the end is beside the plain ideal; None where the world does not rest."""
    goodput: float | None = None
    """Wanted bytes placed while a part was sick, as a share of what the node places without that part."""

    @property
    def failed(self) -> bool:
        return bool(self.violations)


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
    goodputs: list[float] = field(default_factory=list)

    def add(self, run: WorldRun) -> None:
        self.seeds += 1
        self.steps += run.steps
        self.cpu_ns += run.cpu_ns
        self.simulated_ms += run.hours_ms
        self.faults.update(run.faults)
        self.checks.update(run.checks)
        self.violations += run.violations
        self.worths += [run.worth] if run.worth is not None else []
        self.goodputs += [run.goodput] if run.goodput is not None else []
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
            "goodput": spread(self.goodputs),
            "worth": spread(self.worths),
            "violations": [
                {"seed": v.seed, "step": v.step, "invariant": v.invariant, "text": v.text}
                for v in self.violations
            ],
            "trace_hash": f"{self.digest:016x}",
        }
