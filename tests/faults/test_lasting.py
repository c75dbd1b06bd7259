"""One part of a running node stays broken: it costs its own place, and no other, and the verdict names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfm_lab.testing.cluster import Cluster

pytestmark = pytest.mark.e2e

KB = 1_000
QUICK = {
    "servers": {"heartbeat_interval_sec": 1},
    "runner": {"between_events_run_interval_sec": 1},
}
FEW = 12


def wait_until_all_are_placed(node: Cluster) -> None:
    node.wait_for(lambda: node.placed() == set(node.ranks), "all files to be placed")
    node.wait_at_rest()
    assert node.problems() == []


def blamed(node: Cluster) -> set[str]:
    """The servers that the verdict names because copies fail there.

    A source whose copies failed to one destination alone is named with that destination, as a pair: the other
    destination is doubted less, so the healthy source may have sent everything there before another failure.
    """
    told = node.conditions()
    found = (told[name]["servers"] for name in ("source_in_pause", "pair_in_pause") if name in told)
    return {addr for servers in found for addr in servers}


def test_a_source_without_its_mount_leaves_the_work_to_the_other(tmp_path: Path) -> None:
    empty = tmp_path / "not-mounted"
    empty.mkdir()
    with Cluster(
        tmp_path / "node",
        2,
        2,
        files=16,
        quota_bytes=10_000 * KB,
        copy_speed_bps=3_000_000,  # a third of a second for each file, so that there is work for both
        cfm_keys=QUICK,
    ) as node:
        sick = node.source_addrs[0]
        node.change(node.workers[sick], {"source_dirs": [str(empty)]})
        node.start()
        node.wait_for(lambda: sick in blamed(node), "the source to be named")
        assert node.source_addrs[1] not in blamed(node)
        wait_until_all_are_placed(node)
        assert node.status()["totals"].get("failed_copies", 0) <= FEW


def test_a_worker_that_never_asks_for_work_does_not_hold_the_only_source(tmp_path: Path) -> None:
    """The stand-in for an earlier cfw answers all that it is asked, and polls once an hour."""
    with Cluster(
        tmp_path / "node",
        1,
        3,
        files=40,
        quota_bytes=10_000 * KB,
        old=frozenset({"127.0.2.1"}),
        old_arguments=("--poll", "3600"),
        cfm_keys=QUICK,
    ) as node:
        node.start()
        wait_until_all_are_placed(node)
        assert node.visible(node.destination_addrs[0]) == set()


STANDS_STILL_S = 180
"""A copy that brings no byte is ended after two minutes."""


def test_a_destination_that_hangs_in_its_downloads_costs_the_only_source_one_copy(tmp_path: Path) -> None:
    """It takes its task, and no byte comes.  After its pause it has one trial, and that is all it gets."""
    hanging = tmp_path / "hang.sh"
    hanging.write_text("#!/bin/sh\nexec sleep 3600\n")
    hanging.chmod(0o755)
    with Cluster(tmp_path / "node", 1, 3, files=40, quota_bytes=10_000 * KB, cfm_keys=QUICK) as node:
        sick = node.destination_addrs[0]
        node.change(node.workers[sick], {"downloader_bin": str(hanging)})
        node.start()
        node.wait_for(
            lambda: "destination_in_pause" in node.conditions(), "it to be named", within_s=STANDS_STILL_S
        )
        assert node.conditions()["destination_in_pause"]["servers"] == [sick]
        node.wait_for(lambda: node.placed() == set(node.ranks), "all files to be placed")
        assert node.visible(sick) == set()
        assert node.status()["totals"].get("failed_copies", 0) <= 2
