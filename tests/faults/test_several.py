"""Several cfm with a real PostgreSQL: whatever happens to the leader, another goes on, and nothing is lost.

Skipped where PostgreSQL is missing.  `bench/failover.py` does the same some hundred times.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cfm.demo.postgres import PostgresServer
from cfm.tasks.postgres_store import PostgresStore
from cfm_lab.testing.audit import Audit
from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.fault_proxy import Effect, FaultProxy, ProxyFault, Way
from cfm_lab.testing.processes import Daemon, free_port, wait_for
from postgres_bench import admin, empty_server

pytestmark = pytest.mark.e2e

KEYS = {"servers": {"heartbeat_interval_sec": 5}, "remover": {"breaker_percent": 100}}


def leader_of(node: Cluster) -> Daemon:
    node.wait_for(lambda: bool(node.leader_addr), "somebody to lead")
    return next(one for one in node.cfms if one.addr == node.leader_addr)


def follower_of(node: Cluster) -> Daemon:
    leader = leader_of(node)
    return next(one for one in node.cfms if one is not leader)


def arrives(node: Cluster, name: str) -> None:
    node.publish(name)
    node.wait_for(lambda: name in node.placed(), f"{name} to arrive")


def others(node: Cluster) -> list[Any]:
    """The followers that the leader has heard of."""
    addr = node.leader_addr
    return list(node.get("/api/v1/status", addr)["leadership"]["others"]) if addr else []


def conditions(node: Cluster, daemon: Daemon) -> set[str]:
    """An empty set where it does not answer: one that was deposed listens to nobody for a moment."""
    with suppress(OSError, http.client.HTTPException):
        return {one["name"] for one in node.get("/api/v1/status", daemon.addr)["conditions"]}
    return set()


def follows(node: Cluster, daemon: Daemon) -> bool:
    return conditions(node, daemon) & {"follows", "database_away"} == {"follows"}


def change(node: Cluster, server: PostgresServer, statement: str) -> None:
    """Stop all cfm, change their state by hand, and start them."""
    for daemon in node.cfms:
        daemon.terminate()
    with admin(server) as db:
        db.execute(statement.encode())
    for daemon in node.cfms:
        node.restart(daemon)


RECEIVED = re.compile(r"^(\S+) info received file .* source=(\S+)", re.MULTILINE)


def longest_idle_s(node: Cluster, copy_s: float) -> float:
    """For how long at most a source sent nothing between two copies, by the logs of who received them."""
    arrived: dict[str, list[float]] = {}
    for addr in node.destination_addrs:
        for at, source in RECEIVED.findall(node.workers[addr].output()):
            arrived.setdefault(source, []).append(datetime.fromisoformat(at).timestamp())
    assert arrived.keys() == set(node.source_addrs)
    return max(
        after - before - copy_s for ends in arrived.values() for before, after in pairwise(sorted(ends))
    )


def test_another_cfm_goes_on_whatever_happens_to_the_leader(tmp_path: Path) -> None:
    server = empty_server()
    store = PostgresStore(server.url())
    old_host = "127.0.2.2"
    with Cluster(
        tmp_path / "node", sources=2, destinations=2, files=6, old=frozenset({old_host}),
        state_url=server.url(), controllers=2, cfm_keys=KEYS,
    ) as node:  # fmt: skip
        audit = Audit(node, killed=True)
        node.start()
        arrives(node, "FIRST_K2026.mpg")

        follower = follower_of(node)
        said = node.get("/api/v1/status", follower.addr)
        assert said["leadership"]["leader"]["addr"] == node.leader_addr
        assert "follows" in {one["name"] for one in said["conditions"]}
        node.wait_for(
            lambda: node.get("/tasks", follower.addr) == node.get("/tasks", node.leader_addr),
            "the follower to pass on what the leader lists",
        )

        fallen = leader_of(node)
        fallen.kill()
        arrives(node, "AFTER_KILL_K2026.mpg")
        assert store.opened_s() > 0
        assert store.peek().epoch == 2
        node.restart(fallen)

        frozen = leader_of(node)
        frozen.send(signal.SIGSTOP)
        arrives(node, "AFTER_FREEZE_K2026.mpg")
        frozen.send(signal.SIGCONT)
        node.wait_for(lambda: leader_of(node) is not frozen, "the frozen one to follow")
        assert store.peek().epoch == 3

        gone = leader_of(node)
        code, _ = gone.terminate()
        assert code == 0
        arrives(node, "AFTER_TERM_K2026.mpg")
        assert store.peek().epoch == 4
        node.restart(gone)

        server.stop(signal.SIGKILL)
        server.start()
        arrives(node, "AFTER_DATABASE_K2026.mpg")

        node.wait_for(node.at_rest, "the node to come to rest")
        assert audit.problems() == []


def test_a_black_hole_to_the_database_ends_the_lead_and_another_cfm_goes_on(tmp_path: Path) -> None:
    server = empty_server()
    with (
        FaultProxy(f"127.0.0.1:{server.port}") as way,
        Cluster(
            tmp_path / "node", sources=2, destinations=2, files=6, state_url=server.url(), controllers=2,
            cfm_keys=KEYS,
        ) as node,
    ):  # fmt: skip
        audit = Audit(node, killed=True)
        first = node.cfms[0]
        node.change(first, {"state": {"url": server.url(port=int(way.addr.rpartition(":")[2]))}})
        first.start()
        node.wait_for(lambda: node.leader_addr == first.addr, "the one behind the proxy to lead")
        for daemon in node.daemons:
            if daemon is not first:
                daemon.start()
        arrives(node, "FIRST_K2026.mpg")

        way.set(ProxyFault(Effect.HOLE, way=Way.BOTH))
        arrives(node, "IN_THE_HOLE_K2026.mpg")
        assert node.leader_addr != first.addr
        node.wait_for(lambda: "database_away" in conditions(node, first), "the first one to say so")

        way.clear()
        node.wait_for(lambda: follows(node, first), "it to follow")
        arrives(node, "AFTER_K2026.mpg")
        node.wait_for(node.at_rest, "the node to come to rest")
        assert audit.problems() == []


def test_a_rolling_restart_leaves_no_source_idle(tmp_path: Path) -> None:
    server = empty_server()
    with Cluster(
        tmp_path / "node", sources=2, destinations=4, files=60, file_bytes=500_000, quota_bytes=40_000_000,
        copy_speed_bps=2_000_000, state_url=server.url(), controllers=3, cfm_keys=KEYS,
    ) as node:  # fmt: skip
        audit = Audit(node, killed=True)
        node.start()
        node.wait_for(lambda: len(others(node)) == 2, "the others to follow")
        for daemon in (*node.cfms[1:], node.cfms[0]):
            if node.leader_addr == daemon.addr:
                ended = node.run("cfm", "handover", "--addr", daemon.addr)
                assert ended.returncode == 0, ended.stderr
            code, _ = daemon.terminate()
            assert code == 0
            node.restart(daemon)
            node.wait_for(lambda: len(others(node)) == 2, "the others to follow")
        assert PostgresStore(server.url()).peek().epoch > 1
        assert longest_idle_s(node, copy_s=2.0) < 1.0
        node.wait_at_rest(within_s=120)
        assert audit.problems() == []


@contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[str]:
    """The URL of the state through a PgBouncer in transaction mode, which hands its connections from one cfm
    to the other all the time."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("needs PgBouncer (on Debian: apt install pgbouncer)")
    port = free_port("127.0.0.1")
    folder = Path(tempfile.mkdtemp(prefix="cfm-pgbouncer-"))  # other users can reach it
    (folder / "users").write_text('"cfm" ""\n')
    (folder / "ini").write_text(
        f"[databases]\ncfm = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {folder}/users\n"
        "pool_mode = transaction\ndefault_pool_size = 2\n"
    )
    as_user = ("--user", "nobody") if os.geteuid() == 0 else ()
    folder.chmod(0o755)
    die_with_parent = [sys.executable, "-m", "cfm.demo.die_with_parent", *as_user, str(os.getpid())]
    with subprocess.Popen([*die_with_parent, program, "-q", str(folder / "ini")]) as running:
        try:
            yield server.url(port=port)
        finally:
            running.terminate()
            shutil.rmtree(folder)


