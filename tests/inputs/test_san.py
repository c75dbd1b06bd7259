"""What lies on the SAN: known only when every folder answered, asked again right before a deed."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from cfm.inputs.file_system import FileSystem
from cfm.inputs.san import SanIndex
from cfm.inputs.seeking import MOST_BELOW
from cfm.model import Known, Names, NotOnSan, Now, Observed, OnSan, Unknown
from cfm_lab.fakes.fake_file_system import FakeFileSystem

A, B = "/san/data2", "/san/data3"


HANGS_S = 0.5
"""How long a hung disk is waited for.  One that answers is given more time: the machine may be busy."""


class San:
    """Two source folders on a disk that can hang, looked at by hand, in virtual time."""

    def __init__(self, *folders: str, file_system: FileSystem | None = None, answer_s: float = 30.0) -> None:
        self.file_system, self.time_s, self.heard = FakeFileSystem(), 0, list[Observed[Names]]()
        self.answer_s = answer_s
        self.index = SanIndex(
            [Path(folder) for folder in folders or (A, B)],
            clock=self.now,
            on_change=self.heard.append,
            file_system=file_system or self.file_system,
            answer_s=answer_s,
            poll_s=0.01,
        )
        self.file_system.put(f"{A}/a", b"123")
        self.file_system.put(f"{B}/b", b"12345")

    def now(self) -> Now:
        return Now(self.time_s * 1000, 0)

    async def names(self) -> set[str] | str:
        """The names, or why they are unknown."""
        await self.index.look()
        names = self.index.names
        return set(names.value) if isinstance(names, Known) else names.why

    async def ask(self, *names: str, **sizes: int) -> list[str]:
        """Path and size, or in a word that it is not there, or is unknown."""
        answers = await self.index.stat_files(names, self.answer_s, sizes)
        return [said(answers[name]) for name in names]


def said(answer: OnSan | NotOnSan | Unknown) -> str:
    match answer:
        case OnSan(path, size_bytes):
            return f"{path} {size_bytes}"
        case NotOnSan():
            return "not there"
        case Unknown(why):
            return why


async def test_all_names_once_all_folders_answered() -> None:
    san = San()
    assert isinstance(san.index.names, Unknown)
    assert await san.names() == {"a", "b"}
    assert san.heard == [Known(frozenset({"a", "b"}), 0)]


async def test_a_folder_is_listed_again_only_when_something_came_or_went() -> None:
    san = San()
    await san.names()
    asked = san.file_system.asked[A]
    san.time_s = 5
    await san.names()
    look = san.file_system.asked[A] - asked
    san.file_system.put(f"{A}/c", b"1")
    san.time_s = 10
    assert await san.names() == {"a", "b", "c"}
    assert san.file_system.asked[A] - asked - look == look + 1
    san.file_system.remove(f"{A}/c")
    san.time_s = 15
    assert await san.names() == {"a", "b"}
    assert len(san.heard) == 3
    names = san.index.names
    assert isinstance(names, Known)
    assert names.at_ms == 15_000


async def test_after_some_minutes_it_is_listed_anyway() -> None:
    san = San(A)
    await san.names()
    san.file_system._folders[A].pop("a")  # behind the folder's mtime, as on mounts that cache it
    san.file_system._folders[A]["c"] = san.file_system._folders.setdefault(B, {})["b"]
    san.time_s = 599
    assert await san.names() == {"a"}
    san.time_s = 600
    assert await san.names() == {"c"}


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (lambda disk: disk.vanish(B), f"{B} is missing"),
        (lambda disk: disk.remove(f"{B}/b"), f"{B} is empty"),
        (lambda disk: disk.fail(B, errno.EACCES), f"{B} cannot be read: Permission denied"),
        (lambda disk: disk.fail(B, errno.ESTALE), f"{B} cannot be read: Stale file handle"),
        (lambda disk: disk.hang(B), f"{B} does not answer"),
    ],
)
async def test_unknown_is_never_empty(trouble: object, why: str) -> None:
    assert callable(trouble)
    for known_before in (True, False):
        san = San(answer_s=HANGS_S if "does not answer" in why else 30.0)
        if known_before:
            await san.names()
        trouble(san.file_system)
        assert await san.names() == why
        san.time_s = 40
        assert await san.names() == why
        assert isinstance(san.heard[-1], Unknown)
        assert len(san.heard) == 1 + known_before
        assert await san.ask("a", "b", "none") == [f"{A}/a 3", why, why]
        san.file_system.heal()
        san.file_system.put(f"{B}/b", b"12345")
        san.time_s = 80
        assert await san.names() == {"a", "b"}
        assert await san.ask("a", "b", "none") == [f"{A}/a 3", f"{B}/b 5", "not there"]


async def test_a_hung_folder_is_left_alone_for_a_pause_and_costs_few_threads() -> None:
    san = San(answer_s=HANGS_S)
    san.file_system.hang(B)
    for san.time_s in range(0, 300, 5):
        await san.names()
    assert san.index._folders[1].threads.hung == 4
    san.file_system.heal()


async def test_a_hung_folder_does_not_hold_up_what_another_one_tells() -> None:
    san = San()
    await san.names()
    san.file_system.hang(A)
    asking = [asyncio.create_task(san.ask("a", "b")) for _ in range(2)]  # they hold all threads of A
    await asyncio.sleep(0)
    san.file_system.put(f"{B}/c", b"1")
    following = asyncio.create_task(san.index.run())
    async with asyncio.timeout(10):
        while len(san.heard) == 1:
            await asyncio.to_thread(lambda: None)
    assert san.heard[-1] == Known(frozenset({"a", "b", "c"}), 0)
    san.file_system.heal()
    following.cancel()
    await asyncio.gather(*asking)
    await asyncio.wait((following,))


async def test_what_was_said_before_a_hang_counts() -> None:
    san = San(A, answer_s=HANGS_S)
    san.file_system.put(f"{A}/b", b"1")
    san.file_system.hang(f"{A}/b")
    assert await san.ask("a", "b") == [f"{A}/a 3", f"{A} does not answer"]
    san.file_system.heal()


async def test_the_first_folder_counts_unless_another_has_the_size_that_is_wanted() -> None:
    san = San()
    san.file_system.put(f"{B}/a", b"12345")
    assert await san.ask("a") == [f"{A}/a 3"]
    assert await san.ask("a", a=5) == [f"{B}/a 5"]
    assert await san.ask("a", a=4) == [f"{A}/a 3"]
    san.file_system.fail(B)
    assert await san.ask("a", a=3) == [f"{A}/a 3"]
    assert await san.ask("a", a=5) == [f"{B} cannot be read: Input/output error"]


async def test_files_of_0_bytes_and_bad_names_are_not_there() -> None:
    san = San(A)
    san.file_system.put(f"{A}/empty", b"")
    san.file_system.put(f"{A}/.hidden", b"1")
    assert await san.ask("empty", ".hidden", "../data3/b", "") == ["not there"] * 4
    assert await san.names() == {"a", "empty"}


async def test_without_folders_everything_is_unknown() -> None:
    san = SanIndex([], clock=lambda: Now(0, 0), on_change=lambda _: None, file_system=FakeFileSystem())
    await san.look()
    assert isinstance(san.names, Unknown)
    assert await san.stat_files(["a"], 1) == {"a": Unknown("no source folder is configured", 0)}
    following = asyncio.create_task(san.run())
    ended, _ = await asyncio.wait((following,), timeout=0.05)
    assert not ended, "a job that ends is told as a failure"
    following.cancel()


async def test_real_folders(tmp_path: Path) -> None:
    """The folder may be a link; what lies in it may not."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "a").write_bytes(b"123")
    (real / "link").symlink_to(real / "a")
    (tmp_path / "san").symlink_to(real)
    heard: asyncio.Queue[Observed[Names]] = asyncio.Queue()
    index = SanIndex([tmp_path / "san"], clock=lambda: Now(7, 7), on_change=heard.put_nowait, poll_s=0.01)
    async with asyncio.timeout(10):
        running = asyncio.create_task(index.run())
        assert await heard.get() == Known(frozenset({"a"}), 7)
        answers = await index.stat_files(["a", "link"], 5)
        written_ns = (real / "a").stat().st_mtime_ns
        assert answers == {"a": OnSan(f"{tmp_path}/san/a", 3, written_ns), "link": NotOnSan()}
        (real / "a").unlink()
        (real / "link").unlink()
        assert isinstance(await heard.get(), Unknown)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_two_folders_that_hang_end_nothing_and_are_used_when_they_are_back() -> None:
    """Two looks that hung ended cfm."""
    san = San(answer_s=HANGS_S)
    await san.names()
    for folder in (A, B):
        san.file_system.hang(folder)
    following = asyncio.create_task(san.index.run())
    asking = [asyncio.create_task(san.ask("a", "b")) for _ in range(8)]
    async with asyncio.timeout(20):
        while not isinstance(san.index.names, Unknown):
            await asyncio.to_thread(lambda: None)
        for answers in await asyncio.gather(*asking):
            assert all("does not answer" in answer for answer in answers)
    for san.time_s in range(60, 360, 60):  # the pauses are over again and again
        await san.index.look()
    assert not following.done()
    san.file_system.heal()
    async with asyncio.timeout(20):
        while isinstance(await san.names(), str):
            san.time_s += 40
    assert await san.names() == {"a", "b"}
    following.cancel()
    await asyncio.wait((following,))


async def test_a_listing_says_how_far_it_is() -> None:
    san = San(A)
    san.file_system.hang(f"{A}/.")  # all names were seen, and the folders in it are looked for
    assert list(san.index.listing) == []
    looking = asyncio.create_task(san.names())
    found = list(san.index.listing)
    while not found or not found[0][1]:
        await asyncio.sleep(0)
        found = list(san.index.listing)
    assert found == [(A, 1, None)]
    san.file_system.heal()
    assert await looking == {"a"}
    assert list(san.index.listing) == []


async def test_no_disk_hides_behind_the_number_of_folders() -> None:
    """Some thousand folders lie in a source folder, and a worker's disk is one of the last."""
    san = San(A)
    for number in range(3 * MOST_BELOW):
        san.file_system.make_folder(f"{A}/d{number:05}")
    disk = f"{A}/d{3 * MOST_BELOW - 1:05}"
    san.file_system.put(f"{disk}/.cfw-id", b"its marker")
    san.file_system.put(f"{disk}/.cfw-probe", b"")
    await san.names()
    sights = await san.index.seek([".cfw-probe"], san.answer_s)
    assert sights == {A: {".cfw-probe": disk}}
