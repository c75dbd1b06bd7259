"""The judge: hears every wish, asks the kernel, books, and answers.

Whoever wishes, every guard is asked.  Each yes is booked in the ledger, so that the next wish is judged by
the books as they have become; nothing else books.  What became of the wishes is in the `Round`.  An order
that waits to be sent is judged once more by the same guards.  Neighbours: `policies` wish, `kernel` has the
guards, `ledger` is the books, and `outlook` is what the policies see of all this.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from cfm.model import Addr, DeleteKind, File
from cfm.plan import refusals
from cfm.plan.case import Case, first_refusal
from cfm.plan.kernel import Kernel
from cfm.plan.ledger import Ledger
from cfm.plan.outlook import Outlook, Policy
from cfm.plan.pauses import destination_rests, source_rests
from cfm.plan.refusals import Refusal
from cfm.plan.round import Round
from cfm.plan.shortlist import Shortlist
from cfm.plan.surplus import Surplus
from cfm.plan.view import ClusterView
from cfm.plan.wishes import Answer, Copy, Delete, MakeRoom, No, Place, Wish, Wishes

LOOKS_AHEAD = 4
"""How many files a round looks up on the SAN ahead of time."""
LOOK_AHEAD_KEEPS_MS = 60_000
"""How long such a look is not repeated."""

_WAITS = (refusals.NO_SOURCE, refusals.NO_DESTINATION)
"""Why a file waits for a server to be free."""


class Judge:
    """One sitting: one view, its books, and all that is wished for."""

    def __init__(self, view: ClusterView, kernel: Kernel, *, preview: bool = False) -> None:
        """`preview`: nothing is carried out, so a delete does not wait for the SAN."""
        self._view, self._kernel, self._preview = view, kernel, preview
        self._way_guards = kernel.way_guards
        self._ledger = Ledger(view)
        self.round = Round(view, self._ledger)

    def run(self, policies: Iterable[Policy], lists: Shortlist) -> Round:
        """Let the policies wish, one after the other; a later one sees what earlier ones were granted."""
        outlook = self.outlook(lists)
        if lists.wanted:
            self._tell_unused_addresses()
        for policy in policies:
            self._hear_out(policy(outlook))
        return self.round

    def outlook(self, lists: Shortlist) -> Outlook:
        """What a policy may read.  From now on the surplus copies on these lists count as room to come."""
        self._ledger.surplus = Surplus(self._view, lists.surplus)
        return Outlook(self._view, lists, self._ledger, self.round)

    def _hear_out(self, wishes: Wishes) -> None:
        answer: Answer = None
        while True:
            try:
                wish = wishes.send(answer)
            except StopIteration:
                return
            answer = self.hear(wish)

    def hear(self, wish: Wish) -> Answer:
        """Grant a wish and book it, or refuse it; keep a record of either."""
        if isinstance(wish, Place):
            return self._hear_place(wish)
        if isinstance(wish, Copy):
            return self._hear_place(Place(wish.file, wish.reason, ((wish.source, wish.destination),)))
        return self._hear_delete(wish) if isinstance(wish, Delete) else self._hear_room(wish)

    # ── copies ──────────────────────────────────────────────────────────────────────────────────────────

    def _hear_place(self, wish: Place) -> Answer:
        """What speaks against the file is asked once; then each place, until one may be."""
        case = Case(self._view, self._ledger, wish)
        refusal = first_refusal(self._kernel.file_guards, case) or self._first_that_may(case)
        if refusal is None:
            self.round.placed(wish.file)
            return None
        self.round.refuse_copy(wish.file, refusal)
        return _no(refusal)

    def _first_that_may(self, case: Case[Place]) -> Refusal | None:
        """Book the first copy that may be; or why none may, and whether to ask the SAN.

        It is asked now if nothing else is missing, and ahead of time if the file waits for a free server.
        """
        told: Refusal | None = None
        for source, destination in case.wish.ways:
            copy = Copy(case.file, source, destination, case.wish.reason)
            refusal = first_refusal(self._way_guards, Case(self._view, self._ledger, copy))
            if refusal is None and (refusal := first_refusal(self._kernel.san_guards, case)) is not None:
                self._ask_san(case.file)
                return refusal
            if refusal is None:
                self._ledger.book_copy(copy.file, copy.source, copy.destination)
                self.round.booked.append(copy)
                return None
            told = refusals.to_be_told(told, refusal)
        told = told or self._nowhere(case.file)
        if told in _WAITS and first_refusal(self._kernel.san_guards, case) is not None:
            self._ask_ahead(case.file)
        return told

    def _nowhere(self, file: File) -> Refusal:
        """What a file waits for that no policy sees a place for."""
        ledger = self._ledger
        if not ledger.disks:
            return refusals.NO_DESTINATION
        if file.size_bytes > ledger.largest_room_bytes():
            return refusals.NO_ROOM
        view = self._view
        free = [source.addr for source in view.sources if ledger.may_send(source)]
        if not free:
            return refusals.NO_SOURCE
        if all(source_rests(view, ledger, addr) for addr in free):
            return refusals.SOURCE_IN_PAUSE
        takes = [addr for addr, disk in ledger.disks.items() if file.size_bytes <= disk.room_bytes()]
        rest = bool(takes) and all(destination_rests(view, ledger, addr) for addr in takes)
        return refusals.DESTINATION_IN_PAUSE if rest else refusals.NO_DESTINATION

    def _tell_unused_addresses(self) -> None:
        """Nothing is copied to an address through which its disk is not used, and no policy wishes for it.
        But a person can change that, so it is told."""
        for addr in self._ledger.unused:
            self.round.hold(addr, refusals.SAME_DISK_SUSPECTED)

    # ── the SAN ─────────────────────────────────────────────────────────────────────────────────────────

    def _ask_san(self, file: File) -> None:
        if not self._view.san_is_silent(file.name) and self._view.rest_is_over(file.name):
            self.round.ask_san.append(file)

    def _ask_ahead(self, file: File) -> None:
        if len(self.round.ask_ahead) >= LOOKS_AHEAD or self._view.san_is_silent(file.name):
            return
        asked = self._view.san.get(file.name)
        if not self._view.rest_is_over(file.name):
            return
        if asked is None or self._view.now.mono_ms - asked.at_ms > LOOK_AHEAD_KEEPS_MS:
            self.round.ask_ahead.append(file)

    # ── deletes ─────────────────────────────────────────────────────────────────────────────────────────

    def _hear_delete(self, wish: Delete) -> Answer:
        refusal = self.refuse_delete(wish)
        if refusal is None and (refusal := self._san_refuses(wish)) is not None:
            self._ask_san(wish.file)
        if refusal is not None:
            self.round.refuse_delete(wish, None, refusal)
            return _no(refusal)
        self._ledger.book_delete(wish.file, wish.server, wish.kind)
        self.round.booked.append(wish)
        return None

    def refuse_delete(
        self, wish: Delete, room_for: File | None = None, *, sending: bool = False
    ) -> Refusal | None:
        """Why this delete must not be, as the books stand; nothing is booked."""
        kernel, case = self._kernel, Case(self._view, self._ledger, wish, room_for, sending)
        by_kind = kernel.surplus_guards if wish.kind is DeleteKind.SURPLUS else kernel.space_guards
        return first_refusal(kernel.delete_guards, case) or first_refusal(by_kind, case)

    def _san_refuses(self, delete: Delete) -> Refusal | None:
        """A delete for space is written down only when the SAN has just said that it has the file.  So no
        order is made only to be dropped.  A trim waits for its keeper in any case, and for the SAN meanwhile.
        """
        if delete.kind is DeleteKind.SURPLUS or self._preview:
            return None
        return first_refusal(self._kernel.san_guards, Case(self._view, self._ledger, delete))

    def refuse_order(self, wish: Delete, room_for: File | None) -> Refusal | None:
        """Why an order that waits must not be sent now: judged anew, as if it had not been ordered."""
        self.take_back(wish, room_for)
        refusal = self.refuse_delete(wish, room_for, sending=True)
        self._ledger.book_delete(wish.file, wish.server, wish.kind, room_for)
        return refusal

    def take_back(self, wish: Delete, room_for: File | None) -> None:
        """Take a delete that will not be out of the books."""
        self._ledger.unbook_delete(wish.file, wish.server, wish.kind, room_for)

    # ── bundles ─────────────────────────────────────────────────────────────────────────────────────────

    def _hear_room(self, wish: MakeRoom) -> Answer:
        """Each delete is judged by the books as they would be after those before it; all of them or none."""
        granted: list[Delete] = []
        for delete in wish.deletes:
            refusal = self.refuse_delete(delete, wish.file)
            if refusal is None and (refusal := self._san_refuses(delete)) is not None:
                self._ask_san_for_all(wish)
            if refusal is not None:
                self._take_back_all(granted, wish.file)
                self.round.refuse_delete(delete, wish.file, refusal)
                return No(refusal, delete)
            self._ledger.book_delete(delete.file, delete.server, delete.kind, wish.file)
            granted.append(delete)
        refusal = self._refuse_room(wish)
        if refusal is not None:
            self._take_back_all(granted, wish.file)
            return _no(refusal)
        self._ledger.book_room(wish.file, wish.server)
        self.round.booked.append(wish)
        return None

    def _refuse_room(self, wish: MakeRoom) -> Refusal | None:
        """What speaks against the whole: the room, its place, and then the file that it is for."""
        kernel, case = self._kernel, Case(self._view, self._ledger, wish)
        copy = Case(self._view, self._ledger, Copy(wish.file, Addr(""), wish.server, ""))
        refusal = first_refusal(kernel.room_guards, case) or first_refusal(kernel.place_guards, copy)
        if refusal is not None:
            for delete in wish.deletes[:1]:
                self.round.refuse_delete(delete, wish.file, refusal)
            return refusal
        refusal = first_refusal(kernel.file_guards, case)
        if refusal is None and (refusal := first_refusal(kernel.san_guards, case)) is not None:
            self._ask_san(wish.file)
        if refusal is not None:
            self.round.refuse_copy(wish.file, refusal)
        return refusal

    def _ask_san_for_all(self, wish: MakeRoom) -> None:
        """One question for the whole bundle: the answers come together."""
        guards = self._kernel.san_guards
        for file in (wish.file, *(delete.file for delete in wish.deletes)):
            one = Case(self._view, self._ledger, Place(file, ""))
            if first_refusal(guards, one) is not None:
                self._ask_san(file)

    def _take_back_all(self, granted: Iterable[Delete], room_for: File) -> None:
        for delete in granted:
            self.take_back(delete, room_for)


@cache
def _no(refusal: Refusal) -> No:
    """One answer for each reason: most wishes are refused for one of a few."""
    return No(refusal)
