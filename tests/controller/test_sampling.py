"""The readings behind the pictures, from the counters of a real controller."""

from __future__ import annotations

from pathlib import Path

from cfm.controller.act.sampling import Sampling
from cfm.model import Now
from cfm_lab.testing.controller_rig import SOURCE, controller_rig


async def test_what_a_controller_copied_and_freed_is_read(tmp_path: Path) -> None:
    async with controller_rig(tmp_path) as rig:
        controller = rig.controller
        sampling = Sampling(controller, None)
        begun_ms = controller.trends.hour.step_s * 1000 * 10**6
        sampling.sample(Now(begun_ms, begun_ms))
        controller.core.state.counts["copied_bytes"] += 70
        controller.core.state.counts["deleted_bytes"] += 30
        sampling.sample(Now(begun_ms + 1, begun_ms + 1))
        hour = controller.trends.hour
        assert (hour.series("copied_bytes")[-1], hour.series("freed_bytes")[-1]) == (70, 30)
        assert hour.series("hits_on_san")[-1] == 0
        assert len(hour.states(SOURCE)) == hour.steps
