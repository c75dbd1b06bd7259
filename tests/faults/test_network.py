"""Networks that lose, delay, cut, repeat and corrupt, between all programs of a node.

Each row is one kind of fault on one path; all are told by the same story.  `HERE` is the way from cfm to a
destination, `SOURCE` that from cfm and the destinations to the source, `CFM` that from the workers to cfm.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from _pytest.mark import ParameterSet

from cfm_lab.testing.fault_proxy import Effect, FaultProxy, ProxyFault, Way, lost_answer
from faults.story import Story, hold

pytestmark = pytest.mark.e2e

HERE, THERE, SOURCE, CFM = "127.0.2.1", "127.0.2.2", "127.0.1.1", "127.0.0.1"
"""Surplus copies go from HERE, and are confirmed THERE."""
DELETE, LIST, DISK, CONFIRM = b"DELETE /files/", b"GET /files ", b"GET /df ", b"HEAD /content/"
PULSE, CONTENT, DIGEST = b"HEAD /hb ", b"GET /content/", b"HEAD /content/"
OFFER, REPORT, WORKING, DONE = b"GET /tasks/next", b"PATCH /tasks/", b'"working"', b'"done"'
IN_BODY = 340
"""So far are lists and disk usages beyond their heads."""
WRONG_DIGEST = b"xxh3-128=:AAAAAAAAAAAAAAAAAAAAAA==:\r\nX-Was: xxh3-128=:"
LENGTH = b"Content-Length: 100000\r\n"


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    path: str
    fault: ProxyFault
    strikes: int = 1
    """How often it must have struck before it is cleared."""
    lasts_s: float = 0.0
    """How long it lasts beyond that."""
    quick: bool = False


def rows(*rows: Row) -> list[ParameterSet]:
    return [
        pytest.param(row, id=row.name.replace(" ", "-"), marks=[pytest.mark.quick] if row.quick else [])
        for row in rows
    ]


ORDERS = [
    Row("answer to a delete lost", HERE, lost_answer(DELETE, times=1), quick=True),
    Row("answers to three deletes lost", HERE, lost_answer(DELETE, times=3)),
    Row(
        "answer to a delete comes too late", HERE, ProxyFault(Effect.DELAY, when=DELETE, seconds=2.5, times=1)
    ),
    Row("answer to a delete never comes", HERE, ProxyFault(Effect.HOLE, when=DELETE, times=1), lasts_s=2),
    Row("delete never arrives", HERE, ProxyFault(Effect.HOLE, Way.TO_SERVER, DELETE, times=1), lasts_s=2),
    Row("delete arrives late", HERE, ProxyFault(Effect.DELAY, Way.TO_SERVER, DELETE, seconds=2.5, times=1)),
    Row("delete cut in the middle", HERE, ProxyFault(Effect.RESET, Way.TO_SERVER, DELETE, 25, times=1)),
    Row("delete arrives twice", HERE, ProxyFault(Effect.REPEAT, Way.TO_SERVER, DELETE)),
    Row("confirmation lost", THERE, lost_answer(CONFIRM, times=2)),
    Row("confirmation too late", THERE, ProxyFault(Effect.DELAY, when=CONFIRM, seconds=2.5, times=1)),
]
LOOKS = [
    Row(
        "list reset in the middle", HERE, ProxyFault(Effect.RESET, when=LIST, after_bytes=IN_BODY, times=2), 2
    ),
    Row("list ends early", HERE, ProxyFault(Effect.CUT, when=LIST, after_bytes=IN_BODY, times=2), 2),
    Row(
        "list at a byte a second", HERE, ProxyFault(Effect.TRICKLE, when=LIST, seconds=1, times=1), lasts_s=3
    ),
    Row(
        "list with a Content-Length of its first two lines",
        HERE,
        ProxyFault(
            Effect.REPLACE, when=LIST, find=b"Content-Length: ", put=b"Content-Length: 39\r\nX: ", times=1
        ),
    ),
    Row(
        "list with another name",
        HERE,
        ProxyFault(Effect.REPLACE, when=LIST, find=b"FILE0003", put=b"FILE9003"),
    ),
    Row("disk usage torn", HERE, ProxyFault(Effect.CUT, when=DISK, after_bytes=IN_BODY, times=2), 2),
    Row(
        "disk usage absurd",
        HERE,
        ProxyFault(Effect.REPLACE, when=DISK, find=b'"used_size":"', put=b'"used_size":"99', times=2),
    ),
    Row("disk usage is no JSON", HERE, ProxyFault(Effect.CORRUPT, when=DISK, after_bytes=IN_BODY, times=2)),
    Row(
        "questions at a byte a second",
        HERE,
        ProxyFault(Effect.TRICKLE, Way.TO_SERVER, DISK, seconds=1, times=2),
        lasts_s=3,
    ),
    Row("heartbeats lost", HERE, ProxyFault(Effect.HOLE, when=PULSE, times=3), strikes=3),
]
COPIES = [
    Row("content reset", SOURCE, ProxyFault(Effect.RESET, when=CONTENT, after_bytes=30_000, times=3), 3),
    Row("content ends early", SOURCE, ProxyFault(Effect.CUT, when=CONTENT, after_bytes=30_000, times=3), 3),
    Row(
        "content corrupted",
        SOURCE,
        ProxyFault(Effect.CORRUPT, when=CONTENT, after_bytes=30_000, times=1),
    ),
    Row(
        "content with a short Content-Length",
        SOURCE,
        ProxyFault(Effect.REPLACE, when=CONTENT, find=LENGTH, put=b"Content-Length: 99999\r\n", times=1),
    ),
    Row(
        "content with a long Content-Length",
        SOURCE,
        ProxyFault(Effect.REPLACE, when=CONTENT, find=LENGTH, put=b"Content-Length: 100001\r\n", times=1),
    ),
    Row("content stops", SOURCE, ProxyFault(Effect.HOLE, when=CONTENT, after_bytes=30_000, times=1)),
    Row(
        "content at a byte a second",
        SOURCE,
        ProxyFault(Effect.TRICKLE, when=CONTENT, after_bytes=30_000, seconds=1, times=1),
    ),
    Row("checksum lost", SOURCE, lost_answer(DIGEST, times=2), 2),
    Row(
        "checksum of another file",
        SOURCE,
        ProxyFault(Effect.REPLACE, when=DIGEST, find=b"xxh3-128=:", put=WRONG_DIGEST, times=1),
    ),
]
REPORTS = [
    Row("answer to done lost", CFM, lost_answer(DONE, times=3), 3),
    Row("done never arrives", CFM, ProxyFault(Effect.HOLE, Way.TO_SERVER, DONE, times=1), lasts_s=2),
    Row("done arrives late", CFM, ProxyFault(Effect.DELAY, Way.TO_SERVER, DONE, seconds=3, times=2), 2),
    Row("answer to working lost", CFM, lost_answer(WORKING, times=3), 3),
    Row("reports arrive twice", CFM, ProxyFault(Effect.REPEAT, Way.TO_SERVER, REPORT)),
    Row("offers lost", CFM, lost_answer(OFFER, times=4), 4),
    Row(
        "offers of a file elsewhere",
        CFM,
        ProxyFault(Effect.REPLACE, when=OFFER, find=b'"file_name":"', put=b'"file_name":"../', times=4),
    ),
]


@pytest.mark.parametrize("row", rows(*ORDERS, *LOOKS, *COPIES, *REPORTS))
def test_one_request_goes_wrong(proxied: Story, row: Row) -> None:
    proxy = proxied.proxies[row.path]
    proxy.set(row.fault)
    proxied.begin()
    proxied.wait(lambda: proxy.struck >= row.strikes, f"{row.name} to happen")
    hold(row.lasts_s)
    proxy.set()
    proxied.settle()


LONG_S = 5.0
BEYOND_THE_LEASE_S = 16.0
CUTS = [
    Row("destination in a black hole", HERE, ProxyFault(Effect.HOLE, Way.BOTH), lasts_s=LONG_S),
    Row("only answers of a destination lost", HERE, ProxyFault(Effect.HOLE), lasts_s=LONG_S),
    Row("source in a black hole", SOURCE, ProxyFault(Effect.HOLE, Way.BOTH), lasts_s=LONG_S),
    Row("cfm in a black hole", CFM, ProxyFault(Effect.HOLE, Way.BOTH), lasts_s=LONG_S),
    Row("cfm away longer than a lease", CFM, ProxyFault(Effect.HOLE, Way.BOTH), lasts_s=BEYOND_THE_LEASE_S),
]


@pytest.mark.parametrize("row", rows(*CUTS))
def test_nothing_passes_for_a_while(proxied: Story, row: Row) -> None:
    proxied.begin().until_copying()
    proxy = proxied.proxies[row.path]
    proxy.set(row.fault)
    proxied.wait(lambda: proxy.struck >= 1, "the first loss")
    hold(row.lasts_s)
    proxy.clear()
    proxied.settle()


@pytest.mark.parametrize("path", [HERE, SOURCE, CFM])
def test_half_open_connections(proxied: Story, path: str) -> None:
    proxied.begin().until_copying()
    proxied.proxies[path].forget_open()
    hold(LONG_S)
    proxied.proxies[path].clear()
    proxied.settle()


@pytest.mark.parametrize("path", [HERE, SOURCE, CFM])
def test_connections_refused(proxied: Story, path: str) -> None:
    proxied.begin().until_copying()
    proxied.proxies[path].refuse()
    hold(LONG_S)
    proxied.proxies[path].clear()
    proxied.settle()


def test_everything_takes_a_third_of_a_second(proxied: Story) -> None:
    for proxy in proxied.proxies.values():
        proxy.set(ProxyFault(Effect.DELAY, Way.BOTH, seconds=0.15))
    proxied.begin().settle()


def test_cut_off_one_by_one_and_rejoined_in_another_order(proxied: Story) -> None:
    proxied.begin().until_copying()
    paths = [HERE, SOURCE, THERE, CFM]
    cut: list[FaultProxy] = [proxied.proxies[path] for path in paths]
    for proxy in cut:
        proxy.set(ProxyFault(Effect.HOLE, Way.BOTH))
        hold(1)
    for place in (2, 0, 3, 1):
        hold(1)
        cut[place].clear()
    proxied.settle()
