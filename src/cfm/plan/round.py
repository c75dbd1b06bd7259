"""The record of a round: what was wished for in one run of the policies, and what became of it.

Neighbours: `judge` writes it, `controller.decide.dispatch` carries out what is `booked`, and everything that
tells people why reads the refusals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from cfm.model import Addr, File
from cfm.plan import refusals
from cfm.plan.ledger import Ledger
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Copy, Delete, MakeRoom, Wish

REFUSALS_KEPT = 200
"""How many refused copies, and how many refused deletes, a round gives by name; it counts all."""


class Refused(NamedTuple):
    """What the kernel said no to."""

    action: str
    file: str
    server: Addr | None
    """None for a copy: its reason is that of all destinations together."""
    refusal: Refusal
    room_for: File | None = None


@dataclass(slots=True)
class Round:
    """What became of the wishes of one round."""

    view: ClusterView
    ledger: Ledger
    booked: list[Wish] = field(default_factory=list)
    """What the kernel let through, in order."""
    ask_san: list[File] = field(default_factory=list)
    """Files that may be copied, or get room, as soon as the SAN says that it has them."""
    ask_ahead: list[File] = field(default_factory=list)
    """Files that wait for a source or a destination: when one is free, the SAN's answer is there."""
    brakes: dict[tuple[Addr | None, Refusal], list[Refused]] = field(default_factory=dict)
    """Refusals that an operator can release, by server and reason: kept, however many others there are."""
    _copies: dict[str, tuple[File, Refusal]] = field(default_factory=dict)
    """Files that were not copied."""
    _deletes: list[Refused] = field(default_factory=list)
    _delete_counts: Counter[Refusal] = field(default_factory=Counter)

    @property
    def copies(self) -> list[Copy]:
        """The copies that were booked."""
        return [wish for wish in self.booked if isinstance(wish, Copy)]

    @property
    def deletes(self) -> list[Delete]:
        """The deletes that were booked, those of bundles too."""
        return [delete for delete, _room_for in self.deletes_for()]

    def deletes_for(self) -> Iterator[tuple[Delete, File | None]]:
        """The deletes that were booked, each with the wanted file that it makes room for."""
        for wish in self.booked:
            if isinstance(wish, Delete):
                yield wish, None
            elif isinstance(wish, MakeRoom):
                for delete in wish.deletes:
                    yield delete, wish.file

    # ── refusals ────────────────────────────────────────────────────────────────────────────────────────

    def refuse_copy(self, file: File, refusal: Refusal) -> None:
        """Keep one reason for each file: the last one given."""
        self._copies[file.name] = file, refusal
        if refusal.release and refusal not in refusals.OF_A_PLACE:
            self._brake(Refused("copy", file.name, None, refusal))

    def refuse_delete(self, delete: Delete, room_for: File | None, refusal: Refusal) -> None:
        self._delete_counts[refusal] += 1
        if len(self._deletes) < REFUSALS_KEPT or refusal.brake:
            refused = Refused("delete", delete.file.name, delete.server, refusal, room_for)
            if len(self._deletes) < REFUSALS_KEPT:
                self._deletes.append(refused)
            if refusal.brake:
                self._brake(refused)

    def placed(self, file: File) -> None:
        """What was said against other destinations no longer counts."""
        self._copies.pop(file.name, None)

    def hold(self, server: Addr, refusal: Refusal) -> None:
        """A brake at a server that has nothing to do with a single file."""
        self.brakes.setdefault((server, refusal), [])

    def _brake(self, refused: Refused) -> None:
        self.brakes.setdefault((refused.server, refused.refusal), []).append(refused)

    def why_not_copied(self, name: str) -> Refusal | None:
        """Why a file that was wished for is not copied; None where it is."""
        found = self._copies.get(name)
        return found[1] if found is not None else None

    @property
    def no_room(self) -> list[File]:
        """Files that found no room, in the order in which they were wished for."""
        return [file for file, refusal in self._copies.values() if refusal is refusals.NO_ROOM]

    @property
    def refused(self) -> list[Refused]:
        """The first refusals by name: copies, then deletes."""
        copies = islice(self._copies.values(), REFUSALS_KEPT)
        return [*(Refused("copy", file.name, None, refusal) for file, refusal in copies), *self._deletes]

    def times(self, action: str, refusal: Refusal) -> int:
        """How often `action` was refused for this reason."""
        if action == "delete":
            return self._delete_counts[refusal]
        return sum(1 for _file, given in self._copies.values() if given is refusal)

    def refused_at(self, refusal: Refusal) -> set[Addr]:
        """Servers where deletes were refused for this reason."""
        return {r.server for r in self.refused if r.refusal is refusal and r.server is not None}

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """(action, reason) → how often."""
        copies = Counter(refusal for _file, refusal in self._copies.values())
        told = {("copy", refusal.name): number for refusal, number in copies.items()}
        return told | {("delete", refusal.name): number for refusal, number in self._delete_counts.items()}
