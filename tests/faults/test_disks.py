"""Disks that fill, fail, vanish and come back: under the files, under the states, under the SAN."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cfm_lab.testing.processes import Daemon
from faults.machine import Mounts, failing, injected
from faults.story import SETTLE_S, SURPLUS, Story, hold

pytestmark = pytest.mark.e2e
A_WHILE_S = 5.0
DISK_BYTES = 3_000_000
STATE_BYTES = 1_500_000


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    mounts = Mounts()
    yield mounts
    mounts.close()


@pytest.fixture
def unlimited(tmp_path: Path) -> Iterator[Story]:
    """The workers ask the file system for its room, and keep their state in a folder of its own."""
    keys = {"quota_bytes": None, "state": {"url": "sqlite:///state/cfw.db"}}
    with Story(tmp_path, cfw_keys=keys, cfm_keys={"state": {"url": "sqlite:///state/cfm.db"}}) as story:
        for daemon in story.node.daemons:
            (daemon.folder / "state").mkdir()
        yield story


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Other software takes all the room that there is."""
    filler = folder / ".filler"
    with filler.open("wb", buffering=0) as out:
        for piece_bytes in (65_536, 4_096, 1):
            try:
                while True:
                    out.write(bytes(piece_bytes))
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _no_inodes(folder: Path) -> Iterator[None]:
    """Other software makes as many files as there can be."""
    made: list[Path] = []
    with suppress(OSError):
        while True:
            made.append(folder / f".none{len(made)}")
            made[-1].touch()
    try:
        yield
    finally:
        for path in made[:-1]:
            path.unlink()


def _begin(story: Story) -> None:
    story.begin()
    story.audit.state = story.cfm.folder / "state" / "cfm.db"


# ── the disk of a destination ───────────────────────────────────────────────────────────────────────────


def test_a_disk_fills_while_files_arrive(unlimited: Story, mounts: Mounts) -> None:
    mounts.tmpfs(unlimited.node.shelf(unlimited.here), DISK_BYTES)
    _begin(unlimited)
    unlimited.until_copying()
    with _full(unlimited.node.shelf(unlimited.here)):
        hold(A_WHILE_S)
    unlimited.settle()


def test_a_disk_has_no_inodes_left(unlimited: Story, mounts: Mounts) -> None:
    shelf = unlimited.node.shelf(unlimited.here)
    mounts.mount(shelf, "-t", "tmpfs", "-o", f"size={DISK_BYTES},nr_inodes=64", "tmpfs")
    _begin(unlimited)
    unlimited.until_copying()
    with _no_inodes(shelf):
        hold(A_WHILE_S)
    assert "the disk has no inodes left" in unlimited.cfm.output()
    unlimited.settle()


def test_other_data_that_fills_a_disk_costs_no_known_file(unlimited: Story, mounts: Mounts) -> None:
    """All known files together could not bring the disk back to its limit."""
    shelf = unlimited.node.shelf(unlimited.here)
    mounts.tmpfs(shelf, 20 * DISK_BYTES)
    _begin(unlimited)
    unlimited.settle()
    went = unlimited.deleted()
    with _full(shelf):
        unlimited.wait(lambda: unlimited.has("limit_unreachable"), "the verdict to tell what fills the disk")
        hold(A_WHILE_S)
        assert unlimited.deleted() == went
    unlimited.wait(lambda: not unlimited.has("limit_unreachable"), "the disk to be as before")
    assert unlimited.deleted() == went


def test_unfinished_downloads_are_on_another_file_system(unlimited: Story, mounts: Mounts) -> None:
    """Its worker says so before a byte is read, and the other destination gets everything meanwhile."""
    temps = unlimited.node.shelf(unlimited.here) / "temp.downloaded"
    temps.mkdir()
    mounts.tmpfs(temps, DISK_BYTES)
    _begin(unlimited)
    unlimited.until_copied(3)
    here = unlimited.node.workers[unlimited.here]
    assert "downloads are refused" in here.output()
    assert not unlimited.node.litter(unlimited.here)
    assert "temp.downloaded is on another file system than base_dir" in unlimited.cfm.output()
    mounts.unmount(temps)
    unlimited.settle()


