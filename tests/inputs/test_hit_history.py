"""Sizes, hits and places; what is unreliable costs nothing else."""

from __future__ import annotations

import pytest

from cfm.inputs.hit_history import read_hit_history

HEADER = b"historyheader:1524047082\n"
MAX = 2**63 - 1


def entries(*lines: str) -> dict[str, tuple[int, int, list[str]]]:
    data = HEADER + "".join(line + "\n" for line in lines).encode()
    return {name: (size, hits, ips) for name, size, hits, ips in read_hit_history([data]).frame.rows()}


def skipped(*lines: str) -> dict[str, int]:
    return dict(read_hit_history([HEADER + "".join(line + "\n" for line in lines).encode()]).skipped)


def test_the_example_of_the_format() -> None:
    line = "CCCC_K2018.mpg,1508301143,6399785,920910664,125.144.97.70 125.159.40.3,2,0,0,1=1 2"
    assert entries(line) == {"CCCC_K2018.mpg": (920910664, 3, ["125.144.97.70", "125.159.40.3"])}


def test_no_server_no_hits_and_the_same_server_twice() -> None:
    got = entries("a,0,0,5,", "b,0,0,5,1.1.1.1 1.1.1.1  2.2.2.2 ,2", "c,0,0,5,,2,0,0,1=")
    assert got == {"a": (5, 0, []), "b": (5, 0, ["1.1.1.1", "2.2.2.2"]), "c": (5, 0, [])}


def test_fewer_than_five_columns_do_not_count() -> None:
    assert skipped("a,0,0,5", "a", "a,0,0,5,") == {"too_few_columns": 2}


@pytest.mark.parametrize(
    "size", ["0", "-1", "+5", "", "x", " 5", "1e3", "1.0", str(MAX + 1), "9" * 400, "５"]
)
def test_sizes_that_are_none(size: str) -> None:
    assert skipped(f"a,0,0,{size},,,,,1=1") == {"bad_size": 1}


@pytest.mark.parametrize("size", ["1", "007", str(MAX)])
def test_sizes(size: str) -> None:
    assert entries(f"a,0,0,{size},") == {"a": (int(size), 0, [])}


@pytest.mark.parametrize(
    ("hits", "total"),
    [
        ("1=1 2 3", 6),
        ("1=", 0),
        ("no hits", 0),
        ("1=x 2 -3 +4 5.0", 2),
        ("1=1  2 ", 3),
        ("1=4294967296 1", 4294967297),
        (f"1={MAX}", MAX),
        (f"1={MAX} {MAX}", MAX),
        (f"1={MAX + 1} 7", 7),
        ("1=" + "9" * 5000, 0),
        ("1=1=2", 0),
    ],
)
def test_hits_are_summed_in_64_bits_and_bad_ones_count_0(hits: str, total: int) -> None:
    assert entries(f"a,0,0,5,,2,0,0,{hits}", "b,0,0,5,,2,0,0,1=1 1") == {"a": (5, total, []), "b": (5, 2, [])}


def test_a_name_listed_twice() -> None:
    lines = (
        "a,0,0,5,1.1.1.1,0,0,0,1=3",
        "b,0,0,5,",
        "a,0,0,5,2.2.2.2 1.1.1.1,0,0,0,1=9",
        "b,0,0,6,",
        "b,0,0,x,",
    )
    assert entries(*lines) == {"a": (5, 9, ["1.1.1.1", "2.2.2.2"])}
    assert skipped(*lines) == {"duplicate_name": 1, "sizes_differ": 2, "bad_size": 1}


def test_a_line_of_the_wrong_size_does_not_cost_the_good_one() -> None:
    assert entries("a,0,0,0,", "a,0,0,5,") == {"a": (5, 0, [])}


def test_garbage_between_good_lines() -> None:
    data = (
        HEADER
        + b"a,0,0,5,\r\n\xff,0,0,5,\n"
        + b"y" * 70_000
        + b"\nb\0,0,0,5,\n\nc,0,0,5,,\0\nd,0,0,5,,0,0,0,1=1,2,3\ne,0"
    )
    reading = read_hit_history([data])
    assert [row[:3] for row in reading.frame.rows()] == [("a", 5, 0), ("d", 5, 1)]
    assert reading.skipped == {"not_text": 3, "too_long": 1, "torn_last_line": 1}


@pytest.mark.parametrize(
    "data", [b"", b"a,0,0,5,\n", b"historyheader,0,0,5,\n", b"filename\n", b"historyheader:1"]
)
def test_without_header_nothing_is_read(data: bytes) -> None:
    assert not read_hit_history([data + b""]).has_header
