"""Conditions that come from the refusals of the last round: brakes, full disks, copies that wait.

Pure.  Numbers of deletes are those of the round, as in the plan and the metrics.  A round does not wish for
every file: numbers of copies are those of the backlog.  Neighbours: `conditions` puts
these among the others, `plan.refusals` has the names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cfm.controller.decide import releasing
from cfm.controller.explain.activity import why_copies_wait
from cfm.controller.explain.condition import Condition, Scene, Severity
from cfm.controller.explain.health import Doing
from cfm.controller.explain.pending import pending
from cfm.controller.explain.words import count_words, size_words
from cfm.model import Addr, File, Known, Names
from cfm.plan import refusals
from cfm.plan.refusals import Refusal
from cfm.plan.round import Round

# ── brakes ──────────────────────────────────────────────────────────────────────────────────────────────

_TOLD_ELSEWHERE = (refusals.DELETES_OFF, refusals.METADATA_OLD, refusals.PAUSED, refusals.SOURCE_DISK)
"""Brakes that `conditions` tells, even where no wish meets them."""
_BRAKE_TEXTS: Mapping[Refusal, str] = {
    refusals.SERVER_REFUSES: "Deletes are not carried out",
    refusals.SAME_DISK_SUSPECTED: "Same disk suspected",
}
"""A brake in a few words, before the servers.  A brake that is not here has its refusal's text."""


_LOOK_FIRST = "run `cfm confirm SERVER`: it shows what would go, and asks"


def brakes(scene: Scene, round_: Round) -> Iterator[Condition]:
    """The brakes at single servers that only an operator can release."""
    servers: dict[Refusal, set[Addr]] = {}
    disks = round_.ledger.disks
    for server, refusal in round_.brakes:
        if server is not None and refusal not in _TOLD_ELSEWHERE:
            servers.setdefault(refusal, set()).add(server)
    for refusal in sorted(servers, key=lambda refusal: refusal.name):
        there, size_bytes = scene.in_order(servers[refusal]), None
        is_over = any(addr in disks and disks[addr].over_bytes for addr in there)
        text = _BRAKE_TEXTS.get(refusal, refusal.text)
        if refusal is refusals.BREAKER:
            size_bytes = sum(releasing.blocked_bytes(round_).values())
            text = f"Deletes of {size_words(size_bytes)} are held"
        yield Condition(
            name=refusal.name,
            level=Severity.DEGRADED,
            text=f"{text} {scene.at(there)}{_why_so_much(round_, there, size_bytes)}",
            remedy=refusal.release if is_over or not size_bytes else _LOOK_FIRST,
            servers=there,
            size_bytes=size_bytes,
            holds=True,
        )


def _why_so_much(round_: Round, there: Sequence[Addr], held_bytes: int | None) -> str:
    """How much of the disks a breaker held, and what for: a mistyped limit shows at once."""
    if not held_bytes:
        return ""
    disks = [round_.ledger.disks[addr] for addr in there]
    share = 100 * held_bytes // max(1, sum(disk.usage.used_bytes for disk in disks))
    if not any(disk.over_bytes for disk in disks):
        return f": room for better-ranked files would take {share} % of what is there"
    limit_percent = min(round_.view.servers[addr].limit_percent for addr in there)
    return f": the limit of {limit_percent} % would delete {share} % of what is there"


def not_ruled_out(scene: Scene, round_: Round) -> Iterator[Condition]:
    """Deletes that wait until it is known whose disk they are on.  Usually that takes a moment."""
    if number := round_.times("delete", refusals.DISK_NOT_RULED_OUT):
        there = scene.in_order(round_.refused_at(refusals.DISK_NOT_RULED_OUT))
        yield Condition(
            name=refusals.DISK_NOT_RULED_OUT.name,
            level=Severity.DEGRADED,
            text=f"Deletes wait {scene.at(there)}: the disk may be a source folder",
            remedy="check the source folders; an old cfw is told apart when its list lacks a file of each",
            servers=there,
            files=number,
            holds=True,
        )


