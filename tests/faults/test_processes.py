"""Processes that are killed, stopped and starved while copies and deletes are under way."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import pytest

from cfm_lab.testing.audit import FileOnServer
from cfm_lab.testing.processes import Daemon
from faults.story import Story, hold

pytestmark = pytest.mark.e2e


def _daemons(story: Story, who: str) -> list[Daemon]:
    here, there = (story.node.workers[addr] for addr in (story.here, story.there))
    return {
        "cfm": [story.cfm],
        "destination": [here],
        "source": [story.source],
        "cfm and destination": [story.cfm, here],
        "source and destination": [story.source, here],
        "all": [story.cfm, story.source, here, there],
    }[who]


@pytest.mark.parametrize(
    "who",
    [
        "cfm",
        "destination",
        "source",
        "cfm and destination",
        "source and destination",
        pytest.param("all", marks=pytest.mark.quick),
    ],
)
def test_killed_in_the_middle_of_copies(story: Story, who: str) -> None:
    story.begin()
    victims = _daemons(story, who)
    story.until_copying()
    story.dies(*victims)
    story.restart(*victims)
    story.until_copied(6)
    story.dies(*victims)
    story.restart(*victims)
    story.settle()


def test_cfm_killed_in_the_middle_of_deletes(story: Story) -> None:
    story.begin()
    for deletes in (1, 2, 3):
        story.wait(lambda deletes=deletes: story.deleted() >= deletes, "a delete")  # type: ignore[misc]
        story.dies(story.cfm)
        story.restart(story.cfm)
    story.settle()


SHORT_S, BEYOND_THE_LEASE_S = 6.0, 16.0


@pytest.mark.parametrize(
    ("who", "for_s"),
    [
        ("cfm", SHORT_S),
        ("cfm", BEYOND_THE_LEASE_S),
        ("destination", SHORT_S),
        ("destination", BEYOND_THE_LEASE_S),
        ("source", SHORT_S),
    ],
)
def test_stopped_and_continued(story: Story, who: str, for_s: float) -> None:
    """A zombie: what it was told before it was stopped may be over when it goes on."""
    story.begin().until_copying()
    (daemon,) = _daemons(story, who)
    daemon.freeze()
    hold(for_s)
    daemon.thaw()
    story.settle()


@pytest.mark.parametrize("who", ["cfm", "destination", "source"])
def test_out_of_file_descriptors(story: Story, who: str) -> None:
    story.begin().until_copying()
    (daemon,) = _daemons(story, who)
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    highest = max(int(link.name) for link in Path(f"/proc/{daemon.pid}/fd").iterdir())
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    hold(SHORT_S)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
    story.settle()


def test_restarted_with_an_old_disk(story: Story, tmp_path: Path) -> None:
    """What was deleted since is there again, what was copied since is not."""
    story.begin()
    shelf, old, here = story.node.shelf(story.here), tmp_path / "old", story.node.workers[story.here]
    story.wait((shelf / ".cfw-id").exists, "the disk to be marked")
    shutil.copytree(shelf, old)
    story.settle()
    story.dies(here)
    shutil.rmtree(shelf)
    shutil.copytree(old, shelf)
    names = {*story.node.visible(story.here), *story.node.ranks}
    story.audit.excused |= {FileOnServer(story.here, name) for name in names}
    story.node.restart(here)
    story.settle()
