"""A round: one run of the policies over one view, what they propose, and what became of that.

Neighbours: `policies` fill it in, `controller.decide.dispatch` carries out what is `done`, and the code that
tells people why reads the refusals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from cfm.model import Addr, File
from cfm.plan.kernel import Deletion, Kernel, san_was_silent
from cfm.plan.ledger import Ledger
from cfm.plan.refusals import Refusal
from cfm.plan.shortlist import Shortlist
from cfm.plan.view import ClusterView

REFUSALS_KEPT = 200
"""How many refused copies, and how many refused deletes, a round keeps by name; it counts all."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy `file` from `source` to `destination`, because of `reason`."""

    file: File
    source: Addr
    destination: Addr
    reason: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete as `deletion` says, because of `reason`."""

    deletion: Deletion
    reason: str


Proposal: TypeAlias = Copy | Delete


class Refused(NamedTuple):
    """What the kernel, or a policy before it, said no to."""

    action: str
    file: str
    server: Addr | None
    refusal: Refusal
    room_for: File | None = None


@dataclass(slots=True)
class Round:
    """One run of the policies: what they may look at, and what became of their proposals."""

    view: ClusterView
    shortlist: Shortlist
    ledger: Ledger
    kernel: Kernel
    refused: list[Refused] = field(default_factory=list)
    copies_refused: dict[Refusal, int] = field(default_factory=dict)
    """How often, by reason."""
    deletes_refused: dict[Refusal, int] = field(default_factory=dict)
    ask_san: list[File] = field(default_factory=list)
    """Files that only wait for a look at the SAN."""
    ask_ahead: list[File] = field(default_factory=list)
    """Files to be looked up there for later: the answer alone makes nothing possible."""
    brakes: dict[tuple[Addr | None, Refusal], list[Refused]] = field(default_factory=dict)
    """Refusals that an operator can release, by server and reason: kept, however many others there are."""
    done: list[Proposal] = field(default_factory=list)
    """What the kernel let through, in order."""
    senders: int = 0
    """Sources that could send to some destination when the round began."""
    unplaced: list[File] = field(default_factory=list)
    """Wanted files that found no room, best first; all better than those for which no source was left."""
    no_room_there: set[Addr] = field(default_factory=set)
    """Where nothing may go for room, whatever for."""
    _kept: dict[str, int] = field(default_factory=dict)

    def san_answers(self, file: File) -> bool:
        """May the SAN be asked for this file, or was it silent a moment ago?"""
        return not san_was_silent(self.view.san.get(file.name), self.view.now)

    def refuse(
        self, action: str, file: File, server: Addr | None, refusal: Refusal, room_for: File | None = None
    ) -> None:
        counted = self._counted(action)
        counted[refusal] = counted.get(refusal, 0) + 1
        kept = self._kept.get(action, 0)
        if kept >= REFUSALS_KEPT and not refusal.brake:
            return
        refused = Refused(action, file.name, server, refusal, room_for)
        if kept < REFUSALS_KEPT:
            self._kept[action] = kept + 1
            self.refused.append(refused)
        if refusal.brake:
            self.brakes.setdefault((server, refusal), []).append(refused)

    def _counted(self, action: str) -> dict[Refusal, int]:
        return self.copies_refused if action == "copy" else self.deletes_refused

    def times(self, action: str, refusal: Refusal) -> int:
        """How often `action` was refused for this reason."""
        return self._counted(action).get(refusal, 0)

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """(action, reason) → how often."""
        copies = {("copy", refusal.name): number for refusal, number in self.copies_refused.items()}
        return copies | {("delete", refusal.name): number for refusal, number in self.deletes_refused.items()}

    def hold(self, server: Addr, refusal: Refusal) -> None:
        """A brake at a server that has nothing to do with a single file."""
        self.brakes.setdefault((server, refusal), [])
