"""A case: one wish, and all that a guard may look at to judge it.

All guards have this one form, so that the rule book (`kernel`) is a table of tables.  Neighbours: `guards`
holds them, `judge` makes the cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeAlias, TypeVar

from cfm.model import File
from cfm.plan.ledger import Ledger
from cfm.plan.refusals import Refusal
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Copy, Delete, MakeRoom, Wish

W_co = TypeVar("W_co", bound=Wish, covariant=True)


class Case(Generic[W_co]):
    """One wish before the kernel; to be read only."""

    __slots__ = ("file", "ledger", "room_for", "sending", "view", "wish")

    def __init__(
        self,
        view: ClusterView,
        ledger: Ledger,
        wish: W_co,
        room_for: File | None = None,
        sending: bool = False,
    ) -> None:
        self.view = view
        self.ledger = ledger
        self.wish = wish
        self.file = wish.file
        self.room_for = room_for
        """A delete: the wanted file that it makes room for.  None where it makes room for none."""
        self.sending = sending
        """A delete: its order is about to be sent.  What the SAN and the keeper said must be fresh."""


AnyGuard: TypeAlias = Callable[[Case[Wish]], Refusal | None]
CopyGuard: TypeAlias = Callable[[Case[Copy]], Refusal | None]
DeleteGuard: TypeAlias = Callable[[Case[Delete]], Refusal | None]
RoomGuard: TypeAlias = Callable[[Case[MakeRoom]], Refusal | None]


def first_refusal(
    guards: Iterable[Callable[[Case[W_co]], Refusal | None]], case: Case[W_co]
) -> Refusal | None:
    """What the first guard that refuses says; None where none does."""
    for guard in guards:
        if (refusal := guard(case)) is not None:
            return refusal
    return None
