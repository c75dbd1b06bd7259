"""Full disks on which something is wrong that does not heal: the rest of the node does not suffer from it.

The same worlds are in `tests/controller/test_other_sizes.py` and `test_room.py`, for days of virtual time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cfm_lab.testing.cluster import Cluster

pytestmark = pytest.mark.e2e

KB = 1_000
BACK_S = 10.0
"""How long a healthy node takes at most until a disk is back at its limit."""


def overfull(folder: Path, resized: int) -> Cluster:
    """A disk at 95 %, with a limit of 90; so many of the least wanted files have other sizes on the SAN."""
    node = Cluster(folder, 1, 1, files=95, file_bytes=10 * KB, quota_bytes=1_000 * KB)
    node.place(node.destination_addrs[0], node.ranks)
    for name in node.ranks[95 - resized :]:
        node.put_on_san(name, 10 * KB + 12)
    return node


@pytest.mark.parametrize("resized", [0, 40])
def test_a_disk_over_its_limit_is_back_at_once_whatever_sizes_its_worst_files_have(
    tmp_path: Path, resized: int
) -> None:
    with overfull(tmp_path, resized) as node:
        (addr,) = node.destination_addrs
        node.start().wait_for(lambda: len(node.visible(addr)) == 90, "the disk at its limit", BACK_S)
        gone = set(node.ranks) - node.visible(addr)
        assert gone == set(node.ranks[90 - resized : 95 - resized])
        if resized:
            node.wait_for(lambda: "other_size" in node.conditions(), "the verdict to tell of them")
            told = node.conditions()["other_size"]
            assert told["files"] == resized
            assert "the SAN has 10.0 kB" not in told["text"], "sizes that read alike are told in bytes"
            assert "the SAN has 10,012 B, the history says 10,000 B" in told["text"]
            why = node.run_json("why", node.ranks[94])
            assert why["on_san"] is False
            assert why["delete"][0]["reason"] == "other_size"
        log = (node.cfm.folder / "log" / "cfm.log").read_text()
        assert "delete dropped" not in log


@pytest.mark.quick
def test_ten_small_files_are_placed_behind_twenty_for_which_no_disk_can_make_room(tmp_path: Path) -> None:
    node = Cluster(tmp_path, 1, 1, files=9, file_bytes=100 * KB, quota_bytes=1_000 * KB)
    held = list(node.ranks)
    (addr,) = node.destination_addrs
    node.place(addr, held)
    (node.shelf(addr) / "STRANGE.mpg").write_bytes(bytes(30 * KB))
    sizes = {f"LARGE{i:02}_K2026.mpg": 880 * KB for i in range(20)}
    sizes |= {f"SMALL{i:02}_K2026.mpg": 40 * KB for i in range(10)}
    sizes |= dict.fromkeys(held, 100 * KB)
    for name, size_bytes in sizes.items():
        if name not in held:
            node.put_on_san(name, size_bytes)
    ranks = [name for name in sizes if name not in held] + [f"ELSEWHERE{i}.mpg" for i in range(900)] + held
    node.write_metadata(ranks, sizes)
    with node:
        small = {name for name in sizes if name.startswith("SMALL")}
        node.start().wait_for(lambda: small <= node.visible(addr), "the small files to be placed", 30.0)
        assert not any(name.startswith("LARGE") for name in node.visible(addr))
