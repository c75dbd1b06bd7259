"""Wall clocks that jump by a day: no time-out, no delete, and nothing that is not told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.machine import another_clock
from faults.story import SURPLUS, Story, hold

pytestmark = pytest.mark.e2e
PATIENT = {"servers": {"heartbeat_timeout_sec": 10, "heartbeat_interval_sec": 2}}
"""Time-outs that a busy machine does not reach: here none may come at all."""


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Story(tmp_path, cfm_keys=PATIENT) as story:
        yield story


@pytest.mark.parametrize("jump", ["+1d", "-1d"])
@pytest.mark.parametrize("whose", ["cfm", "destination", "source"])
def test_a_clock_jumps_by_a_day(story: Story, tmp_path: Path, whose: str, jump: str) -> None:
    daemons = {
        "cfm": story.cfm,
        "destination": story.node.workers[story.here],
        "source": story.source,
    }
    with another_clock(daemons[whose], tmp_path) as clock:
        story.begin().until_copying()
        clock.write_text(f"{jump}\n")
        hold(2)
        clock.write_text("+0\n")
        story.settle()
    said = story.cfm.output()
    assert "copy failed" not in said
    assert "copy ended" not in said
    assert story.deleted() == SURPLUS


@pytest.mark.parametrize("jump", ["+1d", "-1d"])
def test_cfm_wakes_up_on_another_day(story: Story, tmp_path: Path, jump: str) -> None:
    """It was killed, and the clock is another one when it starts again."""
    with another_clock(story.cfm, tmp_path) as clock:
        story.begin().until_copied(2)
        story.dies(story.cfm)
        clock.write_text(f"{jump}\n")
        story.node.restart(story.cfm)
        story.settle()
    assert story.deleted() == SURPLUS
