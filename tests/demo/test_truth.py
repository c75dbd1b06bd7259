"""The checker finds what is wrong, and nothing where all is well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cfm.demo.truth import BACK_FOR_S, TOLD_WITHIN_S, CopyPlace, DiskLook, DiskLooks, Truth, digest_of, look
from cfm.model import Addr

A, B = Addr("127.0.2.1:1"), Addr("127.0.2.2:1")
NAMES = ("x", "y", "z", "AD_1")


def at(a: str = "", b: str = "", arriving: int = 0) -> DiskLooks:
    """Files of 10 bytes each on two disks."""
    return {
        A: DiskLook(dict.fromkeys(a.split(), 10), arriving),
        B: DiskLook(dict.fromkeys(b.split(), 10), 0),
    }


def told(event: str, name: str, server: Addr, kind: str = "") -> dict[str, Any]:
    return {"event": event, "file": name, "server": server, "kind": kind}


def deleted(name: str, server: Addr, kind: str = "space") -> dict[str, Any]:
    return told("deleted file", name, server, kind)


def status(*sources: str, rising: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "transfers": [{"source": source, "received": False} for source in sources],
        "rising": [{"file": name} for name in rising],
    }


@pytest.fixture
def truth() -> Truth:
    return Truth(
        quotas={A: 100, B: 100},
        limit_percent=90,
        digests=dict.fromkeys(NAMES, "good"),
        sizes=dict.fromkeys(NAMES, 10),
    )


def begin(truth: Truth, disks: DiskLooks) -> None:
    truth.begin(disks)
    truth.saw(disks, 0)


# ── all is well ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_good_day(truth: Truth) -> None:
    begin(truth, at("x", "x"))
    assert truth.saw(at("x y", "x"), 1) == [CopyPlace(A, "y")]
    truth.read(CopyPlace(A, "y"), "good")
    truth.told(told("copied file", "y", A), 1.1)
    truth.told(deleted("x", B, "surplus"), 1.2)
    truth.saw(at("x y", ""), 1.5)
    truth.saw(at("y", ""), 2)
    truth.told(deleted("x", A), 2.1)
    truth.saw(at("y", ""), 20)
    assert not truth.violations
    assert (truth.files_delivered, truth.bytes_delivered, truth.files_deleted) == (1, 10, 2)
    assert truth.surplus_copies() == 0
    assert truth.over_limit_servers() == 0


def test_what_a_server_brings_back_is_surplus_and_no_fault(truth: Truth) -> None:
    begin(truth, at("x", ""))
    truth.died(A)
    truth.saw(at("x", "x"), 5)
    truth.told(told("copied file", "x", B), 5)
    truth.came_back(A, 6)
    assert truth.surplus_copies() == 1
    truth.told(deleted("x", A, "surplus"), 7)
    truth.saw(at("", "x"), 7)
    truth.saw(at("", "x"), 20)
    assert not truth.violations


# ── faults ──────────────────────────────────────────────────────────────────────────────────────────────


def test_wrong_bytes_and_wrong_size(truth: Truth) -> None:
    begin(truth, at())
    truth.saw({**at(), A: DiskLook({"x": 9}, 0)}, 1)
    truth.read(CopyPlace(A, "x"), "bad")
    assert len(truth.violations) == 2


def test_a_last_copy_deleted_as_surplus(truth: Truth) -> None:
    begin(truth, at("x"))
    truth.saw(at(), 1)
    truth.told(deleted("x", A, "surplus"), 1)
    assert "last copy" in truth.violations[0]


def test_a_file_that_vanishes_without_a_word(truth: Truth) -> None:
    begin(truth, at("x"))
    truth.saw(at(), 1)
    assert not truth.violations
    truth.saw(at(), 1 + TOLD_WITHIN_S + 0.1)
    assert "cfm reported no delete" in truth.violations[0]


def test_a_copy_that_was_told_and_is_not_there(truth: Truth) -> None:
    begin(truth, at())
    truth.told(told("copied file", "x", A), 1)
    truth.saw(at(), 2 + TOLD_WITHIN_S)
    assert "not there" in truth.violations[0]


def test_a_second_copy_of_what_a_server_holds(truth: Truth) -> None:
    begin(truth, at("x"))
    truth.saw(at("x", "x"), BACK_FOR_S + 1)
    truth.saw(at("x", "x"), BACK_FOR_S + 1.2)
    truth.told(told("copied file", "x", B), BACK_FOR_S + 1.3)
    assert "but 127.0.2.1:1 holds it" in truth.violations[0]


def test_a_disk_filled_above_its_limit(truth: Truth) -> None:
    begin(truth, at("x", arriving=85))
    assert truth.over_limit_servers() == 1
    truth.saw(at("x", arriving=85), 1)
    assert not truth.violations  # it was found like this
    truth.saw(at("x", arriving=86), 2)
    assert "above its limit" in truth.violations[0]


def test_an_ad_deleted(truth: Truth) -> None:
    begin(truth, at("AD_1"))
    truth.saw(at(), 1)
    assert "the ad AD_1" in truth.violations[0]


def test_two_streams_from_one_source(truth: Truth) -> None:
    begin(truth, at())
    truth.status(status("s1", "s2"))
    assert not truth.violations
    truth.status(status("s1", "s1"))
    assert "s1 sends 2" in truth.violations[0]


def test_a_rising_file_deleted_for_space(truth: Truth) -> None:
    begin(truth, at("x", "y"))
    truth.status(status(rising=("x",)))
    truth.status(status(rising=("x",)))
    truth.told(deleted("x", A), 1)
    assert "while it rises" in truth.violations[0]


def test_a_file_whose_hits_had_just_fallen_may_go(truth: Truth) -> None:
    """The last statuses still call it rising; cfm said that it is not, before it deleted it."""
    begin(truth, at("x", "y"))
    truth.status(status(rising=("x", "y")))
    truth.status(status(rising=("x", "y")))
    truth.told({"event": "file stopped rising", "file": "x"}, 1)
    truth.told(deleted("x", A), 1)
    assert not truth.violations
    truth.told(deleted("y", A), 1)
    assert "y was deleted" in truth.violations[0]


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_look_sees_plain_visible_files_and_what_arrives(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1234")
    (tmp_path / ".cfw-id").write_bytes(b"id")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    (tmp_path / "temp.downloaded").mkdir()
    (tmp_path / "temp.downloaded" / "y.1").write_bytes(b"123")
    seen = look({A: tmp_path, B: tmp_path / "gone"})
    assert seen == {A: DiskLook({"x": 4}, 3), B: DiskLook({}, 0)}
    assert seen[A].used_bytes == 7
    assert digest_of(tmp_path / "gone") is None
    assert digest_of(tmp_path / "x") != digest_of(tmp_path / ".cfw-id")
