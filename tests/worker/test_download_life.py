"""The table of a download's life: its page is the table, and it leads every download to its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cfm.worker.decide.download_life import (
    DOWNLOAD_LIFE,
    DownloadEvent,
    DownloadState,
    UnknownEventError,
    next_state,
)
from life_pages import explained

PAGE = Path(__file__).parents[2] / "docs" / "download-life.md"


def changes() -> str:
    rows = (
        f"| {state} | {event} | {then} |"
        for state, row in DOWNLOAD_LIFE.items()
        for event, then in row.items()
        if then is not state
    )
    return "\n".join(("| state | event | next state |", "|---|---|---|", *rows))


def stays() -> str:
    known = ((state, [event for event in row if row[event] is state]) for state, row in DOWNLOAD_LIFE.items())
    rows = (f"| {state} | {', '.join(events)} |" for state, events in known if events)
    return "\n".join(("| state | events |", "|---|---|", *rows))


@pytest.mark.parametrize(
    "part",
    [explained(DownloadState, "state"), explained(DownloadEvent, "event"), changes(), stays()],
    ids=["states", "events", "changes", "what changes nothing"],
)
def test_the_page_is_the_table(part: str) -> None:
    assert part in PAGE.read_text()


@pytest.mark.parametrize("state", DownloadState)
@pytest.mark.parametrize("event", DownloadEvent)
def test_an_event_that_a_state_does_not_know_is_an_error(state: DownloadState, event: DownloadEvent) -> None:
    if event in DOWNLOAD_LIFE[state]:
        assert next_state(state, event) is DOWNLOAD_LIFE[state][event]
    else:
        with pytest.raises(UnknownEventError):
            next_state(state, event)


def reached_from(state: DownloadState) -> set[DownloadState]:
    """All states that may come after `state`, itself included."""
    found, new = {state}, [state]
    while new:
        more = set(DOWNLOAD_LIFE[new.pop()].values()) - found
        found |= more
        new += more
    return found


def test_every_state_is_reached_and_leads_to_the_end() -> None:
    assert reached_from(DownloadState.NEW) == set(DownloadState)
    assert all(DownloadState.FORGOTTEN in reached_from(state) for state in DownloadState)


def test_no_event_is_without_a_row() -> None:
    assert {event for row in DOWNLOAD_LIFE.values() for event in row} == set(DownloadEvent)


def ways(state: DownloadState, before: tuple[DownloadState, ...] = ()) -> Iterator[tuple[DownloadState, ...]]:
    """Every way from `state` to the end that comes to no state twice."""
    here = (*before, state)
    if state is DownloadState.FORGOTTEN:
        yield here
    for then in set(DOWNLOAD_LIFE[state].values()) - set(here):
        yield from ways(then, here)


def test_what_the_table_promises_on_every_way() -> None:
    for way in ways(DownloadState.NEW):
        if DownloadState.COPYING in way:
            assert way.index(DownloadState.COPYING) > 1, "nothing is copied before it is written down"
        if DownloadState.PUBLISHING in way:
            assert DownloadState.COPYING in way, "nothing becomes visible that was not copied"
            assert DownloadState.REPORTING in way, "cfm hears of all that may be visible"
        stopped = {DownloadState.STOPPING, DownloadState.CANCELLING} & set(way)
        cleaned = {DownloadState.CLEANING, DownloadState.DROPPING} & set(way)
        assert not stopped or cleaned, "what was stopped is removed"
