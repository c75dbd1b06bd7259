"""The window over the hits: each counted once, by whichever clock the log has."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.inputs.event_log import Hit, Skipped, parse_line
from cfm.inputs.hit_window import TWICE_FROM, HitWindow
from cfm.model import Hits, Now

IP = "125.159.40.3"
SAMPLE = Path(__file__).parents[1] / "data" / "EventLog[20180602].log"
T0 = 1_527_951_000


def now(after_s: float = 0, *, wall_s: float | None = None) -> Now:
    """So long after the start; by the wall clock as well, where nothing else is said."""
    return Now(5_000_000 + int(after_s * 1000), int((T0 + after_s if wall_s is None else wall_s) * 1000))


def hit(at_s: int, name: str = "a", *, ours: bool = True) -> Hit:
    return Hit(name, T0 + at_s, ours)


def window(base: int = 1, term_s: int = 600) -> HitWindow:
    return HitWindow(term_s, base, now())


def test_rising_at_our_server_watched_at_others() -> None:
    seen = window(base=2)
    for some in (
        hit(0),
        hit(0, "b"),
        hit(1),
        hit(2, "b", ours=False),
        hit(2, "c", ours=False),
        hit(3, "c", ours=False),
    ):
        assert seen.add(some, now()) is None
    assert seen.hits(now()) == Hits({"a": 2}, frozenset({"c"}))


def test_the_same_answer_is_the_same_object() -> None:
    seen = window(base=2)
    seen.add(hit(0), now())
    seen.add(hit(0), now())
    first = seen.hits(now())
    seen.add(hit(0, "b"), now())
    assert seen.hits(now(1)) is first
    seen.add(hit(1), now(1))
    assert seen.hits(now(1)) == Hits({"a": 3})


def test_the_window_ends_at_the_newest_event_carried_on_by_the_monotonic_clock() -> None:
    seen = window()
    seen.add(hit(-300), now())
    assert seen.last_s == T0 - 300
    assert seen.hits(now(599)).rising == {"a": 1}
    assert seen.hits(now(600)).rising == {}


def test_a_newer_event_moves_the_window() -> None:
    seen = window(term_s=60)
    seen.add(hit(-50), now())
    seen.add(hit(9, "b"), now())
    assert set(seen.hits(now()).rising) == {"a", "b"}
    seen.add(hit(10, "c"), now())
    assert set(seen.hits(now()).rising) == {"b", "c"}


def test_old_events_at_the_start_are_expired_by_the_wall_clock() -> None:
    seen = window()
    assert seen.add(hit(-600), now()) is None
    assert seen.hits(now()) == Hits()
    assert seen.oldest_s(now()) == T0 - 599
    seen.add(hit(-599), now())
    assert seen.hits(now()).rising == {"a": 1}


def test_lines_from_the_future_do_not_count_and_do_not_move_the_window() -> None:
    seen = window()
    seen.add(hit(0), now())
    assert seen.add(hit(61, "b"), now()) is Skipped.AHEAD
    assert seen.add(hit(10**9, "b"), now()) is Skipped.AHEAD
    for step in range(40, 400, 20):  # each a little ahead of the last one: no way to run away
        seen.add(hit(step, "c"), now())
    assert seen.last_s == T0 + 60
    assert seen.hits(now()).rising["a"] == 1


@pytest.mark.parametrize("jump_s", [86_400, -86_400])
def test_a_jump_of_the_wall_clock_changes_nothing(jump_s: int) -> None:
    seen, same = window(), window()
    for second in range(0, 1200, 5):
        seen.add(hit(second, f"f{second % 7}"), now(second, wall_s=T0 + second + jump_s))
        same.add(hit(second, f"f{second % 7}"), now(second))
        assert seen.hits(now(second, wall_s=T0 + jump_s)) == same.hits(now(second))


@pytest.mark.parametrize("jump_s", [7200, -7200])
def test_when_all_clocks_jump_hits_count_again_after_a_minute_and_older_ones_keep_their_age(
    jump_s: int,
) -> None:
    """As after a suspended machine, whose monotonic clock stood still."""
    seen = window()
    seen.add(hit(0), now())
    assert seen.add(hit(30 + jump_s, "b"), now(30, wall_s=T0 + 30 + jump_s)) in {Skipped.AHEAD, None}
    assert seen.hits(now(59)).rising == {"a": 1}
    seen.add(hit(60 + jump_s, "b"), now(60, wall_s=T0 + 60 + jump_s))
    seen.add(hit(61 + jump_s, "b"), now(61, wall_s=T0 + 61 + jump_s))
    assert seen.hits(now(61)).rising == {"a": 1, "b": 2}
    assert seen.last_s == T0 + 61 + jump_s
    assert seen.hits(now(600)).rising == {"b": 2}


steps = st.lists(
    st.tuples(st.integers(0, 40), st.integers(-90, 70), st.sampled_from("abc"), st.booleans()), max_size=60
)


@given(steps)
def test_the_window_against_counting_anew(made: list[tuple[int, int, str, bool]]) -> None:
    """In whichever order hits come: those within a minute of the newest count; the window never goes back."""
    seen, counted, clock_s, start_s = window(base=2, term_s=60), list[Hit](), 0, -60
    newest: tuple[int, int] | None = None
    for wait_s, offset_s, name, ours in made:
        clock_s += wait_s
        at_s = clock_s + offset_s
        end_s = newest[0] + clock_s - newest[1] if newest else clock_s
        start_s = max(start_s, end_s - 60)
        if at_s <= start_s and abs(offset_s) <= 60:
            return  # old for the window, but right by the wall clock: may be believed after a minute
        if start_s < at_s <= clock_s + 60:
            counted.append(hit(at_s, name, ours=ours))
            newest = (at_s, clock_s) if newest is None or at_s > end_s else newest
        assert seen.hits(now(clock_s)) is seen.hits(now(clock_s))
        seen.add(hit(at_s, name, ours=ours), now(clock_s))
        start_s = max(start_s, newest[0] + clock_s - newest[1] - 60 if newest else start_s)
        totals = Counter((one.name, one.ours) for one in counted if one.at_s > T0 + start_s)
        rising = {name: count for (name, at_ours), count in totals.items() if at_ours and count >= 2}
        watched = frozenset(name for (name, at_ours), count in totals.items() if not at_ours and count >= 2)
        assert seen.hits(now(clock_s)) == Hits(rising, watched)


def counted_with_other_tools(text: str) -> Counter[str]:
    """Hits by file at our server: one for each stream, second and file."""
    pattern = rf"^[^,]*,[^,]*,(\d+),Server {re.escape(IP)} Selected.* StreamID : (\S+),.*file\((.*)\)"
    return Counter(name for _at, _stream, name in set(re.findall(pattern, text, re.MULTILINE)))


def test_the_sample_counted_with_other_tools() -> None:
    seen = HitWindow(600, 5, Now(0, 1_527_952_010_000))
    skipped: Counter[Skipped] = Counter()
    for line in SAMPLE.read_bytes().split(b"\n")[:-1]:
        parsed = parse_line(line, IP)
        if isinstance(parsed, Hit):
            parsed = seen.add(parsed, Now(0, 1_527_952_010_000))
        if parsed:
            skipped[parsed] += 1
    counted = counted_with_other_tools(SAMPLE.read_text(errors="replace"))
    hits = seen.hits(Now(0, 1_527_952_010_000))
    assert hits.rising == {name: count for name, count in counted.items() if count >= 5}
    assert hits.rising["M33F5F00SGL0800014_K20180215211748.mpg"] == 76
    assert len(hits.watched) == 6
    assert skipped == {Skipped.GARBLED: 2, Skipped.BAD_TIME: 1, Skipped.REPEATED: 8}


# ── each hit once ───────────────────────────────────────────────────────────────────────────────────────


def stream(number: int, at_s: int = 0, name: str = "a", *, ours: bool = True) -> Hit:
    return Hit(name, T0 + at_s, ours, b"%d" % number)


def test_a_hit_counts_once_by_its_stream_time_and_file() -> None:
    """A log that was restored, rewritten or read again made files rise."""
    seen = window()
    for _again in range(3):
        for number in range(4):
            seen.add(stream(number), now())
    assert seen.hits(now()).rising == {"a": 4}
    assert seen.add(stream(0), now()) is Skipped.REPEATED
    assert seen.add(stream(0, name="b"), now()) is None
    assert seen.add(stream(0, 1), now(1)) is None
    assert seen.hits(now(1)).rising == {"a": 5, "b": 1}


def test_a_hit_without_a_stream_counts_each_time() -> None:
    seen = window()
    for _again in range(3):
        assert seen.add(hit(0), now()) is None
    assert seen.hits(now()).rising == {"a": 3}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-50, 0), st.sampled_from("abc")), max_size=40))
def test_reading_everything_again_changes_nothing(made: list[tuple[int, int, str]]) -> None:
    once, twice = window(base=2), window(base=2)
    hits = [stream(number, at_s, name) for number, at_s, name in made]
    for one in hits:
        once.add(one, now())
    for one in (*hits, *hits):
        twice.add(one, now())
    assert once.hits(now()) == twice.hits(now())


def test_what_is_remembered_of_streams_goes_with_the_window() -> None:
    seen = window(term_s=60)
    for second in range(1_000):
        for number in range(10):
            seen.add(stream(number, second, "abc"[number % 3]), now(second))
        seen.hits(now(second))
    assert seen.remembered <= 60 * (10 + 3)


def test_a_log_that_is_written_twice_is_told_and_one_that_is_read_twice_is_not() -> None:
    seen, told = window(), list[bool]()

    def write(number: int, at_s: int, times: int) -> None:
        for _again in range(times):
            for one in range(number):
                seen.add(stream(one, at_s), now(at_s), live=True)
        told.append(seen.comes_twice)

    write(TWICE_FROM, 0, 1)
    for number in range(TWICE_FROM):
        seen.add(stream(number), now())  # it is read again
    told.append(seen.comes_twice)
    write(TWICE_FROM, 0, 1)
    assert told == [False, False, True]
    write(3 * TWICE_FROM, 300, 1)  # most lines come once
    write(3 * TWICE_FROM, 300, 1)
    assert told[3:] == [False, True]
    assert seen.hits(now(901)) == Hits()
    assert not seen.comes_twice


# ── the log has another clock than we have ──────────────────────────────────────────────────────────────


def live(seen: HitWindow, name: str, at_s: int, offset_s: int) -> Skipped | None:
    """A line that is written now, by a clock so far from ours."""
    return seen.add(hit(at_s + offset_s, name), now(at_s), live=True)


def test_a_log_whose_clock_was_behind_from_the_start() -> None:
    """None of its hits counted, ever: all were older than the window."""
    seen = window(base=3)
    for second in range(-900, 0, 10):  # what it held when we came may as well be old
        seen.add(hit(second - 7200, "old"), now())
    assert seen.hits(now()) == Hits()
    for second in range(3):
        live(seen, "a", second, -7200)
    assert seen.hits(now(3)).rising == {"a": 3}
    assert seen.behind_s == 7200
    assert seen.hits(now(602)).rising == {}


def test_a_log_whose_clock_was_ahead_from_the_start() -> None:
    seen = window(base=3)
    for second in range(20):
        live(seen, "a", second, 7200)
    assert seen.hits(now(20)).rising == {"a": 15}
    assert seen.behind_s == -7200


@pytest.mark.parametrize("offset_s", [-7200, 7200])
def test_a_clock_that_is_set_while_we_follow_is_followed_after_a_minute(offset_s: int) -> None:
    seen = window()
    for second in range(100):
        live(seen, "a", second, 0)
    for second in range(100, 220):
        live(seen, "b", second, offset_s)
    assert seen.hits(now(220)).rising == {"a": 100, "b": 60}
    assert seen.behind_s == -offset_s
    for second in range(220, 240):  # it is set right again: the true time is believed at once
        live(seen, "c", second, 0)
    assert seen.hits(now(240)).rising == {"a": 100, "b": 60, "c": 20}
    assert seen.behind_s == 0
    assert seen.hits(now(698)).rising == {"a": 1, "b": 60, "c": 20}  # they keep their age


def test_old_lines_in_a_burst_are_no_clock() -> None:
    """A copy of an old log, or a buffer that is flushed late."""
    seen = window()
    live(seen, "a", 0, 0)
    for second in range(-20_000, -10_000, 100):
        assert seen.add(hit(second, "old"), now(100), live=True) is None
    for second in range(-20_000, -10_000, 100):
        seen.add(hit(second, "old"), now(170), live=True)
    live(seen, "b", 171, 0)
    assert seen.hits(now(171)).rising == {"a": 1, "b": 1}


def test_single_lines_from_the_future_are_no_clock() -> None:
    seen = window()
    for second in range(0, 600, 100):
        assert live(seen, "x", second, 10**6 + second * 1000) is Skipped.AHEAD
    live(seen, "a", 600, 0)
    assert seen.hits(now(600)).rising == {"a": 1}


def test_one_line_of_an_old_time_does_not_keep_right_ones_out() -> None:
    """Before any other it may be the log's clock; a line that agrees with ours puts that right."""
    seen = window()
    live(seen, "old", 0, -7200)
    live(seen, "a", 1, 0)
    live(seen, "a", 2, 0)
    assert seen.hits(now(2)).rising == {"a": 2, "old": 1}
    assert seen.behind_s == 0


def test_hits_are_counted_for_ever_each_once_here_and_elsewhere() -> None:
    """The window forgets them; what a picture of the day shows does not."""
    now = Now(0, 1_000_000_000)
    window = HitWindow(60, 5, now)
    for stream, ours in ((b"a", True), (b"b", False), (b"b", False), (b"c", False)):
        window.add(Hit("A.mpg", 1_000_000, ours, stream), now)
    later = Now(600_000, 1_600_000_000)
    assert window.hits(later) == Hits()
    assert window.counted == {True: 1, False: 2}
