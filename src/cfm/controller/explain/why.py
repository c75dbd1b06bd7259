"""Why a file is, or is not, copied or deleted, server by server: what `cfm why` shows.

Nothing is worked out here.  The policies wish for the file, as they do in every round, and the judge answers,
as of one moment: the reasons told are those that decide.  Pure.  Neighbours: `story` adds what was decided
before; `report` tells of the node as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from cfm.controller.decide.core import Core
from cfm.controller.explain.parts import Json
from cfm.controller.explain.places import places_json
from cfm.controller.explain.report import transfer_json
from cfm.controller.explain.words import other_size_words, some_of
from cfm.model import NOBODY, Addr, File, Known, Now, OnSan, SanAnswer, Unknown, Version
from cfm.plan import refusals
from cfm.plan.judge import Judge
from cfm.plan.outlook import Outlook
from cfm.plan.policies.copies import Places, why
from cfm.plan.policies.evictions import eviction
from cfm.plan.policies.trims import by_keeping, trim
from cfm.plan.refusals import Refusal
from cfm.plan.shortlist import NOTHING_LISTED
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Delete, Place, Wishes


def why_json(
    core: Core, name: str, file: File | None, rank: int | None, now: Now, on_san: SanAnswer | None = None
) -> Json:
    """Everything known about a file, and why it is or is not copied, is or is not deleted.

    `file`: the known file of that name; `rank`: its rank where it is graded, known or not; `on_san`: what
    the source folders said of it just now, so that the reason is not that nobody had asked them.
    """
    view = core.state.view(now)
    if on_san is not None:
        absent = {other: absence for other, absence in view.absent.items() if other != name}
        view = replace(view, san={**view.san, name: Known(on_san, now.mono_ms)}, absent=absent)
    answer = view.san.get(name)
    task = view.task_of.get(name)
    holders = sorted(view.holders.get(name, NOBODY))
    return {
        "file": name,
        "known": file is not None,
        "rank": file.rank if file else rank,
        "hits": view.hits_of(file) if file else view.hits.rising.get(name),
        "rising": name in view.hits.rising,
        "watched": name in view.hits.watched,
        "size_bytes": file.size_bytes if file else None,
        "on_san": _on_san(answer.value if answer else None, file),
        "on": holders,
        "versions": _versions(core, name, holders),
        "tasks": [transfer_json(core, task.id, now)] if task and task.id in core.state.tasks.runs else [],
        "copy": _why_copy(core, view, file, name),
        "places": places_json(core, view, file) if file is not None else [],
        "delete": _why_delete(core, view, file, name, holders),
        "looks_like": [],
        "story": [],
    }


def alike(core: Core, spellings: Iterable[str], graded: Collection[str], now: Now) -> list[str]:
    """Which other spellings of a name exist.  They look the same to a person, and are other files."""
    holders, on_san = core.state.view(now).holders, core.state.san.index or frozenset()
    return [name for name in spellings if name in graded or name in holders or name in on_san]


def _versions(core: Core, name: str, holders: Sequence[Addr]) -> Json:
    """The versions of the copies, and of the file on the SAN that they were compared with last."""
    book = core.state.versions
    copies, stale = book.copies.get(name, {}), book.stale.get(name, frozenset())
    return {
        "san": _version(book.on_san.get(name)),
        "copies": [
            {"server": addr, "stale": addr in stale, "version": _version(copies.get(addr))}
            for addr in holders
        ],
    }


def _version(version: Version | None) -> Json | None:
    if version is None:
        return None
    return {"size_bytes": version.size_bytes, "mtime_at": version.mtime_s}


def _on_san(answer: SanAnswer | None, file: File | None) -> bool | None:
    """Does a plain file of that name, and of the size that is known, lie on the SAN?"""
    if answer is None or isinstance(answer, Unknown):
        return None
    return isinstance(answer, OnSan) and (file is None or answer.size_bytes == file.size_bytes)


def _unknown(view: ClusterView, name: str) -> Refusal:
    """Why no policy wishes anything for a file that is not known."""
    return refusals.AD if view.is_ad(name) else refusals.NOT_KNOWN


def _why_copy(core: Core, view: ClusterView, file: File | None, name: str) -> Json:
    if file is None:
        refusal: Refusal | None = _unknown(view, name)
    else:
        refusal = _wished_alone(core, view, file)
    left_out = _left_out(view) if refusal is None or refusal in refusals.OF_A_PLACE else ""
    if refusal is None:
        return {"allowed": True, "reason": None, "text": f"nothing is against copying it{left_out}"}
    text = _words(view, file, refusal) + left_out + "".join(_who_fails(view, refusal))
    return {"allowed": False, "reason": refusal.name, "text": text}


def _words(view: ClusterView, file: File | None, refusal: Refusal) -> str:
    """A refusal's sentence; two sizes that do not agree are both named, and so is who may have the file."""
    if refusal is refusals.HOLDER_UNKNOWN and file is not None:
        may_hold = sorted(one.addr for one in view.doubtful if view.may_hold(one, file))
        return f"it may be on {some_of(may_hold)}, whose file list is not known" if may_hold else refusal.text
    if refusal is not refusals.OTHER_SIZE or file is None:
        return refusal.text
    asked, absence = view.san.get(file.name), view.absent.get(file.name)
    answer = asked.value if asked is not None else None
    found_bytes = answer.size_bytes if isinstance(answer, OnSan) else absence.found_bytes if absence else 0
    return other_size_words(found_bytes, file.size_bytes)


