"""Processes that are killed, frozen, ended and started twice: nothing is lost, and nothing done twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.processes import Daemon

pytestmark = pytest.mark.e2e

MB = 1_000_000


def slow_copies(folder: Path, **more: Any) -> Cluster:
    """Copies that take some seconds each, from one source to two destinations with room for all."""
    settings = {"files": 3, "file_bytes": 1 * MB, "quota_bytes": 10 * MB, "copy_speed_bps": 4 * MB, **more}
    return Cluster(folder, sources=1, destinations=2, **settings)


def running(cluster: Cluster) -> list[dict[str, Any]]:
    """Transfers of which bytes have arrived."""
    return [t for t in cluster.status()["transfers"] if t["status"] == "working" and t["bytes_done"]]


def destination_of_running(cluster: Cluster) -> Daemon:
    cluster.wait_for(lambda: bool(running(cluster)), "a copy that moves")
    return cluster.workers[running(cluster)[0]["destination"]]


def all_placed(cluster: Cluster) -> bool:
    return cluster.placed() == set(cluster.ranks)


def assert_each_copied_once(cluster: Cluster) -> None:
    cluster.wait_for(lambda: all_placed(cluster), "all files to be placed", 40)
    cluster.wait_at_rest()
    assert cluster.problems() == []
    assert sorted(deed.file for deed in cluster.cfm.deeds("copied")) == cluster.ranks
    assert cluster.cfm.deeds("deleted") == []


def test_a_killed_worker_frees_its_source_and_comes_back_clean(tmp_path: Path) -> None:
    with slow_copies(tmp_path) as cluster:
        cluster.start()
        killed = destination_of_running(cluster)
        assert cluster.litter(killed.addr)
        killed.kill()

        def others_served() -> bool:
            return any(t["destination"] != killed.addr for t in running(cluster))

        noticed_s = cluster.wait_for(
            lambda: cluster.server(killed.addr)["state"] == "down", "it to be missed"
        )
        served_s = cluster.wait_for(others_served, "the source to serve another")
        assert noticed_s <= 3
        assert noticed_s + served_s < 5
        cluster.restart(killed)
        cluster.wait_for(lambda: not cluster.litter(killed.addr), "its litter to go")
        cluster.wait_for(lambda: cluster.server(killed.addr)["state"] == "up", "it to be seen again", 35)
        assert_each_copied_once(cluster)


def test_transfers_go_on_while_cfm_is_killed_and_started_again(tmp_path: Path) -> None:
    with slow_copies(tmp_path, files=2) as cluster:
        cluster.start()
        worker = destination_of_running(cluster)
        task = running(cluster)[0]["task"]
        cluster.cfm.kill()
        cluster.restart(cluster.cfm)
        cluster.wait_for(lambda: f"task={task}" in _received(worker), "the same task to end well")
        assert_each_copied_once(cluster)
        assert "copy failed" not in cluster.cfm.output()


def _received(worker: Daemon) -> str:
    return "\n".join(line for line in worker.output().splitlines() if "received file" in line)


@pytest.mark.quick
def test_deletes_under_way_survive_a_kill_of_cfm(tmp_path: Path) -> None:
    with Cluster(tmp_path, sources=1, destinations=2, files=60, file_bytes=1_000) as cluster:
        for addr in cluster.destination_addrs:
            cluster.place(addr, cluster.ranks)
        cluster.start()
        cluster.wait_for(lambda: len(cluster.cfm.deeds("deleted")) >= 5, "deletes to be under way")
        cluster.cfm.kill()
        before = len(_unlinked(cluster))
        cluster.restart(cluster.cfm)
        # What was sent and not answered is settled by a list, and left alone for half a minute.
        cluster.wait_for(lambda: len(_unlinked(cluster)) > before, "deletes to go on", 60)
        cluster.wait_for(lambda: not cluster.status()["deletes"], "them to be settled")
        assert cluster.placed() == set(cluster.ranks), "no last copy was lost"
        gone = _unlinked(cluster)
        assert len(gone) == len(set(gone)), "no file lost two copies"


def _unlinked(cluster: Cluster) -> list[str]:
    """What the workers themselves say that they deleted."""
    said = "".join(cluster.workers[addr].output() for addr in cluster.destination_addrs)
    return re.findall(r"deleted file file=(\S+)", said)


def test_a_frozen_worker_is_given_up_and_told_so_when_it_thaws(tmp_path: Path) -> None:
    quick = {"servers": {"heartbeat_timeout_sec": 1, "heartbeat_interval_sec": 1}}
    with slow_copies(tmp_path, files=2, cfm_keys=quick) as cluster:
        cluster.start()
        frozen = destination_of_running(cluster)
        task = running(cluster)[0]["task"]
        frozen.freeze()
        cluster.wait_for(lambda: cluster.server(frozen.addr)["state"] == "down", "it to be missed")
        cluster.wait_for(lambda: bool(running(cluster)), "the source to serve another")
        frozen.thaw()
        cluster.wait_for(lambda: cluster.server(frozen.addr)["state"] == "up", "it to be seen again")
        cluster.wait_for(lambda: all_placed(cluster) and not cluster.problems(), "one copy of each", 40)
        cluster.wait_at_rest()
        assert len(cluster.cfm.deeds("deleted")) <= 1, "at most what had arrived before it was told"
        assert not [deed for deed in cluster.cfm.deeds("copied") if f"task={task}" in deed.line]


def test_the_second_cfm_says_so_in_one_line_and_all_end_when_they_are_told(tmp_path: Path) -> None:
    with slow_copies(tmp_path) as cluster:
        cluster.start()
        destination_of_running(cluster)
        beside = cluster.root / "beside"
        beside.mkdir()
        settings = yaml.safe_load((cluster.cfm.folder / "cfm.yml").read_text())
        same_state = {**settings, "listen_addr": "127.0.0.9:1234"}
        same_state["state"] = {"url": f"sqlite:///{cluster.cfm.folder / 'cfm.db'}"}
        for name, second in (("state", same_state), ("port", settings)):
            (beside / f"{name}.yml").write_text(yaml.safe_dump(second))
            ended = cluster.run("cfm", "run", "-c", str(beside / f"{name}.yml"))
            said = [
                line for line in ended.stderr.splitlines() if "Z " not in line[:30] and "+00:00" not in line
            ]
            assert (ended.returncode, len(said)) == (1, 1), ended.stderr
        (beside / "bad.yml").write_text(yaml.safe_dump({**settings, "listen_adr": "x"}))
        ended = cluster.run("cfm", "run", "-c", str(beside / "bad.yml"))
        assert (ended.returncode, "listen_addr" in ended.stderr) == (2, True)
        for daemon in cluster.daemons:
            code, took_s = daemon.terminate()
            assert (daemon.name, code) == (daemon.name, 0)
            assert took_s < 5
        assert not any(cluster.litter(addr) for addr in cluster.destination_addrs)
