"""`cfm state copy` moves a state and says what comes next; what cannot be done is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cfm.cli.cfm import app
from cfm.cli.check_database import database_doubts
from cfm.tasks.postgres_link import DatabaseLink
from cfm.tasks.sqlite_store import SqliteStore
from cfm.tasks.store import PutTask
from conformance.test_stores import task
from postgres_bench import empty_server, read_only


def settings_with_state(folder: Path) -> Path:
    path = folder / "cfm.yml"
    path.write_text("log_dir: log\n")
    store = SqliteStore(folder / "cfm.db")
    store.open()
    store.commit([PutTask(task(1))])
    store.close()
    return path


def copied(path: Path, url: str, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["state", "copy", "--to", url, "-c", str(path), *more])
    return result.exit_code, result.output


def test_a_copy_says_what_to_write_into_the_settings(tmp_path: Path) -> None:
    path = settings_with_state(tmp_path)
    code, said = copied(path, "sqlite:///other.db")
    assert code == 0
    assert f"url: sqlite:///{tmp_path}/other.db" in said
    assert [t.id for t in SqliteStore(tmp_path / "other.db").peek().tasks] == [task(1).id]


def test_a_copy_into_a_database(tmp_path: Path) -> None:
    path = settings_with_state(tmp_path)
    server = empty_server()
    code, said = copied(path, server.url(), "--json")
    assert code == 0
    assert json.loads(said)["rows"]["tasks"] == 1


@pytest.mark.parametrize(
    ("url", "code", "word"),
    [
        ("mysql://x/y", 2, "not the URL"),
        ("postgresql://a:b@c/d", 2, "password"),
        ("postgresql://cfm@127.0.0.1:1/cfm", 1, "refused"),
    ],
)
def test_what_cannot_be_copied_to_is_said(tmp_path: Path, url: str, code: int, word: str) -> None:
    path = settings_with_state(tmp_path)
    found, said = copied(path, url)
    assert found == code
    assert word in said
    assert SqliteStore(tmp_path / "cfm.db").peek().epoch > 0  # it stays where it was


def test_check_says_that_a_database_does_not_answer() -> None:
    (said,) = database_doubts("postgresql://cfm@127.0.0.1:1/cfm")
    assert "refused" in said.text


def test_check_tries_the_database() -> None:
    server = empty_server()
    assert [said.text for said in database_doubts(server.url())] == [
        "fsync is off, so a power cut loses the state"  # this server is for tests
    ]
    with read_only(server):
        assert "takes no writes" in next(iter(database_doubts(server.url()))).text


def test_a_url_may_carry_options_of_its_own() -> None:
    link = DatabaseLink("postgresql://cfm@db/cfm?connect_timeout=7&passfile=/etc/cfm/pgpass")
    assert link.name == "postgresql://cfm@db/cfm"
