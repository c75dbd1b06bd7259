"""What the two command lines share: reading settings, ending with the right exit code.

Exit codes: 0 fine; 1 could not run; 2 wrong usage or settings; 3 a check found a violation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer

from cfm import __version__
from cfm.config.fields import parse_address
from cfm.errors import CfmError, SettingsError
from cfm.logs import say_last, stop_logging
from cfm.model import Addr

S = TypeVar("S")

CFM_FILE: Final = Path("cfm.yml")
CFW_FILE: Final = Path("cfw.yml")
SettingsPath = Annotated[Path, typer.Option("-c", "--config", help="The settings file.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]


def settings_from(path: Path, load: Callable[[Path], S]) -> S:
    """The settings, or the reasons on stderr and exit 2."""
    try:
        return load(path)
    except CfmError as error:
        fail(error)


@contextmanager
def ended_by_errors() -> Iterator[None]:
    """An error of ours within ends the command, as `fail` does."""
    try:
        yield
    except CfmError as error:
        fail(error)


def fail(error: CfmError) -> NoReturn:
    """Print what is wrong to stderr, and end with the error's exit code."""
    print(str(error), file=sys.stderr)
    raise typer.Exit(error.exit_code)


def run_daemon(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a daemon until it ends: exit 0, or 1 with one clear line."""
    import asyncio

    from cfm.loop_holds import watched_loop

    try:
        with asyncio.Runner(loop_factory=watched_loop) as runner:
            runner.run(main())
    except CfmError as error:
        _end(error)
    except BaseExceptionGroup as group:
        first = group.exceptions[0]
        if not isinstance(first, CfmError):
            raise
        _end(first)


def _end(error: CfmError) -> NoReturn:
    """As `fail`, for a daemon: it ends even if nobody takes what it prints."""
    stop_logging()  # first, so that the reason is the last line
    say_last(str(error))
    raise typer.Exit(error.exit_code)


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def show_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        print(f"{context.command.name} {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("-v", "--version", callback=show_version, is_eager=True, help="Print name and version."),
]


def usual_settings(name: str) -> Path:
    """The settings file of a program that is run without arguments, as the earlier programs were.

    It is the one in the current folder, or else the one beside the executable.
    """
    here = Path(name)
    called = Path(sys.argv[0])
    beside = [called.with_name(name), called.resolve().with_name(name)]
    return next((path for path in (here, *beside) if path.is_file()), here)


def address_from(text: str) -> Addr:
    """The address on the command line, or what is wrong with it on stderr and exit 2."""
    try:
        return parse_address(text)
    except ValueError as error:
        fail(SettingsError(f"--addr: {error}; write HOST:PORT"))
