"""Which changed settings a running daemon cannot take in."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfm.config import load_cfm
from cfm.config.changes import need_restart
from cfm.controller.act.from_settings import rules_of

BEFORE = "servers:\n  sources: [127.0.1.1:8888]\n  heartbeat_interval_sec: 5\n"


@pytest.mark.parametrize(
    ("more", "keys"),
    [
        ("", ()),
        ("deletes: off\nremover: {storage_usage_limit_percent: 60}\nignore: {prefixes: [AD]}\n", ()),
        ("watch_hit_base: 9\nremover: {breaker_percent: 60}\n", ("watch_hit_base",)),
        ("log_dir: elsewhere\nrunner: {setup_runs: [x]}\n", ("log_dir",)),
        (
            "security: {token_file: t}\nwatcher: {poll_interval_sec: 7}\n",
            ("watcher.poll_interval_sec", "security.token_file"),
        ),
    ],
)
def test_only_what_is_not_taken_while_running(tmp_path: Path, more: str, keys: tuple[str, ...]) -> None:
    path = tmp_path / "cfm.yml"
    path.write_text(BEFORE)
    started = load_cfm(path)
    path.write_text(BEFORE + more)
    assert need_restart(started, load_cfm(path), rules_of) == keys


def test_a_server_that_is_taken_out_and_an_interval_that_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "cfm.yml"
    path.write_text(BEFORE)
    started = load_cfm(path)
    path.write_text("servers: {heartbeat_interval_sec: 6, unknown_grace_sec: 7}\n")
    assert need_restart(started, load_cfm(path), rules_of) == (
        "servers.sources",
        "servers.heartbeat_interval_sec",
    )
