"""Conditions of servers: down, not let in, without a list or a disk usage, with another clock or version.

Each comes with the cause that the server itself gave.  Pure.  Neighbours: `conditions` puts these among the
others; `failing` has the servers where copies fail, `disks` and `whose_disks` what is wrong with disks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from cfm import __version__
from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.words import count_words, some_of, time_words
from cfm.fleet.answers import NO_TLS, WANTS_CREDENTIALS
from cfm.fleet.record import Record
from cfm.model import Addr, Known, Unknown
from cfm.plan import refusals

CLOCK_OFF_S: Final = 60
"""Requests take some seconds, and the time in an answer has no fractions."""


def conditions(scene: Scene) -> Iterator[Condition]:
    strange = _without_credentials(scene)
    yield from _told_without_credentials(scene, strange)
    yield from _down(scene, strange)
    yield from _unknown_lists(scene)
    yield from _unknown_disks(scene)
    yield from _not_listed(scene)
    yield from _clocks(scene)
    yield from _versions(scene)


# ── servers that do not answer ──────────────────────────────────────────────────────────────────────────


def _down(scene: Scene, strange: Mapping[Addr, int]) -> Iterator[Condition]:
    pulses = {addr: scene.state.health.pulse(addr) for addr in scene.state.fleet.records}
    down = [addr for addr, pulse in pulses.items() if pulse.up is False and addr not in strange]
    if down:
        who = some_of([scene.names[addr] for addr in down])
        are = {1: f"Server {who} is", 2: f"Servers {who} are"}.get(
            len(down), f"{len(down):,} servers ({who}) are"
        )
        yield Condition(
            name="server_down",
            level=Severity.DEGRADED,
            text=f"{are} down: {_cause(pulses[addr].why for addr in down)}",
            remedy="check the host, its network and its cfw",
            servers=tuple(down),
            since_s=scene.wall_s(min(pulses[addr].since_ms for addr in down)),
        )


def _without_credentials(scene: Scene) -> dict[Addr, int]:
    """Servers that we do not let in, or that do not let us in, and since when."""
    since_ms = scene.state.strangers.lately(scene.now.mono_ms)
    for addr in scene.state.fleet.records:
        pulse = scene.state.health.pulse(addr)
        if pulse.up is False and any(sign in pulse.why for sign in (WANTS_CREDENTIALS, NO_TLS)):
            since_ms.setdefault(addr, pulse.since_ms)
    return since_ms


_NOT_VALID: Final = "its requests have no valid credentials"
_COMPARE: Final = (
    "compare `security` in cfm.yml and cfw.yml; where tokens are used, "
    "`cfm token worker SERVER` makes its token"
)


def _told_without_credentials(scene: Scene, since_ms: Mapping[Addr, int]) -> Iterator[Condition]:
    if since_ms:
        there = scene.in_order(since_ms)
        causes = [scene.state.health.pulse(addr).why or _NOT_VALID for addr in there]
        only_tls = all(NO_TLS in cause for cause in causes)
        yield Condition(
            name="no_credentials",
            level=Severity.DEGRADED,
            text=f"cfm and cfw refuse each other {scene.at(there)}: {_cause(causes)}",
            remedy="compare `security.tls` in cfm.yml and cfw.yml" if only_tls else _COMPARE,
            servers=there,
            since_s=scene.wall_s(min(since_ms.values())),
        )


# ── servers that answer, and do not say what they hold ──────────────────────────────────────────────────


def _unknown_lists(scene: Scene) -> Iterator[Condition]:
    """Destinations that are up, and answered the question for their list with an error."""
    yield from _unknown(
        scene,
        {addr: record.files for addr, record in _used(scene).items() if _refuses_its_list(record)},
        "list_unknown",
        "The file list is unknown",
        "repair the disk or `base_dir` there; nothing is copied or deleted there meanwhile",
    )


def _unknown_disks(scene: Scene) -> Iterator[Condition]:
    """The same for the disk usage, where the list is not unknown as well: one cause is told once."""
    yield from _unknown(
        scene,
        {addr: record.disk for addr, record in _used(scene).items() if not _refuses_its_list(record)},
        "disk_unknown",
        "The disk usage is unknown",
        "see the log of its cfw; nothing is copied or deleted there meanwhile",
    )


def _refuses_its_list(record: Record) -> bool:
    return isinstance(record.files, Unknown) and not record.never_answered


def _used(scene: Scene) -> dict[Addr, Record]:
    """The destinations that are up, and whose disk is not a source folder."""
    return {
        addr: record
        for addr, record in scene.state.fleet.records.items()
        if record.is_destination
        and scene.state.health.is_up(addr)
        and not scene.state.fleet.source_disks.has_originals(addr)
    }


def _unknown(
    scene: Scene, observed: Mapping[Addr, Known[Any] | Unknown], name: str, text: str, remedy: str
) -> Iterator[Condition]:
    found = {addr: one for addr, one in observed.items() if isinstance(one, Unknown)}
    if found:
        there = scene.in_order(found)
        yield Condition(
            name=name,
            level=Severity.DEGRADED,
            text=f"{text} {scene.at(there)}: {_cause(found[addr].why for addr in there)}",
            remedy=remedy,
            servers=there,
            since_s=scene.wall_s(min(one.since_ms for one in found.values())),
            holds=True,
        )


def _not_listed(scene: Scene) -> Iterator[Condition]:
    """Servers that are up, and from which no list and no error has come since our start."""
    since_ms = {
        addr: record.files.since_ms
        for addr, record in _used(scene).items()
        if record.never_answered and isinstance(record.files, Unknown)
    }
    if since_ms:
        there = scene.in_order(since_ms)
        yield Condition(
            name=refusals.NOT_LISTED_SINCE_START.name,
            level=Severity.DEGRADED,
            text=f"Nothing is deleted before the first complete file list {scene.at(there)}",
            remedy="`cfm status` tells why there is no list",
            servers=there,
            since_s=scene.wall_s(min(since_ms.values())),
            holds=True,
        )


# ── servers that are not like the others ────────────────────────────────────────────────────────────────


def _clocks(scene: Scene) -> Iterator[Condition]:
    """Servers whose clock is not cfm's."""
    off_s = {
        addr: record.clock_off_s
        for addr, record in scene.state.fleet.records.items()
        if abs(record.clock_off_s) > CLOCK_OFF_S and scene.state.health.is_up(addr)
    }
    if off_s:
        there = scene.in_order(off_s)
        most_s = max(off_s.values(), key=abs)
        side = "ahead of" if most_s > 0 else "behind"
        everywhere = len(off_s) == len(scene.state.fleet.records) > 1
        yield Condition(
            name="clock_skew",
            level=Severity.DEGRADED,
            text=f"The clock is up to {time_words(abs(most_s))} {side} cfm's {scene.at(there)}",
            remedy="set the clock of cfm's host" if everywhere else "set the clock there, as by NTP",
            servers=there,
        )


def _versions(scene: Scene) -> Iterator[Condition]:
    """Workers of ours of another version than cfm.  Earlier workers are no such mixture."""
    other = {
        addr: record.features.version
        for addr, record in scene.state.fleet.records.items()
        if record.features.ours and record.features.version != __version__
    }
    if other:
        there = scene.in_order(other)
        versions = some_of(sorted(set(other.values())))
        yield Condition(
            name="versions_mixed",
            level=Severity.NOTE,
            text=f"Versions are mixed: cfm is {__version__}, and cfw is {versions} {scene.at(there)}",
            remedy="nothing to do during an upgrade; otherwise install one version everywhere",
            servers=there,
        )


def _cause(whys: Iterable[str]) -> str:
    """What most of them say, and how many say something else."""
    said = Counter(whys)
    (why, _number), others = said.most_common(1)[0], len(said) - 1
    return f"{why} (and {count_words(others, 'other cause', 'other causes')})" if others else why
