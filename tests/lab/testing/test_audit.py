"""The audit notices each violation that is planted, and nothing where all is well.

The node is never started: its disks, books and log are written as programs of ours, or worse ones, would.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest

from cfm.tasks.sqlite_schema import MIGRATIONS
from cfm_lab.testing.audit import Audit, FileOnServer
from cfm_lab.testing.cluster import Cluster

DOUBLE, SINGLE, ABSENT, OTHER = (f"FILE{i:04}_K2026.mpg" for i in range(1, 5))
STRANGER = "STRANGER_K2026.mpg"


@dataclass
class Node:
    """`DOUBLE` lies on both disks, `SINGLE` on the first, `STRANGER` on the first and is not graded."""

    cluster: Cluster
    audit: Audit = field(init=False)
    last_id: int = 0

    def __post_init__(self) -> None:
        self.here, self.there = self.cluster.destination_addrs
        for addr, name in ((self.here, DOUBLE), (self.there, DOUBLE), (self.here, SINGLE)):
            shutil.copyfile(self.cluster.san / name, self.path(addr, name))
        self.path(self.here, STRANGER).write_bytes(b"somebody else's")
        with closing(self._books()) as db:
            db.execute("PRAGMA journal_mode = MEMORY")
            for statement in MIGRATIONS[0]:
                db.execute(statement)
        self.audit = Audit(self.cluster)

    def _books(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.cluster.cfm.folder / "cfm.db", isolation_level=None)
        db.execute("PRAGMA synchronous = OFF")
        return db

    def path(self, addr: str, name: str) -> Path:
        return self.cluster.shelf(addr) / name

    def says(self, line: str) -> None:
        with (self.cluster.cfm.folder / "output.txt").open("a") as out:
            out.write(f"2026-11-23 {line}\n")

    def _row(self, table: str, **values: object) -> int:
        """A row with defaults for what nobody asks about."""
        self.last_id += 1
        with closing(self._books()) as db:
            columns = [(row[1], row[2], row[3]) for row in db.execute(f"PRAGMA table_info({table})")]
            given: dict[str, object] = {
                name: 0 if kind == "INTEGER" else "" for name, kind, must in columns if must
            }
            given |= {"id": self.last_id, **values}
            marks = ", ".join("?" * len(given))
            db.execute(f"INSERT INTO {table} ({', '.join(given)}) VALUES ({marks})", list(given.values()))
        return self.last_id

    # ── what programs do ────────────────────────────────────────────────────────────────────────────────

    def task(self, addr: str, name: str, status: str = "done") -> int:
        return self._row("tasks", file=name, destination=addr, status=status)

    def order(self, addr: str, name: str, kind: str = "surplus", status: str = "confirmed") -> int:
        return self._row("delete_orders", file=name, server=addr, kind=kind, status=status)

    def arrives(self, addr: str, name: str) -> None:
        """By rename, as every worker makes a file visible."""
        folder = self.path(addr, "temp.downloaded")
        folder.mkdir(exist_ok=True)
        shutil.copyfile(self.cluster.san / name, folder / name)
        (folder / name).rename(self.path(addr, name))

    def copy(self, addr: str, name: str) -> int:
        number = self.task(addr, name)
        self.arrives(addr, name)
        self.says(f"copied file file={name} server={addr} rank=1 task={number}")
        return number

    def delete(self, addr: str, name: str, kind: str = "surplus") -> int:
        number = self.order(addr, name, kind)
        self.path(addr, name).unlink()
        self.says(f"deleted file file={name} server={addr} rank=1 order={number}")
        return number


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Cluster(tmp_path / "node", files=4, file_bytes=1_000, quota_bytes=5_000) as cluster:
        yield Node(cluster)


def well(node: Node) -> None:
    """What a good node does: the surplus goes, the rest is copied; one goes for room and comes back."""
    node.delete(node.here, DOUBLE)
    node.copy(node.there, OTHER)
    node.copy(node.there, ABSENT)
    node.delete(node.there, OTHER, "space")
    node.copy(node.here, OTHER)


def test_nothing_is_said_of_a_good_node(node: Node) -> None:
    well(node)
    assert node.audit.problems() == []
    assert node.audit.counted() == {"copied done": 3, "deleted confirmed": 2}


def test_a_copy_that_came_too_late_to_count_may_be_the_one_that_stays(node: Node) -> None:
    """Its task had timed out when cfm was killed; it landed, was listed, and the other copy was trimmed."""
    well(node)
    node.task(node.there, SINGLE, "timed_out")
    node.arrives(node.there, SINGLE)
    node.delete(node.here, SINGLE)
    assert node.audit.problems() == []


def _strays_where_it_once_was(node: Node) -> None:
    """It was trimmed there before; now the copy that stayed then is the one that goes."""
    well(node)
    node.audit.strays.add(FileOnServer(node.here, DOUBLE))
    node.arrives(node.here, DOUBLE)


def test_a_copy_that_strayed_may_be_the_one_that_stays(node: Node) -> None:
    _strays_where_it_once_was(node)
    node.delete(node.there, DOUBLE)
    assert node.audit.problems() == []


def test_the_last_copy_of_a_file_that_strayed_is_missed(node: Node) -> None:
    _strays_where_it_once_was(node)
    node.delete(node.there, DOUBLE)
    node.delete(node.here, DOUBLE)
    assert "as surplus when no other disk held it" in "\n".join(node.audit.problems())


# ── planted ─────────────────────────────────────────────────────────────────────────────────────────────

Plant: TypeAlias = Callable[[Node], object]


def _last_copy(node: Node) -> None:
    node.delete(node.here, SINGLE)


def _last_copy_behind_a_copy_that_never_landed(node: Node) -> None:
    node.task(node.there, SINGLE, "timed_out")
    node.delete(node.here, SINGLE)


def _last_copy_for_a_moment(node: Node) -> None:
    """The other one came right afterwards: at the end all is in place."""
    number = node.order(node.here, SINGLE)
    node.path(node.here, SINGLE).unlink()
    node.says(f"deleted file file={SINGLE} server={node.here} order={number}")
    node.copy(node.there, SINGLE)


def _both_of_two(node: Node) -> None:
    node.copy(node.here, DOUBLE)
    node.delete(node.here, DOUBLE)
    node.delete(node.there, DOUBLE)


def _both_at_once(node: Node) -> None:
    """Two orders on their way at a time, one of them never told; then it is copied anew."""
    node.copy(node.here, DOUBLE)
    node.order(node.there, DOUBLE, status="unknown")
    node.path(node.there, DOUBLE).unlink()
    node.delete(node.here, DOUBLE)
    node.copy(node.here, DOUBLE)


def _doubled(node: Node) -> None:
    node.copy(node.there, SINGLE)


def _wrong_bytes(node: Node) -> None:
    node.path(node.there, ABSENT).write_bytes(b"x" * node.cluster.file_bytes)


def _cut_short(node: Node) -> None:
    os.truncate(node.path(node.there, ABSENT), 10)


def _over_the_limit(node: Node) -> None:
    for number in range(5):
        node.path(node.there, f"MORE{number}.mpg").write_bytes(bytes(1_000))


def _litter(node: Node) -> None:
    node.path(node.there, "temp.downloaded").mkdir(exist_ok=True)
    node.path(node.there, f"temp.downloaded/{OTHER}.7").write_bytes(b"half")


def _san_spoiled(node: Node) -> None:
    (node.cluster.san / ABSENT).write_bytes(b"")


def _vanished_and_back(node: Node) -> None:
    node.path(node.here, SINGLE).unlink()
    node.arrives(node.here, SINGLE)


def _told_twice(node: Node) -> None:
    number = node.copy(node.there, OTHER)
    node.delete(node.here, OTHER)
    node.says(f"copied file file={OTHER} server={node.there} rank=1 task={number}")


def _never_told(node: Node) -> None:
    node.task(node.there, ABSENT)


def _told_and_not_done(node: Node) -> None:
    node.says(f"deleted file file={SINGLE} server={node.here} rank=1 order=99")


PLANTED: dict[str, tuple[Plant, str]] = {
    "last copy deleted": (_last_copy, "the last copy"),
    "last copy deleted, as another was never made": (
        _last_copy_behind_a_copy_that_never_landed,
        "the last copy",
    ),
    "last copy deleted, for a moment": (_last_copy_for_a_moment, "when no other disk held it"),
    "both copies deleted": (_both_of_two, "the last copy"),
    "both copies deleted, one unseen": (_both_at_once, "when no other disk held it"),
    "a copy doubled": (_doubled, f"{SINGLE} is on ["),
    "other bytes of the right size": (_wrong_bytes, f"{ABSENT} on"),
    "cut short": (_cut_short, "has other bytes"),
    "over the limit": (_over_the_limit, "is over its limit"),
    "litter": (_litter, f"has litter: ['{OTHER}.7']"),
    "hidden litter": (lambda node: node.path(node.here, ".cfw-id.0f").touch(), "has litter: ['.cfw-id.0f']"),
    "the SAN spoiled": (_san_spoiled, "on the SAN is not what it was"),
    "a file of others gone": (lambda node: node.path(node.here, STRANGER).unlink(), "none of ours"),
    "a file of others changed": (lambda node: node.path(node.here, STRANGER).write_bytes(b""), "was changed"),
    "nobody's file": (lambda node: node.arrives(node.there, SINGLE), "nobody copied it"),
    "gone without an order": (lambda node: node.path(node.here, SINGLE).unlink(), "nobody says why"),
    "gone without an order, and back": (_vanished_and_back, "vanished from"),
    "acknowledged and gone": (lambda node: node.path(node.there, ABSENT).unlink(), "and is gone"),
    "called deleted and there": (lambda node: node.order(node.here, SINGLE), "and is there"),
    "told twice": (_told_twice, "was told 2 times"),
    "never told": (_never_told, "nobody was told"),
    "told and not in the books": (_told_and_not_done, "is not in the books"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_each_violation_is_noticed(node: Node, planted: str) -> None:
    well(node)
    plant, words = PLANTED[planted]
    plant(node)
    problems = node.audit.problems()
    assert any(words in problem for problem in problems), problems


def test_what_the_fault_itself_took_is_excused(node: Node) -> None:
    well(node)
    node.path(node.here, SINGLE).unlink()
    node.audit.excused.add(FileOnServer(node.here, SINGLE))
    assert node.audit.problems() == []


def test_a_disk_that_is_lost_from_sight_is_judged_by_the_books(node: Node) -> None:
    """Its folder was replaced: what happened there meanwhile nobody has seen."""
    well(node)
    node.audit.deeds()
    shelf = node.cluster.shelf(node.there)
    shelf.rename(shelf.with_name("old"))
    shutil.copytree(shelf.with_name("old"), shelf)
    assert node.audit.problems() == []
    node.delete(node.here, SINGLE)
    assert "was deleted as surplus: the last copy" in "\n".join(node.audit.problems())


def test_what_is_exchanged_stays_visible(node: Node) -> None:
    """A worker replaces a spoiled file by the right one, in one step."""
    well(node)
    node.task(node.there, ABSENT, "timed_out")
    fresh = node.path(node.there, "temp.downloaded/fresh")
    shutil.copyfile(node.cluster.san / ABSENT, fresh)
    exchange = 2  # RENAME_EXCHANGE; Python does not offer it
    here = -100
    renamed = ctypes.CDLL(None).renameat2(
        here, os.fsencode(fresh), here, os.fsencode(node.path(node.there, ABSENT)), exchange
    )
    assert renamed == 0
    fresh.unlink()
    assert node.audit.problems() == []
