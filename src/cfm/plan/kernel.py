"""The kernel: the rule book.  Whatever a policy wishes for, every guard in these tables is asked.

Each table is in the order in which reasons are told.  A rule is one guard in `guards` and one row here.
Neighbours: `case` has the form of a guard, `judge` asks, `refusals` holds the sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

from cfm.plan.case import AnyGuard, CopyGuard, DeleteGuard, RoomGuard
from cfm.plan.guards.copies import (
    at_rest_on_san,
    destination_free,
    destination_not_in_pause,
    destination_usable,
    not_an_ad,
    not_failing,
    not_in_a_task,
    not_just_deleted,
    not_missing_on_san,
    not_next_to_go,
    not_paused,
    not_to_a_source_folder,
    not_vanished_there,
    on_no_destination,
    on_no_doubtful_destination,
    pair_not_in_pause,
    replaced_where_it_can_be,
    room_is_made,
    source_free,
    source_not_in_pause,
    source_speaks,
    surely_on_san,
    through_one_address,
    within_limit,
)
from cfm.plan.guards.deletes import (
    all_for_this_room,
    another_copy_stays,
    at_rest_where_it_stays,
    breaker_closed,
    deletes_free_room,
    deletes_on,
    destination_takes_copies,
    emptied_through_one_address,
    file_is_there,
    fits_nowhere,
    hits_are_known,
    holders_listed,
    it_does_not_fail,
    keeper_confirmed,
    keeper_not_stale,
    kept_for_no_other,
    limit_can_be_reached,
    makes_enough_room,
    metadata_fresh,
    need_is_proven,
    not_a_source_folder,
    not_being_copied,
    not_lately_dropped,
    not_promised_elsewhere,
    not_rising,
    not_watched,
    not_young,
    on_another_disk,
    one_order_per_file,
    room_is_needed,
    server_carries_out,
    server_known,
    still_on_san,
    surely_no_source_folder,
    surplus_goes_first,
    within_pace,
    worth_its_room,
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """The rule book as a value.  The product uses `KERNEL`; a test may take a guard out, to see it missed."""

    file_guards: tuple[AnyGuard, ...] = (
        not_paused,
        not_an_ad,
        on_no_destination,
        on_no_doubtful_destination,
        not_in_a_task,
        not_just_deleted,
        not_failing,
        not_missing_on_san,
    )
    """A copy: may this file be copied at all?  A bundle: may the file that it makes room for?"""
    place_guards: tuple[CopyGuard, ...] = (
        not_to_a_source_folder,
        destination_usable,
        through_one_address,
        not_vanished_there,
        replaced_where_it_can_be,
    )
    """A copy: may this destination get this file?  A bundle: may the one on which it makes room?"""
    fit_guards: tuple[CopyGuard, ...] = (
        not_next_to_go,
        room_is_made,
        within_limit,
    )
    """A copy: is there room for it?"""
    turn_guards: tuple[CopyGuard, ...] = (
        source_not_in_pause,
        destination_not_in_pause,
        pair_not_in_pause,
        source_free,
        source_speaks,
        destination_free,
    )
    """A copy: may it begin now?"""
    san_guards: tuple[AnyGuard, ...] = (
        at_rest_on_san,
        surely_on_san,
    )
    """A copy, a delete for space, the file of a bundle: asked last, so that the SAN is asked only for what it
    alone keeps."""
    delete_guards: tuple[DeleteGuard, ...] = (
        not_paused,
        deletes_on,
        not_an_ad,
        not_a_source_folder,
        server_known,
        server_carries_out,
        file_is_there,
        metadata_fresh,
        not_being_copied,
        one_order_per_file,
        not_lately_dropped,
        at_rest_where_it_stays,
        still_on_san,
        surely_no_source_folder,
        within_pace,
    )
    """Every delete."""
    surplus_guards: tuple[DeleteGuard, ...] = (
        holders_listed,
        another_copy_stays,
        on_another_disk,
        keeper_not_stale,
        keeper_confirmed,
    )
    """A delete of a surplus copy."""
    space_guards: tuple[DeleteGuard, ...] = (
        emptied_through_one_address,
        hits_are_known,
        not_rising,
        not_watched,
        not_young,
        room_is_needed,
        need_is_proven,
        deletes_free_room,
        limit_can_be_reached,
        surplus_goes_first,
        breaker_closed,
    )
    """A delete for space, also one of a bundle.  Last the table `san_guards` is asked for it."""
    room_guards: tuple[RoomGuard, ...] = (
        all_for_this_room,
        destination_takes_copies,
        it_does_not_fail,
        kept_for_no_other,
        not_promised_elsewhere,
        fits_nowhere,
        makes_enough_room,
        worth_its_room,
    )
    """A bundle as a whole, when all its deletes are booked."""

    @property
    def way_guards(self) -> tuple[CopyGuard, ...]:
        """A copy: all that is asked about one way, of a file that may be copied."""
        return self.place_guards + self.fit_guards + self.turn_guards


KERNEL = Kernel()
