"""How busy the sources are is measured only while there is something for them to do."""

from __future__ import annotations

from typing import Any

from cfm.demo.watching import Busy, due_files

SIZES = {"a": 10, "b": 10, "big": 80}


def status(used: int | None = 50, wanted: tuple[str, ...] = ("a", "b"), **more: Any) -> dict[str, Any]:
    return {
        "servers": [
            {"addr": "s", "role": ["source"], "state": "up", "used_bytes": None},
            {
                "addr": "d",
                "role": ["destination"],
                "state": "up",
                "used_bytes": used,
                "total_bytes": 100,
                "limit_percent": 90,
            },
        ],
        "backlog": {"next": list(wanted)},
        "transfers": [],
        "deletes": [],
        "refusals": {"copy": {}, "delete": {}},
        **more,
    }


def test_what_is_due() -> None:
    assert due_files(status(wanted=("a", "b", "big")), SIZES, ()) == ["a", "b"]
    assert due_files(status(used=85), SIZES, ()) == []
    assert due_files(status(), SIZES, {"a"}) == ["b"]
    copying = [{"file": "a", "source": "s", "destination": "d", "size_bytes": 35}]
    assert due_files(status(transfers=copying), SIZES, ()) == []
    assert due_files(status(used=None), SIZES, ()) == []


def test_only_stretches_with_work_at_both_ends_count() -> None:
    busy = Busy()
    assert busy.fraction is None
    busy.sample(status(), SIZES, 0.0, 10.0)
    busy.sample(status(), SIZES, 0.9, 11.0)
    busy.sample(status(wanted=()), SIZES, 0.9, 20.0)
    busy.sample(status(), SIZES, 0.9, 30.0)
    busy.sample(status(), SIZES, 1.9, 31.0)
    assert busy.fraction == 0.95


def test_files_that_wait_for_a_better_one_are_not_due() -> None:
    busy = Busy()
    for at_s in (1.0, 2.0):
        busy.sample(status(refusals={"copy": {"next_to_go": 1}, "delete": {}}), SIZES, 0.0, at_s)
    assert busy.fraction is None
