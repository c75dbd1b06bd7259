"""The names of all conditions.  They never change: scripts, alerts and the documentation use them.

Neighbour: `conditions` finds the conditions; a test holds what it finds against this list.
"""

from __future__ import annotations

from typing import Final

from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.model import LogCondition
from cfm.plan import refusals

_OF_THE_LOG: Final = tuple(one for one in LogCondition if one is not LogCondition.FOLLOWING)
_BRAKES_AT_SERVERS: Final = (refusals.BREAKER, refusals.SAME_DISK_SUSPECTED, refusals.SERVER_REFUSES)
_OTHER_REFUSALS: Final = (
    refusals.DELETES_OFF,
    refusals.DESTINATION_IN_PAUSE,
    refusals.DISK_NOT_RULED_OUT,
    refusals.HOLDER_UNKNOWN,
    refusals.JUST_DELETED,
    refusals.LIMIT_UNREACHABLE,
    refusals.METADATA_OLD,
    refusals.NOT_LISTED_SINCE_START,
    refusals.NO_DESTINATION,
    refusals.NO_ROOM,
    refusals.NO_SOURCE,
    refusals.ORDER_UNKNOWN,
    refusals.OTHER_SIZE,
    refusals.PACE,
    refusals.PAIR_IN_PAUSE,
    refusals.RETRY_LATER,
    refusals.SAN_UNKNOWN,
    refusals.SOURCE_DISK,
    refusals.SOURCE_IN_PAUSE,
    refusals.STILL_BEING_WRITTEN,
)
CONDITION_NAMES: Final = tuple(
    sorted(
        {
            "breaker_released",
            "clock_skew",
            "df_stands_still",
            "disk_size_changes",
            "disk_unknown",
            "foreign_files",
            "history_coverage",
            "links_not_served",
            "list_unknown",
            "marker_copied",
            "metadata_rejected",
            "no_credentials",
            "no_metadata",
            "not_asking",
            "not_freed",
            "over_limit",
            "plans_slow",
            "san_coverage",
            "server_down",
            "source_folders_silent",
            "source_folders_unknown",
            "stale_copies",
            "state_not_writable",
            "too_large",
            "versions_mixed",
            *(f"event_log_{one.value}" for one in _OF_THE_LOG),
            *(one.name for one in (*_BRAKES_AT_SERVERS, *_OTHER_REFUSALS)),
            *(one.value for one in OwnTroubleKind),
        }
    )
)