def pace(scene: Scene, round_: Round) -> Iterator[Condition]:
    """The brake that lets go by itself."""
    if number := round_.times("delete", refusals.PACE):
        there = scene.in_order(round_.refused_at(refusals.PACE))
        yield Condition(
            name=refusals.PACE.name,
            level=Severity.NOTE,
            text=f"The pace limit delays deletes {scene.at(there)}",
            remedy="nothing to do: they go on within a minute; `remover.space_deletes_per_minute` and "
            "`remover.trims_per_minute` set the pace",
            servers=there,
            files=number,
            holds=True,
        )


# ── disks without space ─────────────────────────────────────────────────────────────────────────────────


def over_limit(scene: Scene, round_: Round) -> Iterator[Condition]:
    """Disks over their limit where nothing is deleted, though no brake holds there."""
    braked = {server for server, _refusal in round_.brakes}
    told_already = _freeing(scene, round_) | braked
    told_already |= round_.refused_at(refusals.PACE) | round_.refused_at(refusals.LIMIT_UNREACHABLE)
    disks = round_.ledger.disks.items()
    if silent := _san_is_silent_at(scene, round_) & {addr for addr, disk in disks if disk.need_bytes}:
        told_already |= silent
        yield from _silent_san(scene, silent)
    need = {addr: disk.need_bytes for addr, disk in disks if disk.need_bytes and addr not in told_already}
    if need:
        there = scene.in_order(need)
        kept = _kept_at(round_, there)
        why = _most_common(kept) or "no file there is known"
        yield Condition(
            name="over_limit",
            level=Severity.DEGRADED,
            text=f"{_over(there)} {scene.at(there)}, and nothing may be deleted: {why}",
            remedy="wait: new files may go after `remover.minimum_stay_sec`"
            if kept[refusals.YOUNG.name]
            else "raise the limit, or delete files by hand; `cfm why FILE` tells about each file",
            servers=there,
            size_bytes=sum(need.values()),
        )


def unreachable(scene: Scene, round_: Round) -> Iterator[Condition]:
    """Disks over their limit that no delete of known files could bring back to it."""
    there = scene.in_order(round_.refused_at(refusals.LIMIT_UNREACHABLE))
    if there:
        used_bytes = sum(round_.ledger.disks[addr].usage.used_bytes for addr in there)
        stock = [round_.view.stock[addr] for addr in there]
        other_bytes = max(0, used_bytes - sum(one.known_bytes for one in stock))
        may_go = size_words(sum(one.may_go_bytes for one in stock))
        filled = f"of {size_words(used_bytes)} used, {size_words(other_bytes)} are other data"
        yield Condition(
            name=refusals.LIMIT_UNREACHABLE.name,
            level=Severity.DEGRADED,
            text=f"{_over(there)} {scene.at(there)}: {filled}; the {may_go} that may go are not enough, "
            "so nothing is deleted",
            remedy="remove other data there, or raise the limit",
            servers=there,
            size_bytes=other_bytes,
        )


def _over(servers: Sequence[Addr]) -> str:
    return "Disk over its limit" if len(servers) == 1 else "Disks over their limits"


def _san_is_silent_at(scene: Scene, round_: Round) -> set[Addr]:
    """Servers where files would go if only the SAN answered for them: it is asked before a delete."""
    if scene.state.san.silence.now is None:
        return set()
    return round_.refused_at(refusals.SAN_UNKNOWN)


def _silent_san(scene: Scene, servers: Iterable[Addr]) -> Iterator[Condition]:
    if scene.state.san.index is None:
        return  # the source folders as such are unknown, and that is told
    there, silence = scene.in_order(servers), scene.state.san.silence
    yield Condition(
        name="source_folders_silent",
        level=Severity.DEGRADED,
        text=f"The source folders do not answer ({silence.why}), so nothing is deleted {scene.at(there)}",
        remedy="check the mounts that `source_dirs` names; cfm tries again by itself",
        servers=there,
        since_s=scene.wall_s(silence.since_ms),
        holds=True,
    )


_BEING_ASKED = (refusals.SAN_UNKNOWN, refusals.STILL_BEING_WRITTEN, refusals.COPY_UNCONFIRMED)
"""Refusals that end in a moment, when the SAN or a server has answered."""


