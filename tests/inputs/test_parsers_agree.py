"""The parsers in columns mean what their twins in plain Python say, on any garbage."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cfm.inputs import reference
from cfm.inputs.grade_file import read_grade_file
from cfm.inputs.hit_history import read_hit_history

DATA = Path(__file__).parents[1] / "data"
MAX = 2**63 - 1

names = st.sampled_from([b"a.mpg", b"b.mpg", b"c#% ?.mpg", "한글.mpg".encode()]) | st.sampled_from(
    [
        b"",
        b".hidden",
        b"..",
        b"a/b",
        b"a\\b",
        b"x\0y",
        b"\xff\xfe",
        b"n" * 256,
        "\u202eg".encode(),
        b'"q',
        b"\r",
        b"\x1b",
    ]
)
numbers = st.integers(0, 9).map(lambda n: str(n).encode()) | st.sampled_from(
    [
        b"",
        b"-1",
        b"+1",
        b"1_0",
        b" 1",
        b"007",
        b"1.0",
        str(MAX).encode(),
        str(MAX + 1).encode(),
        b"9" * 5000,
        "５".encode(),
    ]
)
ips = st.lists(st.sampled_from([b"127.0.2.1", b"127.0.2.2", b"", b"\0", b"x"]), max_size=4).map(b" ".join)
hits = st.lists(numbers, max_size=6).map(b" ".join)
ends = st.sampled_from([b"\n", b"\r\n", b"\n", b"\n \n", b"\r\r\n"])
history_columns = st.tuples(
    names,
    numbers,
    numbers,
    numbers,
    ips,
    numbers,
    numbers,
    numbers,
    st.builds(b"%s=%s".__mod__, st.tuples(numbers, hits)),
)
history_lines = (
    history_columns.map(b",".join)
    | st.tuples(history_columns, st.integers(0, 8)).map(lambda some: b",".join(some[0][: some[1]]))
    | st.builds(lambda columns, more: b",".join((*columns, more)), history_columns, hits)
    | st.tuples(names, numbers).map(lambda some: b"%s,0,0,%s,,0,0,0,1=1 2" % some)
    | st.sampled_from(
        [b"", b" ", b"\xef\xbb\xbfa.mpg,0,0,5,", b"x" * 65_537, b"a.mpg,0,0,7," + b" " * 65_524]
    )
    | st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))
)
grade_lines = (
    st.lists(names | numbers, min_size=1, max_size=4).map(b"\t".join)
    | st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))
    | st.just(b"y" * 70_000)
)


def file_of(headers: st.SearchStrategy[bytes], lines: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    body = st.lists(st.tuples(lines, ends), max_size=8).map(lambda some: b"".join(a + b for a, b in some))
    return st.tuples(headers, ends, body, st.just(b"") | lines).map(b"".join)


grade_files = file_of(
    st.sampled_from([b"filename\tweightcount", b"\xef\xbb\xbfFileName", b"\nfilename", b"x"]), grade_lines
)
histories = file_of(
    st.sampled_from([b"historyheader:1", b"HistoryHeader", b"historyheader,1,2,3,4", b""]), history_lines
)
cuts = st.lists(st.integers(0, 300), max_size=3).map(sorted)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    """The same bytes, as they might be read."""
    edges = [0, *at, max(len(data), 300)]
    return [data[start:end] for start, end in pairwise(edges)]


@settings(max_examples=80, deadline=None)
@given(grade_files, cuts)
@example((DATA / "grade.info").read_bytes(), [100])
def test_grade_file(data: bytes, at: list[int]) -> None:
    fast, plain = read_grade_file(pieces(data, at)), reference.read_grade_file(data)
    assert fast.frame.rows() == [(row.rank, row.name) for row in plain.graded]
    assert (fast.has_header, fast.torn, fast.skipped) == (plain.has_header, plain.torn, plain.skipped)


@settings(max_examples=120, deadline=None)
@given(histories, cuts)
@example((DATA / "hitcount.history").read_bytes(), [100])
@example(b"historyheader:1\na.mpg,0,0,5,,0,0,0,1=" + b" ".join([str(MAX).encode()] * 3) + b"\n", [])
def test_hit_history(data: bytes, at: list[int]) -> None:
    fast, plain = read_hit_history(pieces(data, at)), reference.read_hit_history(data)
    rows = {name: (size, hits, tuple(ips)) for name, size, hits, ips in fast.frame.rows()}
    expected = {name: (entry.size_bytes, entry.hits, entry.ips) for name, entry in plain.history.items()}
    assert rows == expected
    assert (fast.has_header, fast.torn, fast.skipped) == (plain.has_header, plain.torn, plain.skipped)


# Most blocks have no unusual byte, and are read in a faster way.  What is odd in these lines is not a byte.
nearly_plain_names = st.sampled_from(
    [
        b"a.mpg",
        b"b.mpg",
        b"c d.mpg",
        b".hidden",
        b"n" * 255,
        b"n" * 256,
        b'"q',
        b" ",
        b"  ",
        b"-",
        b"t\tt",
        b"s/s",
        b"",
    ]
)
plain_numbers = st.sampled_from([b"0", b"1", b"42", b"+1", b"-1", b"x", b"", b" 7", str(MAX).encode()])
nearly_plain_history = st.builds(
    lambda name, size, ip, hits, more: b"%s,1,2,%s,%s,2,0,0,1=%s%s\n" % (name, size, ip, hits, more),
    nearly_plain_names,
    plain_numbers,
    st.sampled_from([b"", b"1.1.1.1", b"1.1.1.1 2.2.2.2", b"1.1.1.1  1.1.1.1 ", b" "]),
    st.sampled_from([b"1 2 3", b"", b"7", b"x 1"]),
    st.sampled_from([b"", b",more"]),
)
nearly_plain_grade = st.builds(
    lambda name, rest: name + rest + b"\n", nearly_plain_names, st.sampled_from([b"\t1\t2", b"", b"\t"])
)


@settings(max_examples=80, deadline=None)
@given(st.lists(nearly_plain_history, max_size=6))
@example([b"a.mpg,1,2,3,,2,0,0\n", b"b.mpg,1,2,3,,2,0,0,1=1\n"])
@example([b"a.mpg,1,2,3,,2,0,0,1=1\n", b"b.mpg,1,2,3,,2,0,0,1=1" + b" " * 70_000 + b"\n"])
def test_a_history_without_unusual_bytes(lines: list[bytes]) -> None:
    data = b"historyheader:1\n" + b"".join(lines)
    fast, plain = read_hit_history([data]), reference.read_hit_history(data)
    assert fast.skipped == plain.skipped
    rows = {name: (size, hits, tuple(ips)) for name, size, hits, ips in fast.frame.rows()}
    assert rows == {name: (entry.size_bytes, entry.hits, entry.ips) for name, entry in plain.history.items()}


@settings(max_examples=80, deadline=None)
@given(st.lists(nearly_plain_grade, max_size=6))
@example([b"a.mpg\t1\n", b"b.mpg" + b"\t" * 70_000 + b"\n", b"c.mpg\n"])
def test_a_grade_file_without_unusual_bytes(lines: list[bytes]) -> None:
    data = b"filename\tweightcount\n" + b"".join(lines)
    fast, plain = read_grade_file([data]), reference.read_grade_file(data)
    assert fast.skipped == plain.skipped
    assert fast.frame.rows() == [(row.rank, row.name) for row in plain.graded]
