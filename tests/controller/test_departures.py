"""Whatever the readings of a disk are, files go to and fro because of them at most once in their time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cfm.controller.decide.departures import SURE_MS, DepartureBook
from cfm.model import Addr, File
from cfm.plan.view import Departure
from cfm.revision import Revision

DISK = Addr("127.0.2.1:1"), "disk"
AWAY_MS = 5 * SURE_MS
NAMES = ("A.mpg", "B.mpg", "C.mpg")

steps = st.lists(
    st.tuples(
        st.sampled_from((1_000, 60_000, SURE_MS // 2, SURE_MS)),
        st.integers(0, 5),
        st.frozensets(st.sampled_from(NAMES), max_size=2),
    ),
    min_size=5,
    max_size=60,
)
"""How long nothing happens, what the next reading allows, and which files go after it."""


@given(steps)
def test_a_file_comes_back_early_where_all_readings_allow_it_and_once_in_its_time(
    steps: list[tuple[int, int, frozenset[str]]],
) -> None:
    book, now_ms = DepartureBook(Revision()), 0
    readings: list[tuple[int, int]] = []
    early_ms: dict[str, int] = {}
    went: dict[str, tuple[int, int]] = {}
    for wait_ms, allowed_bytes, go in steps:
        now_ms += wait_ms
        book.forget_old(now_ms - AWAY_MS)
        readings.append((now_ms, allowed_bytes))
        before = dict(book.left)
        back = book.allowed(DISK, allowed_bytes, now_ms) if book.waits_at(DISK) else 0
        returned = before.keys() - book.left.keys()
        assert len(returned) == back
        for name in returned:
            went_ms, back_at_bytes = went[name]
            shown = [(at_ms, figure) for at_ms, figure in readings if at_ms > went_ms]
            least = [figure for at_ms, figure in shown if at_ms >= _last_before(shown, now_ms - SURE_MS)]
            assert min(least) >= back_at_bytes
            assert now_ms - early_ms.get(name, -AWAY_MS) >= AWAY_MS
            early_ms[name] = now_ms
        for name in go:
            went[name] = now_ms, allowed_bytes + 1
            book.put(name, Departure(now_ms, File(name, 1, 1)), DISK, allowed_bytes + 1)


def _last_before(shown: list[tuple[int, int]], at_ms: int) -> int:
    """The last reading that is so old: there must be one."""
    return max(ms for ms, _figure in shown if ms <= at_ms)
