"""Several cfm with a real PostgreSQL: whatever happens to the leader, another goes on, and nothing is lost.

Skipped where PostgreSQL is missing.  `bench/failover.py` does the same some hundred times.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cfm.tasks.postgres_store import PostgresStore
from cfm_lab.testing.audit import Audit
from cfm_lab.testing.cluster import Cluster
from cfm_lab.testing.processes import Daemon
from postgres_bench import empty_server

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
