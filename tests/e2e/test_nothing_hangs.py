"""What hangs or fills around a daemon stops neither it nor its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cfm_lab.testing.cluster import Cluster

pytestmark = pytest.mark.e2e


def test_a_hangup_before_a_daemon_serves_does_not_end_it(tmp_path: Path) -> None:
    """It comes while the daemon waits for its settings file, which is a pipe."""
    with Cluster(tmp_path, sources=1, destinations=1, files=1) as cluster:
        for daemon in (cluster.cfm, cluster.worker("127.0.2.1")):
            path = next(daemon.folder.glob("cf?.yml"))
            good = path.read_bytes()
            path.unlink()
            os.mkfifo(path)
            daemon.start()
            with path.open("wb") as settings:  # as soon as somebody reads at the other end
                daemon.send(signal.SIGHUP)
                path.unlink()
                path.write_bytes(good)
                settings.write(good)
            cluster.wait_for(daemon.listens, "it to serve")
            assert daemon.terminate()[0] == 0
            assert "Traceback" not in daemon.output()


@pytest.mark.parametrize("which", ["cfm", "cfw"])
def test_logs_that_nobody_takes_hold_up_neither_a_daemon_nor_its_end(tmp_path: Path, which: str) -> None:
    """Standard error is a pipe that is full and that nobody reads; the log file hangs when it is opened."""
    with Cluster(tmp_path, sources=1, destinations=1, files=2, file_bytes=1_000) as cluster:
        daemon = cluster.cfm if which == "cfm" else cluster.worker("127.0.2.1")
        (daemon.folder / "log").mkdir(exist_ok=True)
        os.mkfifo(daemon.folder / "log" / f"{which}.log")
        with full_pipe(tmp_path / "stderr") as pipe:
            daemon.wrapper = ("/bin/sh", "-c", f'exec "$@" 2>{pipe}', "sh")
            cluster.start()
            cluster.wait_for(lambda: len(cluster.placed()) == 2, "the files to be copied")
            code, took_s = daemon.terminate()
        assert code == 0
        assert took_s < 5


@contextmanager
def full_pipe(path: Path) -> Iterator[Path]:
    """A named pipe into which nothing fits, and which nobody reads."""
    os.mkfifo(path)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_NONBLOCK), "r+b", buffering=0) as both_ends:
        while both_ends.write(bytes(4096)):
            pass
        yield path


def test_settings_that_are_refused_or_need_a_restart_are_told(tmp_path: Path) -> None:
    with Cluster(tmp_path, sources=1, destinations=1, files=1, file_bytes=1_000) as cluster:
        cluster.start().wait_at_rest()
        path = cluster.cfm.folder / "cfm.yml"
        good = path.read_text()
        path.write_text(f"{good}\nno_such_key: 1\n")
        cluster.cfm.send(signal.SIGHUP)
        cluster.wait_for(lambda: "settings_refused" in cluster.conditions(), "the refusal to be told")
        refused = cluster.conditions()["settings_refused"]
        assert "no_such_key" in refused["text"]
        assert refused["since_at"]
        assert 'cfm_condition{level="degraded",name="settings_refused"} 1.0' in _metrics(cluster)
        path.write_text(f"{good}\nwatch_hit_base: 77\n")
        cluster.cfm.send(signal.SIGHUP)
        cluster.wait_for(lambda: "restart_needed" in cluster.conditions(), "the changed key to be told")
        assert "watch_hit_base" in cluster.conditions()["restart_needed"]["text"]
        assert "settings_refused" not in cluster.conditions()
        path.write_text(good)
        cluster.cfm.send(signal.SIGHUP)
        cluster.wait_for(lambda: "restart_needed" not in cluster.conditions(), "all to be as at the start")
        assert 'cfm_condition{level="degraded",name="settings_refused"} 0.0' in _metrics(cluster)


def _metrics(cluster: Cluster) -> str:
    return cluster.ask("/metrics")[1].decode()
