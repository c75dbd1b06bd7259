"""Power cuts: a destination's disk as it would be found if the power had failed at that moment.

The disk is an ext4 image behind a loop device.  Now and then the worker is held still for as long as it
takes to copy the image between two writes; the copy is what the platter held.  Mounted again, its journal
replayed, every file that had been reported done before must be there, and whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.machine import Mounts
from faults.story import Story

pytestmark = pytest.mark.e2e
IMAGE_BYTES = 64 << 20
CUTS = 12
TRIES = 200


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    mounts = Mounts()
    yield mounts
    mounts.close()


def _make_image(path: Path) -> None:
    with path.open("wb") as out:
        out.truncate(IMAGE_BYTES)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("this machine has no mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(path)], check=True)


def _device(folder: Path) -> str:
    """The loop device's name, as /sys/block knows it."""
    fields = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next(Path(device).name for device, where, *_ in fields if where == str(folder))


def _writes(device: str) -> str:
    """Counters of the device: what was written, and what is being written."""
    numbers = Path(f"/sys/block/{device}/stat").read_text().split()
    return " ".join(numbers[4:9])


def _power_cut(story: Story, image: Path, device: str, to: Path) -> set[str]:
    """The disk as it is now; what had been reported done by then."""
    worker = story.node.workers[story.here]
    worker.freeze()
    try:
        reported = {deed.file for deed in story.cfm.deeds("copied") if deed.server == story.here}
        for _try in range(TRIES):
            before = _writes(device)
            shutil.copyfile(image, to)
            if _writes(device) == before:
                return reported
    finally:
        worker.thaw()
    raise AssertionError("the disk was never quiet for as long as a copy takes")


def _wrong(story: Story, mounts: Mounts, image: Path, at: Path, reported: set[str]) -> Iterator[str]:
    mounts.mount(at, "-o", "loop", str(image))
    try:
        found = {path.name: path.read_bytes() for path in at.iterdir() if path.is_file()}
    finally:
        mounts.unmount(at)
    for name in sorted(reported - found.keys()):
        yield f"{name} was reported done and is not there"
    for name in sorted(found.keys() & set(story.node.ranks)):
        if found[name] != story.node.content(name):
            yield f"{name} is visible with {len(found[name])} bytes, not as it should be"


def test_what_was_reported_done_survives_a_power_cut(tmp_path: Path, mounts: Mounts) -> None:
    with Story(tmp_path, files=60, quota_bytes=20_000_000, copy_speed_bps=10_000_000) as story:
        image, shelf = tmp_path / "disk.img", story.node.shelf(story.here)
        _make_image(image)
        mounts.mount(shelf, "-o", "loop", str(image))
        shutil.rmtree(shelf / "lost+found")
        device = _device(shelf)
        story.begin()
        os.sync()  # what was there from the beginning is no download
        cuts, wrong = [], []
        for number in range(CUTS):
            story.until_copied(4 * (number + 1))
            cut = tmp_path / f"cut{number}.img"
            cuts.append((cut, _power_cut(story, image, device, cut)))
        for cut, reported in cuts:
            wrong += [f"{cut.name}: {what}" for what in _wrong(story, mounts, cut, tmp_path / "at", reported)]
        assert not wrong, "\n".join(wrong)
        assert len(cuts[-1][1]) >= CUTS
        story.settle()