_PAUSES = (refusals.SOURCE_IN_PAUSE, refusals.DESTINATION_IN_PAUSE, refusals.PAIR_IN_PAUSE)


def _who_fails(view: ClusterView, refusal: Refusal) -> Iterator[str]:
    """Where copies fail, why the last one did, and when one is tried again."""
    for side, pause in view.pauses.items() if refusal in _PAUSES else ():
        ends = ("from", side.source), ("to", side.destination)
        way = " ".join(f"{word} {addr}" for word, addr in ends if addr)
        again_s = max(0, pause.until_ms - view.now.mono_ms) // 1000
        yield f"; {way}: {pause.why or 'failed'}, again in {again_s} s"


def _wished_alone(core: Core, view: ClusterView, file: File) -> Refusal | None:
    """What the judge says when this file is the first that the policies of copies and trials wish for."""

    def policy(outlook: Outlook) -> Wishes:
        ways = (Places(outlook, openings).ways(file) for openings in (outlook.openings, outlook.trials))
        yield Place(file, why(view, file), chain.from_iterable(ways))

    return Judge(view, core.state.kernel).run([policy], NOTHING_LISTED).why_not_copied(file.name)


def _left_out(view: ClusterView) -> str:
    """Addresses that are up, but whose disk is a source folder, or is used through another address."""
    left_out = [(s.addr, refusals.SOURCE_DISK) for s in view.destinations if s.up and s.san.folder]
    left_out += [
        (s.addr, refusals.SAME_DISK_SUSPECTED)
        for s in view.destinations
        if s.usable and view.used_through(s) != s.addr
    ]
    return "".join(f"; not to {addr} ({refusal.name}: {refusal.text})" for addr, refusal in left_out)


def _why_delete(
    core: Core, view: ClusterView, file: File | None, name: str, holders: Sequence[Addr]
) -> list[Json]:
    if file is None:
        return [_told(view, file, addr, _unknown(view, name)) for addr in holders]
    judge = Judge(view, core.state.kernel)
    wishes = deletes_of(judge.outlook(NOTHING_LISTED), file, holders)
    return [_told(view, file, wish.server, judge.refuse_delete(wish)) for wish in wishes]


def deletes_of(outlook: Outlook, file: File, holders: Sequence[Addr]) -> list[Delete]:
    """What the policies would wish for each copy: the keeper's goes for space, the others are surplus."""
    keeper = by_keeping(outlook, file, holders)[0] if len(holders) > 1 else None
    return [
        eviction(outlook, file, addr) if keeper in (None, addr) else trim(file, addr, keeper, len(holders))
        for addr in holders
    ]


def _told(view: ClusterView, file: File | None, server: Addr, refusal: Refusal | None) -> Json:
    if refusal is None:
        return {"server": server, "allowed": True, "reason": None, "text": "nothing is against deleting it"}
    text = _words(view, file, refusal)
    return {"server": server, "allowed": False, "reason": refusal.name, "text": text}
