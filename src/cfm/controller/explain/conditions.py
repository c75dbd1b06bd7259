"""Conditions: what an operator should know about this node now, worst first.

Equal troubles of several servers are one condition.  A healthy node has none.  Pure: made from the core's
state and its last round.  Neighbours: `activity` says what goes on, `held` finds the conditions that come
from refusals, `verdict` makes one line of all, `parts` shows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cfm.controller.decide.core import Core
from cfm.controller.explain import disks, failing, held, whose_disks
from cfm.controller.explain.activity import Activity
from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.content import being_written, stale_copies
from cfm.controller.explain.ours import own_troubles
from cfm.controller.explain.words import count_words, other_size_words, size_words, some_of
from cfm.fleet.answers import WANTS_CREDENTIALS
from cfm.model import LogCondition, Now, OrderStatus, Unknown
from cfm.plan import refusals
from cfm.plan.round import Round

WORST_FIRST = (Severity.CRITICAL, Severity.DEGRADED, Severity.NOTE)


def conditions(core: Core, round_: Round | None, activity: Activity, now: Now) -> tuple[Condition, ...]:
    """All conditions, worst first; those of one severity in the order in which they are looked for."""
    found = _all(Scene(core, activity, now), round_)
    return tuple(sorted(found, key=lambda one: WORST_FIRST.index(one.level)))


def _all(scene: Scene, round_: Round | None) -> Iterator[Condition]:
    yield from _own_state(scene)
    yield from own_troubles(scene)
    yield from whose_disks.source_disks(scene)
    yield from whose_disks.copied_markers(scene)
    if scene.state.snapshot is None:
        yield _no_metadata(scene)
        yield from _without_credentials(scene)
        yield from _servers_down(scene)
        return
    yield from _source_folders(scene)
    yield from stale_copies(scene)
    yield from being_written(scene)
    yield from _event_log(scene)
    yield from _old_metadata(scene)
    if round_ is not None:
        yield from held.brakes(scene, round_)
        yield from held.not_ruled_out(scene, round_)
        yield from held.over_limit(scene, round_)
        yield from held.unreachable(scene, round_)
    yield from _without_credentials(scene)
    yield from _servers_down(scene)
    yield from disks.conditions(scene)
    yield from failing.in_pause(scene)
    yield from failing.files(scene)
    yield from failing.not_asking(scene)
    yield from _not_listed(scene)
    yield from _rejected_metadata(scene)
    if round_ is not None:
        yield from held.waiting(scene, round_)
        yield from held.pace(scene, round_)
        yield from held.no_space(scene, round_)
    yield from _deletes_off(scene, round_)
    yield from _unknown_deletes(scene)
    yield from _other_sizes(scene)
    yield from whose_disks.links(scene)
    yield from _released_breakers(scene)


# ── cfm itself ──────────────────────────────────────────────────────────────────────────────────────────


def _own_state(scene: Scene) -> Iterator[Condition]:
    if why := scene.state.store_trouble:
        yield Condition(
            name="state_not_writable",
            level=Severity.CRITICAL,
            text=f"cfm is paused because it cannot write its own state: {why}",
            remedy=refusals.PAUSED.release,
        )


def _deletes_off(scene: Scene, round_: Round | None) -> Iterator[Condition]:
    """It is a person's wish, and does harm only where something should be deleted."""
    if not scene.state.rules.deletes_on:
        some_wait = round_ is not None and round_.times("delete", refusals.DELETES_OFF) > 0
        yield Condition(
            name=refusals.DELETES_OFF.name,
            level=Severity.DEGRADED if some_wait else Severity.NOTE,
            text="Deletes are switched off, and some are needed" if some_wait else "Deletes are switched off",
            remedy=refusals.DELETES_OFF.release,
            holds=True,
        )


def _released_breakers(scene: Scene) -> Iterator[Condition]:
    if released := scene.state.settings.approved_bytes:
        there, total_bytes = scene.in_order(released), sum(released.values())
        yield Condition(
            name="breaker_released",
            level=Severity.NOTE,
            text=f"An operator released the breaker for {size_words(total_bytes)} {scene.at(there)}",
            servers=there,
            size_bytes=total_bytes,
        )


