"""The contract: exact old forms, round trips, and no bytes that could do more than a `WireError`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm import wire
from cfm.model import Addr, DiskUsage, File, Status, Task

INTEGERS = st.integers(0, wire.MAX_INTEGER)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=50)
ADDRS = st.sampled_from([Addr("127.0.1.3:18888"), Addr("vod1.example:80"), Addr("[::1]:8888")])

TASKS = st.builds(
    Task,
    id=INTEGERS,
    status=st.sampled_from(Status),
    created_s=INTEGERS,
    changed_s=INTEGERS,
    file=st.builds(File, name=TEXTS, rank=INTEGERS, size_bytes=INTEGERS),
    path=TEXTS,
    source=ADDRS,
    destination=ADDRS,
    copy_speed_bps=INTEGERS,
    reason=TEXTS,
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def example_task(status: Status = Status.READY) -> Task:
    return Task(
        id=1795396962684063661,
        status=status,
        created_s=1795396962,
        changed_s=1795396962,
        file=File("X.mpg", 1, 5_000_000),
        path="/data2/X.mpg",
        source=Addr("127.0.1.3:18888"),
        destination=Addr("127.0.2.3:18888"),
        copy_speed_bps=10_000_000,
        reason="rank 1",
    )


def test_a_task_on_the_old_list_is_what_was_seen_on_the_old_wire() -> None:
    assert wire.to_json([wire.task_to_old_json(example_task())]) == (
        b'[{"id":"1795396962684063661","ctime":1795396962,"mtime":1795396962,"status":"ready",'
        b'"src_ip":"127.0.1.3","dst_ip":"127.0.2.3","file_path":"/data2/X.mpg","file_name":"X.mpg",'
        b'"grade":1,"copy_speed":"10000000","src_addr":"127.0.1.3:18888","dst_addr":"127.0.2.3:18888"}]'
    )


@pytest.mark.parametrize("status", Status)
def test_the_old_list_knows_four_words_only(status: Status) -> None:
    assert wire.old_status(status) in {"ready", "working", "done", "timeout"}


@given(TASKS, st.integers(1, 3600))
def test_an_offer_is_read_as_it_was_written(task: Task, lease_s: int) -> None:
    offer = wire.parse_offer(wire.parse_json(wire.to_json(wire.offer_to_json(task, lease_s=lease_s))))
    assert (offer.id, offer.file_name, offer.path) == (task.id, task.file.name, task.path)
    assert (offer.source, offer.destination) == (task.source, task.destination)
    assert (offer.copy_speed_bps, offer.rank) == (task.copy_speed_bps, task.file.rank)
    assert (offer.size_bytes, offer.lease_s) == (task.file.size_bytes, lease_s)
    assert wire.old_status(offer.status) == wire.old_status(task.status)


def test_one_unreadable_task_costs_itself_alone() -> None:
    good = wire.task_to_old_json(example_task())
    bad = [{**good, "status": "paused"}, {**good, "id": "x"}, {**good, "copy_speed": True}, 7, None, {}]
    tasks, odd = wire.parse_task_list(json.dumps([*bad, good]).encode())
    assert [task.id for task in tasks] == [1795396962684063661]
    assert odd == len(bad)


def test_an_old_cfm_says_neither_size_nor_lease() -> None:
    offer = wire.parse_offer(wire.task_to_old_json(example_task()))
    assert (offer.size_bytes, offer.lease_s) == (None, None)


REPORTS = st.builds(
    wire.TaskReport,
    status=st.sampled_from([Status.READY, Status.WORKING, Status.DONE, Status.TIMED_OUT]),
    done_bytes=st.none() | INTEGERS,
    received=st.booleans(),
    retry_after_s=st.none() | st.integers(0, wire.MAX_RETRY_AFTER_S),
    verified=st.booleans(),
) | st.builds(wire.TaskReport, status=st.just(Status.FAILED), error=TEXTS.filter(bool))


@given(REPORTS)
def test_a_report_is_read_as_it_was_written(report: wire.TaskReport) -> None:
    assert wire.parse_report(wire.to_json(wire.report_to_json(report))) == report


def test_a_report_without_extras_is_the_old_form() -> None:
    assert wire.to_json(wire.report_to_json(wire.TaskReport(Status.WORKING))) == b'{"status":"working"}'


def test_a_timeout_with_an_error_is_a_failure() -> None:
    assert wire.parse_report(b'{"status":"timeout"}').status is Status.TIMED_OUT
    assert wire.parse_report(b'{"status":"timeout","error":"busy","retry_after_s":5}') == wire.TaskReport(
        Status.FAILED, error="busy", retry_after_s=5
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'"done"',
        b"{'status':'done'}",
        b'{"status":"finished"}',
        b'{"status":null}',
        b'{"status":["done"]}',
        b'{"status":"done","status":"working"}',
        b'{"status":"working","bytes":NaN}',
        b'{"status":"working","bytes":1e400}',
        b'{"status":"working","bytes":-1}',
        b'{"status":"working","bytes":1.5}',
        b'{"status":"working","bytes":true}',
        b'{"status":"working","bytes":9223372036854775808}',
        b'{"status":"working","bytes":' + b"9" * 5000 + b"}",
        b'{"status":"working","received":"yes"}',
        b'{"status":"timeout","error":7}',
        b'{"status":"timeout","error":"\\ud800"}',
        b'{"status":"done\xff"}',
        "\ufeff{}".encode(),
        '{"status":"done"}'.encode("utf-16"),
        b'{"status":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_report_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.parse_report(body)


def test_long_errors_are_cut() -> None:
    body = json.dumps({"status": "timeout", "error": "e" * 50_000}).encode()
    assert len(wire.parse_report(body).error) == wire.MAX_TEXT_CHARS


def test_keys_that_are_not_known_are_ignored() -> None:
    """An earlier worker of ours named its start in each report, and an earlier cfm said more of a task."""
    report = wire.parse_report(b'{"status":"working","bytes":5,"boot_id":"b00t"}')
    assert report == wire.TaskReport(Status.WORKING, done_bytes=5)
    task = wire.offer_to_json(example_task(), lease_s=60)
    assert wire.parse_offer({**task, "src_transfer": "builtin", "reason": "rank 1"}) == wire.parse_offer(task)


T = TypeVar("T")


def complaint(read: Callable[[T], object], given_to_it: T) -> str:
    """The text of the one error that a reader may raise; empty where it could read what it got."""
    try:
        read(given_to_it)
    except wire.WireError as error:
        return str(error)
    return ""


@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_do_more_than_a_wire_error(body: bytes) -> None:
    for read in (wire.parse_json_object, wire.parse_task_list, wire.parse_report):
        assert complaint(read, body).isprintable()


@given(JSON_VALUES)
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert wire.parse_json(wire.to_json(value)) == value


@given(JSON_VALUES)
def test_no_element_does_more_than_a_wire_error(value: object) -> None:
    assert complaint(wire.parse_offer, value).isprintable()


def test_usage_has_the_old_form_first() -> None:
    usage = DiskUsage(270553174016, 32746377216, 76197916672)
    assert wire.to_json(wire.df_to_json(usage)) == (
        b'{"total_size":"270553174016","used_size":"32746377216","avail_size":"76197916672",'
        b'"used_percent":30,"free_size":"237806796800"}'
    )
    more = wire.df_to_json(usage, limit_percent=90, disk_id="d1", arriving_bytes=7)
    assert list(more)[5:] == ["limit_percent", "disk_id", "arriving_size"]
    assert more["arriving_size"] == "7"


def test_a_problem_names_itself() -> None:
    assert wire.HttpProblem(404, "no such file").to_json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no such file",
    }
    assert wire.HttpProblem(799).to_json()["title"] == "Error"


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "1_000", "١٢", "0x10", "9" * 20, "1\n"])
def test_decimals_are_plain_digits(text: str) -> None:
    assert wire.decimal(text) is None
