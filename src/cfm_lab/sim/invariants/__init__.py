"""What must never happen, and what must always hold.  Each rule is a class with a number and a scope.

`ALL` is the table of the rules, in the order in which the checker tells them what happens.  `SICK_ONLY` has
further ones for sick worlds.
"""

from __future__ import annotations

from cfm_lab.sim.invariants.base import Invariant
from cfm_lab.sim.invariants.bounds import Bounded, SamePlanTwice
from cfm_lab.sim.invariants.brakes import FreshMetadata, ListedSinceStart, SwitchedOff
from cfm_lab.sim.invariants.copies import OnlyWhatMayBeCopied
from cfm_lab.sim.invariants.durability import (
    DoneIsDurable,
    DurableBeforeSent,
    NothingLost,
    VisibleIsComplete,
)
from cfm_lab.sim.invariants.fencing import Fencing, OwnTasksOnly, PlainPaths
from cfm_lab.sim.invariants.inputs import HitsAsLogged
from cfm_lab.sim.invariants.last_copy import LastCopy, PessimisticCount
from cfm_lab.sim.invariants.limits import NextToGo, WithinLimit
from cfm_lab.sim.invariants.making_room import RoomForOneFile
from cfm_lab.sim.invariants.orders import OneDeletePerFile, UnknownStaysUnknown
from cfm_lab.sim.invariants.originals import SameStorage
from cfm_lab.sim.invariants.pauses import LeftAlone, NoneForOurDeletes
from cfm_lab.sim.invariants.protected import HitsUnknown, NeverDeleted
from cfm_lab.sim.invariants.repeats import NoFlapping, Pauses
from cfm_lab.sim.invariants.room import PaceAndNeed
from cfm_lab.sim.invariants.surplus import SurplusFirst
from cfm_lab.sim.invariants.tasks import (
    IncomingCopies,
    LegalEdges,
    OneWorkerPerTask,
    OutgoingStreams,
    RolesOfTheSettings,
    TimeOutsAreReal,
)
from cfm_lab.sim.invariants.versions import FreshCopiesStay, NotWhileWritten
from cfm_lab.sim.invariants.worth import EvictionPays

ALL: tuple[type[Invariant], ...] = (
    LastCopy,
    PessimisticCount,
    OneDeletePerFile,
    UnknownStaysUnknown,
    DurableBeforeSent,
    Fencing,
    FreshMetadata,
    PaceAndNeed,
    NeverDeleted,
    HitsUnknown,
    ListedSinceStart,
    OneWorkerPerTask,
    RolesOfTheSettings,
    OutgoingStreams,
    IncomingCopies,
    VisibleIsComplete,
    DoneIsDurable,
    LegalEdges,
    NothingLost,
    WithinLimit,
    PlainPaths,
    Bounded,
    TimeOutsAreReal,
    OwnTasksOnly,
    NoFlapping,
    NextToGo,
    OnlyWhatMayBeCopied,
    Pauses,
    LeftAlone,
    NoneForOurDeletes,
    HitsAsLogged,
    NotWhileWritten,
    FreshCopiesStay,
    SwitchedOff,
    SameStorage,
    SamePlanTwice,
    EvictionPays,
    RoomForOneFile,
)

SICK_ONLY: tuple[type[Invariant], ...] = (SurplusFirst,)
"""Rules that are held in sick worlds only.  Elsewhere a fault may keep a surplus copy from its plan for a
while."""
