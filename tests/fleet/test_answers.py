"""A worker's answers: what may be relied on is read, all else is a named failure, and nothing raises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm import wire
from cfm.fleet.answers import (
    copy_seen,
    features_from_headers,
    no_list,
    parse_df,
    parse_listing,
    wrong_status,
)
from cfm.model import (
    OLD_WORKER,
    CopySeen,
    DiskReport,
    DiskUsage,
    Failure,
    Listing,
    Transfer,
    Trouble,
    WorkerFeatures,
)
from cfm.names import is_file_name

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(is_file_name)
SIZES = st.integers(0, 2**50)
USAGES = st.builds(
    lambda used, avail, reserved: DiskUsage(used + avail + reserved + 1, used, avail), SIZES, SIZES, SIZES
)


def body_of(names: list[str]) -> bytes:
    return "".join(name + "\n" for name in names).encode()


@given(st.lists(NAMES, unique=True))
def test_a_list_is_read_as_it_was_written(names: list[str]) -> None:
    assert parse_listing(body_of(names)) == Listing(frozenset(names))


@given(st.lists(NAMES, min_size=1, unique=True), st.data())
def test_a_list_cut_anywhere_within_a_line_is_no_list(names: list[str], data: st.DataObject) -> None:
    body = body_of(names)
    cut = body[: data.draw(st.integers(1, len(body) - 1))]
    if not cut.endswith(b"\n"):
        listing = parse_listing(cut)
        assert isinstance(listing, Failure)
        assert listing.trouble is Trouble.BROKEN


def test_an_empty_list_is_a_list() -> None:
    assert parse_listing(b"") == Listing(frozenset())


def test_odd_lines_are_counted_and_are_no_files() -> None:
    body = b"a.mpg\n\n.hidden\nb/c\n\xff\nx\x1b[1m\nd e.mpg\n" + b"n" * 300 + b"\n"
    listing = parse_listing(body, {"Cfw-Disk": "d1"})
    assert listing == Listing(frozenset({"a.mpg", "d e.mpg"}), "d1", odd_lines=6)


@given(USAGES, st.none() | st.integers(1, 100), st.from_regex(r"[!-~]{0,20}", fullmatch=True))
def test_usage_is_read_as_it_was_written(usage: DiskUsage, limit: int | None, disk_id: str) -> None:
    body = wire.to_json(wire.df_to_json(usage, limit_percent=limit, disk_id=disk_id, arriving_bytes=3))
    assert parse_df(body) == DiskReport(usage, limit, disk_id, min(3, usage.used_bytes))


@given(st.integers(1, 2**50), st.data())
def test_what_btrfs_calls_available_never_counts_for_more_than_is_free(
    total: int, data: st.DataObject
) -> None:
    used, avail = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    report = parse_df(df(total_size=str(total), used_size=str(used), avail_size=str(avail)))
    assert report == DiskReport(DiskUsage(total, used, min(avail, total - used)))


def test_limit_and_disk_id_may_come_in_headers() -> None:
    body = wire.to_json(wire.df_to_json(DiskUsage(10, 5, 5)))
    report = parse_df(body, {"cfw-limit-percent": "80", "CFW-DISK": "d1"})
    assert report == DiskReport(DiskUsage(10, 5, 5), 80, "d1")


def df(**changed: object) -> bytes:
    good: dict[str, object] = {
        "total_size": "1000",
        "used_size": "400",
        "avail_size": "500",
        "used_percent": 44,
        "free_size": "600",
    }
    return json.dumps({**good, **changed}).encode()


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        (df(total_size="0", used_size="0", avail_size="0"), Trouble.ABSURD),
        (df(used_size="1001"), Trouble.ABSURD),
        (df(avail_size="1001"), Trouble.ABSURD),
        (df(used_percent=101), Trouble.ABSURD),
        (df(used_percent=-1), Trouble.ABSURD),
        (df(used_size="-1"), Trouble.MALFORMED),
        (df(used_size=400), Trouble.MALFORMED),
        (df(used_size=None), Trouble.MALFORMED),
        (df(used_size="4e2"), Trouble.MALFORMED),
        (df(used_size="9" * 30), Trouble.MALFORMED),
        (df(limit_percent=0), Trouble.MALFORMED),
        (df(limit_percent=101), Trouble.MALFORMED),
        (df(limit_percent="90"), Trouble.MALFORMED),
        (df(limit_percent=True), Trouble.MALFORMED),
        (df(disk_id=7), Trouble.MALFORMED),
        (b"{}", Trouble.MALFORMED),
        (b"[]", Trouble.MALFORMED),
        (b"", Trouble.MALFORMED),
        (b"\xff", Trouble.MALFORMED),
        (b'{"total_size":"1","total_size":"2"}', Trouble.MALFORMED),
    ],
)
def test_impossible_disks_are_failures(body: bytes, trouble: Trouble) -> None:
    report = parse_df(body)
    assert isinstance(report, Failure)
    assert report.trouble is trouble


HEADERS = st.dictionaries(
    st.sampled_from(
        [wire.VERSION, wire.BOOT, wire.DISK, wire.TRANSFER, wire.SERVES, wire.DOWNLOADS, wire.LIMIT_PERCENT]
    ),
    st.text(max_size=20),
)


@given(st.binary(), HEADERS, st.integers(0, 999))
def test_nothing_raises(body: bytes, headers: dict[str, str], status: int) -> None:
    assert isinstance(parse_listing(body, headers), Listing | Failure)
    assert isinstance(parse_df(body, headers), DiskReport | Failure)
    assert isinstance(copy_seen(status, headers), CopySeen | Failure)
    assert isinstance(features_from_headers(headers), WorkerFeatures)


def test_an_old_worker_says_nothing_of_itself() -> None:
    assert features_from_headers({"Server": "x", "Content-Length": "0"}) == OLD_WORKER


def test_a_refusal_has_the_workers_own_reason_on_one_line() -> None:
    told = wire.reason_to_header("cannot list base_dir: /data\u2028 is not there\n(ENOENT)")
    assert no_list(500, told).detail == "answered 500: cannot list base_dir: /data? is not there?(ENOENT)"
    assert no_list(500, {}).detail == "answered 500: it cannot read its base_dir"
    assert wrong_status(500, {wire.REASON: "%0a%ff"}).detail == "answered 500: ?\ufffd"
    assert wrong_status(401, {}).detail == "answered 401: it wants credentials that this cfm does not have"


@pytest.mark.parametrize(
    ("date", "clock_s"),
    [("Sat, 02 Jun 2018 15:00:00 GMT", 1_527_951_600), ("", None), ("yesterday", None), ("0", None)],
)
def test_a_worker_says_what_its_clock_shows(date: str, clock_s: int | None) -> None:
    assert features_from_headers({"Date": date}).clock_s == clock_s


def test_a_worker_of_ours_says_what_it_is() -> None:
    headers = {
        "cfw-version": "1.2",
        "Cfw-Boot": "b1",
        "Cfw-Disk": "d1",
        "Cfw-Transfer": "builtin",
        "Cfw-Serves": "true",
        "Cfw-Downloads": "3",
    }
    assert features_from_headers(headers) == WorkerFeatures(
        ours=True,
        version="1.2",
        transfer=Transfer.BUILTIN,
        serves=True,
        downloads=3,
        boot_id="b1",
        disk_id="d1",
    )


OURS = {"Cfw-Version": "1"}


@pytest.mark.parametrize(
    ("status", "headers", "seen"),
    [
        (200, {**OURS, "Content-Length": "7", "Cfw-Where": "base"}, CopySeen(present=True, size_bytes=7)),
        (
            200,
            {**OURS, "Content-Length": "7", "Cfw-Disk": "d1"},
            CopySeen(present=True, size_bytes=7, disk_id="d1"),
        ),
        (404, OURS, CopySeen(present=False)),
    ],
)
def test_a_copy_is_seen_or_not(status: int, headers: dict[str, str], seen: CopySeen) -> None:
    assert copy_seen(status, headers) == seen


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Content-Length": "7"}),
        (404, {}),
        (500, OURS),
        (200, OURS),
        (200, {**OURS, "Content-Length": "-7"}),
        (200, {**OURS, "Content-Length": "7", "Cfw-Where": "source"}),
    ],
)
def test_other_answers_are_no_answers(status: int, headers: dict[str, str]) -> None:
    assert isinstance(copy_seen(status, headers), Failure)
