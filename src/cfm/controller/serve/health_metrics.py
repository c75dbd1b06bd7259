"""Metrics of the health of the node and of cfm itself: the list of conditions that status and page show.

Neighbours: `metrics` serves these with all others; `packaging/alerts.yml` has an alert for each that matters.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from cfm import __version__
from cfm.controller.act.loop import Controller
from cfm.controller.decide.core import Core
from cfm.controller.explain.catalogue import CONDITION_NAMES
from cfm.controller.explain.condition import Severity
from cfm.controller.explain.health import Health
from cfm.controller.explain.verdict import verdict
from cfm.controller.serve.families import gauge, labelled
from cfm.model import Now


def health_metrics(core: Core, now: Now) -> Iterable[Metric]:
    """Every series is there from the start, and is 0 or 1: an alert needs no `absent`."""
    found = verdict(core, core.last_round, now)
    health = {one.value: int(one is found.health) for one in Health}
    yield labelled("cfm_health", "1 for the health that the node is in.", "health", health)
    levels = {one.name: one.level for one in found.conditions}
    family = GaugeMetricFamily(
        "cfm_condition", "1 for each condition that an operator should know about.", labels=["name", "level"]
    )
    for name in CONDITION_NAMES:
        for level in Severity:
            family.add_metric([name, level.value], int(levels.get(name) is level))
    yield family
    brakes = Counter(refusal.name for _server, refusal in core.last_round.brakes) if core.last_round else {}
    yield labelled("cfm_brakes_held", "Servers at which a brake holds, by brake.", "brake", brakes)
    since_s = core.state.metadata.rejected_since_s or 0
    text = "Unix time since when no new metadata was accepted; 0 while the newest is."
    yield gauge("cfm_metadata_rejected_since_timestamp_seconds", text, since_s)


def own_metrics(controller: Controller) -> Iterable[Metric]:
    """What cfm is, what its cycles take, and its last reading of the settings."""
    core, reading = controller.core, controller.settings_read
    build = GaugeMetricFamily("cfm_build_info", "The program.", labels=["version", "python"])
    build.add_metric([__version__, platform.python_version()], 1)
    yield build
    stages = CounterMetricFamily(
        "cfm_cycle_seconds",
        "Time spent: on full plans (beside the loop), deciding about events, and committing.",
        labels=["stage"],
    )
    stages.add_metric(["plan"], core.state.counts["plan_ms"] / 1000)
    stages.add_metric(["decide"], controller.deciding_s)
    stages.add_metric(["commit"], controller.writer.commit_s)
    yield stages
    text = "1 where the last reading of the settings was taken."
    yield gauge("cfm_settings_last_reload_successful", text, int(not reading.refused))
    text = "Unix time of the last reading of the settings."
    yield gauge("cfm_settings_last_reload_timestamp_seconds", text, reading.at_s)
