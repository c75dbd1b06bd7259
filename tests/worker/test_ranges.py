"""Which bytes a request asks for: the standard's examples, and what must bounce."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.worker.decide.ranges import FilePart, part_wanted

ETAG = '"1-2-3"'


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, FilePart(0, 100, partial=False)),
        ("bytes=0-", FilePart(0, 100)),
        ("bytes=0-0", FilePart(0, 1)),
        ("bytes=10-19", FilePart(10, 20)),
        ("bytes=99-", FilePart(99, 100)),
        ("bytes=90-1000", FilePart(90, 100)),
        ("bytes=90-" + "9" * 30, FilePart(90, 100)),
        ("bytes=-1", FilePart(99, 100)),
        ("bytes=-1000", FilePart(0, 100)),
        ("Bytes= 5-6 ", FilePart(5, 7)),
        ("lines=1-2", FilePart(0, 100, partial=False)),
        ("bytes=100-", None),
        ("bytes=-0", None),
        ("bytes=-", None),
        ("bytes=20-10", None),
        ("bytes=" + "9" * 30 + "-", None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("bytes=0-1,5-6", None),
        ("bytes=" + ",".join("0-1" for _ in range(10_000)), None),
        ("bytes=٠-٩", None),
        ("bytes=1-2x", None),
        ("bytes=0x1-2", None),
        ("bytes=1_0-20", None),
        ("bytes=+1-2", None),
        ("bytes", None),
        ("", None),
    ],
)
def test_of_a_file_of_a_hundred_bytes(header: str | None, part: FilePart | None) -> None:
    assert part_wanted(header, None, ETAG, 100) == part


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_an_empty_file_has_no_range(header: str) -> None:
    assert part_wanted(header, None, ETAG, 0) is None
    assert part_wanted(None, None, ETAG, 0) == FilePart(0, 0, partial=False)


@pytest.mark.parametrize(
    ("condition", "partial"),
    [(ETAG, True), ('"other"', False), (f"W/{ETAG}", False), ("Sat, 02 Jun 2018 22:00:07 GMT", False)],
)
def test_a_range_of_another_version_is_the_whole(condition: str, partial: bool) -> None:
    part = part_wanted("bytes=10-19", condition, ETAG, 100)
    assert part == (FilePart(10, 20) if partial else FilePart(0, 100, partial=False))


@given(st.text(max_size=60), st.integers(0, 10**12))
def test_no_text_leads_out_of_the_file(text: str, size: int) -> None:
    for header in (text, f"bytes={text}"):
        part = part_wanted(header, None, ETAG, size)
        assert part is None or 0 <= part.start <= part.stop <= size


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_good_range_is_what_it_says(first: int, last: int, size: int) -> None:
    part = part_wanted(f"bytes={first}-{last}", None, ETAG, size)
    if first <= last and first < size:
        assert part == FilePart(first, min(last + 1, size))
    else:
        assert part is None
