"""The record of one server: everything that is remembered of what it answered.  Values, without decisions.

Neighbours: `observed` keeps one record for each server and changes it; `same_disk` compares records.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cfm.fleet.disk_account import DiskAccount
from cfm.model import OLD_WORKER, Addr, DiskUsage, Names, Observed, WorkerFeatures

BY_LIST, BY_DF, BY_COPY = "list", "df", "copy"
"""The kinds of answers that name a disk."""


@dataclass(slots=True)
class Question:
    """One kind of question to one server.  At most one is under way; who needs it meanwhile gets another
    one."""

    in_flight: bool = False
    asked_ms: int = 0
    again: bool = False

    def begin(self, now_ms: int) -> bool:
        """May it be asked now?  False where one is under way; it is then asked again after the answer."""
        if self.in_flight:
            self.again = True
            return False
        self.in_flight, self.asked_ms, self.again = True, now_ms, False
        return True

    def end(self) -> bool:
        """An answer came.  Returns True where the question must be asked again at once."""
        self.in_flight = False
        return self.again


@dataclass(slots=True)
class Record:
    """Everything that is remembered about one server."""

    addr: Addr
    is_source: bool
    is_destination: bool
    files: Observed[Names]
    account: DiskAccount
    """Its disk: what `/df` shows, and what it does not show yet."""
    lost_ms: int
    """Since when its list is unknown.  Its grace period starts here."""
    features: WorkerFeatures = OLD_WORKER
    clock_off_s: int = 0
    """How far its clock is ahead of ours, by its last heartbeat; negative: behind; 0 where it did not say."""
    told_disks: dict[str, str] = field(default_factory=dict)
    """The disk ids in its last list, its last `/df` and its last answer about one copy.  They count from the
    last heartbeat that named another disk: such answers may come before the next heartbeat, and from another
    disk."""
    disk_ids: frozenset[str] = frozenset()
    """The ids of all disks that it may be on, by all its answers."""
    list_disk: str = ""
    """The disk that its last list named."""
    probe: str = ""
    """The probe file that its last list named as its own."""
    probe_since_ms: int = 0
    """When the first list was asked for that named it."""
    probes: frozenset[str] = frozenset()
    """All probe files in its last list."""
    links: int = 0
    """Links in its `base_dir`, which it does not list."""
    last_list: Names | None = None
    own_limit_percent: int | None = None
    last_chosen_ms: int = 0
    busy_until_ms: int = 0
    failed_deletes: int = 0
    """How many deletes in a row it did not carry out."""
    no_deletes_until_ms: int = 0
    asked_work_ms: int | None = None
    """When it asked for work last, or until when its request waits; None where that was never seen."""
    never_answered: bool = True
    """Since our start no list has come, and no question for a list has failed."""
    halved_ms: int | None = None
    """Since when its list is half as long as before, and is not believed yet."""
    doubted: Names = frozenset()
    """Names in `last_list` that were only in a list that was not believed.  The files may be there."""
    listing: Question = field(default_factory=Question)
    asking_disk: Question = field(default_factory=Question)
    added: dict[str, int] = field(default_factory=dict)
    """Names that our own copies added, and when.  They stay when an older list comes."""
    removed: dict[str, int] = field(default_factory=dict)
    doubts: int = 0
    """How many readings of its disk in a row have to be proved by another one."""

    def limit_percent(self, ours: int) -> int:
        """The limit of its disk: that of the node, or its own where that is lower."""
        return min(ours, self.own_limit_percent or ours)

    @property
    def disk(self) -> Observed[DiskUsage]:
        """The last reading of its disk."""
        return self.account.usage
