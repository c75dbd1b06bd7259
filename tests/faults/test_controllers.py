"""More than one cfm: on one state, on one port, on the same workers, and one that should be dead."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from cfm_lab.testing.processes import Daemon, free_port, wait_for
from faults.story import SURPLUS, Story

pytestmark = pytest.mark.e2e
REFUSED = "its server answered 409"
NOT_OURS = "belongs to another controller"


@contextmanager
def _other_cfm(story: Story, folder: Path, **keys: object) -> Iterator[Daemon]:
    """A second cfm with the same settings but for `keys`, and with a state and an address of its own."""
    folder.mkdir(exist_ok=True)
    addr = f"127.0.0.1:{free_port('127.0.0.1')}"
    settings = yaml.safe_load((story.cfm.folder / "cfm.yml").read_text())
    (folder / "cfm.yml").write_text(yaml.safe_dump({**settings, "listen_addr": addr, **keys}))
    daemon = Daemon("other cfm", folder, addr, "cfm.cli.cfm", ("run", "-c", "cfm.yml"))
    try:
        daemon.start()
        wait_for(daemon.listens, "the other cfm to listen", [daemon])
        yield daemon
    finally:
        daemon.stop()


def _surplus_stays(story: Story) -> None:
    for name in story.node.ranks[:SURPLUS]:
        assert len(story.node.holders(name)) == 2, name


@pytest.mark.quick
def test_a_second_cfm_on_the_same_state_says_so_and_ends(story: Story) -> None:
    story.begin().until_copying()
    settings = yaml.safe_load((story.cfm.folder / "cfm.yml").read_text())
    settings["listen_addr"] = f"127.0.0.1:{free_port('127.0.0.1')}"
    (story.cfm.folder / "second.yml").write_text(yaml.safe_dump(settings))
    ended = story.node.run("cfm", "run", "-c", "second.yml")
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "another cfm uses it" in ended.stderr
    story.settle()


def test_a_second_cfm_on_the_same_port_says_so_and_ends(story: Story) -> None:
    story.begin().until_copying()
    settings = yaml.safe_load((story.cfm.folder / "cfm.yml").read_text())
    (story.cfm.folder / "second.yml").write_text(
        yaml.safe_dump({**settings, "state": {"url": "sqlite:///second.db"}})
    )
    ended = story.node.run("cfm", "run", "-c", "second.yml")
    assert ended.returncode == 1
    assert story.node.cfm_addr in ended.stderr.splitlines()[-1]
    story.settle()


def test_orders_of_a_cfm_with_another_state_are_refused(story: Story, tmp_path: Path) -> None:
    """The workers belong to the first, which deletes nothing for now; the second would like to."""
    story.node.change(story.cfm, {"deletes": "off"})
    story.begin().until_copied(2)
    with _other_cfm(story, tmp_path / "other", deletes="on") as other:
        wait_for(lambda: REFUSED in other.output(), "a refused delete", [other], 60)
        wait_for(lambda: NOT_OURS in other.output(), "cfm to say whose the worker is", [other], 60)
        _surplus_stays(story)
        assert not other.deeds("deleted")
        assert not other.deeds("copied")
    story.node.change(story.cfm, {"deletes": "on"})
    story.cfm.send(signal.SIGHUP)
    story.settle()


def test_a_zombie_is_not_obeyed(story: Story, tmp_path: Path) -> None:
    """It was stopped, another took over from its state, and it goes on as if nothing had been."""
    story.node.change(story.cfm, {"deletes": "off"})
    story.begin().until_copied(2)
    story.cfm.freeze()
    told = story.cfm.output()
    shutil.copytree(story.cfm.folder, tmp_path / "successor", ignore=shutil.ignore_patterns("output.txt"))
    with _other_cfm(story, tmp_path / "successor") as successor:
        up = [f"server is up server={addr}" for addr in story.node.destination_addrs]
        wait_for(lambda: all(line in successor.output() for line in up), "the successor's look", [successor])
        story.node.change(story.cfm, {"deletes": "on"})
        story.cfm.send(signal.SIGHUP)
        story.cfm.thaw()
        story.wait(lambda: REFUSED in story.cfm.output(), "the zombie's orders to be refused", 60)
        _surplus_stays(story)
    story.dies(story.cfm)
    # What the zombie heard when it thawed is in its books alone, and they end here: so do its words.
    (story.cfm.folder / "output.txt").write_text(told)
    for path in (tmp_path / "successor").glob("cfm.db*"):
        shutil.copy(path, story.cfm.folder / path.name)
    story.node.restart(story.cfm)
    story.settle()
