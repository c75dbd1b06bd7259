"""The rules of the shelf, on a disk in memory where that says the same, on a real one where it does not."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfm.model import fits
from cfm.worker.act.base_dir import MARKER, PROBE, BaseDir, Folder, UnreadableError
from cfm.worker.act.disk_lock import DiskLocks
from cfm.worker.act.plain_files import open_folder
from cfm.worker.act.real_base_dir import RealBaseDir, RealFolder
from cfm.worker.act.shelf import DeclinedError, SharedError, Shelf
from cfm.worker.decide.disk_entries import Entry, EntryKind
from cfm.worker.decide.shelf_rules import (
    DeletionOutcome,
    Inventory,
    MarkerVerdict,
    Receipt,
    deletion_objection,
    judge_marker,
    quota_space,
    temp_name,
)
from cfm_lab.fakes.memory_base_dir import MemoryBaseDir
from cfm_lab.fakes.memory_worker import NoOtherWorkers

DISK_ID = "0123456789abcdef"
OTHER_ID = "fedcba9876543210"


class Kept:
    """A worker's state, as far as the shelf is concerned, over its restarts."""

    def __init__(self, disk: BaseDir) -> None:
        self.disk = disk
        self.disk_id: str | None = None

    def shelf(
        self, *, limit_percent: int = 90, quota_bytes: int | None = None, disk_locks: DiskLocks | None = None
    ) -> Shelf:
        return Shelf(
            self.disk,
            disk_id=self.disk_id,
            new_id=DISK_ID,
            remember=self._remember,
            disk_locks=disk_locks or NoOtherWorkers(),
            limit_percent=limit_percent,
            quota_bytes=quota_bytes,
        )

    def _remember(self, disk_id: str) -> None:
        self.disk_id = disk_id


@pytest.fixture
def disk() -> MemoryBaseDir:
    return MemoryBaseDir(1_000_000)


@pytest.fixture
def shelf(disk: MemoryBaseDir) -> Shelf:
    return Kept(disk).shelf()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    return folder


def fill(shelf: Shelf, receipt: Receipt, data: bytes) -> None:
    file = shelf.create(receipt)
    file.write(data)
    file.close()


class BusyFolder(RealFolder):
    """One in which something else happens right after its unfinished downloads were looked at."""

    def __init__(self, fd: int, meanwhile: Callable[[], None]) -> None:
        super().__init__(fd)
        self._meanwhile = meanwhile

    def temps(self) -> list[Entry]:
        found = super().temps()
        self._meanwhile()
        return found


class BusyDisk(RealBaseDir):
    def __init__(self, base_dir: Path) -> None:
        super().__init__(base_dir)
        self.base_dir = base_dir
        self.meanwhile: Callable[[], None] = lambda: None

    @contextmanager
    def open(self) -> Iterator[Folder]:
        with open_folder(self.base_dir) as fd:
            yield BusyFolder(fd, self.meanwhile)


