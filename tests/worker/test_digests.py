"""Checksums that streams leave behind."""

from __future__ import annotations

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from cfm.worker.act.digests import Digest, Digests, etag_of, repr_digest, wants_digest
from cfm.worker.decide.disk_entries import Entry, EntryKind

DATA = bytes(range(256)) * 8


def entry(*, size: int = 1, mtime: int = 1, inode: int = 1) -> Entry:
    return Entry("a.mpg", EntryKind.FILE, size, size, mtime, inode, 1)


def feed(digest: Digest, start: int, stop: int) -> None:
    digest.feed(start, memoryview(DATA)[start:stop])


@given(st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA)))))
def test_pieces_in_any_order_give_the_right_digest_or_none(pieces: list[tuple[int, int]]) -> None:
    digest = Digest(len(DATA))
    for one, other in pieces:
        feed(digest, min(one, other), max(one, other))
    assert digest.known in (None, xxhash.xxh3_128_digest(DATA))
    feed(digest, digest.position, len(DATA))
    assert digest.known == xxhash.xxh3_128_digest(DATA)


def test_of_an_empty_file_is_known() -> None:
    assert Digest(0).known == xxhash.xxh3_128_digest(b"")


def test_a_gap_is_not_filled_by_what_comes_after() -> None:
    digest = Digest(len(DATA))
    feed(digest, 0, 100)
    feed(digest, 200, len(DATA))
    assert (digest.position, digest.known) == (100, None)


def test_only_the_last_files_are_remembered() -> None:
    digests = Digests(2)
    first = digests.of(entry(inode=1))
    second = digests.of(entry(inode=2))
    assert digests.of(entry(inode=1)) is first
    digests.of(entry(inode=3))
    assert digests.of(entry(inode=1)) is first
    assert digests.of(entry(inode=2)) is not second


def test_every_version_has_an_etag_of_its_own() -> None:
    versions = [entry(), entry(size=2), entry(mtime=2), entry(inode=2)]
    assert len({etag_of(version) for version in versions}) == 4


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, False),
        ("xxh3-128=1", True),
        ("sha-256=3, xxh3-128=10", True),
        ("xxh3-128=0", False),
        ("xxh3-1280=1", False),
        ("sha-256=1", False),
        (",,=", False),
    ],
)
def test_who_wants_ours(header: str | None, wanted: bool) -> None:
    assert wants_digest(header) == wanted


def test_the_header_is_base64_of_the_big_endian_digest() -> None:
    number = xxhash.xxh3_128_intdigest(b"")
    assert repr_digest(number.to_bytes(16, "big")) == repr_digest(xxhash.xxh3_128_digest(b""))
    assert repr_digest(bytes(16)) == "xxh3-128=:AAAAAAAAAAAAAAAAAAAAAA==:"
