"""What must never happen, each rule a class with its number and its scope; `ALL` is their table."""

from __future__ import annotations

from cfm_lab.sim.invariants import bounds, copies, deletes, durability, fencing, inputs, tasks
from cfm_lab.sim.invariants.base import Invariant

ALL: tuple[type[Invariant], ...] = (
    deletes.LastCopy,
    deletes.PessimisticCount,
    deletes.OneDeletePerFile,
    deletes.UnknownStaysUnknown,
    durability.DurableBeforeSent,
    fencing.Fencing,
    deletes.FreshMetadata,
    deletes.PaceAndNeed,
    deletes.NeverDeleted,
    deletes.ListedSinceStart,
    tasks.OneWorkerPerTask,
    tasks.OutgoingStreams,
    tasks.IncomingCopies,
    durability.VisibleIsComplete,
    durability.DoneIsDurable,
    tasks.LegalEdges,
    durability.NothingLost,
    copies.WithinLimit,
    fencing.PlainPaths,
    bounds.Bounded,
    tasks.TimeOutsAreReal,
    fencing.OwnTasksOnly,
    copies.NoFlapping,
    copies.NextToGo,
    copies.OnlyWhatMayBeCopied,
    copies.Pauses,
    inputs.HitsAsLogged,
    deletes.SwitchedOff,
    bounds.SamePlanTwice,
)