def test_the_state_is_reached_through_pgbouncer_in_transaction_mode(tmp_path: Path) -> None:
    server = empty_server()
    with (
        pgbouncer(server) as url,
        Cluster(
            tmp_path / "node", sources=2, destinations=2, files=6, state_url=url, controllers=2,
            cfm_keys=KEYS,
        ) as node,
    ):  # fmt: skip
        audit = Audit(node, killed=True)
        node.start()
        arrives(node, "FIRST_K2026.mpg")
        fallen = leader_of(node)
        fallen.kill()
        arrives(node, "AFTER_KILL_K2026.mpg")
        node.restart(fallen)
        node.wait_for(lambda: bool(others(node)), "the other one to follow")
        assert node.run("cfm", "handover", "--addr", node.leader_addr).returncode == 0
        arrives(node, "AFTER_HANDOVER_K2026.mpg")
        assert node.leader_addr == fallen.addr
        node.wait_for(node.at_rest, "the node to come to rest")
        assert audit.problems() == []


def test_workers_refuse_a_restored_backup_until_its_epoch_is_raised(tmp_path: Path) -> None:
    server = empty_server()
    with Cluster(
        tmp_path / "node", sources=1, destinations=2, files=4, state_url=server.url(), controllers=2,
        cfm_keys=KEYS,
    ) as node:  # fmt: skip
        node.start()
        arrives(node, "FIRST_K2026.mpg")
        change(node, server, "UPDATE cfm.lease SET epoch = 40")  # as if there had been so many leaders
        arrives(node, "SECOND_K2026.mpg")

        change(node, server, "UPDATE cfm.lease SET epoch = 3")  # the backup is of long ago
        node.publish("REFUSED_K2026.mpg")
        node.wait_for(lambda: "epoch_behind" in node.conditions(), "the trouble to be told")
        told = node.conditions()["epoch_behind"]
        remedy = told["remedy"].split("`")[1]
        assert int(remedy.rpartition(" ")[2]) > 40
        assert "REFUSED_K2026.mpg" not in node.placed()

        change(node, server, remedy)
        node.wait_for(lambda: "REFUSED_K2026.mpg" in node.placed(), "the workers to obey again")
        assert "epoch_behind" not in node.conditions()


def test_the_database_ends_with_the_test_that_started_it(tmp_path: Path) -> None:
    empty_server()
    code = (
        "from cfm.demo.postgres import *; import time, sys\n"
        "with PostgresServer(find_postgres()) as server: print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the database to end", ())


def test_the_demo_shows_a_fail_over() -> None:
    empty_server()
    ended = subprocess.run(
        [sys.executable, "-m", "cfm.cli.cfm", "demo", "--controllers", "2", "--json", "--seconds", "60"],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "leads now, after" in ended.stderr
    assert json.loads(ended.stdout)["violations"] == 0
