"""Why a file is, or is not, copied or deleted, server by server: what `cfm why` shows.

Pure: the kernel's own guards are asked, as of one moment, so that the reasons told are those that decide.
Neighbours: `story` adds what was decided before; `report` tells of the node as a whole.
"""

from __future__ import annotations

from dataclasses import replace

from cfm.controller.decide.core import Core
from cfm.controller.explain.parts import Json
from cfm.controller.explain.report import transfer_json
from cfm.model import (
    Addr,
    DeleteKind,
    File,
    Known,
    Now,
    OnSan,
    SanAnswer,
    Unknown,
)
from cfm.plan import policies, refusals
from cfm.plan.kernel import Deletion
from cfm.plan.ledger import Ledger
from cfm.plan.refusals import Refusal
from cfm.plan.round import Round
from cfm.plan.view import ClusterView


def why_json(
    core: Core, name: str, file: File | None, rank: int | None, now: Now, on_san: SanAnswer | None = None
) -> Json:
    """Everything known about a file, and why it is or is not copied, is or is not deleted.

    `file`: the known file of that name; `rank`: its rank where it is graded, known or not; `on_san`: what
    the source folders said of it just now, so that the reason is not that nobody had asked them.
    """
    view = core.state.view(now)
    if on_san is not None:
        view = replace(view, san={**view.san, name: Known(on_san, now.mono_ms)})
    ledger = Ledger(view)
    answer = view.san.get(name)
    task = view.task_of.get(name)
    holders = sorted(view.holders.get(name, ()))
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
        "tasks": [transfer_json(core, task.id, now)] if task and task.id in core.state.tasks.runs else [],
        "copy": _why_copy(core, view, ledger, file, name),
        "delete": [_why_delete(core, view, ledger, file, name, addr, holders) for addr in holders],
        "story": [],
    }


def _on_san(answer: SanAnswer | None, file: File | None) -> bool | None:
    """Does a plain file of that name, and of the size that is known, lie on the SAN?"""
    if answer is None or isinstance(answer, Unknown):
        return None
    return isinstance(answer, OnSan) and (file is None or answer.size_bytes == file.size_bytes)


def _why_copy(core: Core, view: ClusterView, ledger: Ledger, file: File | None, name: str) -> Json:
    refusal: Refusal | None = refusals.AD if view.is_ad(name) else refusals.NOT_KNOWN
    left_out = ""
    if file is not None:
        refusal = core.state.kernel.refuse_file(view, ledger, file)
        if refusal is None:
            refusal, left_out = _refused_everywhere(core, view, ledger, file), _left_out(view)
    if refusal is None:
        return {"allowed": True, "reason": None, "text": f"it may be copied, and is in its turn{left_out}"}
    return {"allowed": False, "reason": refusal.name, "text": refusal.text + left_out}


def _left_out(view: ClusterView) -> str:
    """Addresses through which a disk is not used, although they are up: nothing is copied to them."""
    unused = [s.addr for s in view.destinations if s.usable and view.used_through(s) != s.addr]
    return "".join(
        f"; not to {addr} ({refusals.SAME_DISK_SUSPECTED.name}: {refusals.SAME_DISK_SUSPECTED.text})"
        for addr in unused
    )


def _refused_everywhere(core: Core, view: ClusterView, ledger: Ledger, file: File) -> Refusal | None:
    kernel = core.state.kernel
    usable = [s for s in view.destinations if s.addr in ledger.disks]
    refused = [
        kernel.refuse_destination(view, ledger, server) or kernel.refuse_place(view, ledger, file, server)
        for server in usable
    ]
    if not usable or all(refused):
        told = [reason for reason in refused if reason not in (None, refusals.SAME_DISK_SUSPECTED)]
        return refusals.NO_ROOM if refusals.NO_ROOM in told else next(iter(told), refusals.NO_DESTINATION)
    free = [source for source in view.sources if kernel.refuse_source(view, ledger, source) is None]
    pairs = [(s, d) for s in free for d, no_ in zip(usable, refused, strict=True) if no_ is None]
    if any(kernel.refuse_pair(view, ledger, s, d) is None for s, d in pairs):
        return None
    return refusals.NO_SOURCE


def _stays(core: Core, view: ClusterView, ledger: Ledger, file: File, holders: list[Addr]) -> Addr:
    """The holder whose copy would stay, if all but one went."""
    return policies.by_keeping(Round(view, core.backlog(), ledger, core.state.kernel), file, holders)[0]


def _why_delete(
    core: Core,
    view: ClusterView,
    ledger: Ledger,
    file: File | None,
    name: str,
    addr: Addr,
    holders: list[Addr],
) -> Json:
    refusal: Refusal | None = refusals.AD if view.is_ad(name) else refusals.NOT_KNOWN
    if file is not None:
        keeper = _stays(core, view, ledger, file, holders)
        surplus = len(holders) > 1 and addr != keeper
        kind = DeleteKind.SURPLUS if surplus else DeleteKind.SPACE
        deletion = Deletion(file, addr, kind, keeper=keeper if surplus else None)
        refusal = core.state.kernel.refuse_delete(view, ledger, deletion)
    if refusal is None:
        return {"server": addr, "allowed": True, "reason": None, "text": "it may go, and is in its turn"}
    return {"server": addr, "allowed": False, "reason": refusal.name, "text": refusal.text}
