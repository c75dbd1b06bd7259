"""`cfm confirm` asks before it lets deletes go, whatever it prints.

The cfm is a small server that counts what it is asked to change.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner, Result

from cfm.cli.cfm import app

HELD = {
    "held": [{"server": "10.0.2.2:8888", "would_free_bytes": 9_500_000}],
    "would_delete": [
        {
            "file": "A.mpg",
            "server": "10.0.2.2:8888",
            "rank": 37,
            "hits": 463,
            "size_bytes": 482_519,
            "kind": "space",
            "reason": "space: the disk is 9.5 MB over its limit of 9 %",
        }
    ],
}
RELEASED = {"released": [{"server": "10.0.2.2:8888", "up_to_bytes": 9_500_000}]}


class HoldingCfm(BaseHTTPRequestHandler):
    """A cfm with a breaker that holds; POST releases it, as in cfm."""

    changes: list[str]

    def do_GET(self) -> None:
        self._answer(HELD)

    def do_POST(self) -> None:
        self.changes.append(self.path)
        self._answer(RELEASED)

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """It is silent."""


@pytest.fixture
def cfm() -> Iterator[tuple[str, list[str]]]:
    """Its address, and the changes that it was asked for."""
    changes: list[str] = []
    handler = type("Handler", (HoldingCfm,), {"changes": changes})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"127.0.0.1:{server.server_port}", changes
        finally:
            server.shutdown()
            serving.join()


def run(addr: str, *words: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, [*words, "-c", "no-such.yml", "--addr", addr], answer)


def test_json_without_yes_only_shows_what_would_be_deleted(cfm: tuple[str, list[str]]) -> None:
    addr, changes = cfm
    ended = run(addr, "confirm", "--json")
    assert (ended.exit_code, json.loads(ended.output)) == (0, HELD)
    assert changes == [], "nobody was asked, and nothing was released"


def test_json_with_yes_releases(cfm: tuple[str, list[str]]) -> None:
    addr, changes = cfm
    ended = run(addr, "confirm", "10.0.2.2:8888", "--json", "--yes")
    found = json.loads(ended.output)
    assert (ended.exit_code, found) == (0, {**RELEASED, "would_delete": HELD["would_delete"]})
    assert len(changes) == 1


@pytest.mark.parametrize(("answer", "exit_code", "changed"), [("n\n", 1, 0), ("", 1, 0), ("y\n", 0, 1)])
def test_a_person_is_asked(cfm: tuple[str, list[str]], answer: str, exit_code: int, changed: int) -> None:
    addr, changes = cfm
    ended = run(addr, "confirm", answer=answer)
    assert (ended.exit_code, len(changes)) == (exit_code, changed)
    assert "A.mpg" in ended.output
