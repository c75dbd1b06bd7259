"""The life of one download as a table: (state, event) → state.

Each change of a download's state is a row of this table and of no other place.  The book in `downloads` turns
what it hears into these events, asks the table for the next state, and gives the instruction that belongs to
the state that it enters.  A test compares the table with `docs/download-life.md`.

An event that a state does not know is a mistake in the worker: it raises `UnknownEventError` and changes
nothing.  Where an event may come late and then means nothing, the state knows it and stays.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class DownloadState(enum.StrEnum):
    NEW = "new"
    """The worker has just heard of the task."""
    OFFERED = "offered"
    """The task is being written down.  cfm waits for our `working`."""
    ASSIGNED = "assigned"
    """The task is being written down.  cfm counts it as ours already, because we asked for it."""
    CLAIMING = "claiming"
    """We have reported `working`.  cfm has not confirmed it yet."""
    COPYING = "copying"
    """The transfer runs, and bytes are still to come."""
    VERIFYING = "verifying"
    """The transfer runs.  All bytes are here, and the source is free."""
    PUBLISHING = "publishing"
    """The file is complete, and becomes durable and visible."""
    STOPPING = "stopping"
    """The transfer was told to stop.  cfm must still be told how the task ended."""
    CANCELLING = "cancelling"
    """The transfer was told to stop, because cfm ended the task."""
    CLEANING = "cleaning"
    """What was received is being removed.  cfm must still be told how the task ended."""
    DROPPING = "dropping"
    """What was received is being removed, because cfm ended the task."""
    REPORTING = "reporting"
    """How the task ended is written down, and is reported until cfm answers."""
    FORGOTTEN = "forgotten"
    """The worker keeps nothing of the task any more."""


class DownloadEvent(enum.StrEnum):
    OFFER = "offer"
    """cfm offered a task that the worker may begin."""
    ASSIGNMENT = "assignment"
    """cfm offered such a task, and counts it as ours from our question on."""
    BAD_OFFER = "bad offer"
    """cfm offered a task that the worker must not begin."""
    INTERRUPTED = "interrupted"
    """The worker was restarted while the task was not over."""
    RECALLED = "recalled"
    """The worker was restarted after the task had ended.  cfm had not answered yet."""
    HELD = "held"
    """The task is written down."""
    HELD_LATE = "held late"
    """The task is written down, but its lease has ended meanwhile."""
    NOT_HELD = "not held"
    """The task cannot be written down."""
    CONFIRMED = "confirmed"
    """cfm answered `working` with 200: the task is ours."""
    ENDED_BY_CFM = "ended by cfm"
    """cfm answered `working` with 404 or 409: the task is not ours, or not any more."""
    REJECTED = "rejected"
    """cfm answered `working` with another status that will not change."""
    ACKNOWLEDGED = "acknowledged"
    """cfm answered the final report."""
    ALL_RECEIVED = "all received"
    """The transfer has all bytes."""
    COMPLETED = "completed"
    """The transfer ended with a complete file."""
    FAILED = "failed"
    """The transfer ended without a complete file, or because it was told to stop."""
    PUBLISHED = "published"
    """The file is durable and visible."""
    NOT_PUBLISHED = "not published"
    """The file could not be made durable and visible."""
    CLEANED = "cleaned"
    """Nothing of the download is left on the disk."""
    LEASE_ENDED = "lease ended"
    """cfm has not confirmed the task in time."""
    WORKER_STOPS = "worker stops"
    """The program is about to end."""


_S, _E = DownloadState, DownloadEvent

DOWNLOAD_LIFE: Final[Mapping[DownloadState, Mapping[DownloadEvent, DownloadState]]] = {
    _S.NEW: {
        _E.OFFER: _S.OFFERED,
        _E.ASSIGNMENT: _S.ASSIGNED,
        _E.BAD_OFFER: _S.REPORTING,
        _E.INTERRUPTED: _S.CLEANING,
        _E.RECALLED: _S.REPORTING,
    },
    _S.OFFERED: {
        _E.HELD: _S.CLAIMING,
        _E.NOT_HELD: _S.FORGOTTEN,
        _E.WORKER_STOPS: _S.REPORTING,
    },
    _S.ASSIGNED: {
        _E.HELD: _S.COPYING,
        _E.HELD_LATE: _S.REPORTING,
        _E.NOT_HELD: _S.REPORTING,
        _E.WORKER_STOPS: _S.REPORTING,
    },
    _S.CLAIMING: {
        _E.CONFIRMED: _S.COPYING,
        _E.ENDED_BY_CFM: _S.FORGOTTEN,
        _E.REJECTED: _S.FORGOTTEN,
        _E.LEASE_ENDED: _S.REPORTING,
        _E.WORKER_STOPS: _S.REPORTING,
    },
    _S.COPYING: {
        _E.ALL_RECEIVED: _S.VERIFYING,
        _E.COMPLETED: _S.PUBLISHING,
        _E.FAILED: _S.CLEANING,
        _E.ENDED_BY_CFM: _S.CANCELLING,
        _E.LEASE_ENDED: _S.STOPPING,
        _E.WORKER_STOPS: _S.STOPPING,
        _E.CONFIRMED: _S.COPYING,
        _E.REJECTED: _S.COPYING,
    },
    _S.VERIFYING: {
        _E.COMPLETED: _S.PUBLISHING,
        _E.FAILED: _S.CLEANING,
        _E.ENDED_BY_CFM: _S.CANCELLING,
        _E.LEASE_ENDED: _S.STOPPING,
        _E.WORKER_STOPS: _S.STOPPING,
        _E.ALL_RECEIVED: _S.VERIFYING,
        _E.CONFIRMED: _S.VERIFYING,
        _E.REJECTED: _S.VERIFYING,
    },
    _S.PUBLISHING: {
        _E.PUBLISHED: _S.REPORTING,
        _E.NOT_PUBLISHED: _S.CLEANING,
        _E.CONFIRMED: _S.PUBLISHING,
        _E.ENDED_BY_CFM: _S.PUBLISHING,  # the file is complete: let it become visible, then say so
        _E.REJECTED: _S.PUBLISHING,
        _E.WORKER_STOPS: _S.PUBLISHING,
    },
    _S.STOPPING: {
        _E.COMPLETED: _S.CLEANING,
        _E.FAILED: _S.CLEANING,
        _E.ALL_RECEIVED: _S.STOPPING,
        _E.CONFIRMED: _S.STOPPING,
        _E.ENDED_BY_CFM: _S.STOPPING,
        _E.REJECTED: _S.STOPPING,
        _E.WORKER_STOPS: _S.STOPPING,
    },
    _S.CANCELLING: {
        _E.COMPLETED: _S.DROPPING,
        _E.FAILED: _S.DROPPING,
        _E.ALL_RECEIVED: _S.CANCELLING,
        _E.WORKER_STOPS: _S.CANCELLING,
    },
    _S.CLEANING: {
        _E.CLEANED: _S.REPORTING,
        _E.CONFIRMED: _S.CLEANING,
        _E.ENDED_BY_CFM: _S.CLEANING,
        _E.REJECTED: _S.CLEANING,
        _E.WORKER_STOPS: _S.CLEANING,
    },
    _S.DROPPING: {
        _E.CLEANED: _S.FORGOTTEN,
        _E.WORKER_STOPS: _S.DROPPING,
    },
    _S.REPORTING: {
        _E.ACKNOWLEDGED: _S.FORGOTTEN,
        _E.CONFIRMED: _S.REPORTING,
        _E.ENDED_BY_CFM: _S.REPORTING,
        _E.REJECTED: _S.REPORTING,
        _E.WORKER_STOPS: _S.REPORTING,
    },
    _S.FORGOTTEN: {},
}


class UnknownEventError(Exception):
    """The state does not know this event.  It is a mistake in the worker; nothing was changed."""


def next_state(state: DownloadState, event: DownloadEvent) -> DownloadState:
    """The state after `event`.

    Raises:
        UnknownEventError: the table has no such row.
    """
    found = DOWNLOAD_LIFE[state].get(event)
    if found is None:
        raise UnknownEventError(f"a download that is {state} knows no event {event!r}")
    return found


def knows(state: DownloadState, event: DownloadEvent) -> bool:
    """Does the table have a row for this event in this state?"""
    return event in DOWNLOAD_LIFE[state]