def no_space(scene: Scene, round_: Round) -> Iterator[Condition]:
    """Wanted files that fit nowhere."""
    most_bytes = _most_room_bytes(round_)
    larger = [file for file in round_.no_room if most_bytes is not None and file.size_bytes > most_bytes]
    if most_bytes is not None:
        yield from _too_large(scene, larger, most_bytes)
    yield from _no_room(scene, round_, len(larger))


def _most_room_bytes(round_: Round) -> int | None:
    """The largest file for which a disk could make room, whatever goes there; None where that is not known
    yet."""
    ledger, stock = round_.ledger, round_.view.stock
    rooms = [
        min(disk.ceiling_bytes, disk.spare_bytes + stock[addr].may_go_bytes)
        for addr, disk in ledger.disks.items()
        if ledger.is_used(addr) and addr in stock
    ]
    return max(rooms, default=None)


def _too_large(scene: Scene, larger: Sequence[File], most_bytes: int) -> Iterator[Condition]:
    """Those that no disk could make room for.  The round has none that no disk could hold if it were empty:
    the plan tells of these."""
    lists = scene.core.shortlist
    number = len(larger) + lists.too_large_total
    if not number:
        return
    best = min([*larger, *lists.too_large], key=lambda file: file.rank)
    who = f"{best.name} (rank {best.rank:,}, {size_words(best.size_bytes)})"
    whose = who if number == 1 else f"{number:,} files, the best of them {who}"
    yield Condition(
        name="too_large",
        level=Severity.NOTE,
        text=f"No disk can make room for {whose}; the most that one can make is {size_words(most_bytes)}",
        remedy="raise the limit, remove other data, or add a larger disk",
        files=number,
    )


def _no_room(scene: Scene, round_: Round, larger: int) -> Iterator[Condition]:
    """The others, where nothing is under way or waits, and no brake holds that could change it."""
    goes_on = scene.activity.doing in (Doing.WORKING, Doing.STARTING, Doing.WAITING)
    braked = {server for server, refusal in round_.brakes if refusal is not refusals.SAME_DISK_SUSPECTED}
    held = braked | round_.refused_at(refusals.PACE)
    if goes_on or held or scene.state.san.silence.now is not None:
        return
    number = pending(scene.core, round_.view, round_.ledger).no_space_files - larger
    if number <= 0:
        return
    have = count_words(number, "file has no space", "files have no space")
    kept = Counter(refused.refusal.name for refused in round_.refused if refused.room_for is not None)
    if any(reason.name in kept for reason in _BEING_ASKED):
        return  # room is about to be made
    text = f"{have}, and nothing may be deleted for {'it' if number == 1 else 'them'}: {_most_common(kept)}"
    yield Condition(
        name=refusals.NO_ROOM.name,
        level=Severity.NOTE,
        text=text if kept else f"Disks are full of better-ranked files; {have}",
        files=number,
    )


def _freeing(scene: Scene, round_: Round) -> set[Addr]:
    """Servers where something is being deleted, or about to be."""
    ordered = {order.server for order in scene.state.orders.active.values()}
    return ordered | {delete.server for delete in round_.deletes}


def _kept_at(round_: Round, servers: Iterable[Addr]) -> Counter[str]:
    """Why files stay there: by the refusals, and by what no policy even wishes to delete."""
    view, there = round_.view, frozenset(servers)
    reasons = Counter(r.refusal.name for r in round_.refused if r.server in there)
    for addr in there:
        files = view.servers[addr].files
        names: Names = files.value if isinstance(files, Known) else frozenset()
        last = view.unknown_hits.last if view.unknown_hits is not None else ()
        reasons[refusals.RISING.name] += sum(name in names for name in view.hits.rising)
        reasons[refusals.HITS_UNKNOWN.name] += sum(name in names and view.was_watched(name) for name in last)
        reasons[refusals.WATCHED.name] += sum(name in names for name in view.hits.watched)
        reasons[refusals.OTHER_SIZE.name] += sum(name in names for name in view.absent)
    young = (place in there and view.is_young(name, place) for name, place in view.arrivals)
    reasons[refusals.YOUNG.name] += sum(young)
    return reasons


