"""Several cfm on the command line: the first that listens is asked; a status tells who leads."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer

from cfm.cli import asking
from cfm.cli.asking import SilentDaemonError, running_cfm
from cfm.cli.common import CFM_FILE
from cfm.cli.render.status import _leadership
from cfm.errors import CfmError
from cfm_lab.testing.processes import free_port


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"fine": true}')

    def log_message(self, *_: object) -> None:
        pass


def test_the_first_cfm_that_listens_is_asked(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port('127.0.0.1')}"
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            asked = running_cfm(tmp_path / "none.yml", f"{nobody},127.0.0.1:{server.server_port}")
            assert asked.get("api", "v1", "status") == {"fine": True}
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(SilentDaemonError, match=nobody):
        running_cfm(tmp_path / "none.yml", nobody).get("api", "v1", "status")


class Refuses(Answers):
    def do_GET(self) -> None:
        self.send_response(500)
        self.send_header("Cfm-Reason", "cannot ask the disk: base_dir cannot be used")
        self.end_headers()


def test_an_old_endpoint_tells_its_reason_in_a_header(tmp_path: Path) -> None:
    """`cfw status` asks `/df`, whose refusals have no body."""
    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(CfmError, match="answered 500: cannot ask the disk: base_dir cannot be used"):
                running_cfm(tmp_path / "none.yml", f"127.0.0.1:{server.server_port}").get("df")
        finally:
            server.shutdown()
            thread.join()


def test_from_any_folder_the_installed_settings_say_whom_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = tmp_path / "etc" / "cfm.yml"
    monkeypatch.setattr(asking, "INSTALLED", installed)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit):
        running_cfm(CFM_FILE, "")
    assert "name a settings file with -c, or a running cfm with --addr" in capsys.readouterr().err
    installed.parent.mkdir()
    installed.write_text("listen_addr: 127.0.0.1:9\n")
    assert running_cfm(CFM_FILE, "").addr == "127.0.0.1:9"
    CFM_FILE.write_text("listen_addr: 127.0.0.1:8\n")
    assert running_cfm(CFM_FILE, "").addr == "127.0.0.1:8", "the one in the current folder comes first"


def test_a_status_tells_who_leads() -> None:
    told = {"state": "following", "epoch": 7, "leader": {"addr": "10.0.0.1:8080"},
            "others": [{"addr": "10.0.0.1:8080"}]}  # fmt: skip
    line = "10.0.0.1:8080 leads in epoch 7; this cfm is following; others here: 10.0.0.1:8080"
    assert str(_leadership({"leadership": told})) == line
    assert _leadership({"leadership": None}) is None
