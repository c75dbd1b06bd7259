"""Content has a version, and a restart takes no metadata that was refused before it: on real processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cfm_lab.testing.cluster import Cluster

pytestmark = pytest.mark.e2e
BYTES = 200_000
QUICK = {"tasker": {"san_rest_sec": 2, "san_look_sec": 1}}


def test_a_file_is_copied_when_it_is_whole_and_again_when_it_is_written_anew(tmp_path: Path) -> None:
    with Cluster(tmp_path, sources=1, destinations=2, files=4, file_bytes=BYTES, cfm_keys=QUICK) as cluster:
        name = cluster.ranks[0]
        path, whole = cluster.san / name, cluster.content(name)
        with path.open("r+b", buffering=0) as out:
            out.write(bytes(BYTES))  # as by an FTP server that allocates the whole file first
            written, begun_s = 0, time.monotonic()

            def goes_on() -> bool:
                nonlocal written
                out.seek(written)
                written += out.write(whole[written : written + 100])
                assert cluster.holders(name) == [], "half of it is copied"
                return len(cluster.placed()) == 3 and time.monotonic() - begun_s > 8

            cluster.start()
            cluster.wait_for(goes_on, "all others to be copied")
            assert cluster.run_json("why", name)["copy"]["reason"] == "still_being_written"
            out.seek(0)
            out.write(whole)
        # The longer somebody writes, the longer cfm waits before it looks again.
        cluster.wait_for(lambda: cluster.holders(name) != [], "it to be copied", within_s=60)
        (holder,) = cluster.holders(name)
        assert (cluster.shelf(holder) / name).read_bytes() == whole

        anew = whole[::-1]
        fresh = cluster.san / ".anew"
        fresh.write_bytes(anew)
        os.utime(fresh, (time.time() - 3600, time.time() - 3600))
        fresh.rename(path)

        def is_replaced() -> bool:
            holders = cluster.holders(name)
            assert holders, "viewers lost the file"
            return len(holders) == 1 and (cluster.shelf(holders[0]) / name).read_bytes() == anew

        cluster.wait_for(is_replaced, "the stale copy to be replaced")
        cluster.wait_for(
            lambda: cluster.status()["stale"] == {"files": 0, "copies": 0}, "nothing to be stale"
        )
        story = [told["event"] for told in cluster.run_json("why", name)["story"]]
        assert "copy is stale" in story


def test_a_restart_takes_no_metadata_that_was_refused_before_it(tmp_path: Path) -> None:
    with Cluster(tmp_path, sources=1, destinations=1, files=12, file_bytes=1000) as cluster:
        cluster.start()
        cluster.wait_for(lambda: len(cluster.placed()) == 12, "all to be placed")
        cluster.wait_at_rest()
        cluster.cfm.stop()
        few = (cluster.root / "grade.info").read_text().splitlines(keepends=True)[:4]
        cluster.replace("grade.info", "".join(few))
        cluster.restart(cluster.cfm)
        cluster.wait_for(lambda: "no_metadata" in cluster.conditions(), "it to be refused")
        cluster.wait_for(lambda: "less than half" in cluster.status()["verdict"], "the reason to be told")
        assert not cluster.run_json("plan")["snapshot"]["accepted"]

        shown = cluster.run_json("accept")
        assert shown["last_good"] == {"graded_files": 12, "history_files": 12, "known_files": 12}
        assert shown["rejected"]["graded_files"] == 3
        assert shown["rejected"]["can_be_accepted"]
        assert cluster.status()["snapshot"]["accepted"] is False, "it was only shown"

        assert cluster.run("cfm", "accept", "--yes").returncode == 0
        cluster.wait_for(lambda: cluster.status()["snapshot"]["graded_files"] == 3, "it to be in force")
        assert cluster.run_json("accept")["rejected"] is None