def test_a_disk_turns_read_only(unlimited: Story, mounts: Mounts) -> None:
    shelf = unlimited.node.shelf(unlimited.here)
    mounts.tmpfs(shelf, DISK_BYTES)
    _begin(unlimited)
    unlimited.until_copying()
    unlimited.wait(lambda: mounts.remount(shelf, "ro"), "the disk to be read-only")
    hold(A_WHILE_S)
    assert mounts.remount(shelf, "rw")
    unlimited.settle()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_disk_is_unmounted_and_the_folder_below_is_empty(
    story: Story, mounts: Mounts, tmp_path: Path, restarted: bool
) -> None:
    shelf, disk = story.node.shelf(story.here), tmp_path / "disk"
    disk.mkdir()
    mounts.bind(disk, shelf)
    story.begin().until_copied(4)
    mounts.unmount(shelf)
    if restarted:
        worker = story.node.workers[story.here]
        story.dies(worker)
        story.node.restart(worker)
    story.wait(lambda: story.node.server(story.here)["files"] is None, "the list to be unknown")
    copied = story.node.visible(story.there)
    hold(A_WHILE_S)
    assert list(shelf.iterdir()) == [], "something was written below the mount point"
    assert not (story.node.visible(story.there) - copied) & set(_names(disk)), "copied as if it were lost"
    assert "base_dir has lost its marker" in story.node.workers[story.here].output()
    mounts.bind(disk, shelf)
    story.settle()


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_nothing_is_done_that_is_not_durable(story: Story, tmp_path: Path, error: str) -> None:
    """`fsync` fails at a destination: neither files nor its own state can be made safe."""
    story.begin().until_copying()
    here = story.node.workers[story.here]
    with failing(here, error, tmp_path / "strace") as log:
        before = _received(here)
        story.wait(lambda: injected(log) >= 1, "calls to fail")
        hold(A_WHILE_S)
        assert _received(here) <= before + 1, "a copy was called done, and was not durable"
    story.settle()


def _received(daemon: Daemon) -> int:
    return daemon.output().count("received file")


def test_a_worker_cannot_write_its_own_state(unlimited: Story, mounts: Mounts) -> None:
    here = unlimited.node.workers[unlimited.here]
    mounts.tmpfs(here.folder / "state", STATE_BYTES)
    _begin(unlimited)
    unlimited.until_copying()
    with _full(here.folder / "state"):
        hold(A_WHILE_S)
    unlimited.settle()


def test_copies_on_a_disk_are_cut_to_nothing(story: Story) -> None:
    """Of two copies the whole one stays, though lists know of no sizes; two that are not whole both stay."""
    story.begin(graded=False)
    cut, both = story.node.ranks[0], story.node.ranks[1]
    for addr, name in ((story.there, cut), (story.here, both), (story.there, both)):
        (story.node.shelf(addr) / name).write_bytes(b"")
    story.node.write_metadata()
    story.wait(lambda: story.node.holders(cut) == [story.here], "the empty copy to go")
    hold(A_WHILE_S)
    assert len(story.node.holders(both)) == 2
    (story.node.shelf(story.here) / both).write_bytes(story.node.content(both))
    story.settle()


# ── cfm's own state ─────────────────────────────────────────────────────────────────────────────────────


def _paused(story: Story) -> Callable[[], bool]:
    return lambda: story.has("state_not_writable")


def _nothing_new(story: Story) -> None:
    """No order goes out, and everybody is still looked at; what had gone out before is carried out first."""
    hold(A_WHILE_S)
    deeds = story.copied() + story.deleted()
    hold(A_WHILE_S)
    assert story.copied() + story.deleted() == deeds
    assert _paused(story)()
    assert all(server["state"] == "up" for server in story.node.status()["servers"])
    assert story.node.ask("/readyz")[0] == 503
    assert story.node.ask("/healthz")[0] == 200


def test_cfm_has_no_room_for_its_state(unlimited: Story, mounts: Mounts) -> None:
    folder = unlimited.cfm.folder / "state"
    mounts.tmpfs(folder, STATE_BYTES)
    _begin(unlimited)
    unlimited.until_copying()
    with _full(folder):
        unlimited.wait(_paused(unlimited), "cfm to pause")
        _nothing_new(unlimited)
    unlimited.settle()


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_cfm_cannot_make_its_state_durable(story: Story, tmp_path: Path, error: str) -> None:
    story.begin().until_copying()
    with failing(story.cfm, error, tmp_path / "strace") as log:
        story.wait(lambda: injected(log) >= 1, "calls to fail")
        story.wait(_paused(story), "cfm to pause")
        _nothing_new(story)
    story.settle()


