"""`cfm simulate`: plays whole nodes in virtual time, with faults, and checks every safety rule.

`cfm.cli.simulate` calls `main` where the lab is installed.
"""

from __future__ import annotations

import json as json_lines
import os
from collections.abc import Sequence
from typing import Annotated

import typer

from cfm.cli.common import AsJson
from cfm_lab.sim import run as runs
from cfm_lab.sim.results import SimulationReport, WorldRun, spread

FOUND_A_VIOLATION = 3


def simulate(
    seed: Annotated[int, typer.Option("--seed", help="The first seed.")] = 1,
    hours: Annotated[int, typer.Option("--hours", min=1, help="Hours with faults in each world.")] = 3,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many worlds, seed by seed.")] = 1,
    cpu_seconds: Annotated[
        int | None, typer.Option("--cpu-seconds", min=1, help="Begin no further world after this CPU time.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Processes that share the work [default: one per processor]."),
    ] = None,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Find the fewest faults and hours with which a seed still fails.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Simulate nodes with faults, and check every safety rule.  Exits with 3 if a rule was broken.

    The same seed gives the same world, step by step, on any machine.
    """

    def each(run: WorldRun) -> None:
        if not json:
            typer.echo(_line(run))

    processors = len(os.sched_getaffinity(0))
    report = runs.run_seeds(
        seed, hours, seeds, each=each, cpu_s=cpu_seconds, jobs=min(seeds, jobs or processors)
    )
    failed = report.first_failed
    if json:
        typer.echo(json_lines.dumps(report.to_json()))
    else:
        _tell(report)
    if failed is None:
        return
    if shrink:
        failed, hours = runs.shrink(failed.seed, hours)
        typer.echo(f"seed {failed.seed}, {hours} h, with: {', '.join(sorted(failed.happened))}", err=True)
    for violation in failed.violations:
        typer.echo(f"{violation.invariant}: {violation.text}", err=True)
    typer.echo("\n".join(failed.story), err=True)
    raise typer.Exit(FOUND_A_VIOLATION)


def _line(run: WorldRun) -> str:
    verdict = f"{len(run.violations)} violations" if run.failed else "no violations"
    return f"seed {run.seed}: {run.hours_ms / 3_600_000:.1f} h, {run.steps} steps, {verdict}"


def _tell(report: SimulationReport) -> None:
    typer.echo(
        f"{report.seeds} worlds, {report.simulated_ms // 3_600_000} hours, "
        f"{sum(report.faults.values())} faults of {len(report.faults)} kinds, "
        f"{sum(report.checks.values())} checks, "
        f"{len(report.violations)} violations; {report.hours_per_cpu_s} hours a CPU second"
    )
    typer.echo(f"worth at rest: {_shares(report.worths)}")
    for name, number in sorted(report.faults.items(), key=lambda item: -item[1]):
        typer.echo(f"  {number:9}  {name}")


def _shares(values: Sequence[float]) -> str:
    found = spread(values)
    if not values:
        return "not measured"
    return f"median {found['median']:.2%}, least {found['least']:.2%}"


def main(argv: Sequence[str]) -> None:
    """Run the command with these arguments.  Ends with `SystemExit` and the exit code."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(simulate)
    app(list(argv), prog_name="cfm simulate")
