"""The named reasons why something is not copied or not deleted, each with a sentence for people.

The names are part of the contract with operators' scripts, and `docs/refusals.md` lists them.  The guards
return them; everybody else only shows them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """One reason.  Each is one object, and is compared as such."""

    name: str
    text: str
    release: str = ""
    """How an operator can release it; empty where it ends by itself."""

    @property
    def brake(self) -> bool:
        """Can an operator release it?"""
        return bool(self.release)


# copies and deletes
PAUSED = Refusal(
    "paused",
    "cfm cannot write its own state, so it gives no orders",
    "free space on the disk that holds cfm.db; then cfm goes on by itself",
)
NOT_KNOWN = Refusal("not_known", "the file is not graded, or has no size in the hit history")
STILL_BEING_WRITTEN = Refusal(
    "still_being_written",
    "the file on the SAN is still being written, or was not seen unchanged for long enough",
)
NOT_ON_SAN = Refusal("not_on_san", "no source folder holds a plain file of this name")
OTHER_SIZE = Refusal("other_size", "the file on the SAN has another size than the history says")
SAN_UNKNOWN = Refusal("san_unknown", "the source folders have not answered yet whether they have this file")
AD = Refusal("ad", "the name begins with an advertisement's prefix: the file belongs to other software")
IN_TASK = Refusal("in_task", "the file is being copied")
ORDER_UNKNOWN = Refusal(
    "order_unknown", "a delete of this file is under way, or its outcome is not known yet"
)
SAME_DISK_SUSPECTED = Refusal(
    "same_disk_suspected",
    "two addresses seem to be one disk: their copies are one copy, and the disk is used through one address",
    "give each server a disk of its own, or take one address out of cfm.yml",
)

SOURCE_DISK = Refusal(
    "source_disk",
    "the server's disk is a source folder, or seems to be: its files are the originals",
    "stop that cfw, and name a base_dir outside of every source folder in its cfw.yml",
)
DISK_NOT_RULED_OUT = Refusal(
    "disk_not_ruled_out", "the server's disk may be a source folder: cfm has not ruled that out yet"
)

# copies
ALREADY_PLACED = Refusal("already_placed", "it is already on a destination")
HOLDER_UNKNOWN = Refusal("holder_unknown", "it may be on a destination whose file list is not known")
NO_ROOM = Refusal("no_room", "no destination has space for it within its limit")
NEXT_TO_GO = Refusal(
    "next_to_go", "room is being made for a better file, and this file would be the next to be deleted"
)
JUST_DELETED = Refusal(
    "just_deleted", "it was deleted to make room not long ago, and is not more wanted since then"
)
STALE_THERE = Refusal(
    "stale_there",
    "an older version of it lies there, and only a worker of ours with the built-in transfer can replace it",
)
RETRY_LATER = Refusal("retry_later", "copying it failed; it is tried again after a pause")
SOURCE_IN_PAUSE = Refusal("source_in_pause", "copies from the source fail; one is tried again after a pause")
DESTINATION_IN_PAUSE = Refusal(
    "destination_in_pause", "copies to the destination fail; one is tried again after a pause"
)
PAIR_IN_PAUSE = Refusal(
    "pair_in_pause", "copying from that source to that destination failed; it is tried again after a pause"
)
VANISHED = Refusal("vanished", "its copy vanished from the destination without an order of cfm")
NO_SOURCE = Refusal(
    "no_source", "it waits for a source: none that can send to its destination is up and free"
)
NO_DESTINATION = Refusal(
    "no_destination", "it waits for a destination: none is up, known and free to receive a copy"
)

# deletes
HITS_UNKNOWN = Refusal(
    "hits_unknown", "the event log cannot be read, so it is not known which files viewers want now"
)
RISING = Refusal("rising", "viewers want it now")
WATCHED = Refusal("watched", "it is being watched at other servers now")
YOUNG = Refusal("young", "it arrived lately, and stays for the minimum time")
LAST_COPY = Refusal("last_copy", "no other copy is known for certain")
KEEPER_STALE = Refusal(
    "keeper_stale", "the copy that would stay is not the version on the SAN, and this one is"
)
COPY_UNCONFIRMED = Refusal(
    "copy_unconfirmed", "the server whose copy would stay has not confirmed it within the last seconds"
)
NOT_LISTED_SINCE_START = Refusal(
    "not_listed_since_start", "a server that may hold it has not been listed since cfm started"
)
SERVER_UNKNOWN = Refusal("server_unknown", "the server is down, or its list or disk usage is not known")
SERVER_REFUSES = Refusal(
    "server_refuses",
    "the server did not carry out its last delete; it is asked again after a pause",
    "look into the log of its cfw; if it says that it belongs to another controller, run `cfw release` there",
)
NOT_NEEDED = Refusal("not_needed", "nothing there needs to be deleted")
NEED_UNPROVEN = Refusal(
    "need_unproven", "only one reading of its disk shows the need; a second one is asked for"
)
FREES_LATE = Refusal(
    "frees_late",
    "deletes there have not freed their bytes yet; more files are deleted one at a time, after long pauses",
)
METADATA_OLD = Refusal(
    "metadata_old",
    "the grade and history files in force are too old to delete by",
    "bring the grade and history files up to date",
)
LIMIT_UNREACHABLE = Refusal(
    "limit_unreachable",
    "deleting all that may be deleted there would not bring the disk to its limit, so nothing is deleted",
)
SURPLUS_FIRST = Refusal("surplus_first", "surplus copies on that disk are deleted first, and make the room")
NOT_WORTH_IT = Refusal(
    "not_worth_it", "what would have to be deleted there is worth nearly as much as the wanted file"
)
BREAKER = Refusal(
    "breaker",
    "cfm would delete more there at once than the breaker allows",
    "correct the limit, or run `cfm confirm SERVER`",
)
PACE = Refusal("pace", "as many deletes as the pace allows were ordered there in the last minute")
DELETES_OFF = Refusal(
    "deletes_off", "the settings switch deletes off", "set `deletes: on` in cfm.yml, then run `cfm reload`"
)

COPY_REFUSALS: tuple[Refusal, ...] = (
    PAUSED, NOT_KNOWN, AD, ALREADY_PLACED, HOLDER_UNKNOWN, IN_TASK, ORDER_UNKNOWN, JUST_DELETED, RETRY_LATER,
    NOT_ON_SAN, OTHER_SIZE, SOURCE_DISK, DISK_NOT_RULED_OUT, SAME_DISK_SUSPECTED, STALE_THERE, NEXT_TO_GO,
    NO_ROOM, VANISHED, PAIR_IN_PAUSE, SOURCE_IN_PAUSE, DESTINATION_IN_PAUSE, NO_SOURCE, NO_DESTINATION,
    STILL_BEING_WRITTEN, SAN_UNKNOWN,
)  # fmt: skip
DELETE_REFUSALS: tuple[Refusal, ...] = (
    PAUSED, DELETES_OFF, NOT_KNOWN, AD, SOURCE_DISK, SERVER_UNKNOWN, NOT_LISTED_SINCE_START, SERVER_REFUSES,
    METADATA_OLD, IN_TASK, ORDER_UNKNOWN, NOT_ON_SAN, OTHER_SIZE, STILL_BEING_WRITTEN, SAN_UNKNOWN,
    DISK_NOT_RULED_OUT, PACE, LAST_COPY, SAME_DISK_SUSPECTED, KEEPER_STALE, COPY_UNCONFIRMED, HITS_UNKNOWN,
    RISING, WATCHED, YOUNG, NOT_NEEDED, NEED_UNPROVEN, FREES_LATE, LIMIT_UNREACHABLE, SURPLUS_FIRST,
    NOT_WORTH_IT, BREAKER,
)  # fmt: skip
"""Both in the order of `docs/refusals.md`."""

OF_A_PLACE = (
    SOURCE_DISK, DISK_NOT_RULED_OUT, SAME_DISK_SUSPECTED, STALE_THERE, NO_ROOM, VANISHED, NO_DESTINATION,
    NEXT_TO_GO, NO_SOURCE, PAIR_IN_PAUSE,
    SOURCE_IN_PAUSE, DESTINATION_IN_PAUSE,
)  # fmt: skip
"""Why a file is not copied to one destination.  Where several destinations refuse it, the reason that is
later in this list is told.  All other reasons are about the file itself, wherever it would go."""


def to_be_told(one: Refusal | None, other: Refusal) -> Refusal:
    """Of the reasons of two destinations the one that is told."""
    if one is None:
        return other
    return max(one, other, key=OF_A_PLACE.index)