class TestMarker:
    @pytest.mark.parametrize(
        ("known", "marker", "verdict"),
        [
            (None, "", MarkerVerdict.MAKE),
            (None, DISK_ID, MarkerVerdict.ADOPT),
            (None, "no id\r\nInjected: yes", MarkerVerdict.FOREIGN),
            (DISK_ID, DISK_ID, MarkerVerdict.OURS),
            (DISK_ID, "", MarkerVerdict.LOST),
            (DISK_ID, OTHER_ID, MarkerVerdict.FOREIGN),
        ],
    )
    def test_table(self, known: str | None, marker: str, verdict: MarkerVerdict) -> None:
        assert judge_marker(known, marker) is verdict

    def test_is_made_at_the_very_first_start(self, disk: MemoryBaseDir) -> None:
        kept = Kept(disk)
        assert kept.shelf().check() == DISK_ID
        assert kept.disk_id == DISK_ID
        assert bytes(disk.names[MARKER].data) == f"{DISK_ID}\n".encode()

    def test_is_durable_before_the_state_has_it(self, disk: MemoryBaseDir) -> None:
        kept = Kept(disk)
        kept.shelf().check()
        disk.crash()
        assert kept.shelf().check() == DISK_ID

    def test_is_adopted_where_the_state_was_lost(self, disk: MemoryBaseDir) -> None:
        Kept(disk).shelf().check()
        again = Kept(disk)
        assert again.shelf().check() == DISK_ID
        assert again.disk_id == DISK_ID

    def test_lost_makes_all_unreadable_and_nothing_changes(self, disk: MemoryBaseDir) -> None:
        kept = Kept(disk)
        shelf = kept.shelf()
        shelf.check()
        del disk.names[MARKER]
        disk.put("a.mpg", 5)
        for call in (shelf.check, shelf.inventory, shelf.usage, lambda: shelf.delete("a.mpg")):
            with pytest.raises(UnreadableError, match="mounted"):
                call()
        with pytest.raises(UnreadableError):
            shelf.begin("b.mpg", 1, 5)
        assert {name for name in disk.names if not name.startswith(PROBE)} == {"a.mpg"}
        assert shelf.seen_disk_id == ""

    def test_of_another_disk_makes_all_unreadable(self, disk: MemoryBaseDir) -> None:
        kept = Kept(disk)
        kept.disk_id = OTHER_ID
        with kept.disk.open() as folder:
            folder.make_marker(DISK_ID)
        with pytest.raises(UnreadableError, match="another disk"):
            kept.shelf().inventory()

    def test_back_again_makes_all_readable(self, disk: MemoryBaseDir) -> None:
        shelf = Kept(disk).shelf()
        shelf.check()
        node = disk.names.pop(MARKER)
        with pytest.raises(UnreadableError):
            shelf.check()
        disk.names[MARKER] = node
        assert shelf.check() == shelf.seen_disk_id == DISK_ID

    def test_a_missing_folder_is_unreadable_and_not_made(self, tmp_path: Path) -> None:
        kept = Kept(RealBaseDir(tmp_path / "gone"))
        with pytest.raises(UnreadableError):
            kept.shelf().inventory()
        assert (kept.disk_id, list(tmp_path.iterdir())) == (None, [])

    def test_a_folder_that_is_replaced_while_running_is_noticed(self, base: Path) -> None:
        (base / "a.mpg").touch()
        shelf = Kept(RealBaseDir(base)).shelf()
        assert shelf.inventory().names == ("a.mpg",)
        base.rename(base.parent / "away")
        base.mkdir()
        with pytest.raises(UnreadableError):
            shelf.inventory()

    def test_what_cannot_be_remembered_is_tried_again(self, disk: MemoryBaseDir) -> None:
        kept = Kept(disk)
        full = True

        def remember(disk_id: str) -> None:
            if full:
                raise OSError(errno.ENOSPC, "full")
            kept.disk_id = disk_id

        shelf = Shelf(
            disk,
            disk_id=None,
            new_id=DISK_ID,
            remember=remember,
            disk_locks=NoOtherWorkers(),
            limit_percent=90,
        )
        with pytest.raises(UnreadableError):
            shelf.check()
        full = False
        assert shelf.check() == kept.disk_id == DISK_ID


class LockedBy:
    """DiskLocks where another worker has one disk."""

    def __init__(self, theirs: str) -> None:
        self.theirs = theirs

    def hold(self, disk_id: str) -> bool:
        return disk_id != self.theirs

    def is_held(self, disk_id: str) -> bool:
        return disk_id == self.theirs


@pytest.mark.parametrize("known", [None, DISK_ID, OTHER_ID])
def test_a_disk_that_another_worker_uses_is_refused(disk: MemoryBaseDir, known: str | None) -> None:
    Kept(disk).shelf().check()
    kept = Kept(disk)
    kept.disk_id = known
    with pytest.raises(SharedError):
        kept.shelf(disk_locks=LockedBy(DISK_ID)).check()
    assert kept.disk_id == known