@contextmanager
def _hanging(folder: Path, mounts: Mounts, image: Path) -> Iterator[Callable[[], None]]:
    """An own file system under a folder; after the call, whoever writes there waits until the end."""
    with image.open("wb") as empty:
        empty.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    mounts.mount(folder, "-o", "loop", str(image))
    frozen = []

    def freeze() -> None:
        subprocess.run(["fsfreeze", "--freeze", str(folder)], check=True)
        frozen.append(folder)

    try:
        yield freeze
    finally:
        if frozen:
            subprocess.run(["fsfreeze", "--unfreeze", str(folder)], check=True)


def test_the_disk_of_cfms_state_hangs(unlimited: Story, mounts: Mounts, tmp_path: Path) -> None:
    """A disk that does not answer is like one that cannot be written; cfm says so, and goes on afterwards."""
    with _hanging(unlimited.cfm.folder / "state", mounts, tmp_path / "state.img") as freeze:
        _begin(unlimited)
        unlimited.until_copying()
        freeze()
        unlimited.wait(_paused(unlimited), "cfm to pause")
        _nothing_new(unlimited)
    unlimited.settle()


def test_the_disk_of_a_workers_state_hangs(unlimited: Story, mounts: Mounts, tmp_path: Path) -> None:
    """It takes no task, and both programs say why.  Told to end, it does not wait for its disk."""
    worker = unlimited.node.workers[unlimited.here]
    with _hanging(worker.folder / "state", mounts, tmp_path / "state.img") as freeze:
        _begin(unlimited)
        unlimited.until_copying()
        freeze()
        unlimited.wait(lambda: "did not answer within 10 s" in worker.output(), "the worker to say why")
        unlimited.wait(lambda: unlimited.has("destination_in_pause"), "cfm to name it")
        assert unlimited.node.conditions()["destination_in_pause"]["servers"] == [unlimited.here]
        worker.send(signal.SIGTERM)
        unlimited.wait(lambda: _has_ended(worker), "the worker to end")
    worker.wait_ended()
    worker.start()
    unlimited.settle()


def _has_ended(daemon: Daemon) -> bool:
    """The program has; the kernel keeps the process as long as one of its threads waits for the disk."""
    return "\nState:\tZ" in Path(f"/proc/{daemon.pid}/status").read_text()


@pytest.mark.parametrize("whose", ["cfm", "destination"])
def test_the_disk_of_the_log_is_full(story: Story, mounts: Mounts, whose: str) -> None:
    """What cannot be told is still done; the state lies on that disk too."""
    daemon = story.cfm if whose == "cfm" else story.node.workers[story.here]
    inside = [(path, path.read_bytes()) for path in daemon.folder.iterdir() if path.is_file()]
    data = daemon.folder / "data"
    mounts.tmpfs(daemon.folder, DISK_BYTES)
    for path, text in inside:
        path.write_bytes(text)
    data.mkdir()
    story.begin().until_copying()
    with _full(daemon.folder):
        hold(A_WHILE_S)
    story.audit.killed = True  # lines may be missing, as there was no room for them
    story.settle()


# ── the SAN ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_source_folder_is_unmounted(story: Story, mounts: Mounts, tmp_path: Path) -> None:
    san, disk = story.node.san, tmp_path / "san"
    shutil.copytree(san, disk)
    mounts.bind(disk, san)
    story.begin().until_copied(3)
    mounts.unmount(san)
    for path in san.iterdir():
        path.unlink()
    hold(2)  # what was just confirmed may still be acted on
    deletes = story.deleted()
    hold(A_WHILE_S)
    assert story.deleted() == deletes
    mounts.bind(disk, san)
    story.settle()


def test_files_of_the_san_are_cut_to_nothing(story: Story) -> None:
    """A file that the SAN does not hold in full is neither copied nor deleted."""
    surplus, absent = story.node.ranks[0], story.node.ranks[SURPLUS]
    for name in (surplus, absent):
        (story.node.san / name).write_bytes(b"")
    story.begin()
    others = len(story.node.ranks) - SURPLUS - 1
    story.wait(lambda: story.copied() == others, "all other copies")
    hold(2)
    assert len(story.node.holders(surplus)) == 2
    assert story.node.holders(absent) == []
    for name in (surplus, absent):
        (story.node.san / name).write_bytes(story.node.content(name))
    story.settle(2 * SETTLE_S)  # what was missing is looked for again after two minutes
