"""The alert rules and the Grafana board: they name metrics that exist, and every fault of the drill is told.

`promtool` is part of Debian's package `prometheus`; where it is not installed, its tests are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cfm.controller.explain.catalogue import CONDITION_NAMES
from cfm.inputs.log_follower import LogFollower
from controller.node import Node
from controller.test_drill import DRILL, drilled, healthy
from controller.test_metrics import exposed

ROOT = Path(__file__).parents[2]
RULES = ROOT / "packaging" / "alerts.yml"
BOARD = ROOT / "packaging" / "grafana-board.json"
DOC = (ROOT / "docs" / "alerts.md").read_text()
ONLY_NOTES: Final = frozenset({
    "breaker_released", "event_log_doubled", "follows", "just_deleted", "links_not_served", "no_room",
    "order_unknown", "other_size", "pace", "restart_needed", "stale_copies", "still_being_written",
    "too_large", "versions_mixed",
})  # fmt: skip
"""Conditions that are never worse than a note."""
OF_PROMETHEUS: Final = frozenset({"up"})


@cache
def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def alert_for(condition: str) -> str:
    """The one alert that speaks of this condition."""
    (found,) = [one["alert"] for one in alerts() if _speaks_of(one["expr"], condition)]
    return str(found)


def _speaks_of(expr: str, condition: str) -> bool:
    return any(re.fullmatch(names, condition) for names in re.findall(r'name=~?"([^"]+)"', expr))


def expressions() -> list[str]:
    panels = json.loads(BOARD.read_text())["panels"]
    return [one["expr"] for one in alerts()] + [
        target["expr"] for panel in panels for target in panel["targets"]
    ]


def metrics_in(expr: str) -> set[str]:
    return set(re.findall(r"\b(cfm_[a-z_]+|up)\b", re.sub(r'"[^"]*"', "", expr)))


def follower() -> LogFollower:
    status = SimpleNamespace(lag_s=3, behind_bytes=0, skipped={"garbled": 1})
    return cast("LogFollower", SimpleNamespace(status=lambda: status))


def test_every_metric_that_is_named_exists() -> None:
    node = healthy()
    families = text_string_to_metric_families(exposed(node, follower()))
    there = {sample.name for family in families for sample in family.samples}
    there |= {
        "cfm_server_transfers_total",
        "cfm_brakes_held",
        "cfm_refusals",
    }  # they have a series when one is due
    help_ = exposed(node, follower())
    for name in ("cfm_server_transfers", "cfm_brakes_held", "cfm_refusals"):
        assert f"# HELP {name}" in help_
    named = set[str]().union(*map(metrics_in, expressions()))
    assert named - there == OF_PROMETHEUS


def test_each_condition_that_is_worse_than_a_note_has_one_alert() -> None:
    for name in set(CONDITION_NAMES) - ONLY_NOTES:
        assert alert_for(name)


@pytest.mark.parametrize("name", [one["alert"] for one in alerts()])
def test_each_alert_has_its_section(name: str) -> None:
    (section,) = re.findall(rf"^## {name}$(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    for part in ("- Meaning: ", "- Look at: ", "- Do: "):
        assert part in section
    (rule,) = [one for one in alerts() if one["alert"] == name]
    assert rule["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"


def test_no_section_is_about_an_alert_that_is_not_there() -> None:
    assert re.findall(r"^## (\w+)$", DOC, re.MULTILINE) == [one["alert"] for one in alerts()]


# ── promtool, with the drill's own scrapes ──────────────────────────────────────────────────────────────

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    run = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@needs_promtool
def test_each_fault_of_the_drill_fires_its_alert_and_a_healthy_node_none(tmp_path: Path) -> None:
    node = healthy()
    tests = [_test("healthy", node, [])]
    for name, fault in DRILL.items():
        node = healthy()
        drilled(node, fault)
        tests.append(_test(name, node, [alert_for(fault.condition)]))
    file = tmp_path / "drill.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": tests}))
    run = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, (run.stdout + run.stderr)[:3000]


def _test(name: str, node: Node, firing: list[str]) -> dict[str, Any]:
    """The node is as it is for half an hour.  `firing`: alerts that fire then, among others; none: no one."""
    series = [
        {"series": f'{sample.name}{{{_labels(sample.labels)}instance="n"}}', "values": f"{sample.value:g}x6"}
        for family in text_string_to_metric_families(exposed(node, follower()))
        for sample in family.samples
        if sample.value and sample.name.startswith(("cfm_condition", "cfm_health", "cfm_settings"))
    ]
    expressions = [
        (f'count(ALERTS{{alertstate="firing",alertname="{alert}"}}) > bool 0', 1) for alert in firing
    ] or [('count(ALERTS{alertstate="firing"}) or vector(0)', 0)]
    return {
        "name": name,
        "interval": "5m",
        "input_series": series,
        "promql_expr_test": [
            {"expr": expr, "eval_time": "25m", "exp_samples": [{"labels": "{}", "value": value}]}
            for expr, value in expressions
        ],
    }


def _labels(labels: dict[str, str]) -> str:
    return "".join(f'{key}="{value}",' for key, value in labels.items())
