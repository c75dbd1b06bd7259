"""`cfm simulate`: plays whole nodes in virtual time, with faults, and checks every safety rule.

`cfm.cli.simulate` calls `main` where the lab is installed.
"""

from __future__ import annotations

import json as json_lines
import os
from collections.abc import Sequence
from typing import Annotated

import typer

from cfm.cli.command_line import CommandLine
from cfm.cli.common import AsJson
from cfm_lab.sim import run as runs
from cfm_lab.sim.environment.sickness import SICKNESSES
from cfm_lab.sim.results import SimulationReport, WorldRun, kind_to_json, spread

FOUND_A_VIOLATION = 3
TOLD_SEEDS = 10


def simulate(
    seed: Annotated[int, typer.Option("--seed", help="The first seed.")] = 1,
    hours: Annotated[int, typer.Option("--hours", min=1, help="Hours with faults in each world.")] = 3,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many worlds, seed by seed.")] = 1,
    cpu_seconds: Annotated[
        int | None, typer.Option("--cpu-seconds", min=1, help="Begin no further world after this CPU time.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", min=1, help="Processes that share the work; without it, one for each processor."
        ),
    ] = None,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Find the fewest faults and hours with which a seed still fails.")
    ] = False,
    sick: Annotated[
        bool, typer.Option("--sick", help="Play worlds in which one part is broken all the time.")
    ] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="With --sick: play only worlds with this sickness; two together as in `deaf+no_mount`. "
            "May be repeated.",
        ),
    ] = None,
    controllers: Annotated[
        int, typer.Option("--controllers", min=1, max=3, help="How many cfm share the state of each world.")
    ] = 1,
    json: AsJson = False,
) -> None:
    """Simulate nodes with faults, and check every safety rule.  Exits with 3 if a rule was broken.

    The same seed gives the same world, step by step, on any machine.
    """
    kinds = kind or []
    unknown = [name for one in kinds for name in one.split("+") if name not in SICKNESSES]
    if unknown or (kinds and not sick) or (shrink and sick):
        known = f"the sicknesses are: {', '.join(SICKNESSES)}"
        raise typer.BadParameter(f"--kind goes with --sick, --shrink goes without; {known}")

    if sick and controllers > 1:
        raise typer.BadParameter("--sick worlds have one cfm: leave --controllers out")

    def each(run: WorldRun) -> None:
        if not json:
            typer.echo(_line(run))

    processors = len(os.sched_getaffinity(0))
    report = runs.run_seeds(
        seed,
        hours,
        seeds,
        sick=kinds if sick else None,
        each=each,
        cpu_s=cpu_seconds,
        jobs=min(seeds, jobs or processors),
        controllers=controllers,
    )
    failed = report.first_failed
    if json:
        typer.echo(json_lines.dumps(report.to_json()))
    else:
        _tell(report)
    if failed is None:
        return
    if shrink:
        failed, hours = runs.shrink(failed.seed, hours, controllers=controllers)
        typer.echo(f"seed {failed.seed}, {hours} h, with: {', '.join(sorted(failed.happened))}", err=True)
    for violation in failed.violations:
        typer.echo(f"{violation.invariant}: {violation.text}", err=True)
    typer.echo("\n".join(failed.story), err=True)
    raise typer.Exit(FOUND_A_VIOLATION)


def _line(run: WorldRun) -> str:
    verdict = f"{len(run.violations)} violations" if run.failed else "no violations"
    told = f"seed {run.seed}: {run.hours_ms / 3_600_000:.1f} h, {run.steps} steps, {verdict}"
    if run.sick is None:
        return told
    return (
        f"{told}; {' and '.join(run.sick.kinds)}: goodput {run.sick.goodput:.1%}, worth {run.sick.worth:.1%}"
    )


def _tell(report: SimulationReport) -> None:
    typer.echo(
        f"{report.seeds} worlds, {report.simulated_ms // 3_600_000} hours, "
        f"{sum(report.faults.values())} faults of {len(report.faults)} kinds, "
        f"{sum(report.checks.values())} checks, "
        f"{len(report.violations)} violations; {report.hours_per_cpu_s} hours a CPU second"
    )
    typer.echo(f"worth {'at the end' if report.sick else 'at rest'}: {_shares(report.worths)}")
    if report.sick:
        typer.echo(f"goodput: {_shares([one.goodput for one in report.sick])}")
        _tell_sick(report)
    if report.poor:
        typer.echo(f"{len(report.poor)} worlds placed too little: seeds {_seeds(report.poor)}")
    for name, number in sorted(report.faults.items(), key=lambda item: -item[1]):
        typer.echo(f"  {number:9}  {name}")


def _tell_sick(report: SimulationReport) -> None:
    """A line for each sickness.  The rates are the highest of its worlds, an hour and sick thing."""
    typer.echo(
        "sickness            worlds  named  goodput           worth             the most an hour in vain"
    )
    for kind, figures in report.by_kind().items():
        told = kind_to_json(figures)
        rates = ", ".join(f"{rate:g} {name}" for name, rate in told["most_an_hour"].items() if rate)
        goodput, worth = (
            _shares([one.goodput for one in figures]),
            _shares([one.worth for one in figures if one.twin_rests]),
        )
        typer.echo(
            f"{kind:20}{len(figures):6}  {told['named']:5}  {goodput:16}  {worth:16}  {rates or 'nothing'}"
        )


def _seeds(runs: Sequence[WorldRun]) -> str:
    told = ", ".join(str(run.seed) for run in runs[:TOLD_SEEDS])
    return told if len(runs) <= TOLD_SEEDS else f"{told}, and {len(runs) - TOLD_SEEDS} more"


def _shares(values: Sequence[float]) -> str:
    found = spread(values)
    if not values:
        return "not measured"
    return f"{found['median']:.1%}, least {found['least']:.1%}"


def main(argv: Sequence[str]) -> None:
    """Run the command with these arguments.  Ends with `SystemExit` and the exit code."""
    app = CommandLine()
    app.command()(simulate)
    app(list(argv), prog_name="cfm simulate")
