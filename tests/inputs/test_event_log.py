"""Lines of the load balancer's log, and the window over them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.inputs.event_log import Hit, HitWindow, Skipped, parse_line, times_in
from cfm.model import Hits, Now

IP = "125.159.40.3"
LINE = (
    b"0x40ffff,1,1527951607,Server %s Selected for Client StreamID : 609d8714-096a-475e-994c-135deea7177f, "
    b"ClientID : 0, GLB IP : 125.159.40.5's file(%s) Request"
)
SAMPLE = Path(__file__).parents[1] / "data" / "EventLog[20180602].log"
T0 = 1_527_951_000


def now(after_s: float = 0, *, wall_s: float | None = None) -> Now:
    """So long after the start; by the wall clock as well, where nothing else is said."""
    return Now(5_000_000 + int(after_s * 1000), int((T0 + after_s if wall_s is None else wall_s) * 1000))


def hit(at_s: int, name: str = "a", *, ours: bool = True) -> Hit:
    return Hit(name, T0 + at_s, ours)


def window(base: int = 1, term_s: int = 600) -> HitWindow:
    return HitWindow(term_s, base, now())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LINE % (b"125.159.40.3", b"MZ3I5008SGL1500001_K20180602222428.mpg"), True),
        (LINE % (b"125.159.40.39", b"MZ3I5008SGL1500001_K20180602222428.mpg"), False),
        (LINE % (b"25.159.40.3", b"MZ3I5008SGL1500001_K20180602222428.mpg"), False),
        (
            (LINE % (b"125.159.40.3", b"MZ3I5008SGL1500001_K20180602222428.mpg")).replace(
                b" ClientID : 0,", b""
            ),
            True,
        ),
    ],
)
def test_a_hit(line: bytes, expected: bool) -> None:
    assert parse_line(line, IP) == Hit("MZ3I5008SGL1500001_K20180602222428.mpg", 1527951607, expected)
    assert parse_line(line + b"\r", IP) == parse_line(line, IP)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", None),
        (b" \r", None),
        (b"0x40ffff,4,1527951609,File Not Found, UUID : 1, GLB IP : 125.159.40.5, NAME.mpg", None),
        (b"0x10ffff,1,2,something else", None),
        (b"0x40ffff,1", Skipped.GARBLED),
        (b",", Skipped.GARBLED),
        (b"Server 125.159.40.3 Selected file(a)", Skipped.GARBLED),
        (b"0x40ffff,1,notatime,Server 125.159.40.3 Selected", Skipped.BAD_TIME),
        (b"0x40ffff,1,1527952010,Server 125.159.40.3 Selected for Cli", Skipped.BAD_NAME),
        (b"0x40ffff,1,1527952010,Server 125.159.40.3 Sel", None),
        (LINE % (b"125.159.40.3", b"a b"), Skipped.BAD_NAME),
        (LINE % (b"125.159.40.3", b"../a"), Skipped.BAD_NAME),
        (LINE % (b"125.159.40.3", b".a"), Skipped.BAD_NAME),
        (LINE % (b"125.159.40.3", b"a" * 256), Skipped.BAD_NAME),
        (LINE % (b"125.159.40.3", b"a") + b"\0", Skipped.NOT_TEXT),
        (LINE % (b"125.159.40.3", b"a") + b"\xff", Skipped.NOT_TEXT),
        (LINE % (b"125.159.40.3", b"a") + b"x" * 70_000, Skipped.TOO_LONG),
    ],
)
def test_no_hit(line: bytes, expected: Skipped | None) -> None:
    assert parse_line(line, IP) is expected


@given(st.binary(max_size=60), st.integers(0, 160))
def test_garbage_never_raises(garbage: bytes, at: int) -> None:
    line = LINE % (b"125.159.40.3", b"a.mpg")
    for made in (garbage, line[:at] + garbage, line[:at] + garbage + line[at:], b"0x40ffff," + garbage):
        parsed = parse_line(made.replace(b"\n", b""), IP)
        assert parsed is None or isinstance(parsed, Hit | Skipped)


def test_times_of_a_block() -> None:
    assert list(times_in(SAMPLE.read_bytes()[30:]))[:2] == [1527951608, 1527951609]


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


def test_the_sample_counted_with_other_tools() -> None:
    seen = HitWindow(600, 5, Now(0, 1_527_952_010_000))
    skipped: Counter[Skipped] = Counter()
    for line in SAMPLE.read_bytes().split(b"\n")[:-1]:
        parsed = parse_line(line, IP)
        if isinstance(parsed, Hit):
            seen.add(parsed, Now(0, 1_527_952_010_000))
        elif parsed:
            skipped[parsed] += 1
    text = SAMPLE.read_text(errors="replace")
    hits = seen.hits(Now(0, 1_527_952_010_000))
    for name, count in hits.rising.items():
        lines = [
            line for line in text.splitlines() if f"Server {IP} Selected" in line and f"file({name})" in line
        ]
        assert len(lines) == count
    assert hits.rising["M33F5F00SGL0800014_K20180215211748.mpg"] == 76
    assert len(hits.watched) == 6
    assert skipped == {Skipped.GARBLED: 2, Skipped.BAD_TIME: 1}
