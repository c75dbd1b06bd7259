"""What the pages can tell, the command line can, and the other way round: a table of subjects.

A subject has a page, the JSON that both are made of, and a command.  A page, an endpoint or a command that
is in no row is a subject that somebody forgot.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import typer.main

from cfm.cli.cfm import app

ROOT = Path(__file__).resolve().parents[2]


class Subject(NamedTuple):
    page: str
    endpoint: str
    command: str


SUBJECTS = {
    "health, conditions, disks, copies": Subject("/", "status", "status"),
    "what went on over time": Subject("/", "trends", "trends"),
    "decisions as they are made": Subject("/", "events", "status"),
    "tasks": Subject("/", "tasks", "cancel"),
    "the metadata": Subject("/", "metadata", "accept"),
    "all servers": Subject("/servers", "servers", "server"),
    "a server and its files": Subject("/server/{}", "servers/{}", "server"),
    "files that no other server has": Subject("/server/{}", "servers/{}/unique", "unique"),
    "a file": Subject("/file/{}", "files/{}", "why"),
    "the backlog": Subject("/backlog", "backlog", "backlog"),
    "deletes and refusals": Subject("/deletes", "plan", "plan"),
    "held deletes": Subject("/deletes", "confirm", "confirm"),
    "held deletes of a server": Subject("/deletes", "confirm/{}", "confirm"),
    "history": Subject("/history", "history", "history"),
    "settings": Subject("/settings", "settings", "config"),
    "a name": Subject("/search", "search", "search"),
}
OLD = {"/dashboard", "/dashboard/hb", "/dashboard/filemetas"}
"""They lead to pages that are in the table."""
NOTHING_TO_TELL = {
    "run", "check", "token", "demo", "simulate", "handover", "reload", "state", "completion", "manual", "man"
}  # fmt: skip
"""Commands that start, prepare or change something."""


def served(file: str) -> set[str]:
    """The paths that may be read, with their variable parts unnamed."""
    text = (ROOT / "src/cfm/controller/serve" / file).read_text()
    return {re.sub(r"\{[^}]*\}+", "{}", path) for path in re.findall(r'web\.get\(\s*"([^"]+)"', text)}


def test_every_page_has_its_subjects() -> None:
    pages = served("page_api.py") - OLD - {"/static/{}"}
    assert {subject.page for subject in SUBJECTS.values()} == {path.replace("*)", "") for path in pages}


def test_every_endpoint_that_tells_something_has_a_page_and_a_command() -> None:
    paths = served("json_api.py") | served("operator_api.py")
    told = {path.removeprefix("/api/v1/") for path in paths if path.startswith("/api/v1/")}
    assert {subject.endpoint for subject in SUBJECTS.values()} == told - {"metadata/{}"}


def test_every_command_that_tells_something_has_a_page() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert {subject.command for subject in SUBJECTS.values()} == commands - NOTHING_TO_TELL