# ── metadata and source folders ─────────────────────────────────────────────────────────────────────────


def _no_metadata(scene: Scene) -> Condition:
    rejected = scene.state.rejected
    why = rejected.why if rejected else "not read yet"
    shrunken = rejected is not None and rejected.shrunken
    return Condition(
        name="no_metadata",
        level=Severity.CRITICAL,
        text=f"cfm is stopped because it has no valid grade and history files: {why}",
        remedy=_ACCEPT if shrunken else "see `grade_info_file` and `hitcount_history_file` in cfm.yml",
    )


_ACCEPT = "repair them, or run `cfm accept`"


def _old_metadata(scene: Scene) -> Iterator[Condition]:
    over_ms = scene.state.metadata.age_ms(scene.now) - scene.state.rules.metadata_max_age_ms
    if over_ms > 0:
        yield Condition(
            name=refusals.METADATA_OLD.name,
            level=Severity.DEGRADED,
            text="Nothing is deleted because the grade and history files are too old",
            remedy=refusals.METADATA_OLD.release,
            since_s=scene.now.wall_s - over_ms // 1000,
            holds=True,
        )


def _rejected_metadata(scene: Scene) -> Iterator[Condition]:
    if (rejected := scene.state.rejected) is not None:
        yield Condition(
            name="metadata_rejected",
            level=Severity.DEGRADED,
            text=f"The newest grade and history files are rejected: {rejected.why}",
            remedy=_ACCEPT if rejected.shrunken else "repair them; cfm goes on with the last good ones",
            since_s=rejected.read_wall_s,
        )


def _source_folders(scene: Scene) -> Iterator[Condition]:
    if scene.state.san.index is None:
        yield Condition(
            name="source_folders_unknown",
            level=Severity.DEGRADED,
            text=f"The source folders are unknown: {scene.state.san.index_why}",
            remedy="mount them, or correct `source_dirs` in cfm.yml",
        )


def _other_sizes(scene: Scene) -> Iterator[Condition]:
    """Files that were encoded anew, or copied in part: the SAN and the history name two sizes."""
    found = [one for one in scene.state.absences.absent.values() if one.found_bytes]
    if found:
        first = min(found, key=lambda one: one.file.rank)
        have = count_words(len(found), "file has", "files have")
        yield Condition(
            name=refusals.OTHER_SIZE.name,
            level=Severity.NOTE,
            text=f"{have} another size on the SAN than in the history: "
            f"{first.file.name} ({other_size_words(first.found_bytes, first.file.size_bytes)})",
            remedy="nothing to do if the next history has the new sizes; `cfm why FILE` tells more",
            files=len(found),
            since_s=scene.wall_s(min(one.since_ms for one in found)),
        )


_LOG_CONDITIONS: Mapping[LogCondition, tuple[Severity, str, str]] = {
    LogCondition.GONE: (
        Severity.DEGRADED,
        "The event log is gone, so hits are unknown and no space is made for other files",
        "mount the folder, or correct `watch_dir` in cfm.yml",
    ),
    LogCondition.UNREADABLE: (
        Severity.DEGRADED,
        "The event log cannot be read, so hits are unknown and no space is made for other files",
        "check the folder that `watch_dir` names, and its rights",
    ),
    LogCondition.READING: (
        Severity.NOTE,
        "Hits are unknown until the event log has been read to its end",
        "nothing to do: it is being read",
    ),
    LogCondition.BEHIND: (
        Severity.DEGRADED,
        "The event log grows faster than cfm reads it",
        "check the disk of the log, and the load of this host",
    ),
    LogCondition.SILENT: (
        Severity.NOTE,
        "The event log is silent",
        "nothing to do at quiet times; otherwise check the load balancer, and `watch_dir` in cfm.yml",
    ),
    LogCondition.CLOCK_OFF: (
        Severity.NOTE,
        "The clock of the event log is not ours",
        "set the clock of the load balancer, or of this host; hits count by the clock of the log meanwhile",
    ),
}
_LOG_MOMENT_MS = 10_000
"""A start takes as long; only a reading that takes longer is told."""


