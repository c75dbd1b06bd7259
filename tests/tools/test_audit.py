"""The audit of what is pinned: it catches what is known to be bad, and says so where it cannot look."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LOCK = ROOT / "requirements.lock"
BAD = HERE / "known-bad.txt"
FOUND_OUT, COULD_NOT, VIOLATION = 0, 1, 3


def audit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / "audit.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


class Service(http.server.ThreadingHTTPServer):
    """OSV's `querybatch`: knows about old versions of aiohttp, or, where it is deaf, about nothing."""

    def __init__(self, deaf: bool) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.deaf = deaf
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/querybatch"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        self.server.asked += queries
        body = json.dumps({"results": [self.result(query) for query in queries]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def result(self, query: dict[str, Any]) -> dict[str, Any]:
        bad = query["package"]["name"] == "aiohttp" and query["version"].startswith("3.9.")
        if self.server.deaf or not bad:
            return {}
        return {"vulns": [{"id": "GHSA-5h86-8mv2-jq9f", "modified": "2024-02-16T08:11:39Z"}]}

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(params=[False])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with Service(deaf=request.param) as service:
        serving = threading.Thread(target=service.serve_forever)
        serving.start()
        yield service
        service.shutdown()
        serving.join()


def test_the_known_bad_is_caught(service: Service) -> None:
    ended = audit("--osv", service.url, BAD)
    assert ended.returncode == VIOLATION
    assert "aiohttp 3.9.1: GHSA-5h86-8mv2-jq9f" in ended.stdout


def test_what_is_pinned_is_asked_for_and_the_canary_with_it(service: Service) -> None:
    ended = audit("--osv", service.url, LOCK)
    assert ended.returncode == FOUND_OUT, ended.stdout + ended.stderr
    assert "the canary was caught" in ended.stdout
    names = {query["package"]["name"] for query in service.asked}
    assert {"aiohttp", "polars", "pydantic", "pyyaml", "types-pyyaml", "xxhash"} <= names
    assert {"package": {"name": "aiohttp", "ecosystem": "PyPI"}, "version": "3.9.0"} in service.asked


@pytest.mark.parametrize("service", [True], indirect=True)
def test_a_service_that_knows_nothing_is_no_all_clear(service: Service) -> None:
    ended = audit("--osv", service.url, LOCK)
    assert ended.returncode == COULD_NOT
    assert ended.stderr.startswith("not audited: nothing was said of aiohttp 3.9.0")


def test_nor_is_one_that_does_not_answer() -> None:
    ended = audit("--osv", "http://127.0.0.1:9/", LOCK)
    assert ended.returncode == COULD_NOT
    assert ended.stderr.startswith("not audited: http://127.0.0.1:9/ gives no answer")


def test_advisories_may_lie_on_this_disk() -> None:
    found = audit("--advisories", HERE / "advisories", BAD)
    assert found.returncode == VIOLATION
    assert "aiohttp 3.9.1: GHSA-5h86-8mv2-jq9f" in found.stdout
    fine = audit("--advisories", HERE / "advisories", LOCK)
    assert fine.returncode == FOUND_OUT, fine.stdout + fine.stderr


def test_a_folder_without_advisories_is_no_all_clear(tmp_path: Path) -> None:
    assert audit("--advisories", tmp_path, LOCK).returncode == COULD_NOT
    (tmp_path / "one.json").write_text("[]")
    assert "no advisory in OSV's format" in audit("--advisories", tmp_path, LOCK).stderr
