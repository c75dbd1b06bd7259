"""The whole system doing its main job, on real processes, files and sockets."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from cfm.plan.refusals import BREAKER
from cfm_lab.testing.cluster import Cluster

pytestmark = pytest.mark.e2e


def test_the_most_wanted_are_placed_and_operators_can_see_why(tmp_path: Path) -> None:
    with Cluster(tmp_path, sources=2, destinations=2, files=24, file_bytes=100_000) as cluster:
        (tmp_path / "san" / "M64AD_K2026.mpg").write_bytes(b"an ad")
        cluster.start()
        cluster.wait_for(lambda: len(cluster.placed()) >= cluster.fitting(), "all that fits to be placed")
        cluster.wait_at_rest()
        assert cluster.placed() == set(cluster.ranks[: cluster.fitting()])
        assert cluster.problems() == []
        copied = [deed.file for deed in cluster.cfm.deeds("copied")]
        assert sorted(copied) == cluster.ranks[: cluster.fitting()], "one log line for each copy"
        assert cluster.cfm.deeds("deleted") == []
        for show in (_plan, _status, _why, _checks):
            show(cluster)


def _plan(cluster: Cluster) -> None:
    """`cfm plan` beside a running cfm: the contract's shape, and nothing to do."""
    plan = cluster.run_json("plan")
    assert {
        "snapshot",
        "servers",
        "copies",
        "deletes",
        "refusals",
        "refusals_total",
        "verdict",
    } <= plan.keys()
    assert plan["snapshot"]["accepted"]
    assert plan["snapshot"]["known_files"] == len(cluster.ranks)
    assert (plan["copies"], plan["deletes"]) == ([], [])
    assert {server["addr"]: server["files"] for server in plan["servers"]}.items() >= {
        (addr, cluster.fitting() // 2) for addr in cluster.destination_addrs
    }
    assert {no["reason"] for no in plan["refusals"] if no["action"] == "copy"} == {"no_room"}
    assert plan["refusals_total"] >= len(cluster.ranks) - cluster.fitting()


def _status(cluster: Cluster) -> None:
    status = cluster.run_json("status")
    assert (status["health"], status["activity"]["doing"]) == ("ok", "idle")
    levels = {condition["name"]: condition["level"] for condition in status["conditions"]}
    assert levels["no_room"] == "note"
    assert set(levels.values()) == {"note"}, "nothing is wrong"
    assert {server["state"] for server in status["servers"]} == {"up"}
    assert status["transfers"] == []


def _why(cluster: Cluster) -> None:
    placed, left_out = cluster.ranks[0], cluster.ranks[-1]
    why = cluster.run_json("why", placed)
    assert (why["known"], why["rank"], why["on"]) == (True, 1, cluster.holders(placed))
    assert why["copy"] | {"text": ""} == {"allowed": False, "reason": "already_placed", "text": ""}
    assert [refused["reason"] for refused in why["delete"]] == ["not_needed"]
    assert [told["event"] for told in why["story"]][-1] == "copied file"
    assert cluster.get(f"/api/v1/files/{left_out}")["copy"]["reason"] == "no_room"
    assert cluster.get("/api/v1/files/nobody_K2026.mpg")["copy"]["reason"] == "not_known"


def _checks(cluster: Cluster) -> None:
    assert cluster.run("cfm", "check").returncode == 0
    settings = cluster.workers[cluster.destination_addrs[0]].folder / "cfw.yml"
    assert "released" in cluster.run("cfw", "release", "-c", str(settings)).stdout
    settings.write_text(settings.read_text() + "bas_dir: data\n")
    checked = cluster.run("cfw", "check", "-c", str(settings))
    assert (checked.returncode, "base_dir" in checked.stderr + checked.stdout) == (2, True)


def full_disks(folder: Path, **more: Any) -> Cluster:
    """Two destinations that hold as many of the most wanted files as they may."""
    cluster = Cluster(folder, sources=1, destinations=2, files=20, file_bytes=100_000, **more)
    first, second = cluster.destination_addrs
    cluster.place(first, cluster.ranks[0:18:2])
    cluster.place(second, cluster.ranks[1:18:2])
    return cluster


def test_full_disks_make_room_for_a_file_that_becomes_popular(tmp_path: Path) -> None:
    with full_disks(tmp_path, cfm_keys={"runner": {"between_events_run_interval_sec": 1}}) as cluster:
        cluster.start().wait_at_rest()
        popular = cluster.ranks[-1]
        cluster.hit(popular, times=6)
        took_s = cluster.wait_for(lambda: bool(cluster.holders(popular)), "the popular file")
        assert took_s < 10
        cluster.wait_for(lambda: len(cluster.cfm.deeds("copied")) == 1, "the deed to be logged")
        (went,) = (deed.file for deed in cluster.cfm.deeds("deleted"))
        # The worst of its disk.  Which disk it is depends on whose need two readings of `/df` show first.
        assert went in cluster.ranks[16:18]
        assert cluster.problems() == []
        _a_worker_lowers_its_own_limit(cluster, cluster.holders(popular)[0])
        assert cluster.holders(popular), "what is wanted now stays"


def _a_worker_lowers_its_own_limit(cluster: Cluster, addr: str) -> None:
    """The lower limit holds: no more goes than is needed, and the least wanted."""
    worker, held = cluster.workers[addr], cluster.visible(addr)
    cluster.change(worker, {"storage_usage_limit_percent": 75})
    worker.send(signal.SIGHUP)
    cluster.wait_for(lambda: len(cluster.visible(addr)) == 7, "two files to go there")
    gone = held - cluster.visible(addr)
    ordinary = held - {cluster.ranks[-1]}
    assert gone == set(sorted(ordinary)[-2:])
    assert "disk limits differ" in cluster.cfm.output()


def test_a_lowered_limit_is_held_by_the_breaker_until_it_is_confirmed_once(tmp_path: Path) -> None:
    with full_disks(tmp_path) as cluster:
        cluster.start().wait_at_rest()
        _lower_limit(cluster, 50)
        assert len(cluster.placed()) == 18
        confirmed = cluster.run("cfm", "confirm", "--yes")
        assert (confirmed.returncode, cluster.ranks[16] in confirmed.stdout) == (0, True)
        cluster.wait_for(lambda: len(cluster.placed()) == 10, "the disks to come down to their limit")
        assert cluster.placed() == set(cluster.ranks[:10]), "the least wanted went"
        cluster.limit_percent = 50
        assert cluster.problems() == []
        _lower_limit(cluster, 20)
        assert len(cluster.placed()) == 10, "a confirmation lets go once"


def _lower_limit(cluster: Cluster, percent: int) -> None:
    """By SIGHUP, while it runs; returns when the breakers hold."""
    cluster.change(cluster.cfm, {"remover": {"storage_usage_limit_percent": percent}})
    cluster.cfm.send(signal.SIGHUP)

    def held() -> bool:
        brakes = {(b["name"], b["server"]) for b in cluster.status()["brakes"]}
        return brakes >= {("breaker", addr) for addr in cluster.destination_addrs}

    cluster.wait_for(held, "the breakers to hold")
    status = cluster.status()
    breaker = cluster.conditions()["breaker"]
    assert breaker["servers"] == cluster.destination_addrs
    assert breaker["remedy"] == BREAKER.release
    assert breaker["text"] in status["verdict"]
    assert "cfm confirm" in status["verdict"]


def test_of_three_copies_of_each_file_one_stays(tmp_path: Path) -> None:
    files = 100
    with Cluster(tmp_path, sources=1, destinations=3, files=files, file_bytes=1_000) as cluster:
        for addr in cluster.destination_addrs:
            cluster.place(addr, cluster.ranks)
        cluster.start()
        cluster.wait_for(lambda: len(cluster.cfm.deeds("deleted")) >= 2 * files, "the surplus to go", 30)
        cluster.wait_at_rest()
        assert cluster.placed() == set(cluster.ranks), "no last copy was lost"
        assert cluster.problems() == []
        deleted = cluster.cfm.deeds("deleted")
        assert len({(deed.file, deed.server) for deed in deleted}) == len(deleted) == 2 * files
        assert all("kind=surplus" in deed.line for deed in deleted)
        assert json.loads(cluster.ask("/readyz")[1])["status"] == "ready"