class TestInventory:
    def test_plain_files_in_byte_order(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        for name in ("b.mpg", "a.mpg", "Z.mpg", "é.mpg", "𝄞.mpg", "\uffee.mpg", "_.mpg"):
            disk.put(name, 1)
        names = shelf.inventory().names
        assert list(names) == sorted(names, key=str.encode)
        assert len(names) == 7

    def test_nothing_else(self, base: Path) -> None:
        (base / "folder").mkdir()
        (base / "link").symlink_to("/etc/passwd")
        os.mkfifo(base / "fifo")
        (base / ".hidden").touch()
        (base / "a.mpg").touch()
        assert Kept(RealBaseDir(base)).shelf().inventory().names == ("a.mpg",)

    def test_names_that_cannot_be_spoken_of_are_counted(self, base: Path) -> None:
        for name in (b"a.mpg", b"\xff\xfe", b"line\nbreak", b"\x1b[31m", "\u202eabc".encode()):
            os.close(os.open(os.path.join(os.fsencode(base), name), os.O_CREAT | os.O_WRONLY))  # noqa: PTH118
        inventory = Kept(RealBaseDir(base)).shelf().inventory()
        assert (inventory.names, inventory.odd) == (("a.mpg",), 4)

    def test_the_text_ends_each_name(self) -> None:
        assert Inventory(("a", "b"), DISK_ID).text == b"a\nb\n"
        assert Inventory((), DISK_ID).text == b""

    @given(st.lists(st.text(min_size=1)), st.lists(st.text(min_size=1)))
    def test_the_etag_tells_lists_apart(self, one: list[str], other: list[str]) -> None:
        texts = [Inventory(tuple(names), DISK_ID).text for names in (one, other)]
        etags = [Inventory.etag(text) for text in texts]
        assert (etags[0] == etags[1]) == (texts[0] == texts[1])

    def test_is_never_an_old_one(self, base: Path) -> None:
        """Two changes within one tick of the clock, which a folder's mtime would not tell apart."""
        shelf = Kept(RealBaseDir(base)).shelf()
        seen = set()
        for number in range(50):
            (base / f"{number}.mpg").touch()
            seen.add(Inventory.etag(shelf.inventory().text))
        assert len(seen) == 50

    def test_a_broken_disk_is_an_error_and_no_short_list(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        disk.put("a.mpg", 1)
        disk.failing["kinds"] = errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            shelf.inventory()


class TestDelete:
    @pytest.mark.parametrize(
        ("kind", "receiving", "allowed", "here", "objection"),
        [
            (EntryKind.FILE, False, True, True, None),
            (EntryKind.FILE, False, False, True, DeletionOutcome.OVERTAKEN),
            (EntryKind.FILE, False, True, False, DeletionOutcome.ELSEWHERE),
            (EntryKind.FILE, True, True, True, DeletionOutcome.RECEIVING),
            (EntryKind.FOLDER, False, True, True, DeletionOutcome.NOT_PLAIN),
            (EntryKind.OTHER, False, True, True, DeletionOutcome.NOT_PLAIN),
            (None, False, True, True, DeletionOutcome.ABSENT),
            (None, True, True, True, DeletionOutcome.RECEIVING),
            (None, False, False, False, DeletionOutcome.OVERTAKEN),
        ],
    )
    def test_table(
        self,
        kind: EntryKind | None,
        receiving: bool,
        allowed: bool,
        here: bool,
        objection: DeletionOutcome | None,
    ) -> None:
        there = None if kind is None else Entry("a", kind, 1, 1, 1, 1, 1)
        told = deletion_objection(there, receiving=receiving, allowed=allowed, here=here)
        assert told is objection

    def test_is_durable(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        disk.put("a.mpg", 5)
        assert shelf.delete("a.mpg") is DeletionOutcome.DELETED
        disk.crash()
        assert "a.mpg" not in disk.names
        assert shelf.delete("a.mpg") is DeletionOutcome.ABSENT

    def test_is_not_done_where_it_could_not_be_made_durable(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        disk.put("a.mpg", 5)
        shelf.check()
        disk.failing["sync"] = errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            shelf.delete("a.mpg")

    def test_spares_everything_that_is_no_plain_file(self, base: Path, tmp_path: Path) -> None:
        (tmp_path / "target").touch()
        (base / "folder").mkdir()
        (base / "link").symlink_to(tmp_path / "target")
        os.mkfifo(base / "fifo")
        shelf = Kept(RealBaseDir(base)).shelf()
        assert {shelf.delete(name) for name in ("folder", "link", "fifo")} == {DeletionOutcome.NOT_PLAIN}
        assert (base / "link").is_symlink()
        assert (tmp_path / "target").exists()

    def test_waits_for_nobody_but_asks_once_more(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        disk.put("a.mpg", 5)
        assert shelf.delete("a.mpg", lambda: False) is DeletionOutcome.OVERTAKEN
        assert "a.mpg" in disk.names

    def test_a_list_comes_after_the_deletes_that_were_let_through(self, disk: MemoryBaseDir) -> None:
        """An order is past its last check, but its disk is slow: the list that fences it off must not be
        made before it is done."""
        slow = SlowDisk(disk)
        shelf = Kept(slow).shelf()
        disk.put("a.mpg", 5)
        shelf.check()
        deleting = threading.Thread(target=shelf.delete, args=("a.mpg",))
        slow.armed = True
        deleting.start()
        assert slow.reached.wait(5)
        lists: list[Inventory] = []
        listing = threading.Thread(target=lambda: lists.append(shelf.inventory()))
        listing.start()
        listing.join(0.05)
        assert lists == []
        slow.go_on.set()
        deleting.join(5)
        listing.join(5)
        assert lists[0].names == ()


class SlowDisk:
    """A disk whose next opening, once armed, waits until it is told to go on."""

    def __init__(self, disk: MemoryBaseDir) -> None:
        self.disk = disk
        self.armed = False
        self.reached = threading.Event()
        self.go_on = threading.Event()

    @contextmanager
    def open(self) -> Iterator[Folder]:
        if self.armed:
            self.armed = False
            self.reached.set()
            assert self.go_on.wait(5)
        with self.disk.open() as folder:
            yield folder

    def temp_path(self, temp: str) -> str:
        return self.disk.temp_path(temp)


@pytest.mark.parametrize(
    ("call", "error", "why"),
    [
        ("open_temp", errno.ENOSPC, "no inodes left"),
        ("rename", errno.EXDEV, "temp.downloaded is on another file system"),
        ("open_temp", errno.EROFS, "no file can arrive in base_dir: Read-only"),
    ],
)
def test_a_place_where_no_file_can_arrive_is_refused_by_name(
    disk: MemoryBaseDir, shelf: Shelf, call: str, error: int, why: str
) -> None:
    disk.failing[call] = error
    with pytest.raises(DeclinedError, match=why):
        shelf.try_out()
    with pytest.raises(DeclinedError, match=why):
        shelf.begin("a.mpg", 1, 100)
    disk.failing.clear()
    shelf.try_out()
    shelf.begin("a.mpg", 1, 100)


class TestReceiving:
    def test_from_the_first_byte_to_the_visible_file(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        receipt = shelf.begin("a.mpg", 17, 5)
        assert (receipt.temp, receipt.path) == ("a.mpg.17", "/temp.downloaded/a.mpg.17")
        fill(shelf, receipt, b"12345")
        assert shelf.inventory().names == ()
        shelf.publish(receipt, verified=True)
        disk.crash()
        assert bytes(disk.names["a.mpg"].data) == b"12345"
        assert shelf.inventory().names == ("a.mpg",)

    def test_on_a_real_disk(self, base: Path) -> None:
        shelf = Kept(RealBaseDir(base)).shelf(quota_bytes=1000)
        receipt = shelf.begin("a.mpg", 17, 5)
        assert receipt.path == str(base / "temp.downloaded" / "a.mpg.17")
        fill(shelf, receipt, b"12345")
        shelf.publish(receipt, verified=False)
        assert (base / "a.mpg").read_bytes() == b"12345"
        assert shelf.usage().used_bytes == 5

    def test_what_an_attempt_left_is_begun_anew(self, shelf: Shelf) -> None:
        receipt = shelf.begin("a.mpg", 17, 5)
        fill(shelf, receipt, b"12")
        fill(shelf, receipt, b"12345")
        assert shelf.reopen(receipt).size() == 5

    def test_a_short_file_is_not_published(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        receipt = shelf.begin("a.mpg", 17, 5)
        fill(shelf, receipt, b"1234")
        with pytest.raises(DeclinedError, match="4 bytes instead of 5"):
            shelf.publish(receipt, verified=True)
        assert "a.mpg" not in disk.names

    def test_what_cannot_be_synced_is_not_published(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        receipt = shelf.begin("a.mpg", 17, 5)
        fill(shelf, receipt, b"12345")
        disk.failing["sync"] = errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            shelf.publish(receipt, verified=True)

    def test_what_becomes_visible_while_room_is_counted_does_not_count_twice(self, tmp_path: Path) -> None:
        """The next copy begins while the last one is published."""
        disk = BusyDisk(tmp_path)
        shelf = Kept(disk).shelf(limit_percent=99, quota_bytes=12)
        receipt = shelf.begin("a.mpg", 17, 5)
        fill(shelf, receipt, b"12345")
        publishing = threading.Thread(target=lambda: shelf.publish(receipt, verified=False))

        def publish() -> None:
            disk.meanwhile = lambda: None
            publishing.start()
            publishing.join(0.2)  # it may have to wait for us

        disk.meanwhile = publish
        shelf.begin("b.mpg", 18, 5)
        publishing.join()
        assert (tmp_path / "a.mpg").exists()

    def test_a_downloader_that_is_another_program_finds_the_folder(self, tmp_path: Path) -> None:
        receipt = Kept(RealBaseDir(tmp_path)).shelf(limit_percent=99).begin("a.mpg", 17, 5)
        Path(receipt.path).write_bytes(b"12345")
        assert (tmp_path / "temp.downloaded" / "a.mpg.17").read_bytes() == b"12345"

    @pytest.mark.parametrize(("verified", "left"), [(True, 5), (False, 3)])
    def test_a_file_gives_way_to_a_verified_copy_only(
        self, disk: MemoryBaseDir, shelf: Shelf, verified: bool, left: int
    ) -> None:
        receipt = shelf.begin("a.mpg", 17, 5)
        fill(shelf, receipt, b"12345")
        disk.put("a.mpg", 3)
        with suppress(DeclinedError):
            shelf.publish(receipt, verified=verified)
        assert disk.names["a.mpg"].size_bytes == left

    def test_nothing_but_a_plain_file_gives_way(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        receipt = shelf.begin("a.mpg", 17, 5)
        fill(shelf, receipt, b"12345")
        disk.put("a.mpg", 0, EntryKind.OTHER)
        with pytest.raises(DeclinedError, match="in the way"):
            shelf.publish(receipt, verified=True)
        with pytest.raises(DeclinedError, match="not a plain file"):
            Kept(disk).shelf().begin("a.mpg", 18, 5)

    @pytest.mark.parametrize("name", ["../escape.txt", "a/b", "", ".", "..", ".cfw-id", "a\nb", "x" * 256])
    def test_only_a_plain_name_is_begun(self, disk: MemoryBaseDir, shelf: Shelf, name: str) -> None:
        with pytest.raises(DeclinedError):
            shelf.begin(name, 1, 5)
        assert disk.temp_names == {}

    def test_a_file_is_received_once_at_a_time(self, shelf: Shelf) -> None:
        receipt = shelf.begin("a.mpg", 1, 5)
        with pytest.raises(DeclinedError, match="already"):
            shelf.begin("a.mpg", 2, 5)
        shelf.abandon(receipt)
        shelf.begin("a.mpg", 2, 5)

    def test_a_file_is_not_deleted_while_it_is_received(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        disk.put("a.mpg", 3)
        receipt = shelf.begin("a.mpg", 1, 5)
        assert shelf.delete("a.mpg") is DeletionOutcome.RECEIVING
        shelf.abandon(receipt)
        assert shelf.delete("a.mpg") is DeletionOutcome.DELETED

    def test_abandoned_leaves_nothing(self, disk: MemoryBaseDir, shelf: Shelf) -> None:
        receipt = shelf.begin("a.mpg", 1, 5)
        fill(shelf, receipt, b"123")
        shelf.abandon(receipt)
        assert disk.temp_names == {}
        assert shelf.room_for(900_000 - 100)

    def test_abandoned_frees_the_place_even_where_the_disk_is_gone(
        self, disk: MemoryBaseDir, shelf: Shelf
    ) -> None:
        receipt = shelf.begin("a.mpg", 1, 5)
        disk.mounted = False
        with pytest.raises(UnreadableError):
            shelf.abandon(receipt)
        disk.mounted = True
        shelf.begin("a.mpg", 2, 5)

    def test_an_old_end_does_not_end_a_new_beginning(self, shelf: Shelf) -> None:
        first = shelf.begin("a.mpg", 1, 5)
        shelf.abandon(first)
        shelf.begin("a.mpg", 2, 5)
        shelf.abandon(first)
        with pytest.raises(DeclinedError):
            shelf.begin("a.mpg", 3, 5)

    def test_litter_of_an_earlier_life_is_dropped(self, disk: MemoryBaseDir) -> None:
        kept = Kept(disk)
        first = kept.shelf()
        fill(first, first.begin("a.mpg", 1, 5), b"123")
        again = kept.shelf()
        fill(again, again.begin("b.mpg", 2, 5), b"123")
        assert again.clean() == 1
        assert set(disk.temp_names) == {"b.mpg.2"}

    def test_a_download_that_begins_while_litter_is_looked_for_is_none(self, disk: MemoryBaseDir) -> None:
        shelf = Kept(disk).shelf()
        disk.before_temps = lambda: fill(shelf, shelf.begin("b.mpg", 2, 5), b"123")
        assert shelf.clean() == 0
        assert set(disk.temp_names) == {"b.mpg.2"}


class TestRoom:
    def test_counts_what_is_still_to_arrive(self, shelf: Shelf) -> None:
        assert shelf.room_for(890_000)
        receipt = shelf.begin("a.mpg", 1, 500_000)
        assert not shelf.room_for(400_000)
        fill(shelf, receipt, bytes(500_000))
        assert not shelf.room_for(400_000)
        assert shelf.room_for(390_000)

    def test_none_is_none(self, shelf: Shelf) -> None:
        with pytest.raises(DeclinedError, match="no room"):
            shelf.begin("a.mpg", 1, 950_000)
        shelf.begin("a.mpg", 1, 850_000)
        with pytest.raises(DeclinedError, match="no room"):
            shelf.begin("b.mpg", 2, 100_000)

    def test_of_a_full_disk_is_none_for_a_file_of_unknown_size(
        self, disk: MemoryBaseDir, shelf: Shelf
    ) -> None:
        disk.put("big.mpg", 950_000)
        with pytest.raises(DeclinedError, match="no room"):
            shelf.begin("a.mpg", 1, None)

    def test_follows_the_limit(self, shelf: Shelf) -> None:
        shelf.limit_percent = 50
        assert not shelf.room_for(600_000)

    def test_counts_without_roots_reserve(self) -> None:
        shelf = Kept(MemoryBaseDir(1_000_000, reserved_bytes=500_000)).shelf()
        assert shelf.room_for(440_000)
        assert not shelf.room_for(460_000)

    def test_a_quota_is_a_disk(self, base: Path) -> None:
        shelf = Kept(RealBaseDir(base)).shelf(quota_bytes=1000)
        (base / "a.mpg").write_bytes(bytes(300))
        fill(shelf, shelf.begin("b.mpg", 1, 200), bytes(50))
        usage = shelf.usage()
        assert (usage.total_bytes, usage.used_bytes, usage.avail_bytes) == (1000, 350, 650)
        assert usage.arriving_bytes == 50
        assert shelf.room_for(400)
        assert not shelf.room_for(401)

    @given(st.integers(1, 10**15), st.integers(0, 10**15))
    def test_an_overdrawn_quota_is_a_full_disk(self, quota: int, used: int) -> None:
        space = quota_space(quota, used)
        assert space.total_bytes - space.free_bytes == used
        assert space.avail_bytes == max(0, quota - used)

    def test_absurd_figures_are_no_answer(self) -> None:
        with pytest.raises(OSError, match="no sense"):
            Kept(MemoryBaseDir(0)).shelf().usage()

    def test_what_btrfs_calls_available_never_counts_for_more_than_is_free(self) -> None:
        disk = MemoryBaseDir(1_000_000, reserved_bytes=-50_000)
        disk.put("a.mpg", 300_000)
        usage = Kept(disk).shelf().usage()
        assert (usage.free_bytes, usage.avail_bytes) == (usage.total_bytes - usage.used_bytes,) * 2

    @given(st.lists(st.tuples(st.integers(1, 600_000), st.booleans()), max_size=12), st.integers(1, 99))
    def test_no_copy_brings_the_disk_over_its_limit(self, copies: list[tuple[int, bool]], limit: int) -> None:
        disk = MemoryBaseDir(1_000_000)
        shelf = Kept(disk).shelf(limit_percent=limit)
        shelf.check()
        before = shelf.usage().used_bytes
        for number, (size, kept) in enumerate(copies):
            with suppress(DeclinedError):
                receipt = shelf.begin(f"{number}.mpg", number, size)
                shelf.create(receipt).truncate(size)
                if kept:
                    shelf.publish(receipt, verified=True)
        usage = shelf.usage()
        assert usage.used_bytes == before or fits(usage.used_bytes, usage.avail_bytes, 0, limit)


class TestTempName:
    def test_is_that_of_the_old_downloader(self) -> None:
        assert temp_name("X.mpg", 1795396962684063661) == "X.mpg.1795396962684063661"

    @given(st.text(min_size=1, max_size=255), st.integers(0, 2**63))
    def test_fits_a_file_system(self, name: str, task_id: int) -> None:
        with suppress(UnicodeEncodeError):
            assert len(temp_name(name, task_id).encode()) <= 255