def _event_log(scene: Scene) -> Iterator[Condition]:
    log = scene.state.log
    if log is None or log.condition not in _LOG_CONDITIONS:
        return
    if log.condition is LogCondition.READING and scene.now.mono_ms - log.since_ms < _LOG_MOMENT_MS:
        return
    level, text, remedy = _LOG_CONDITIONS[log.condition]
    more = log.why
    if log.condition is LogCondition.CLOCK_OFF:
        side = "behind" if log.clock_behind_s > 0 else "ahead"
        more = f"{abs(log.clock_behind_s):,} s {side}"
    elif log.condition in (LogCondition.BEHIND, LogCondition.READING):
        more = f"{size_words(log.behind_bytes)} to go"
    yield Condition(
        name=f"event_log_{log.condition.value}",
        level=level,
        text=f"{text}: {more}",
        remedy=remedy,
        since_s=scene.wall_s(log.since_ms),
    )


# ── servers ─────────────────────────────────────────────────────────────────────────────────────────────


def _servers_down(scene: Scene) -> Iterator[Condition]:
    pulses = {addr: scene.state.health.pulse(addr) for addr in scene.state.fleet.records}
    down = scene.in_order(addr for addr, pulse in pulses.items() if pulse.up is False)
    if down:
        what = {1: "Server down", 2: "Servers down"}.get(len(down), f"{len(down):,} servers down")
        yield Condition(
            name="server_down",
            level=Severity.DEGRADED,
            text=f"{what}: {some_of([scene.names[addr] for addr in down])}",
            remedy="check the host, its network and its cfw",
            servers=down,
            since_s=scene.wall_s(min(pulses[addr].since_ms for addr in down)),
        )


def _without_credentials(scene: Scene) -> Iterator[Condition]:
    """Servers that we do not let in, or that do not let us in."""
    since_ms = scene.state.strangers.lately(scene.now.mono_ms)
    for addr in scene.state.fleet.records:
        pulse = scene.state.health.pulse(addr)
        if pulse.up is False and WANTS_CREDENTIALS in pulse.why:
            since_ms.setdefault(addr, pulse.since_ms)
    if since_ms:
        there = scene.in_order(since_ms)
        yield Condition(
            name="no_credentials",
            level=Severity.DEGRADED,
            text=f"cfm and cfw do not accept each other's credentials {scene.at(there)}",
            remedy="compare `security` in cfm.yml and cfw.yml; `cfm token worker SERVER` makes its token",
            servers=there,
            since_s=scene.wall_s(min(since_ms.values())),
        )


def _not_listed(scene: Scene) -> Iterator[Condition]:
    """Servers that are up, and whose complete file list has not come since cfm started."""
    records = scene.state.fleet.records.values()
    since_ms = {
        record.addr: record.files.since_ms
        for record in records
        if record.is_destination
        and record.last_list is None
        and isinstance(record.files, Unknown)
        and not scene.state.fleet.source_disks.has_originals(record.addr)
        and scene.state.health.is_up(record.addr)
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


def _unknown_deletes(scene: Scene) -> Iterator[Condition]:
    orders = scene.state.orders
    unknown = [order for order in orders.active.values() if order.status is OrderStatus.UNKNOWN]
    if unknown:
        there = scene.in_order(order.server for order in unknown)
        what = count_words(len(unknown), "delete has", "deletes have")
        yield Condition(
            name=refusals.ORDER_UNKNOWN.name,
            level=Severity.NOTE,
            text=f"{what} an unknown outcome {scene.at(there)}",
            remedy="nothing to do: cfm lists the server again to find out",
            servers=there,
            files=len(unknown),
            size_bytes=sum(order.file.size_bytes for order in unknown),
            since_s=scene.wall_s(min(orders.unknown_ms[order.id] for order in unknown)),
        )
