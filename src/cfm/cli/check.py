"""`cfm check` and `cfw check`: what is wrong (exit 2) or doubtful (exit 0) about a settings file.

Wrong is what keeps the daemon from starting.  Doubtful is what it would start with and suffer from: missing
folders, silent servers, limits that differ (`check_world`, `check_peers`).  The report is for people, or
with `--json` for scripts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from json import dumps
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cfm.addresses import is_wildcard
from cfm.cli import check_world as world
from cfm.cli.check_database import database_doubts
from cfm.cli.check_peers import PeerAnswer, controller_doubts, listen_to, peer_doubts
from cfm.cli.check_world import PathCheck, doubt, look_at_all
from cfm.config import (
    CfmSettings,
    CfwSettings,
    SettingsFileError,
    SettingsProblem,
    load_cfm,
    load_cfw,
    split_address,
)
from cfm.config.security import SecuritySettings
from cfm.errors import SettingsError
from cfm.logs import escaped
from cfm.model import Addr, host_of
from cfm.security import controller_credentials, without_credentials, worker_credentials
from cfm.worker.decide.shelf_rules import is_probe_name

FINE, WRONG = 0, 2
FEW = 3


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found about one file."""

    file: Path
    errors: tuple[SettingsProblem, ...] = ()
    doubts: tuple[SettingsProblem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return WRONG if self.errors else FINE


def check_cfm(path: Path, json: bool = False) -> int:
    """Checks `cfm.yml`, prints the report to stdout, and returns the exit code."""
    return _tell(cfm_report(path), json)


def check_cfw(path: Path, json: bool = False) -> int:
    """Checks `cfw.yml`, prints the report to stdout, and returns the exit code."""
    return _tell(cfw_report(path), json)


# --- cfm ----------------------------------------------------------------------------------------------


def cfm_report(path: Path) -> CheckReport:
    try:
        settings = load_cfm(path)
    except SettingsFileError as error:
        return CheckReport(path, error.problems)
    try:
        credentials = controller_credentials(settings)
    except SettingsError as error:
        return CheckReport(path, (_bad_credentials(error),), notes=settings.notes)
    tls = credentials.tls.client if credentials.tls else None
    heard = listen_to(settings.servers.addresses, tokens=credentials.order_tokens, tls=tls)
    doubts = [
        *_cfm_form_doubts(settings),
        *look_at_all(_cfm_looks(settings)),
        *_state_doubts(settings),
        *look_at_all(_looks_for_workers(settings, heard)),
        *peer_doubts(settings, heard),
    ]
    notes = (*settings.notes, *_security_notes(settings.security, settings.listen_addr))
    return CheckReport(path, doubts=tuple(doubts), notes=notes)


def _cfm_form_doubts(settings: CfmSettings) -> Iterator[SettingsProblem]:
    """What can be seen without a look at the world."""
    servers = settings.servers
    if not servers.sources:
        yield doubt("servers.sources", "no source is named", "nothing is copied without one")
    if not servers.destinations:
        yield doubt("servers.destinations", "no destination is named", "nothing is done without one")
    if not settings.source_dirs:
        yield doubt(
            "source_dirs", "no folder is named", "nothing is copied or deleted without the SAN's folders"
        )
    if settings.watch_dir is None or settings.watch_ip_string is None:
        key = "watch_dir" if settings.watch_dir is None else "watch_ip_string"
        yield doubt(key, "not set", "without it cfm does not see which files become popular")
    if not settings.deletes:
        yield doubt("deletes", "off: nothing is deleted, only shown", "write `on` after the migration")
    hosts = Counter(host_of(addr) for addr in servers.destinations)
    for host in [host for host, times in hosts.items() if times > 1]:
        text = f"several destinations on {host}, which the history cannot tell apart"
        yield doubt("servers.destinations", text, "give each destination an address of its own")


def _cfm_looks(settings: CfmSettings) -> list[PathCheck]:
    looks = [
        PathCheck("grade_info_file", settings.grade_info_file, world.metadata_file),
        PathCheck("hitcount_history_file", settings.hitcount_history_file, world.metadata_file),
        *(PathCheck("source_dirs", path, world.source_folder) for path in settings.source_dirs),
        PathCheck("log_dir", settings.log_dir, world.writable_folder),
    ]
    if not settings.state.is_shared:
        looks.append(PathCheck("state.url", settings.state.path, world.state_file))
    if settings.watch_dir is not None:
        looks.append(PathCheck("watch_dir", settings.watch_dir, world.event_log_folder))
    return looks


def _state_doubts(settings: CfmSettings) -> Iterator[SettingsProblem]:
    if settings.state.is_shared:
        yield from database_doubts(settings.state.url)


def _looks_for_workers(settings: CfmSettings, heard: Sequence[PeerAnswer]) -> list[PathCheck]:
    """Is a source folder some worker's disk?"""
    probes = {one.probe: one.addr for one in heard if is_probe_name(one.probe)}
    look = partial(world.no_base_dir, probes=probes)
    return [PathCheck("source_dirs", path, look) for path in settings.source_dirs]


# --- cfw ----------------------------------------------------------------------------------------------


def cfw_report(path: Path) -> CheckReport:
    try:
        settings = load_cfw(path)
    except SettingsFileError as error:
        return CheckReport(path, error.problems)
    try:
        worker_credentials(settings)
    except SettingsError as error:
        return CheckReport(path, (_bad_credentials(error),), notes=settings.notes)
    overlap = PathCheck(
        "base_dir", settings.base_dir, lambda _, base: world.overlaps(base, settings.source_dirs)
    )
    hung_or_overlapping = look_at_all([overlap])
    errors = tuple(overlap.found or ())
    doubts = [
        *_cfw_form_doubts(settings),
        *(found for found in hung_or_overlapping if found not in errors),
        *look_at_all(_cfw_looks(settings)),
        *(found for addr in settings.cfm_addr for found in controller_doubts(addr)),
    ]
    notes = [*settings.notes, *_security_notes(settings.security, settings.listen_addr)]
    if settings.downloader_bin is None:
        notes.append("copies use the built-in transfer, so each source needs this cfw, not the earlier one")
    return CheckReport(path, errors, tuple(doubts), tuple(notes))


def _cfw_form_doubts(settings: CfwSettings) -> Iterator[SettingsProblem]:
    if is_wildcard(split_address(settings.listen_addr)[0]) and settings.advertise_addr is None:
        text = f"{settings.listen_addr} is not a name that cfm.yml can use for this worker"
        yield doubt("listen_addr", text, "write its address in cfm.yml as advertise_addr")


def _cfw_looks(settings: CfwSettings) -> list[PathCheck]:
    looks = [
        PathCheck("base_dir", settings.base_dir, world.base_folder),
        *(PathCheck("source_dirs", path, world.source_folder) for path in settings.source_dirs),
        PathCheck("log_dir", settings.log_dir, world.writable_folder),
        PathCheck("state.url", settings.state.path, world.state_file),
    ]
    if settings.downloader_bin is not None:
        looks.append(PathCheck("downloader_bin", settings.downloader_bin, world.program))
    return looks


# --- what both have -----------------------------------------------------------------------------------


def _security_notes(security: SecuritySettings, address: Addr) -> Iterator[str]:
    said = without_credentials(security, address)
    if said is not None:
        yield said
    elif security.tls.cert_file is None:
        yield "tokens go over the network in the clear; set security.tls where others can listen in"


def _bad_credentials(error: SettingsError) -> SettingsProblem:
    key, _, text = str(error).partition(" ")
    return SettingsProblem(None, key, text, "see docs/security.md")


def _tell(report: CheckReport, json: bool) -> int:
    if json:
        print(dumps(_as_json(report), indent=2))
    else:
        console = Console(highlight=False)
        for line in _lines(report, in_terminal=console.is_terminal):
            # Long lines stay whole, so that they can be searched for.
            console.print(line, soft_wrap=True)
    return report.exit_code


def _as_json(report: CheckReport) -> dict[str, object]:
    return {
        "file": str(report.file),
        "errors": [asdict(problem) for problem in report.errors],
        "doubts": [asdict(problem) for problem in report.doubts],
        "notes": list(report.notes),
    }


def _lines(report: CheckReport, *, in_terminal: bool) -> Iterator[Text]:
    yield from _labelled("wrong", "bold red", (problem.told_of(report.file) for problem in report.errors))
    shown = _together(report.doubts) if in_terminal else report.doubts
    yield from _labelled("doubtful", "yellow", (problem.told_of(report.file) for problem in shown))
    yield from _labelled("note", "cyan", (escaped(note) for note in report.notes))
    if report.errors:
        yield Text(f"{len(report.errors)} wrong: it would not start", style="bold red")
    else:
        number = len(report.doubts)
        doubts = "1 doubt" if number == 1 else f"{number} doubts"
        fine = f"it would start, with {doubts}" if number else "all is well"
        yield Text(f"{escaped(str(report.file))}: {fine}", style="bold")


def _together(doubts: Sequence[SettingsProblem]) -> Iterator[SettingsProblem]:
    """What is the same at many servers is one line in a terminal.  A pipe gets a line for each."""
    for (_key, what, _remedy), same in groupby(doubts, _apart_from_its_server):
        problems = list(same)
        servers = [one.text.partition(" ")[0] for one in problems]
        if len(problems) <= FEW or ":" not in servers[0]:
            yield from problems
            continue
        named = f"{', '.join(servers[:FEW])} and {len(servers) - FEW:,} more"
        yield replace(problems[0], text=f"{named}: {what}")


def _apart_from_its_server(doubt: SettingsProblem) -> tuple[str, str, str]:
    return doubt.key, doubt.text.partition(" ")[2], doubt.remedy


def _labelled(label: str, style: str, lines: Iterable[str]) -> Iterator[Text]:
    for line in lines:
        yield Text.assemble((f"{label:8}", style), " ", line)
