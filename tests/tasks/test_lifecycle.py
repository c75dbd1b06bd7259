"""The two tables: which changes there are, and that nothing else changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.model import OrderStatus, Status
from cfm.tasks.lifecycle import ORDER_EDGES, TASK_EDGES, IllegalChangeError, advance, is_final

TASK_TABLE = {
    "ready": "working done failed timed_out cancelled",
    "working": "done failed timed_out cancelled",
    "done": "",
    "failed": "",
    "timed_out": "",
    "cancelled": "",
}
ORDER_TABLE = {
    "ordered": "sent dropped",
    "sent": "confirmed unknown",
    "unknown": "confirmed dropped",
    "confirmed": "",
    "dropped": "",
}


S = TypeVar("S", Status, OrderStatus)


def spelled(edges: Mapping[S, frozenset[S]]) -> dict[str, set[str]]:
    return {str(old): {str(new) for new in news} for old, news in edges.items()}


def test_the_tables_are_these() -> None:
    assert spelled(TASK_EDGES) == {old: set(news.split()) for old, news in TASK_TABLE.items()}
    assert spelled(ORDER_EDGES) == {old: set(news.split()) for old, news in ORDER_TABLE.items()}


def test_every_state_has_a_row_and_can_be_reached() -> None:
    assert TASK_EDGES.keys() == set(Status)
    assert ORDER_EDGES.keys() == set(OrderStatus)
    assert set().union(*TASK_EDGES.values()) == set(Status) - {Status.READY}
    assert set().union(*ORDER_EDGES.values()) == set(OrderStatus) - {OrderStatus.ORDERED}


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_only_edges_of_the_table_are_taken(old: Status, new: Status) -> None:
    if new in TASK_EDGES[old]:
        assert advance(TASK_EDGES, old, new) is new
    else:
        with pytest.raises(IllegalChangeError, match=f"{old} does not become {new}"):
            advance(TASK_EDGES, old, new)


@given(st.lists(st.sampled_from(Status), max_size=12))
def test_a_life_ends_once_and_a_failure_never_becomes_done(wishes: list[Status]) -> None:
    life = [Status.READY]
    for wish in wishes:
        try:
            life.append(advance(TASK_EDGES, life[-1], wish))
        except IllegalChangeError:
            continue
    finals = [status for status in life if is_final(TASK_EDGES, status)]
    assert finals in ([], [life[-1]])
    assert life.count(Status.READY) == 1


def test_what_was_sent_is_never_dropped_without_a_look() -> None:
    """A lost answer may hide that it was carried out."""
    assert OrderStatus.DROPPED not in ORDER_EDGES[OrderStatus.SENT]
    assert OrderStatus.SENT not in ORDER_EDGES[OrderStatus.UNKNOWN]
