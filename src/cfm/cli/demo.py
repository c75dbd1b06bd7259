"""`cfm demo`: the whole system on this machine, shown live in a terminal.

`cfm.demo` runs it.  This module starts it, shows it and prints its summary.  In a terminal the demo goes on
until Ctrl-C; elsewhere it runs for a minute.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from cfm.demo.play import Frame, Summary
    from cfm.demo.stage import Options, Stage

MINUTE_S: Final = 60.0
LINES_BESIDE: Final = 20
"""Lines of the view besides rows of tables and decisions, as a rule."""


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1.0, help="How long it runs; without it, until Ctrl-C, or for a minute without a terminal."
        ),
    ] = None,
    files: Annotated[int, typer.Option(min=8, max=20_000, help="How many files the library has.")] = 120,
    sources: Annotated[int, typer.Option(min=1, max=100, help="How many sources there are.")] = 3,
    destinations: Annotated[int, typer.Option(min=1, max=100, help="How many destinations there are.")] = 3,
    controllers: Annotated[
        int, typer.Option(min=1, max=3, help="How many cfm there are; several need PostgreSQL.")
    ] = 1,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of cfm and its dashboard; 0 takes a free one.")
    ] = 0,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="A new or empty folder; without it, a temporary one.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder at the end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")
    ] = False,
    headless: Annotated[
        bool, typer.Option("--headless", help="Show no live view, only a line for each act.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another seed makes another library.")] = 1,
) -> None:
    """Run a whole node on this machine: real processes, a made-up library and made-up viewers.

    It leaves nothing behind, unless with --keep. The exit code is 3 if cfm broke a promise.
    """
    from cfm.cli.common import fail
    from cfm.demo.stage import Options
    from cfm.errors import CfmError

    live = not headless and not as_json and sys.stdout.isatty()
    if seconds is None and not live:
        seconds = MINUTE_S
    options = Options(
        seconds=seconds,
        files=files,
        sources=sources,
        destinations=destinations,
        controllers=controllers,
        port=port,
        folder=folder,
        keep=keep,
        seed=seed,
    )
    try:
        summary = asyncio.run(_show(options, live=live, as_json=as_json))
    except CfmError as error:
        fail(error)
    raise typer.Exit(summary.exit_code)


async def _show(options: Options, *, live: bool, as_json: bool) -> Summary:
    """Run the demo and tell people how it goes; with JSON on stdout, people read stderr."""
    from rich.console import Console

    from cfm.demo.play import play

    console = Console(stderr=as_json, highlight=False)
    show = Show(console, live=live)
    try:
        summary = await play(options, on_stage=show.stage, on_act=show.act, on_frame=show.frame)
    finally:
        show.close()
    if as_json:
        print(json.dumps(summary.to_json()))
    else:
        console.print(summary_view(summary))
    return summary


class Show:
    """What people see of it: a live view, or a line for each act."""

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._wants_live = live
        self._live: Live | None = None
        self._dashboard = ""

    def stage(self, stage: Stage) -> None:
        """Before anything runs: the addresses and folders."""
        from cfm.cli.render import said

        self._dashboard = stage.dashboard
        for line in introduction(stage):
            self._console.print(said(line), soft_wrap=True)

    def act(self, text: str) -> None:
        from cfm.cli.render import said

        if self._live is None:
            self._console.print(said(text), soft_wrap=True)

    def frame(self, frame: Frame) -> None:
        from rich.live import Live

        if not self._wants_live:
            return
        if self._live is None:
            self._live = Live(console=self._console, screen=True, auto_refresh=False)
            self._live.start()
        self._live.update(frame_view(frame, self._dashboard, self._console.height), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def introduction(stage: Stage) -> list[str]:
    """Addresses and folders."""
    from cfm.cli.render import size_words
    from cfm.demo.stage import dashboard_of, needed_bytes

    options = stage.options
    kept = "kept" if options.keep else "removed at the end"
    return [
        f"dashboard    {stage.dashboard}",
        *(f"cfm          {dashboard_of(center)}" for center in stage.centers[1:]),
        f"sources      {', '.join(server.addr for server in stage.sources)}",
        f"destinations {', '.join(server.addr for server in stage.destinations)}",
        f"folder       {stage.root} ({kept}; at most {size_words(needed_bytes(stage))})",
        f"library      {len(stage.library.titles)} files, {size_words(stage.library.total_bytes)}",
        "ends         " + (f"after {options.seconds:g} s" if options.seconds is not None else "with Ctrl-C"),
    ]


def frame_view(frame: Frame, dashboard: str, height: int) -> RenderableType:
    """One moment of the live view."""
    from rich.console import Group
    from rich.text import Text

    from cfm.cli.render import said, status_view

    head = Text.assemble(
        ("cfm demo ", "bold"), f"{frame.elapsed_s:.0f} s  ", (dashboard, "dim"), ("  Ctrl-C ends", "dim")
    )
    alarm = [said(f"violation: {text}", "bold red") for text in frame.violations[-3:]]
    rows = len(frame.status["servers"]) + len(frame.status["transfers"]) + len(frame.status["conditions"])
    decisions = max(3, height - rows - LINES_BESIDE)
    view = status_view(frame.status, frame.decisions, events_shown=decisions)
    return Group(head, said(frame.act, "bold cyan"), *alarm, Text(""), view)


def summary_view(summary: Summary) -> RenderableType:
    """How it went, for people."""
    from rich.table import Table

    from cfm.cli.render import said, size_words

    busy = summary.source_busy_fraction
    facts = (
        ("ran for", f"{summary.seconds:.0f} s" + ("" if summary.finished else ", stopped before its end")),
        ("delivered", f"{summary.files_delivered} files, {size_words(summary.bytes_delivered)}"),
        ("deleted", f"{summary.files_deleted} files"),
        (
            "sources busy",
            "not measured, because there was no backlog"
            if busy is None
            else f"{100 * busy:.1f} % of the time in which there was work for all of them",
        ),
        ("surplus copies", str(summary.surplus_copies)),
        ("over the limit", f"{summary.over_limit_servers} servers"),
        ("violations", str(len(summary.violations))),
        *(("", text) for text in summary.violations[:20]),
        *([("folder kept", str(summary.kept_folder))] if summary.kept_folder is not None else []),
    )
    table = Table.grid(padding=(0, 2))
    for name, fact in facts:
        table.add_row(said(name, "dim"), said(fact))
    return table