_KEPT: Mapping[str, tuple[str, str]] = {
    refusals.AD.name: ("is an ad", "are ads"),
    refusals.COPY_UNCONFIRMED.name: ("waits for a confirmation", "wait for a confirmation"),
    refusals.HITS_UNKNOWN.name: ("may be watched now", "may be watched now"),
    refusals.LAST_COPY.name: ("is a last copy", "are last copies"),
    refusals.NOT_ON_SAN.name: ("is not on the SAN", "are not on the SAN"),
    refusals.OTHER_SIZE.name: ("has another size on the SAN", "have another size on the SAN"),
    refusals.RISING.name: ("is rising", "are rising"),
    refusals.SAN_UNKNOWN.name: ("may not be on the SAN", "may not be on the SAN"),
    refusals.WATCHED.name: ("is being watched", "are being watched"),
    refusals.YOUNG.name: ("arrived lately", "arrived lately"),
}
"""Why one file stays, and why several do.  Other reasons are told by their names."""


def _most_common(reasons: Counter[str]) -> str:
    """`6 files are rising, 2 are ads`: one file may stay for several reasons."""
    found = [(name, number) for name, number in reasons.most_common(3) if number]
    words = (_kept_words(name, number, first=place == 0) for place, (name, number) in enumerate(found))
    return ", ".join(words)


def _kept_words(name: str, number: int, *, first: bool) -> str:
    one, many = _KEPT.get(name, (f"stays ({name})", f"stay ({name})"))
    number_words = count_words(number, "file", "files") if first else f"{number:,}"
    return f"{number_words} {one if number == 1 else many}"


# ── copies that wait ────────────────────────────────────────────────────────────────────────────────────

_WAIT_REMEDIES: Mapping[Refusal, str] = {
    refusals.HOLDER_UNKNOWN: "`cfm status` tells which list is unknown, and why",
    refusals.NO_SOURCE: "check the sources in `cfm status`",
    refusals.NO_DESTINATION: "check the destinations in `cfm status`",
    refusals.SAN_UNKNOWN: "check the source folders",
    refusals.STILL_BEING_WRITTEN: "nothing to do: cfm looks again",
}
"""The other reasons are told as what fails: see `failing`."""
_WAIT_TEXTS: Mapping[Refusal, str] = {
    refusals.HOLDER_UNKNOWN: "what is wanted may be on a destination whose file list is not known",
    refusals.NO_SOURCE: "no source that can send to the destinations is up and free",
    refusals.NO_DESTINATION: "no destination is up, known and free to receive",
    refusals.SAN_UNKNOWN: "the source folders have not answered yet whether they have the files",
    refusals.STILL_BEING_WRITTEN: "files on the SAN are still being written, or were not seen unchanged for "
    "long enough",
}


def waiting(scene: Scene, round_: Round) -> Iterator[Condition]:
    """Nothing is under way, although something is wanted that would fit."""
    reason = why_copies_wait(scene.core, round_, scene.now)
    if scene.activity.doing is not Doing.WAITING or reason is None or reason not in _WAIT_REMEDIES:
        return
    if reason is refusals.STILL_BEING_WRITTEN and scene.state.being_written(scene.now):
        return  # it is told by their names
    is_being_asked = reason is refusals.SAN_UNKNOWN and bool(scene.state.san.asked_ms)
    ends_soon = is_being_asked or reason in (refusals.HOLDER_UNKNOWN, refusals.STILL_BEING_WRITTEN)
    number = scene.activity.waiting - pending(scene.core, round_.view, round_.ledger).no_space_files
    text = f"{count_words(number, 'copy waits', 'copies wait')}: {_WAIT_TEXTS[reason]}"
    yield Condition(
        name=reason.name,
        level=Severity.NOTE if ends_soon else Severity.DEGRADED,
        text=text,
        remedy=_WAIT_REMEDIES[reason],
        files=number,
        holds=True,
    )
